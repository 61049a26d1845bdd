/**
 * Finds the newest operation on a key in a memory table: an open-addressing hash table of integers. Keys are not copied
 * into it; an entry points at the key in the table's slab, beside the value, so that a hit costs two distant reads and no
 * object lives per key. (A `Map` of strings cost three times as much per look-up at 100,000 keys, and the collector's time.)
 *
 * Invariant: `#entries` holds, for each slot, hash, position of the key (0: empty, DEAD: taken back) and place. At most
 * half of the slots are not empty, so that probing ends.
 */
import { assert } from "../assert.js";
import { hash32, hash32OfString } from "../bytes/hash.js";
import { latin1Of } from "../bytes/latin1.js";

/** The integers of a slot: hash, position of the key, place; the fourth keeps slots within a cache line. */
const WIDTH = 4;
const WIDTH_SHIFT = 2;
const KEY = 1;
const PLACE = 2;

const DEAD = -1;
const SLOTS_MIN = 64;

export class KeyIndex {
  #entries = new Int32Array(SLOTS_MIN * WIDTH);
  #mask = SLOTS_MIN - 1;
  /** Slots that are not empty. */
  #used = 0;
  /** Keys. */
  size = 0;
  /** The key last asked for, where its search ended, and its hash: a put nearly always follows a find of the same key. */
  #lastKey: string | null = null;
  #lastAt = 0;
  #lastHash = 0;

  /** The position of the key's entry, or -1. `slab` holds the keys. */
  find(slab: Uint8Array, key: string): number {
    const at = this.#search(slab, key);
    return this.#entries[at + KEY] === 0 ? -1 : at;
  }

  /** The place stored in an entry that `find` or `add` returned. */
  placeAt(at: number): number {
    return this.#entries[at + PLACE]!;
  }

  setPlaceAt(at: number, place: number): void {
    this.#entries[at + PLACE] = place;
  }

  /** Adds a key that `find` does not know. `keyAt` is where its length and bytes stand in the slab, from 1 on. */
  add(slab: Uint8Array, key: string, keyAt: number, place: number): number {
    assert(keyAt > 0, "key index: a key never stands at the start of a slab");
    if ((this.#used + 1) * 2 > this.#mask) this.#grow();
    const at = this.#search(slab, key);
    this.#fill(at, keyAt, place);
    return at;
  }

  /** The position of the entry of a key that stands in the slab itself, or -1. */
  findStored(slab: Uint8Array, keyAt: number): number {
    const at = this.#searchStored(slab, keyAt);
    return this.#entries[at + KEY] === 0 ? -1 : at;
  }

  /** Adds a key that stands in the slab itself and that `findStored` does not know. */
  addStored(slab: Uint8Array, keyAt: number, place: number): void {
    assert(keyAt > 0, "key index: a key never stands at the start of a slab");
    if ((this.#used + 1) * 2 > this.#mask) this.#grow();
    this.#fill(this.#searchStored(slab, keyAt), keyAt, place);
  }

  /** Takes an added key back. */
  removeAt(at: number): void {
    this.#entries[at + KEY] = DEAD;
    this.#lastKey = null;
    this.size--;
  }

  /** Where the key's entry is, or the empty one that ends its probe sequence. */
  #search(slab: Uint8Array, key: string): number {
    if (key === this.#lastKey) return this.#lastAt;
    const entries = this.#entries;
    const hash = hash32OfString(key) | 0;
    let slot = hash & this.#mask;
    for (;;) {
      const at = slot << WIDTH_SHIFT;
      const keyAt = entries[at + KEY]!;
      if (keyAt === 0 || (entries[at] === hash && keyAt !== DEAD && isKeyAt(slab, keyAt, key))) {
        this.#lastKey = key;
        this.#lastAt = at;
        this.#lastHash = hash;
        return at;
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  /** The same for a key that stands in the slab. */
  #searchStored(slab: Uint8Array, keyAt: number): number {
    const entries = this.#entries;
    const start = skipLength(slab, keyAt);
    const end = start + lengthAt(slab, keyAt);
    const hash = hash32(slab, start, end) | 0;
    this.#lastKey = null;
    this.#lastHash = hash;
    let slot = hash & this.#mask;
    for (;;) {
      const at = slot << WIDTH_SHIFT;
      const otherAt = entries[at + KEY]!;
      if (otherAt === 0 || (entries[at] === hash && otherAt !== DEAD && isSameKey(slab, otherAt, keyAt, end))) return at;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** Writes the empty entry that the last search ended at. */
  #fill(at: number, keyAt: number, place: number): void {
    const entries = this.#entries;
    assert(entries[at + KEY] === 0, "key index: the key is new");
    entries[at] = this.#lastHash;
    entries[at + KEY] = keyAt;
    entries[at + PLACE] = place;
    this.#used++;
    this.size++;
  }

  #grow(): void {
    const old = this.#entries;
    const slots = (this.#mask + 1) * 2;
    const entries = new Int32Array(slots * WIDTH);
    const mask = slots - 1;
    for (let from = 0; from < old.length; from += WIDTH) {
      const keyAt = old[from + KEY]!;
      if (keyAt === 0 || keyAt === DEAD) continue;
      let slot = old[from]! & mask;
      while (entries[(slot << WIDTH_SHIFT) + KEY] !== 0) slot = (slot + 1) & mask;
      const to = slot << WIDTH_SHIFT;
      entries[to] = old[from]!;
      entries[to + KEY] = keyAt;
      entries[to + PLACE] = old[from + PLACE]!;
    }
    this.#entries = entries;
    this.#mask = mask;
    this.#used = this.size;
    this.#lastKey = null;
  }
}

/** The key whose length and bytes stand at `keyAt`. */
export function keyIn(slab: Uint8Array, keyAt: number): string {
  const start = skipLength(slab, keyAt);
  return latin1Of(slab, start, start + lengthAt(slab, keyAt));
}

function isKeyAt(slab: Uint8Array, keyAt: number, key: string): boolean {
  const { length } = key;
  if (lengthAt(slab, keyAt) !== length) return false;
  const start = skipLength(slab, keyAt);
  for (let index = 0; index < length; index++) if (slab[start + index] !== key.charCodeAt(index)) return false;
  return true;
}

/** Lengths stand in as few bytes as they take, so equal keys are equal from their lengths on. */
function isSameKey(slab: Uint8Array, otherAt: number, keyAt: number, keyEnd: number): boolean {
  for (let at = keyAt, other = otherAt; at < keyEnd; at++, other++) if (slab[at] !== slab[other]) return false;
  return true;
}

/** A varint of at most three bytes: keys are short. */
function lengthAt(slab: Uint8Array, at: number): number {
  const low = slab[at]!;
  if (low < 128) return low;
  const middle = slab[at + 1]!;
  return (low & 127) | ((middle & 127) << 7) | (middle < 128 ? 0 : slab[at + 2]! << 14);
}

function skipLength(slab: Uint8Array, at: number): number {
  if (slab[at]! < 128) return at + 1;
  return slab[at + 1]! < 128 ? at + 2 : at + 3;
}
