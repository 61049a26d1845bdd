/**
 * The newest entries: an index from keys to the chunks of a slab where their pairs stand. A pair that is overwritten gives its
 * chunk back, so that the table grows with its keys and not with the writes; it is the log that grows with these.
 *
 * Invariants: `undo` restores the state of the last `seal`. What a change of the batch being built has replaced keeps its
 * chunk until `seal`, and while a scan reads the table. A place is where a chunk stands, negative when it marks a removed key.
 */
import { assert } from "../assert.js";
import { writeLatin1 } from "../bytes/latin1.js";
import { writeVarint } from "../bytes/varint.js";
import { KEY_BYTES_MAX } from "./block.js";
import { KeyIndex, placesOf } from "./key-index.js";
import type { KeysAhead } from "./keys-ahead.js";
import { BATCH_HEADER_BYTES, Operation, OperationReader } from "./log-format.js";
import type { SegmentRange } from "./log-recovery.js";
import type { Found } from "./peek.js";
import { findValue, keyAt, type Slab } from "./slab.js";
import { SortedKeys } from "./sorted-keys.js";

/** What `find` returns for a key that the table knows nothing of. Removed keys have a negative place. */
export const UNKNOWN = 0;

/** The state that CLEAR replaced, kept until the batch is written. */
interface Cleared {
  readonly index: KeyIndex;
  readonly undoCount: number;
}

export class MemoryTable {
  readonly slab: Slab;
  /** Set by CLEAR: nothing older than this table counts any more. */
  hidesOlder = false;
  /** Scans that read this table now. Kept by the engine. */
  pins = 0;
  #index = new KeyIndex();
  /** All keys in order: made for a scan, and kept while scans come often enough to be worth it. */
  #sorted: SortedKeys | null = null;
  #addedSinceScan = 0;
  /** The places that the batch being built has set, and what each has replaced. Elements are reused: putting allocates nothing. */
  readonly #undoPlaces: number[] = [];
  readonly #undoBefore: number[] = [];
  #undoCount = 0;
  /** Chunks that nothing refers to, but perhaps a scan. */
  #retired: number[] = [];
  #cleared: Cleared | null = null;
  #sealedBytes = 0;
  #hidOlderAtSeal = false;

  /** REQUIRES an empty slab. */
  constructor(slab: Slab) {
    this.slab = slab;
  }

  /** Distinct keys, removed ones included. */
  get entries(): number {
    return this.#index.size;
  }

  /** Bytes of keys and values and of the gaps between them, the batch being built included. */
  get bytes(): number {
    return this.slab.used;
  }

  /** The same without the batch being built. */
  get sealedBytes(): number {
    return this.#sealedBytes;
  }

  /** The index as a flush reads it. */
  get indexSlots(): Int32Array {
    return this.#index.slots;
  }

  /** The place of the key's pair, negative when it was removed, or UNKNOWN. */
  find(key: string): number {
    const at = this.#index.find(this.slab.bytes, key);
    return at < 0 ? UNKNOWN : this.#index.placeAt(at);
  }

  /** These keys are looked for next: see KeyIndex. */
  prefetch(ahead: KeysAhead): void {
    this.#index.prefetch(this.slab.bytes, ahead);
  }

  /** Points `found` at the value at a place that `find` returned. REQUIRES place > 0. */
  view(place: number, found: Found): void {
    findValue(this.slab.bytes, place, found);
  }

  /** Stores a copy of a pair of this key, encoded as the log and the slab hold it. */
  put(key: string, pair: Uint8Array, start: number, end: number): void {
    this.#set(key, this.slab.add(pair, start, end));
  }

  remove(key: string): void {
    const end = writeLatin1(removed, writeVarint(removed, 0, key.length), key);
    removed[end] = 0;
    this.#set(key, -this.slab.add(removed, 0, end + 1));
  }

  clear(): void {
    if (this.#cleared !== null) this.#undoTo(this.#cleared.undoCount);
    this.#cleared ??= { index: this.#index, undoCount: this.#undoCount };
    this.#index = new KeyIndex();
    this.#sorted = null;
    this.hidesOlder = true;
  }

  /** The batch being built was written: it can no longer be undone. */
  seal(): void {
    for (let at = 0; at < this.#undoCount; at++) {
      const before = this.#undoBefore[at]!;
      if (before === UNKNOWN) continue;
      if (this.pins === 0) this.slab.release(Math.abs(before));
      else this.#retired.push(Math.abs(before));
    }
    this.#reuseRetired();
    this.#undoCount = 0;
    this.#cleared = null;
    this.#sealedBytes = this.slab.used;
    this.#hidOlderAtSeal = this.hidesOlder;
    // One huge batch must not keep its memory for ever.
    if (this.#undoPlaces.length > 4096) this.#undoPlaces.length = this.#undoBefore.length = 0;
  }

  /** Takes the batch being built back. */
  undo(): void {
    const cleared = this.#cleared;
    if (cleared !== null) {
      this.#undoTo(cleared.undoCount);
      this.#index = cleared.index;
    }
    this.#undoTo(0);
    this.#sorted = null;
    this.hidesOlder = this.#hidOlderAtSeal;
    this.#cleared = null;
    this.#reuseRetired();
  }

  /** Adds a batch read from the log, `bytes[start, end)` with its header, and calls `onCount` and `onClear` for what the engine keeps. */
  replay(bytes: Buffer, start: number, end: number, engine: ReplayTarget): void {
    assert(this.#undoCount === 0 && this.#cleared === null, "memory table: replay into an open batch");
    const operations = new OperationReader(bytes, start + BATCH_HEADER_BYTES, end);
    while (operations.next()) {
      if (operations.kind === Operation.PUT) this.put(operations.key(), bytes, operations.keyAt, operations.valueEnd);
      else if (operations.kind === Operation.REMOVE) this.remove(operations.key());
      else if (operations.kind === Operation.COUNT) engine.onCount(operations.index, operations.delta);
      else {
        this.clear();
        engine.onClear();
      }
    }
    this.seal();
  }

  /** The first key at or after `from`, removed ones included; null at the end. */
  ceiling(from: string): string | null {
    this.#sorted ??= new SortedKeys(placesOf(this.#index.slots).map((place) => keyAt(this.slab.bytes, Math.abs(place))));
    this.#addedSinceScan = 0;
    return this.#sorted.ceiling(from);
  }

  #set(key: string, place: number): void {
    const index = this.#index;
    const at = index.find(this.slab.bytes, key);
    this.#undoPlaces[this.#undoCount] = place;
    this.#undoBefore[this.#undoCount++] = at < 0 ? UNKNOWN : index.placeAt(at);
    if (at < 0) {
      index.add(this.slab.bytes, key, place);
      if (this.#sorted !== null) this.#addSorted(key);
    } else index.setPlaceAt(at, place);
  }

  #addSorted(key: string): void {
    // Making it anew costs no more than keeping it did since the last scan.
    if (++this.#addedSinceScan > this.entries / 2) this.#sorted = null;
    else this.#sorted!.add(key);
  }

  /** Takes changes back, the last first, until `count` are left. What they had put gives its place back. */
  #undoTo(count: number): void {
    const index = this.#index;
    while (this.#undoCount > count) {
      const chunk = Math.abs(this.#undoPlaces[--this.#undoCount]!);
      const at = index.find(this.slab.bytes, keyAt(this.slab.bytes, chunk));
      const before = this.#undoBefore[this.#undoCount]!;
      this.#retired.push(chunk);
      if (before === UNKNOWN) index.removeAt(at);
      else index.setPlaceAt(at, before);
    }
  }

  #reuseRetired(): void {
    if (this.pins > 0 || this.#retired.length === 0) return;
    for (const place of this.#retired) this.slab.release(place);
    this.#retired = [];
  }
}

/** For the pair that marks a removed key: lengths and the key. */
const removed = Buffer.allocUnsafeSlow(KEY_BYTES_MAX + 16);

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
