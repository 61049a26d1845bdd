/**
 * The engine: a durable ordered map from byte strings to byte strings, for one thread. Writes of one turn of the loop are
 * one batch: one record of the log, applied as a whole or not at all. Reads look at the memory tables, then at the tables.
 *
 * Invariants: what `commit` returned from is in the log; entries of the active memory table are newer than those of the
 * frozen ones, and these are newer than those of the table set. The log holds everything that no durable table does.
 * Whoever opens a directory holds its lock (directory-lock.ts).
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Workers } from "../host/workers.js";
import type { Log } from "../log.js";
import { MergeCursor, Step } from "./cursor.js";
import { PUT } from "./entry.js";
import { keyHashOf } from "./filter.js";
import { BATCH_HEADER_BYTES, Operation, OperationReader } from "./log-format.js";
import type { LogRecovery, SegmentRange } from "./log-recovery.js";
import type { LogWriter } from "./log-writer.js";
import type { FsyncPolicy, LsmSettings } from "./lsm-settings.js";
import type { Backlog, LsmStats } from "./lsm-stats.js";
import { MemoryCursor } from "./memory-cursor.js";
import { DELETED, MemoryTable, newSlab, newSlabBytes } from "./memory-table.js";
import { type OpenedStore, openStore } from "./open-store.js";
import { type Found, Peek } from "./peek.js";
import { cursorsOf } from "./table-cursor.js";
import type { TableKeeper } from "./table-keeper.js";
import type { TableReader } from "./table-reader.js";

export type { Backlog, LsmStats } from "./lsm-stats.js";

export interface LsmOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly workers: Workers;
  readonly log: Log;
  /** Made when missing. */
  readonly directory: string;
  readonly settings: LsmSettings;
  /** Bytes of log replayed so far, and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** One page of a scan. */
export interface ScanPage {
  /** In key order. The values are the caller's; null where none were asked for. */
  readonly entries: readonly { readonly key: string; readonly value: Buffer | null }[];
  /** Where the next page starts; null at the end of the range. */
  readonly next: string | null;
}

export interface ScanRange {
  /** The first key of the range. */
  readonly from: string;
  /** The first key behind the range; null for no end. */
  readonly to: string | null;
  /** How many entries the page has at most, 1 or more. */
  readonly limit: number;
  readonly values: "with" | "without";
}

const SYNC_INTERVAL_MS = 1000;

/** Writers slow down and stop at so many times the tables at which level 0 is compacted. */
const SLOW_FACTOR = 2;
const STOP_FACTOR = 3;

/** Writers slow down when the memory table is full to this share before the one before it is flushed. */
const SLOW_SHARE = 0.75;

/** A memory table that cannot be flushed may grow to so many times its size before writes are refused. */
const OVERFLOW_FACTOR = 2;

export class Lsm {
  /** The value of the last `peek` that answered FOUND: borrowed until the next call and the next await. */
  readonly found: Found;
  /** What the start found in the log. */
  readonly recovery: LogRecovery;
  /** True when the store was new, or was closed in good order and nothing is missing since. */
  readonly wasStopped: boolean;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #settings: LsmSettings;
  readonly #writer: LogWriter;
  readonly #reader: TableReader;
  readonly #keeper: TableKeeper;
  #fsync: FsyncPolicy;
  #active: MemoryTable;
  /** Segments from before the start that the active table was rebuilt from. */
  #replayed: readonly SegmentRange[];
  #counters: Float64Array;
  /** What `clear` in the batch being built has put aside. */
  #countersBeforeClear: Float64Array | null = null;
  #spareSlab: Buffer | null = null;
  #backlog: Backlog = "open";
  #stalls = 0;
  #waiters: { readonly resolve: () => void; readonly reject: (error: OperatingError) => void }[] = [];
  #refusal: OperatingError | null = null;
  /** Why a batch of this turn was undone. */
  #turnRefusal: unknown = null;
  /** Those who wait for the batch being built. */
  #committing: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  #isCommitDue = false;
  #isSyncDue = false;
  #isSyncLate = false;
  #isClosed = false;

  /**
   * Opens the store in a directory, making it when there is none, and reads the log back. Rejects with IO, or CORRUPT when
   * what is there is not what was written (docs/FORMATS.md says which damage is taken for an interrupted write instead).
   */
  static async open(options: LsmOptions): Promise<Lsm> {
    return new Lsm(options, await openStore(options));
  }

  private constructor(options: LsmOptions, store: OpenedStore) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#settings = options.settings;
    this.#writer = store.writer;
    this.recovery = store.recovery;
    this.wasStopped = store.wasStopped;
    this.#reader = store.reader;
    this.#keeper = store.keeper;
    this.found = store.reader.found;
    this.#fsync = options.settings.fsync;
    this.#active = store.active;
    this.#replayed = store.replayed;
    this.#counters = store.counters;
    this.#keeper.onChange = () => this.#relieve();
    this.#keeper.onFlushed = ({ table }) => this.#recycle(table);
    this.#keeper.start();
    this.#relieve();
  }

  /** Looks a key up without waiting; FOUND leaves the value in `found`. Sees this turn's writes. Throws IO and CORRUPT. */
  peek(key: string): Peek {
    const place = this.#active.find(key);
    if (place >= 0) {
      this.#active.view(place, this.found);
      return Peek.FOUND;
    }
    if (place === DELETED) return Peek.ABSENT;
    for (const { table } of this.#keeper.frozen) {
      const older = table.find(key);
      if (older >= 0) {
        table.view(older, this.found);
        return Peek.FOUND;
      }
      if (older === DELETED) return Peek.ABSENT;
    }
    return this.#reader.peek(this.#keeper.set, key, keyHashOf(key));
  }

  /** The value as of the call, or null. The bytes are the caller's. Rejects with IO or CORRUPT. */
  async read(key: string): Promise<Buffer | null> {
    const { found } = this;
    switch (this.peek(key)) {
      case Peek.FOUND:
        return Buffer.from(found.buffer.subarray(found.start, found.end));
      case Peek.ABSENT:
        return null;
      case Peek.UNREAD:
        return this.#reader.read(this.#keeper.set, key, keyHashOf(key));
    }
  }

  /** Stores a copy of `bytes[start, end)`. Visible at once; written with this turn's batch. */
  put(key: string, bytes: Uint8Array, start: number, end: number): void {
    this.#active.put(key, bytes, start, end);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  remove(key: string): void {
    this.#active.remove(key);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  /** Adds `delta` (an integer) to a counter, as part of this turn's batch. */
  count(index: number, delta: number): void {
    assert(index < this.#counters.length, "count: the settings say how many counters there are");
    this.#active.count(index, delta);
    this.#counters[index]! += delta;
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  counter(index: number): number {
    return this.#counters[index]!;
  }

  /** Drops all entries and sets all counters to 0, as part of this turn's batch: what is put after it stays. */
  clear(): void {
    this.#countersBeforeClear ??= this.#counters;
    this.#keeper.clear();
    this.#active.clear();
    this.#counters = new Float64Array(this.#counters.length);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  /**
   * Writes this turn's batch to the log. Throws IO, after which the batch is undone; then every further commit of the turn
   * throws too, so that whoever put something before learns of it. Does nothing when nothing is pending.
   */
  commit(): void {
    const table = this.#active;
    if (!table.hasPending && this.#turnRefusal === null) return;
    try {
      if (this.#turnRefusal !== null) throw this.#turnRefusal;
      this.#requireWritable(table);
      this.#writer.append(table.slab, table.pendingStart, table.bytes);
    } catch (error) {
      if (table.hasPending) this.#undo();
      this.#refusal = error instanceof OperatingError ? error : null;
      this.#refuseTurn(error);
      throw error;
    }
    table.seal();
    for (const { resolve } of this.#committing.splice(0)) resolve();
    this.#refusal = null;
    if (this.#countersBeforeClear !== null) this.#keepCleared();
    else if (this.#isFull(table)) this.#makeRoom();
    else if (this.#backlog === "open" && this.#isFilling(table)) this.#relieve();
    if (this.#fsync === "always") background(this.#syncInBackground());
    else if (this.#fsync === "everysec" && !this.#isSyncDue) this.#scheduleSync();
  }

  /** Resolves when all that was put so far is committed, by whoever does it. Rejects with IO when it was undone instead. */
  committed(): Promise<void> {
    if (!this.#active.hasPending) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#committing.push({ resolve, reject });
    });
  }

  /** True when everything committed may be acknowledged now. */
  get isAcknowledged(): boolean {
    if (this.#writer.failure !== null) return false;
    return this.#fsync !== "always" || this.#writer.syncedBytes === this.#writer.appendedBytes;
  }

  /** Commits, and resolves when everything so far may be acknowledged. Rejects with IO when it never may be. */
  async acknowledged(): Promise<void> {
    this.commit();
    if (this.#writer.failure !== null) throw this.#writer.failure;
    if (this.#fsync === "always") await this.#writer.sync();
  }

  /** Commits and makes the log durable, blocking. Throws IO. */
  syncNow(): void {
    this.commit();
    this.#writer.syncNow();
  }

  /** The same without blocking, whatever the policy. Rejects with IO. */
  async sync(): Promise<void> {
    this.commit();
    await this.#writer.sync();
  }

  setFsync(policy: FsyncPolicy): void {
    this.#fsync = policy;
    if (policy !== "no" && !this.#isSyncDue) this.#scheduleSync();
  }

  /** Whether writers should go on, do so a little later, or wait for `room`. */
  backlog(): Backlog {
    return this.#backlog;
  }

  /** Resolves when `backlog` is not `stopped`. Rejects with IO when the disk refuses what would make room. */
  async room(): Promise<void> {
    if (this.#backlog !== "stopped") return;
    if (this.#keeper.failure !== null) throw this.#keeper.failure;
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  /**
   * One page of a range in key order. Every key that is there throughout the call is in it, with its value as of the start
   * of the call or later. Rejects with IO or CORRUPT.
   */
  async scan({ from, to, limit, values }: ScanRange): Promise<ScanPage> {
    assert(limit >= 1, "scan: a page has room for an entry");
    const { set, frozen } = this.#keeper;
    const tables = [this.#active, ...frozen.map(({ table }) => table)];
    const entries: { key: string; value: Buffer | null }[] = [];
    set.pin();
    for (const table of tables) table.pins++;
    try {
      const cursor = new MergeCursor([...tables.map((table) => new MemoryCursor(table)), ...cursorsOf(set, this.#reader)]);
      let step: Step = cursor.seek(from);
      for (;;) {
        if (step === Step.UNREAD) step = await cursor.load();
        if (step === Step.END || (to !== null && cursor.key >= to)) return { entries, next: null };
        if (cursor.kind === PUT) {
          if (entries.length === limit) return { entries, next: cursor.key };
          const value = values === "with" ? Buffer.from(cursor.buffer.subarray(cursor.start, cursor.end)) : null;
          entries.push({ key: cursor.key, value });
        }
        step = cursor.next();
      }
    } finally {
      for (const table of tables) table.pins--;
      set.unpin();
    }
  }

  stats(): LsmStats {
    const { set, frozen, stats, failure } = this.#keeper;
    const { appendedBytes, syncedBytes } = this.#writer;
    const levels = set.levels.map((level, at) => ({ tables: level.length, bytes: set.bytesOfLevel(at) }));
    return {
      isWritable: this.#writer.failure === null && failure === null && this.#refusal === null,
      memoryTableBytes: frozen.reduce((sum, { table }) => sum + table.bytes, this.#active.bytes),
      memoryTableEntries: frozen.reduce((sum, { table }) => sum + table.entries, this.#active.entries),
      frozenTables: frozen.length,
      levels,
      tableBytes: levels.reduce((sum, level) => sum + level.bytes, 0),
      tableEntries: set
        .metas()
        .flat()
        .reduce((sum, meta) => sum + meta.entries, 0),
      tableMemoryBytes: set.memoryBytes,
      blockCacheBytes: this.#settings.blockCacheBytes,
      blockCacheHits: this.#reader.stats.cacheHits,
      blockCacheMisses: this.#reader.stats.cacheMisses,
      filterFalsePositives: this.#reader.stats.falsePositives,
      logAppendedBytes: appendedBytes,
      logSyncedBytes: syncedBytes,
      unsyncedBytes: appendedBytes - syncedBytes,
      isFlushing: this.#keeper.isFlushing,
      isCompacting: this.#keeper.isCompacting,
      flushes: stats.flushes,
      flushedBytes: stats.flushedBytes,
      compactions: stats.compactions,
      tableMoves: stats.moves,
      compactedBytesRead: stats.compactedBytesRead,
      compactedBytesWritten: stats.compactedBytesWritten,
      stalls: this.#stalls,
      backlog: this.#backlog,
    };
  }

  /**
   * Commits, makes everything durable, marks the orderly stop and closes the store, which must not be used afterwards.
   * Rejects with IO when that did not succeed; the store is closed then too.
   */
  async close(): Promise<void> {
    try {
      this.commit();
      await this.#writer.sync();
      this.#isClosed = true;
      await this.#keeper.close(this.#writer.end);
    } finally {
      this.#isClosed = true;
      await this.#keeper.stop();
      this.#writer.close();
      const closed = new OperatingError("CLOSED", "the store was closed");
      for (const { reject } of this.#waiters.splice(0)) reject(closed);
    }
  }

  #requireWritable(table: MemoryTable): void {
    if (this.#isClosed) throw new OperatingError("CLOSED", "the store is closed");
    if (this.#writer.failure !== null) throw this.#writer.failure;
    const { memoryTableBytes, memoryTableEntries } = this.#settings;
    const isOverflowing =
      table.pendingStart > OVERFLOW_FACTOR * memoryTableBytes || table.entries > OVERFLOW_FACTOR * memoryTableEntries;
    if (!isOverflowing || this.#keeper.frozen.length === 0) return;
    throw this.#keeper.failure ?? new OperatingError("BUSY", "the disk does not keep up with the writes; try again later");
  }

  #scheduleCommit(): void {
    this.#isCommitDue = true;
    this.#clock.defer(() => {
      this.#isCommitDue = false;
      try {
        this.commit();
      } catch (error) {
        // Who must know calls `commit` later in this turn, or waits for `committed`.
        this.#log.warn({ err: error }, "a turn's writes were refused");
      }
    });
  }

  /** Tells those who wait, and keeps the refusal until all who put something in this turn have committed. */
  #refuseTurn(error: unknown): void {
    for (const { reject } of this.#committing.splice(0)) reject(error);
    if (this.#turnRefusal !== null) return;
    this.#turnRefusal = error;
    this.#clock.defer(() => {
      this.#turnRefusal = null;
    });
  }

  /** Takes the batch being built back, counters included. */
  #undo(): void {
    const table = this.#active;
    if (this.#countersBeforeClear !== null) {
      this.#keeper.undoClear();
      this.#counters = this.#countersBeforeClear;
      this.#countersBeforeClear = null;
    }
    const operations = new OperationReader(table.slab, table.pendingStart + BATCH_HEADER_BYTES, table.bytes);
    while (operations.next() && operations.kind !== Operation.CLEAR) {
      if (operations.kind === Operation.COUNT) this.#counters[operations.index]! -= operations.delta;
    }
    table.undo();
  }

  /** The batch with a CLEAR is written. The memory table that holds it is flushed at once, so that the space comes back. */
  #keepCleared(): void {
    this.#countersBeforeClear = null;
    this.#keeper.keepCleared();
    this.#freeze();
  }

  #isFull(table: MemoryTable): boolean {
    return table.bytes >= this.#settings.memoryTableBytes || table.entries >= this.#settings.memoryTableEntries;
  }

  /** Freezes the full active table, if the one before it is on disk already; judges the backlog anew. */
  #makeRoom(): void {
    if (this.#keeper.frozen.length === 0) this.#freeze();
    this.#relieve();
  }

  #freeze(): void {
    const segments = [...this.#replayed, ...this.#writer.rotate()];
    this.#keeper.freeze({ table: this.#active, segments, counters: this.#counters.slice() });
    this.#replayed = [];
    this.#active = new MemoryTable(this.#spareSlab ?? newSlab(this.#settings.memoryTableBytes));
    this.#spareSlab = null;
  }

  /** Keeps the slab of a table that is not needed any more for the next one, unless a scan still reads it or it grew. */
  #recycle(table: MemoryTable): void {
    const isOrdinary = table.slab.length === newSlabBytes(this.#settings.memoryTableBytes);
    if (isOrdinary && table.pins === 0) this.#spareSlab = table.slab;
  }

  /** Something changed: the active table may be frozen now, and writers may go on. */
  #relieve(): void {
    if (this.#isClosed) return;
    const { keeper, settings } = { keeper: this.#keeper, settings: this.#settings };
    if (keeper.frozen.length === 0 && !this.#active.hasPending && this.#isFull(this.#active)) this.#freeze();
    const before = this.#backlog;
    this.#backlog = this.#judgeBacklog(keeper.set.levels[0]!.length / settings.levelZeroTables);
    if (this.#backlog === "stopped") {
      if (before !== "stopped") this.#stalls++;
      const { failure } = keeper;
      if (failure !== null) for (const { reject } of this.#waiters.splice(0)) reject(failure);
    } else for (const { resolve } of this.#waiters.splice(0)) resolve();
  }

  #judgeBacklog(levelZeroShare: number): Backlog {
    const isStuck = this.#keeper.frozen.length > 0 && this.#isFull(this.#active);
    if (this.#isSyncLate || isStuck || levelZeroShare >= STOP_FACTOR) return "stopped";
    return levelZeroShare >= SLOW_FACTOR || this.#isFilling(this.#active) ? "slow" : "open";
  }

  /** The table will soon be full while the one before it is still being flushed: better many short waits than a long one. */
  #isFilling(table: MemoryTable): boolean {
    const { memoryTableBytes, memoryTableEntries } = this.#settings;
    if (this.#keeper.frozen.length === 0) return false;
    return table.bytes >= SLOW_SHARE * memoryTableBytes || table.entries >= SLOW_SHARE * memoryTableEntries;
  }

  #scheduleSync(): void {
    this.#isSyncDue = true;
    this.#clock.after(SYNC_INTERVAL_MS, () => {
      this.#isSyncDue = false;
      if (this.#isClosed || this.#fsync !== "everysec" || this.#writer.failure !== null) return;
      if (this.#writer.syncedBytes === this.#writer.appendedBytes) return;
      if (this.#writer.isSyncing) {
        // Still at the sync of a second ago: writers wait rather than have more at stake.
        this.#isSyncLate = true;
        this.#relieve();
      } else background(this.#syncInBackground());
      this.#scheduleSync();
    });
  }

  async #syncInBackground(): Promise<void> {
    try {
      await this.#writer.sync();
    } catch (error) {
      this.#log.error({ err: error }, "the log could not be synced");
    }
    this.#isSyncLate = false;
    this.#relieve();
  }
}
