/**
 * Sorts many keys by sorting numbers: the first bytes behind what all keys share, with the key's index below them, make one
 * exact float each. Only keys that agree in those bytes are compared as strings. Several times faster than sorting strings,
 * and it gives positions, so that nothing has to be looked up by key afterwards.
 */
import { assert } from "../assert.js";

/** Bits of an index, and of the key's bytes above it: together what a float holds exactly. */
const INDEX_BITS = 21;
const INDEX_SPAN = 2 ** INDEX_BITS;
const PREFIX_BYTES = 4;

/** The indexes of `keys`, which are distinct, in the order of the keys. REQUIRES at most 2^21 keys. */
export function keyOrder(keys: readonly string[]): Uint32Array {
  assert(keys.length <= INDEX_SPAN, "key order: too many keys");
  const skipped = sharedPrefixLength(keys);
  const numbers = new Float64Array(keys.length);
  for (let index = 0; index < keys.length; index++) numbers[index] = prefixAt(keys[index]!, skipped) * INDEX_SPAN + index;
  numbers.sort();
  const order = new Uint32Array(keys.length);
  for (let at = 0; at < order.length; at++) order[at] = numbers[at]! % INDEX_SPAN;
  for (let start = 0; start < order.length; ) {
    const prefix = Math.floor(numbers[start]! / INDEX_SPAN);
    let end = start + 1;
    while (end < order.length && Math.floor(numbers[end]! / INDEX_SPAN) === prefix) end++;
    if (end - start > 1) order.subarray(start, end).sort((a, b) => (keys[a]! < keys[b]! ? -1 : 1));
    start = end;
  }
  return order;
}

/** How many first bytes all keys have in common. */
function sharedPrefixLength(keys: readonly string[]): number {
  const [first] = keys;
  if (first === undefined) return 0;
  let shared = first.length;
  for (const key of keys) {
    let at = 0;
    while (at < shared && at < key.length && key.charCodeAt(at) === first.charCodeAt(at)) at++;
    shared = at;
  }
  return shared;
}

/** The bytes of the key from `from` as a number; a key that ends before counts as padded with zeros. */
function prefixAt(key: string, from: number): number {
  let prefix = 0;
  const end = from + PREFIX_BYTES;
  for (let at = from; at < end; at++) prefix = prefix * 256 + (at < key.length ? key.charCodeAt(at) : 0);
  return prefix;
}
