/**
 * Finds the newest entry of a key in a memory table: an open-addressing hash table of integers. Keys are not copied into
 * it; a slot points at the chunk in the slab that begins with the key (slab.ts), so that a hit costs two distant reads and no
 * object lives per key. (A `Map` of strings cost three times as much per look-up at 100,000 keys, and the collector's time.)
 *
 * Invariant: `#slots` holds, for each slot, hash and place (0: empty, DEAD: taken back). At most half of the slots are not
 * empty, so that probing ends. A place is where the key's chunk stands, negative when that says that the key was removed.
 */
import { assert } from "../assert.js";
import { hash32, hash32OfString } from "../bytes/hash.js";
import { KeysAhead } from "./keys-ahead.js";
import { areKeyBytesAt, isKeyAt } from "./slab.js";

/** The integers of a slot: hash and place. */
const WIDTH = 2;
const WIDTH_SHIFT = 1;
const PLACE = 1;

const DEAD = -(2 ** 31);
const SLOTS_MIN = 64;
/** Of the processor's caches. A key's chunk and what a comparison of records reads of it lie in two lines. */
const LINE_BYTES = 64;
/** Keys beyond these are not fetched ahead. */
const PREFETCH_MAX = 512;
/** What `prefetch` has found so far. */
const places = new Int32Array(PREFETCH_MAX);
const NOTHING_AHEAD = new KeysAhead();

export class KeyIndex {
  #slots = newSlots(SLOTS_MIN);
  #mask = SLOTS_MIN - 1;
  /** Slots that are not empty. */
  #used = 0;
  /** Keys. */
  size = 0;
  /** The key last asked for, where its search ended, and its hash: a put nearly always follows a find of the same key. */
  #lastKey: string | null = null;
  #lastAt = 0;
  #lastHash = 0;
  /** What was foreseen last, in which version, which of it is looked for next, the hashes and the slots, -1: not found. */
  #ahead = NOTHING_AHEAD;
  #aheadVersion = -1;
  #aheadNext = 0;
  readonly #aheadHashes = new Int32Array(PREFETCH_MAX);
  readonly #aheadSlots = new Int32Array(PREFETCH_MAX);

  /** The table itself, for `placesOf`: shared with workers, and only read by them. */
  get slots(): Int32Array {
    return this.#slots;
  }

  /** The position of the key's slot, or -1. `slab` holds the keys. */
  find(slab: Uint8Array, key: string): number {
    const at = this.#search(slab, key);
    return this.#slots[at + PLACE] === 0 ? -1 : at;
  }

  /**
   * Finds these keys ahead of `find`, in loops in which no read waits for another: a processor fetches a dozen distant lines of
   * memory in about the time of one, where `find` after `find` would wait for two each.
   */
  prefetch(slab: Uint8Array, ahead: KeysAhead): void {
    const slots = this.#slots;
    const mask = this.#mask;
    const hashes = this.#aheadHashes;
    const { bytes, starts, keys } = ahead;
    const count = Math.min(keys.length, PREFETCH_MAX);
    for (let at = 0; at < count; at++) {
      const start = starts[at]!;
      hashes[at] = hash32(bytes, start, start + keys[at]!.length);
    }
    for (let at = 0; at < count; at++) places[at] = slots[((hashes[at]! & mask) << WIDTH_SHIFT) + PLACE]!;
    const last = slab.length - LINE_BYTES - 1;
    let sum = 0;
    for (let at = 0; at < count; at++) {
      const place = Math.min(Math.abs(places[at]!), last);
      sum += slab[place]! + slab[place + LINE_BYTES]!;
    }
    // So that the reads are not left out.
    places[0] = sum;
    for (let at = 0; at < count; at++) {
      this.#aheadSlots[at] = this.#slotOf(slab, hashes[at]!, bytes, starts[at]!, keys[at]!.length);
    }
    this.#ahead = ahead;
    this.#aheadVersion = ahead.version;
    this.#aheadNext = 0;
  }

  /** The place stored in a slot that `find` returned. */
  placeAt(at: number): number {
    return this.#slots[at + PLACE]!;
  }

  /** `place` is that of another chunk of the same key. */
  setPlaceAt(at: number, place: number): void {
    this.#slots[at + PLACE] = place;
  }

  /** Adds a key that `find` does not know. */
  add(slab: Uint8Array, key: string, place: number): void {
    assert(place !== 0 && place !== DEAD, "key index: a place that no chunk has");
    if ((this.#used + 1) * 2 > this.#mask) this.#grow();
    const at = this.#search(slab, key);
    const slots = this.#slots;
    assert(slots[at + PLACE] === 0, "key index: the key is new");
    slots[at] = this.#lastHash;
    slots[at + PLACE] = place;
    this.#used++;
    this.size++;
  }

  /** Takes an added key back. */
  removeAt(at: number): void {
    this.#slots[at + PLACE] = DEAD;
    this.#forget();
    this.size--;
  }

  /** Where the key's slot is, or the empty one that ends its probe sequence. */
  #search(slab: Uint8Array, key: string): number {
    const foreseen = this.#foreseen(key);
    if (foreseen >= 0 && this.#aheadSlots[foreseen]! >= 0) return this.#aheadSlots[foreseen]!;
    if (key === this.#lastKey) return this.#lastAt;
    const slots = this.#slots;
    const hash = foreseen >= 0 ? this.#aheadHashes[foreseen]! : hash32OfString(key) | 0;
    let slot = hash & this.#mask;
    for (;;) {
      const at = slot << WIDTH_SHIFT;
      const place = slots[at + PLACE]!;
      const isHit = place !== 0 && slots[at] === hash && place !== DEAD && isKeyAt(slab, place < 0 ? -place : place, key);
      if (isHit || place === 0) {
        this.#lastKey = key;
        this.#lastAt = at;
        this.#lastHash = hash;
        return at;
      }
      slot = (slot + 1) & this.#mask;
    }
  }

  /** Which of the keys ahead it is, the next or the one before (a put nearly always follows a find); -1: none of the two. */
  #foreseen(key: string): number {
    const { keys, version } = this.#ahead;
    if (version !== this.#aheadVersion) return -1;
    const next = this.#aheadNext;
    if (next < keys.length && next < PREFETCH_MAX && keys[next] === key) return this.#aheadNext++;
    return next > 0 && keys[next - 1] === key ? next - 1 : -1;
  }

  /** The position of the slot of a key that is given by its hash and bytes, or -1. */
  #slotOf(slab: Uint8Array, hash: number, bytes: Uint8Array, start: number, length: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const at = slot << WIDTH_SHIFT;
      const place = slots[at + PLACE]!;
      if (place === 0) return -1;
      if (slots[at] !== hash || place === DEAD) continue;
      if (areKeyBytesAt(slab, place < 0 ? -place : place, bytes, start, length)) return at;
    }
  }

  #grow(): void {
    const old = this.#slots;
    const count = (this.#mask + 1) * 2;
    const slots = newSlots(count);
    const mask = count - 1;
    for (let from = 0; from < old.length; from += WIDTH) {
      const place = old[from + PLACE]!;
      if (place === 0 || place === DEAD) continue;
      let slot = old[from]! & mask;
      while (slots[(slot << WIDTH_SHIFT) + PLACE] !== 0) slot = (slot + 1) & mask;
      const to = slot << WIDTH_SHIFT;
      slots[to] = old[from]!;
      slots[to + PLACE] = place;
    }
    this.#slots = slots;
    this.#mask = mask;
    this.#used = this.size;
    this.#forget();
  }

  /** Slots have moved, or are gone. */
  #forget(): void {
    this.#lastKey = null;
    this.#aheadVersion = -1;
  }
}

/** The places of all keys, in no order, from an index's `slots`. */
export function placesOf(slots: Int32Array): number[] {
  const places: number[] = [];
  for (let at = PLACE; at < slots.length; at += WIDTH) {
    const place = slots[at]!;
    if (place !== 0 && place !== DEAD) places.push(place);
  }
  return places;
}

/** Zeroed, and shared, so that a flush reads them in the worker without a copy. */
function newSlots(slots: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(slots * WIDTH * Int32Array.BYTES_PER_ELEMENT));
}
