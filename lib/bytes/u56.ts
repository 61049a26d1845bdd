/** Unsigned integers of seven bytes, big-endian: what `Buffer` has for six at most. */

export const U56_BYTES = 7;

const LOW_BYTES = 6;
const LOW_SPAN = 2 ** 48;

/** Returns the position after it. */
export function writeU56(target: Buffer, at: number, value: number): number {
  target[at] = Math.floor(value / LOW_SPAN);
  return target.writeUIntBE(value % LOW_SPAN, at + 1, LOW_BYTES);
}

export function readU56(bytes: Buffer, at: number): number {
  return bytes[at]! * LOW_SPAN + bytes.readUIntBE(at + 1, LOW_BYTES);
}
