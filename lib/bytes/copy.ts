/** Copies of short stretches: up to about fifty bytes a loop is faster than a call out of JavaScript and a view for it. */

const LOOP_BYTES_MAX = 48;

/** Copies `source[start, end)` to `at` of the target; returns the position after it. The two must not overlap. */
export function copyBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  const shift = at - start;
  if (end - start <= LOOP_BYTES_MAX) for (let from = start; from < end; from++) target[from + shift] = source[from]!;
  else target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at);
  return end + shift;
}
