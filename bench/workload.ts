/**
 * The pairs that benches store: 16-byte keys in an order that looks random, 100-byte values of which about half compresses.
 * A pair is a function of its index, so nothing has to be kept to ask for it again. Pure and seedless.
 */

export const KEY_BYTES = 16;
export const VALUE_BYTES = 100;

/** Distinct values: enough that a block holds hardly any twice. */
const VALUES = 8_192;

/** 0000 to ffff, so that a key is four look-ups. */
const digits: readonly string[] = Array.from({ length: 65_536 }, (_, n) => n.toString(16).padStart(4, "0"));

const values: readonly Buffer[] = Array.from({ length: VALUES }, (_, n) => {
  const value = Buffer.alloc(VALUE_BYTES, "kindred.");
  for (let at = 0; at < VALUE_BYTES / 2; at++) value[at] = scramble(n * 64 + at) & 0xff;
  return value;
});

/** The key of an index in 0..2^32-1: distinct for distinct indexes, and spread evenly over the whole key range. */
export function pairKey(index: number): string {
  // Two rounds of a Feistel network: a bijection on 64 bits whatever the round function is.
  const left = scramble(index);
  const right = (index ^ scramble(left)) >>> 0;
  return (digits[left >>> 16] as string) + digits[left & 0xffff] + digits[right >>> 16] + digits[right & 0xffff];
}

/** Shared: the caller changes nothing. */
export function pairValue(index: number): Buffer {
  return values[index % VALUES] as Buffer;
}

/** A permutation of the 32-bit numbers (an integer finalizer: each step can be undone). */
export function scramble(n: number): number {
  let mixed = Math.imul(n ^ (n >>> 16), 0x7feb352d);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x846ca68b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
