/**
 * The newest entries: an index from keys to places in a slab of bytes. The slab holds the batches of this table's log segment
 * exactly as they are written to it, so that a value is copied once on its way to the log and to memory.
 *
 * Invariant: `[0, committedEnd)` of the slab is a sequence of committed batches, and what follows is the batch being built.
 * `undo` restores the state of the last `seal`. Places are positions of a value's length in the slab, or DELETED.
 */
import { assert } from "../assert.js";
import { writeLatin1 } from "../bytes/latin1.js";
import { writeVarint } from "../bytes/varint.js";
import { KEY_BYTES_MAX } from "./block.js";
import { KeyIndex, keyIn } from "./key-index.js";
import { BATCH_HEADER_BYTES, Operation, OperationReader, zigzag } from "./log-format.js";
import type { SegmentRange } from "./log-recovery.js";
import type { Found } from "./peek.js";
import { SortedKeys } from "./sorted-keys.js";

/** What `find` returns for a removed key, and for a key that the table knows nothing of. */
export const DELETED = -1;
export const UNKNOWN = -2;

/** A kind byte and the longest two lengths. */
const OPERATION_BYTES_MAX = 17;

/** The state that CLEAR replaced, kept until the batch is written. */
interface Cleared {
  readonly index: KeyIndex;
  readonly inserted: number[];
  readonly undoCount: number;
}

export class MemoryTable {
  slab: Buffer;
  /** Set by CLEAR: nothing older than this table counts any more. */
  hidesOlder = false;
  /** Scans that read this table now. Kept by the engine. */
  pins = 0;
  #index = new KeyIndex();
  /** Where the keys stand in the slab, in order of insertion: food for the sorted index. */
  #inserted: number[] = [];
  #sorted: SortedKeys;
  #committedEnd = 0;
  #end = 0;
  /** What the batch being built has overwritten. Slots are reused, so that putting allocates nothing here. */
  readonly #undoKeys: string[] = [];
  readonly #undoPlaces: number[] = [];
  #undoCount = 0;
  #cleared: Cleared | null = null;
  #insertedAtBatch = 0;
  #hidOlderAtBatch = false;

  /** `slab` may be a used one; it is replaced by a larger one when a batch does not fit. */
  constructor(slab: Buffer) {
    this.slab = slab;
    this.#sorted = this.#sortedOf(this.#inserted);
  }

  /** Distinct keys, removed ones included. */
  get entries(): number {
    return this.#index.size;
  }

  /** Bytes of the batches, the one being built included. */
  get bytes(): number {
    return this.#end;
  }

  get hasPending(): boolean {
    return this.#end > this.#committedEnd;
  }

  /** The place of the key's value, DELETED or UNKNOWN. */
  find(key: string): number {
    const at = this.#index.find(this.slab, key);
    return at < 0 ? UNKNOWN : this.#index.placeAt(at);
  }

  /** Points `found` at the value at a place that `find` returned. REQUIRES place >= 0. */
  view(place: number, found: Found): void {
    const { slab } = this;
    let at = place;
    let byte = slab[at++]!;
    let length = byte & 127;
    for (let scale = 128; byte >= 128; scale *= 128) {
      byte = slab[at++]!;
      length += (byte & 127) * scale;
    }
    found.buffer = slab;
    found.start = at;
    found.end = at + length;
  }

  put(key: string, bytes: Uint8Array, start: number, end: number): void {
    assert(key.length <= KEY_BYTES_MAX, "put: the key is longer than tables can hold");
    const length = end - start;
    let at = this.#reserve(key.length + length);
    const { slab } = this;
    slab[at++] = Operation.PUT;
    const keyAt = at;
    at = writeLength(slab, at, key.length);
    at = writeLatin1(slab, at, key);
    const place = at;
    at = writeLength(slab, at, length);
    copyBytes(bytes, start, end, slab, at);
    this.#end = at + length;
    this.#set(key, keyAt, place);
  }

  remove(key: string): void {
    let at = this.#reserve(key.length);
    const { slab } = this;
    slab[at++] = Operation.REMOVE;
    const keyAt = at;
    at = writeLength(slab, at, key.length);
    this.#end = writeLatin1(slab, at, key);
    this.#set(key, keyAt, DELETED);
  }

  /** Writes the operation only: the counters are the engine's. */
  count(index: number, delta: number): void {
    const at = this.#reserve(0);
    this.slab[at] = Operation.COUNT;
    this.#end = writeVarint(this.slab, writeVarint(this.slab, at + 1, index), zigzag(delta));
  }

  clear(): void {
    const at = this.#reserve(0);
    this.slab[at] = Operation.CLEAR;
    this.#end = at + 1;
    this.#cleared ??= { index: this.#index, inserted: this.#inserted, undoCount: this.#undoCount };
    this.#start(new KeyIndex(), []);
    this.hidesOlder = true;
  }

  /** Where the batch being built starts; its header is still to be filled in. REQUIRES hasPending. */
  get pendingStart(): number {
    return this.#committedEnd;
  }

  /** The batch being built was written: it can no longer be undone. */
  seal(): void {
    this.#committedEnd = this.#end;
    this.#undoCount = 0;
    this.#cleared = null;
    this.#insertedAtBatch = this.#inserted.length;
    this.#hidOlderAtBatch = this.hidesOlder;
    // One huge batch must not keep its keys alive for ever.
    if (this.#undoKeys.length > 4096) this.#undoKeys.length = this.#undoPlaces.length = 0;
  }

  /** Takes the batch being built back. */
  undo(): void {
    const cleared = this.#cleared;
    if (cleared !== null) this.#start(cleared.index, cleared.inserted);
    for (let count = (cleared === null ? this.#undoCount : cleared.undoCount) - 1; count >= 0; count--) {
      const at = this.#index.find(this.slab, this.#undoKeys[count]!);
      const place = this.#undoPlaces[count]!;
      if (place === UNKNOWN) this.#index.removeAt(at);
      else this.#index.setPlaceAt(at, place);
    }
    this.#inserted.length = this.#insertedAtBatch;
    this.#sorted = this.#sortedOf(this.#inserted);
    this.hidesOlder = this.#hidOlderAtBatch;
    this.#end = this.#committedEnd;
    this.#undoCount = 0;
    this.#cleared = null;
  }

  /** Adds a batch read from the log, `bytes[start, end)` with its header, and calls `onCount` and `onClear` for what the engine keeps. */
  replay(bytes: Buffer, start: number, end: number, engine: ReplayTarget): void {
    assert(!this.hasPending, "memory table: replay into an open batch");
    const base = this.#end - start;
    this.#grow(end - start);
    bytes.copy(this.slab, this.#end, start, end);
    this.#end += end - start;
    const operations = new OperationReader(bytes, start + BATCH_HEADER_BYTES, end);
    while (operations.next()) {
      if (operations.kind === Operation.PUT) this.#set(operations.key(), base + operations.keyAt, base + operations.valueAt);
      else if (operations.kind === Operation.REMOVE) this.#set(operations.key(), base + operations.keyAt, DELETED);
      else if (operations.kind === Operation.COUNT) engine.onCount(operations.index, operations.delta);
      else {
        this.#start(new KeyIndex(), []);
        this.hidesOlder = true;
        engine.onClear();
      }
    }
    this.seal();
  }

  /** The first key at or after `from`, removed ones included; null at the end. */
  ceiling(from: string): string | null {
    return this.#sorted.ceiling(from);
  }

  #start(index: KeyIndex, inserted: number[]): void {
    this.#index = index;
    this.#inserted = inserted;
    this.#sorted = this.#sortedOf(inserted);
  }

  #sortedOf(inserted: readonly number[]): SortedKeys {
    return new SortedKeys({ count: () => inserted.length, key: (index) => keyIn(this.slab, inserted[index]!) });
  }

  #set(key: string, keyAt: number, place: number): void {
    const index = this.#index;
    const at = index.find(this.slab, key);
    this.#undoKeys[this.#undoCount] = key;
    if (at < 0) {
      this.#undoPlaces[this.#undoCount++] = UNKNOWN;
      index.add(this.slab, key, keyAt, place);
      this.#inserted.push(keyAt);
    } else {
      this.#undoPlaces[this.#undoCount++] = index.placeAt(at);
      index.setPlaceAt(at, place);
    }
  }

  /** Makes room for an operation with `bytes` bytes of key and value, opening a batch if none is; returns where it goes. */
  #reserve(bytes: number): number {
    if (this.#end === this.#committedEnd) {
      this.#grow(BATCH_HEADER_BYTES + OPERATION_BYTES_MAX + bytes);
      this.#end += BATCH_HEADER_BYTES;
    } else this.#grow(OPERATION_BYTES_MAX + bytes);
    return this.#end;
  }

  #grow(bytes: number): void {
    const needed = this.#end + bytes;
    if (needed <= this.slab.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, Math.ceil(this.slab.length * 1.5)));
    this.slab.copy(larger, 0, 0, this.#end);
    this.slab = larger;
  }
}

/** A memory table that takes no more writes, and what a flush of it needs. */
export interface FrozenTable {
  readonly table: MemoryTable;
  /** The log segments that it was built from. */
  readonly segments: readonly SegmentRange[];
  /** The counters when it was frozen. */
  readonly counters: Float64Array;
}

/** The engine's side of a replay. */
export interface ReplayTarget {
  onCount(index: number, delta: number): void;
  onClear(): void;
}

/** A slab for a table of `bytes`. */
export function newSlab(bytes: number): Buffer {
  return Buffer.allocUnsafeSlow(newSlabBytes(bytes));
}

/** Somewhat larger than the table, so that the batch that fills it does not move it. */
export function newSlabBytes(bytes: number): number {
  return Math.ceil(bytes * 1.125) + 4096;
}

function writeLength(slab: Buffer, at: number, length: number): number {
  if (length >= 128) return writeVarint(slab, at, length);
  slab[at] = length;
  return at + 1;
}

/** Short values are copied faster by a loop than by a call out of JavaScript. */
function copyBytes(source: Uint8Array, start: number, end: number, target: Buffer, at: number): void {
  if (end - start < 48) for (let from = start, to = at; from < end; from++, to++) target[to] = source[from]!;
  else target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at);
}
