/**
 * Finds keys in table sets: level 0 from the newest table on, then the one table of each deeper level that may hold the
 * key; the first entry met is the newest. Filters and the cache answer without the disk; a blocking read is used while the
 * read policy allows it. For the thread of requests only. A `peek` allocates nothing: it reads into
 * a reused buffer and uncompresses from there into the cache.
 */
import type { Clock } from "../host/clock.js";
import { BlockSearch } from "./block.js";
import { type BlockCache, NO_FRAME } from "./block-cache.js";
import { TOMBSTONE } from "./entry.js";
import { type Found, Peek } from "./peek.js";
import type { ReadPolicy } from "./read-policy.js";
import { uncompressedLength, uncompressInto, WordBuffer } from "./snappy-decode.js";
import type { Table } from "./table.js";
import { Codec, SEAL_BYTES } from "./table-format.js";
import { type TableSet, tableAtOrAfter } from "./table-set.js";

/** The table does not hold the key: the next one is asked. */
const MISSED = 3;

/** A longer block is never read blocking: even from the page cache that takes too long. */
const BLOCKING_BYTES_MAX = 64 * 1024;

export interface TableReaderOptions {
  readonly clock: Clock;
  readonly cache: BlockCache;
  readonly policy: ReadPolicy;
}

/** Counts since the start. */
export interface TableReaderStats {
  /** Blocks found in the cache. */
  cacheHits: number;
  /** Blocks read, blocking or not. */
  cacheMisses: number;
  blockingReads: number;
  waitingReads: number;
  /** Times that a filter sent a look-up to a block in vain. */
  falsePositives: number;
}

export class TableReader {
  /** The value of the last `peek` that answered FOUND. Borrowed: valid until the next call and the next await. */
  readonly found: Found = { buffer: Buffer.alloc(0), start: 0, end: 0 };
  readonly stats: TableReaderStats = { cacheHits: 0, cacheMisses: 0, blockingReads: 0, waitingReads: 0, falsePositives: 0 };
  readonly cache: BlockCache;
  readonly #clock: Clock;
  readonly #policy: ReadPolicy;
  readonly #search = new BlockSearch();
  readonly #scratch: WordBuffer;

  constructor(options: TableReaderOptions) {
    this.#clock = options.clock;
    this.#policy = options.policy;
    this.cache = options.cache;
    this.#scratch = new WordBuffer(options.cache.frameBytes + SEAL_BYTES);
  }

  /**
   * Looks for `key` (of hash `keyHashOf(key)`) without waiting. A tombstone is ABSENT. Throws `CORRUPT` or `IO` when a
   * block that it needs is damaged or cannot be read.
   */
  peek(set: TableSet, key: string, hash: number): Peek {
    const { levels } = set;
    const newest = levels[0]!;
    for (let at = 0; at < newest.length; at++) {
      const table = newest[at]!;
      if (!table.mayHold(key, hash)) continue;
      const outcome = this.#peekIn(table, key);
      if (outcome !== MISSED) return outcome;
    }
    for (let depth = 1; depth < levels.length; depth++) {
      const level = levels[depth]!;
      const table = level[tableAtOrAfter(level, key)];
      if (table === undefined || !table.mayHold(key, hash)) continue;
      const outcome = this.#peekIn(table, key);
      if (outcome !== MISSED) return outcome;
    }
    return Peek.ABSENT;
  }

  /**
   * The value of `key`, or `null` when it has none; the set is pinned meanwhile. The buffer is the caller's to keep; nobody
   * changes it. Rejects with `CORRUPT` or `IO` as `peek`.
   */
  async read(set: TableSet, key: string, hash: number): Promise<Buffer | null> {
    set.pin();
    try {
      for (const table of candidates(set, key, hash)) {
        const outcome = this.#peekCached(table, table.index.find(key), key);
        if (outcome === Peek.UNREAD) {
          const value = await this.#readFrom(table, key);
          if (value !== undefined) return value;
        } else if (outcome === Peek.FOUND) {
          return ownedCopy(this.found.buffer, this.found.start, this.found.end);
        } else if (outcome === Peek.ABSENT) {
          return null;
        }
      }
      return null;
    } finally {
      set.unpin();
    }
  }

  /** Whether the policy lets `bytes` be read blocking now. */
  mayBlock(bytes: number): boolean {
    if (bytes > BLOCKING_BYTES_MAX) return false;
    return !this.#policy.isPaused || this.#policy.mayBlock(this.#clock.monotonicMs());
  }

  /** The sealed bytes of the blocks `[from, to)` of a table, read blocking. REQUIRES `mayBlock`. */
  readSealedNow(table: Table, from: number, to: number): Buffer {
    if (!this.#policy.wantsTiming()) return table.readSealedNow(from, to);
    const startMs = this.#clock.monotonicMs();
    const bytes = table.readSealedNow(from, to);
    this.#observe(startMs);
    return bytes;
  }

  /** Reads the sealed bytes of a block into the scratch, timed if the policy wants it. REQUIRES that they fit. */
  #readIntoScratch(table: Table, block: number): void {
    if (!this.#policy.wantsTiming()) {
      table.readSealedInto(block, this.#scratch.bytes);
      return;
    }
    const startMs = this.#clock.monotonicMs();
    table.readSealedInto(block, this.#scratch.bytes);
    this.#observe(startMs);
  }

  #observe(startMs: number): void {
    const endMs = this.#clock.monotonicMs();
    this.#policy.observe(endMs - startMs, endMs);
  }

  #peekIn(table: Table, key: string): Peek | typeof MISSED {
    const block = table.index.find(key);
    const cached = this.#peekCached(table, block, key);
    const length = table.index.lengthOf(block);
    if (cached !== Peek.UNREAD || !this.mayBlock(length)) return cached;
    this.stats.blockingReads++;
    this.stats.cacheMisses++;
    if (length > this.#scratch.bytes.length) {
      return this.#peekRead(table, block, table.unsealBlock(this.readSealedNow(table, block, block + 1), 0, block), key);
    }
    this.#readIntoScratch(table, block);
    const frame = this.#cacheScratch(table, block, length);
    if (frame !== NO_FRAME) {
      return this.#peekAt(this.cache.slab, frame * this.cache.frameBytes, this.cache.lengthOf(frame), key);
    }
    const bytes = table.unsealBlock(this.#scratch.bytes, 0, block);
    return this.#peekAt(bytes, 0, bytes.length, key);
  }

  /** Uncompresses the block that was read into the scratch straight into a frame; `NO_FRAME` when it does not fit one. */
  #cacheScratch(table: Table, block: number, length: number): number {
    const { cache } = this;
    const scratch = this.#scratch;
    const codec = table.verifiedCodec(scratch.bytes, block);
    const end = length - SEAL_BYTES;
    const blockBytes = codec === Codec.RAW ? end : uncompressedLength(scratch.bytes, 0, end);
    if (blockBytes > cache.frameBytes) return NO_FRAME;
    const frame = cache.reserve(table.shelf, block, blockBytes);
    const at = frame * cache.frameBytes;
    if (codec === Codec.RAW) {
      scratch.bytes.copy(cache.slab, at, 0, end);
      return frame;
    }
    try {
      uncompressInto(scratch, 0, end, cache.words, at, at + blockBytes);
    } catch (error) {
      cache.drop(table.shelf, block);
      throw error;
    }
    return frame;
  }

  /** Looks into the block if it is cached. */
  #peekCached(table: Table, block: number, key: string): Peek | typeof MISSED {
    const frame = this.cache.use(table.shelf, block);
    if (frame === NO_FRAME) return Peek.UNREAD;
    this.stats.cacheHits++;
    return this.#peekAt(this.cache.slab, frame * this.cache.frameBytes, this.cache.lengthOf(frame), key);
  }

  /** Looks into a block that was just read, and caches it if it fits. */
  #peekRead(table: Table, block: number, bytes: Buffer, key: string): Peek | typeof MISSED {
    if (bytes.length <= this.cache.frameBytes) this.cache.insert(table.shelf, block, bytes);
    return this.#peekAt(bytes, 0, bytes.length, key);
  }

  #peekAt(buffer: Buffer, base: number, length: number, key: string): Peek | typeof MISSED {
    const search = this.#search;
    if (!search.find(buffer, base, length, key)) {
      this.stats.falsePositives++;
      return MISSED;
    }
    if (search.kind === TOMBSTONE) return Peek.ABSENT;
    this.found.buffer = buffer;
    this.found.start = search.start;
    this.found.end = search.end;
    return Peek.FOUND;
  }

  /** What the table says of the key: its value, `null` for a tombstone, `undefined` when it does not hold the key. */
  async #readFrom(table: Table, key: string): Promise<Buffer | null | undefined> {
    const block = table.index.find(key);
    this.stats.waitingReads++;
    this.stats.cacheMisses++;
    const bytes = await table.readBlock(block);
    const outcome = this.#peekRead(table, block, bytes, key);
    if (outcome === MISSED) return undefined;
    if (outcome === Peek.ABSENT) return null;
    const { start, end } = this.found;
    // A long value is alone in its block: a view pins little more than itself, and its copy would take long.
    return bytes.length > this.cache.frameBytes ? bytes.subarray(start, end) : ownedCopy(bytes, start, end);
  }
}

/** The tables that may hold the key, newest first. */
function candidates(set: TableSet, key: string, hash: number): Table[] {
  const [newest, ...deeper] = set.levels;
  const found = newest!.filter((table) => table.mayHold(key, hash));
  for (const level of deeper) {
    const table = level[tableAtOrAfter(level, key)];
    if (table?.mayHold(key, hash)) found.push(table);
  }
  return found;
}

function ownedCopy(buffer: Buffer, start: number, end: number): Buffer {
  const copy = Buffer.allocUnsafe(end - start);
  buffer.copy(copy, 0, start, end);
  return copy;
}
