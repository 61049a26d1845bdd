/**
 * The bytes of a memory table: pairs in chunks that are taken and given back. A chunk is a pair as the log holds it: the
 * length of the key as a varint, the key, the length of the value, the value. What is given back is taken again by a pair
 * of about the same length, so that overwriting keys does not fill the table. The memory is shared, so that a flush reads
 * it in the worker without a copy.
 *
 * Invariant: a chunk is in use or in exactly one free list, the one of its size. Nothing stands at position 0.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import { latin1Of } from "../bytes/latin1.js";
import type { Found } from "./peek.js";

/** Sizes of chunks are multiples of this. */
const GRANULE = 16;
const GRANULE_SHIFT = 4;
/** Longer chunks (64 KB and more) are not used again. */
const FREE_LISTS = 4096;
/** Positions are signed 32-bit integers. */
const BYTES_MAX = 2 ** 31 - 1;

export class Slab {
  bytes: Buffer;
  readonly #initialBytes: number;
  #end = GRANULE;
  /** Positions of free chunks, by granules. */
  #free: (number[] | undefined)[] = [];

  /** For about `bytes` of chunks: with some room, so that the batch that fills the table does not move them. */
  constructor(bytes: number) {
    this.#initialBytes = Math.ceil(bytes * 1.125) + 4096;
    this.bytes = sharedBuffer(this.#initialBytes);
  }

  /** Bytes of chunks, free ones included. */
  get used(): number {
    return this.#end;
  }

  /** True when it had to be made larger. */
  get hasGrown(): boolean {
    return this.bytes.length > this.#initialBytes;
  }

  /** Forgets all chunks. */
  reset(): void {
    this.#end = GRANULE;
    this.#free = [];
  }

  /** Stores a copy of the pair `source[start, end)`; returns where its chunk begins. */
  add(source: Uint8Array, start: number, end: number): number {
    const at = this.#take((end - start + GRANULE - 1) >> GRANULE_SHIFT);
    copyBytes(source, start, end, this.bytes, at);
    return at;
  }

  /** Gives the chunk at `at` back. */
  release(at: number): void {
    const length = endOfValue(this.bytes, at) - at;
    const granules = (length + GRANULE - 1) >> GRANULE_SHIFT;
    if (granules >= FREE_LISTS) return;
    const free = this.#free[granules];
    if (free === undefined) this.#free[granules] = [at];
    else free.push(at);
  }

  #take(granules: number): number {
    const free = granules < FREE_LISTS ? this.#free[granules] : undefined;
    const at = free?.pop();
    if (at !== undefined) return at;
    const end = this.#end;
    this.#end = end + granules * GRANULE;
    if (this.#end > this.bytes.length) this.#grow();
    return end;
  }

  #grow(): void {
    assert(this.#end <= BYTES_MAX, "slab: below 2 GB");
    const larger = sharedBuffer(Math.min(BYTES_MAX, Math.max(this.#end, Math.ceil(this.bytes.length * 1.5))));
    larger.set(this.bytes);
    this.bytes = larger;
  }
}

/** Sets `view` to where the value of the pair at `at` starts and ends. */
export function viewValue(bytes: Uint8Array, at: number, view: { start: number; end: number }): void {
  const lengthAt = endOfKey(bytes, at);
  const first = bytes[lengthAt]!;
  view.start = first < 128 ? lengthAt + 1 : skipLength(bytes, lengthAt);
  view.end = view.start + (first < 128 ? first : pairLengthAt(bytes, lengthAt));
}

/** Points `found` at the value of the pair at `at`. */
export function findValue(bytes: Buffer, at: number, found: Found): void {
  found.buffer = bytes;
  viewValue(bytes, at, found);
}

/** The key of the pair at `at`. */
export function keyAt(bytes: Uint8Array, at: number): string {
  return latin1Of(bytes, skipLength(bytes, at), endOfKey(bytes, at));
}

/** Whether the pair at `at` has this key. */
export function isKeyAt(bytes: Uint8Array, at: number, key: string): boolean {
  const { length } = key;
  if (pairLengthAt(bytes, at) !== length) return false;
  const start = skipLength(bytes, at);
  // From the end: the first bytes say where on the ring a key lies, and the hash told these apart already.
  for (let index = length - 1; index >= 0; index--) if (bytes[start + index] !== key.charCodeAt(index)) return false;
  return true;
}

/** Whether the pair at `at` has the key that stands in `key[start, start + length)`. */
export function areKeyBytesAt(bytes: Uint8Array, at: number, key: Uint8Array, start: number, length: number): boolean {
  if (pairLengthAt(bytes, at) !== length) return false;
  const shift = skipLength(bytes, at) - start;
  for (let index = start + length - 1; index >= start; index--) if (bytes[index + shift] !== key[index]) return false;
  return true;
}

function endOfKey(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  return first < 128 ? at + 1 + first : skipLength(bytes, at) + pairLengthAt(bytes, at);
}

function endOfValue(bytes: Uint8Array, at: number): number {
  const lengthAt = endOfKey(bytes, at);
  return skipLength(bytes, lengthAt) + pairLengthAt(bytes, lengthAt);
}

/** The length that a pair or the rest of one begins with: a varint of at most five bytes. */
export function pairLengthAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 128) return first;
  let length = first & 127;
  for (let scale = 128, next = at + 1; ; scale *= 128, next++) {
    const byte = bytes[next]!;
    length += (byte & 127) * scale;
    if (byte < 128) return length;
  }
}

function skipLength(bytes: Uint8Array, at: number): number {
  let next = at;
  while (bytes[next++]! >= 128);
  return next;
}

function sharedBuffer(bytes: number): Buffer {
  return Buffer.from(new SharedArrayBuffer(bytes));
}
