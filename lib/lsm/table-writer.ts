/**
 * Writes one table, for jobs: everything is synchronous. The invariant: until `finish` has returned, nothing refers to
 * the file, and `abandon` (or the removal of orphans at a start) takes it away.
 */
import { assert } from "../assert.js";
import { writeLatin1 } from "../bytes/latin1.js";
import type { Disk, DiskFile } from "../host/disk.js";
import { BlockBuilder, KEY_BYTES_MAX, sharedLength } from "./block.js";
import { type EntryKind, TOMBSTONE } from "./entry.js";
import { encodeFilter, keyHashOf } from "./filter.js";
import {
  type BlockList,
  type ExpiringBytes,
  encodeFooter,
  encodeIndex,
  SEAL_BYTES,
  seal,
  sealRaw,
  TABLE_BYTES_MAX,
  type TableMeta,
  tableFileName,
} from "./table-format.js";

/** Finished blocks are appended to the file in pieces of about this size: a system call a block would cost as much again. */
const APPEND_BYTES = 128 * 1024;
/** The file is synced each time it grew by this much, so that the last sync does not hold the device for seconds. */
const SYNC_BYTES = 4 * 1024 * 1024;

export interface TableWriterOptions {
  readonly disk: Disk;
  readonly directory: string;
  /** Names the file: none of this number may exist. */
  readonly number: number;
  /** Bytes of a block before compression; a longer entry is a block of its own. */
  readonly blockBytes: number;
  /** The share of absent keys that the filter may let through, 0 to 1, exclusive. */
  readonly filterFalsePositives: number;
  /** The wall clock, against which expiries are measured. */
  readonly nowMs: number;
}

export class TableWriter {
  readonly #disk: Disk;
  readonly #number: number;
  readonly #falsePositives: number;
  readonly #expiring: ExpiringSketch;
  readonly #block: BlockBuilder;
  readonly #file: DiskFile;
  readonly #index = new IndexBuilder();
  #pending = Buffer.allocUnsafeSlow(2 * APPEND_BYTES);
  #pendingBytes = 0;
  #appendedBytes = 0;
  #syncedBytes = 0;
  #hashes = new Uint32Array(4_096);
  #entries = 0;
  #tombstones = 0;
  #tombstoneBytes = 0;
  #first = "";
  #last = "";

  constructor(options: TableWriterOptions) {
    this.#disk = options.disk;
    this.#number = options.number;
    this.#falsePositives = options.filterFalsePositives;
    this.#expiring = new ExpiringSketch(options.nowMs);
    this.#block = new BlockBuilder(options.blockBytes);
    this.#file = options.disk.create(`${options.directory}/${tableFileName(options.number)}`);
  }

  get entries(): number {
    return this.#entries;
  }

  /** Bytes of the blocks finished so far, as stored. */
  get fileBytes(): number {
    return this.#appendedBytes + this.#pendingBytes;
  }

  /**
   * Adds an entry with the value `bytes[start, end)` (empty for a tombstone), which expires at `expiresAtMs` of the wall
   * clock. Keys ascend strictly. Returns the bytes by which `fileBytes` grew: 0, unless a block was finished.
   */
  add(
    key: string,
    kind: EntryKind,
    bytes: Uint8Array,
    start: number,
    end: number,
    expiresAtMs = Number.POSITIVE_INFINITY,
  ): number {
    assert(this.#entries === 0 || key > this.#last, "table: keys ascend");
    assert(key.length <= KEY_BYTES_MAX, "table: a key is at most 64 KB");
    const before = this.fileBytes;
    if (!this.#block.hasRoomFor(key, end - start)) this.#finishBlock();
    if (this.#block.isEmpty) this.#index.open(this.#last, key);
    this.#block.add(key, kind, bytes, start, end);
    if (this.#entries === 0) this.#first = key;
    this.#last = key;
    this.#remember(keyHashOf(key));
    if (kind === TOMBSTONE) {
      this.#tombstones++;
      this.#tombstoneBytes += key.length;
    } else if (expiresAtMs !== Number.POSITIVE_INFINITY) {
      this.#expiring.add(expiresAtMs, end - start);
    }
    return this.fileBytes - before;
  }

  /**
   * Completes the file, makes it durable and closes it; its directory is the caller's to sync. REQUIRES an entry.
   * Returns what the manifest keeps.
   */
  finish(): TableMeta {
    assert(this.#entries > 0, "table: holds an entry");
    this.#finishBlock();
    const properties = {
      entries: this.#entries,
      tombstones: this.#tombstones,
      tombstoneBytes: this.#tombstoneBytes,
      first: this.#first,
      last: this.#last,
      expiring: this.#expiring.list(),
    };
    const filterOffset = this.fileBytes;
    this.#write(encodeFilter(this.#hashes, this.#entries, this.#falsePositives), sealRaw);
    const indexOffset = this.fileBytes;
    const prefix = sharedLength(this.#first, this.#last);
    this.#write(encodeIndex(properties, this.#index.list(prefix, filterOffset)), seal);
    const indexEnd = this.fileBytes;
    const footer = {
      number: this.#number,
      filterOffset,
      filterLength: indexOffset - filterOffset,
      indexOffset,
      indexLength: indexEnd - indexOffset,
    };
    this.#write(encodeFooter(footer), (payload, target, at) => at + payload.copy(target, at));
    this.#append();
    this.#file.syncNow();
    assert(this.#file.size === this.fileBytes, "table: the file is as long as what was written");
    this.#file.close();
    return { number: this.#number, bytes: this.fileBytes, ...properties };
  }

  /** Closes and removes the file, finished or not. Idempotent. */
  abandon(): void {
    this.#file.close();
    this.#disk.remove(this.#file.path);
  }

  #finishBlock(): void {
    this.#index.close(this.fileBytes);
    this.#write(this.#block.finish(), seal);
    this.#block.clear();
    assert(this.fileBytes <= TABLE_BYTES_MAX, "table: offsets are 32 bits");
  }

  #write(payload: Buffer, put: (payload: Buffer, target: Buffer, at: number) => number): void {
    const needed = this.#pendingBytes + payload.length + SEAL_BYTES;
    if (needed > this.#pending.length) {
      const larger = Buffer.allocUnsafeSlow(needed);
      this.#pending.copy(larger, 0, 0, this.#pendingBytes);
      this.#pending = larger;
    }
    this.#pendingBytes = put(payload, this.#pending, this.#pendingBytes);
    if (this.#pendingBytes >= APPEND_BYTES) this.#append();
  }

  #append(): void {
    if (this.#pendingBytes > 0) this.#file.append(this.#pending, 0, this.#pendingBytes);
    this.#appendedBytes += this.#pendingBytes;
    this.#pendingBytes = 0;
    if (this.#appendedBytes - this.#syncedBytes >= SYNC_BYTES) {
      this.#file.syncNow();
      this.#syncedBytes = this.#appendedBytes;
    }
    if (this.#pending.length > 4 * APPEND_BYTES) this.#pending = Buffer.allocUnsafeSlow(2 * APPEND_BYTES);
  }

  #remember(hash: number): void {
    if (this.#entries === this.#hashes.length) {
      const larger = new Uint32Array(2 * this.#entries);
      larger.set(this.#hashes);
      this.#hashes = larger;
    }
    this.#hashes[this.#entries++] = hash;
  }
}

/** Collects where blocks begin and the shortest keys that tell them apart. */
class IndexBuilder {
  readonly #offsets: number[] = [];
  readonly #starts: string[] = [];

  /** A block begins whose first key is `first`, after one whose last key is `before`. */
  open(before: string, first: string): void {
    this.#starts.push(this.#starts.length === 0 ? "" : first.slice(0, sharedLength(before, first) + 1));
  }

  /** The block's place is known. */
  close(offset: number): void {
    this.#offsets.push(offset);
  }

  /** The list, with `prefix` bytes taken off each start, for blocks that end at `blocksEnd`. */
  list(prefix: number, blocksEnd: number): BlockList {
    const offsets = Uint32Array.from([...this.#offsets, blocksEnd]);
    let bytes = 0;
    for (const start of this.#starts) bytes += Math.max(0, start.length - prefix);
    const starts = Buffer.allocUnsafe(bytes);
    const startEnds = new Uint32Array(this.#starts.length);
    let at = 0;
    this.#starts.forEach((start, block) => {
      at = writeLatin1(starts, at, start.slice(prefix));
      startEnds[block] = at;
    });
    return { offsets, starts, startEnds };
  }
}

/**
 * How many bytes expire by when: one sum for each doubling of the time left, so that a table of any size has a few dozen,
 * and a value counts as expired after at most twice the time it had left when the table was written.
 */
class ExpiringSketch {
  readonly #nowMs: number;
  readonly #bytes: number[] = [];

  constructor(nowMs: number) {
    this.#nowMs = nowMs;
  }

  add(expiresAtMs: number, bytes: number): void {
    const leftMs = Math.max(1, expiresAtMs - this.#nowMs);
    const doublings = Math.ceil(Math.log2(leftMs));
    this.#bytes[doublings] = (this.#bytes[doublings] ?? 0) + bytes;
  }

  list(): ExpiringBytes[] {
    const list: ExpiringBytes[] = [];
    this.#bytes.forEach((bytes, doublings) => {
      // Expiries beyond what an integer holds are as good as none.
      const byMs = Math.ceil(this.#nowMs) + 2 ** doublings;
      if (byMs <= Number.MAX_SAFE_INTEGER) list.push({ byMs, bytes });
    });
    return list;
  }
}
