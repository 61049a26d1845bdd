/**
 * Finds the newest operation on a key in a memory table: an open-addressing hash table of integers. Keys are not copied
 * into it; an entry points at the key in the table's slab, beside the value, so that a hit costs two distant reads and no
 * object lives per key. (A `Map` of strings cost three times as much per look-up at 100,000 keys, and the collector's time.)
 *
 * Invariant: `#entries` holds, for each slot, hash, position of the key (0: empty, DEAD: taken back) and place. At most
 * half of the slots are not empty, so that probing ends.
 */
import { assert } from "../assert.js";
import { hash32OfString } from "../bytes/hash.js";
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
    const entries = this.#entries;
    assert(entries[at + KEY] === 0, "key index: the key is new");
    entries[at] = this.#lastHash;
    entries[at + KEY] = keyAt;
    entries[at + PLACE] = place;
    this.#used++;
    this.size++;
    return at;
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
  let at = keyAt;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = slab[at++]!;
    length |= (byte & 127) << shift;
    if (byte < 128) return latin1Of(slab, at, at + length);
  }
}

function isKeyAt(slab: Uint8Array, keyAt: number, key: string): boolean {
  let at = keyAt;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = slab[at++]!;
    length |= (byte & 127) << shift;
    if (byte < 128) break;
  }
  if (length !== key.length) return false;
  for (let index = 0; index < length; index++) if (slab[at + index] !== key.charCodeAt(index)) return false;
  return true;
}
