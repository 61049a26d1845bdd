/**
 * Hashes of keys. Both are part of the stored format (the order of keys on disk, the bits of Bloom filters), so they never
 * change. Strings are latin1: one char code is one byte.
 */

/** 32-bit MurmurHash3 (x86 variant, Austin Appleby) of `bytes[start, end)` with `seed`. Returns an unsigned integer. */
export function hash32(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  let hash = seed;
  let at = start;
  for (const last = end - 3; at < last; at += 4) {
    hash = mixBlock(hash, bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
  }
  let tail = 0;
  for (let shift = 0; at < end; at++, shift += 8) tail |= bytes[at]! << shift;
  return finish(hash, tail, end - start);
}

/**
 * A hash of 48 bits, as an integer: MurmurHash3's steps on two lanes that take turns at the blocks of four bytes, then mixed into
 * each other. For checks of sameness, where one of 32 bits would be too short.
 */
export function hash48(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let low = seed;
  let high = ~seed;
  let at = start;
  for (const last = end - 7; at < last; at += 8) {
    low = mixBlock(low, bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    high = mixBlock(high, bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24));
  }
  let tail = 0;
  for (let left = 4; at < end && left > 0; at++, left--) tail = (tail << 8) | bytes[at]!;
  low = mixBlock(low, tail);
  for (tail = 0; at < end; at++) tail = (tail << 8) | bytes[at]!;
  const length = end - start;
  const first = finish(low, tail, length);
  return (finish(high, first | 0, length) & 0xffff) * 2 ** 32 + finish(first | 0, high, length);
}

/** The same hash of the bytes that a latin1 string stands for. */
export function hash32OfString(text: string, seed = 0): number {
  const { length } = text;
  let hash = seed;
  let at = 0;
  for (const last = length - 3; at < last; at += 4) {
    const block =
      text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16) | (text.charCodeAt(at + 3) << 24);
    hash = mixBlock(hash, block);
  }
  let tail = 0;
  for (let shift = 0; at < length; at++, shift += 8) tail |= text.charCodeAt(at) << shift;
  return finish(hash, tail, length);
}

function mixBlock(hash: number, block: number): number {
  const scrambled = Math.imul(block, 0xcc9e2d51);
  const mixed = hash ^ Math.imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number, tail: number, length: number): number {
  const scrambled = Math.imul(tail, 0xcc9e2d51);
  let mixed = hash ^ Math.imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593) ^ length;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
