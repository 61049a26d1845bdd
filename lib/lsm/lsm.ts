/**
 * The engine: a durable ordered map from byte strings to byte strings, for one thread. Writes of one turn of the loop are
 * one batch: one record of the log, applied as a whole or not at all. Reads look at the memory tables, then at the tables.
 *
 * Invariants: what `commit` returned from is in the log; entries of the active memory table are newer than those of the
 * frozen ones, and these are newer than those of the table set. The log holds everything that no durable table does.
 * Whoever opens a directory holds its lock (directory-lock.ts).
 */
import { assert } from "../assert.js";
import { Views } from "../bytes/views.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";
import { type Backlog, judgeBacklog, Room } from "./backlog.js";
import { type CheckpointProgress, type CheckpointTarget, writeCheckpoint } from "./checkpoint.js";
import { MergeCursor } from "./cursor.js";
import { keyHashOf } from "./filter.js";
import type { KeysAhead } from "./keys-ahead.js";
import { Operation } from "./log-format.js";
import type { LogRecovery, SegmentRange } from "./log-recovery.js";
import { LogSyncs } from "./log-syncs.js";
import type { LogWriter } from "./log-writer.js";
import { type FsyncPolicy, fillOf, type LsmSettings } from "./lsm-settings.js";
import { type LsmStats, lsmStats } from "./lsm-stats.js";
import { MemoryCursor } from "./memory-cursor.js";
import { MemoryTable, UNKNOWN } from "./memory-table.js";
import { type LsmOptions, type OpenedStore, openStore } from "./open-store.js";
import { type Found, Peek } from "./peek.js";
import { type ScanPage, type ScanRange, scanPage } from "./scan.js";
import { pairLengthAt, Slab } from "./slab.js";
import { cursorsOf } from "./table-cursor.js";
import type { TableKeeper } from "./table-keeper.js";
import type { TableReader } from "./table-reader.js";
import { WriteBatch } from "./write-batch.js";

export type { Backlog, LsmStats, ScanPage, ScanRange };

/** A memory table that cannot be flushed may grow to so many times its size before writes are refused. */
const OVERFLOW_FACTOR = 2;

const NO_BYTES = new Uint8Array(0);

export class Lsm {
  /** The value of the last `peek` that answered FOUND: borrowed until the next call and the next await. */
  readonly found: Found;
  /**
   * What was put last, the pair as the log holds it: until the next change or commit (`id` is another then), and the next await,
   * since it may be the caller's.
   */
  readonly pair: { id: number; bytes: Uint8Array } = { id: 0, bytes: NO_BYTES };
  readonly #views = new Views();
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
  readonly #syncs: LogSyncs;
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #batch = new WriteBatch();
  #active: MemoryTable;
  /** Segments from before the start that the active table was rebuilt from. */
  #replayed: readonly SegmentRange[];
  #counters: Float64Array;
  /** What `clear` in the batch being built has put aside. */
  #countersBeforeClear: Float64Array | null = null;
  /** The table last flushed: as good as its blocks in the cache, until the next table needs its slab. */
  #flushed: MemoryTable | null = null;
  /** Bytes of log that the active table was built from, as far as its batches are written. */
  #logBytes: number;
  #commitsTried = 0;
  #commitsRefused = 0;
  readonly #room = new Room();
  #refusal: OperatingError | null = null;
  /** Why a batch of this turn was undone. */
  #turnRefusal: unknown = null;
  /** Batches that were. */
  #undone = 0;
  /** Those who wait for the batch being built. */
  #committing: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  #isCommitDue = false;
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
    this.#disk = options.disk;
    this.#directory = options.directory;
    const { clock, log, settings } = options;
    this.#syncs = new LogSyncs({ clock, log, writer: store.writer, policy: settings.fsync, onChange: () => this.#relieve() });
    this.#active = store.active;
    this.#replayed = store.replayed;
    this.#logBytes = store.replayed.reduce((sum, { end }) => sum + end, 0);
    this.#counters = store.counters;
    this.#keeper.onChange = () => this.#relieve();
    this.#keeper.onFlushed = ({ table }) => {
      this.#flushed = table.slab.hasGrown ? null : table;
    };
    this.#keeper.start();
    this.#relieve();
  }

  /** These keys are peeked next: has the processor fetch what memory holds of them, all at once. */
  prefetch(ahead: KeysAhead): void {
    this.#active.prefetch(ahead);
  }

  /** Looks a key up without waiting; FOUND leaves the value in `found`. Sees this turn's writes. Throws IO and CORRUPT. */
  peek(key: string): Peek {
    let table = this.#active;
    let place = table.find(key);
    if (place === UNKNOWN) {
      for (const frozen of this.#keeper.frozen) {
        table = frozen.table;
        place = table.find(key);
        if (place !== UNKNOWN) break;
      }
    }
    if (place === UNKNOWN && this.#flushed !== null) {
      table = this.#flushed;
      place = table.find(key);
    }
    if (place > 0) {
      table.view(place, this.found);
      return Peek.FOUND;
    }
    if (place !== UNKNOWN) return Peek.ABSENT;
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
    const { pair } = this;
    const batch = this.#batch;
    const pairStart = batch.put(key, bytes, start, end);
    // One view for all who copy it.
    pair.bytes = batch.viewFrom(pairStart);
    pair.id++;
    this.#active.put(key, pair.bytes, 0, pair.bytes.length);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  /** The same of a pair as the log holds it, in `bytes[start, end)`: length and bytes of the key, length and bytes of the value. */
  putPair(key: string, bytes: Uint8Array, start: number, end: number): void {
    assert(pairLengthAt(bytes, start) === key.length, "put: the pair is of this key");
    const { pair } = this;
    pair.bytes = this.#views.of(bytes, start, end);
    pair.id++;
    this.#batch.putPair(pair.bytes, 0, pair.bytes.length);
    this.#active.put(key, pair.bytes, 0, pair.bytes.length);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  remove(key: string): void {
    this.#batch.remove(key);
    this.#active.remove(key);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  /** Adds `delta` (an integer) to a counter, as part of this turn's batch. */
  count(index: number, delta: number): void {
    assert(index < this.#counters.length, "count: the settings say how many counters there are");
    this.#batch.count(index, delta);
    this.#counters[index]! += delta;
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  counter(index: number): number {
    return this.#counters[index]!;
  }

  /** Drops all entries and sets all counters to 0, as part of this turn's batch: what is put after it stays. */
  clear(): void {
    this.#countersBeforeClear ??= this.#counters;
    this.#batch.clear();
    this.#flushed = null;
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
    const batch = this.#batch;
    if (batch.isEmpty && this.#turnRefusal === null) return;
    this.#commitsTried++;
    try {
      if (this.#turnRefusal !== null) throw this.#turnRefusal;
      this.#requireWritable(table);
      this.#writer.append(batch.bytes, 0, batch.end);
    } catch (error) {
      this.#commitsRefused++;
      if (!batch.isEmpty) {
        this.#undo();
        this.#refuseTurn(error);
      }
      this.#refusal = error instanceof OperatingError ? error : null;
      throw error;
    }
    this.#logBytes += batch.end;
    batch.reset();
    this.#views.forget();
    this.pair.id++;
    table.seal();
    for (const { resolve } of this.#committing.splice(0)) resolve();
    this.#refusal = null;
    if (this.#countersBeforeClear !== null) this.#keepCleared();
    else if (this.#keeper.frozen.length > 0 || this.#fillOf(table) >= 1) this.#relieve();
    this.#syncs.batchWritten();
  }

  /** Commits so far, those that were refused included: what is put between two of them shares its fate. */
  get commitsTried(): number {
    return this.#commitsTried;
  }

  /** The same twice: nothing that was read between them was taken back before the second. */
  get commitsRefused(): number {
    return this.#commitsRefused;
  }

  /** False while this turn has put something that is not in the log yet, and may be taken back. */
  get isCommitted(): boolean {
    return this.#batch.isEmpty;
  }

  /** Resolves when all that was put so far is committed, by whoever does it. Rejects with IO when it was undone instead. */
  committed(): Promise<void> {
    if (this.#batch.isEmpty) return Promise.resolve();
    return new Promise((resolve, reject) => void this.#committing.push({ resolve, reject }));
  }

  /** True once a sync of the log has failed: what is read may be what a restart takes back. */
  get hasFailedSync(): boolean {
    return this.#writer.failure !== null;
  }

  /** True when everything committed may be acknowledged now. */
  get isAcknowledged(): boolean {
    if (this.hasFailedSync) return false;
    return this.#syncs.policy !== "always" || this.#writer.syncedBytes === this.#writer.appendedBytes;
  }

  /** Commits, and resolves when everything so far may be acknowledged. Rejects with IO when it never may be. */
  async acknowledged(): Promise<void> {
    this.#commitPending();
    if (this.#writer.failure !== null) throw this.#writer.failure;
    if (this.#syncs.policy === "always") await this.#writer.sync();
  }

  /** Commits and makes the log durable, blocking. Throws IO. */
  syncNow(): void {
    this.#commitPending();
    this.#writer.syncNow();
  }

  /** The same without blocking, whatever the policy. Rejects with IO. */
  async sync(): Promise<void> {
    this.#commitPending();
    await this.#writer.sync();
  }

  setFsync(policy: FsyncPolicy): void {
    this.#syncs.setPolicy(policy);
  }

  /** Whether writers should go on, do so a little later, or wait for `room`. */
  backlog(): Backlog {
    return this.#room.backlog;
  }

  /** Resolves when `backlog` is not `stopped`. Rejects with IO when the disk refuses what would make room. */
  async room(): Promise<void> {
    if (this.#room.backlog === "stopped" && this.#keeper.failure !== null) throw this.#keeper.failure;
    await this.#room.wait();
  }

  /**
   * One page of a range in key order. Every key that is there throughout the call is in it, with its value as of the start
   * of the call or later. Rejects with IO or CORRUPT.
   */
  async scan(range: ScanRange): Promise<ScanPage> {
    assert(range.limit >= 1, "scan: a page has room for an entry");
    const { set, frozen } = this.#keeper;
    const tables = [this.#active, ...frozen.map(({ table }) => table)];
    set.pin();
    for (const table of tables) table.pins++;
    try {
      const cursors = [...tables.map((table) => new MemoryCursor(table)), ...cursorsOf(set, this.#reader)];
      return await scanPage(new MergeCursor(cursors), range);
    } finally {
      for (const table of tables) table.pins--;
      set.unpin();
    }
  }

  /**
   * Copies all that is committed now, this turn's batch included, into an empty directory, while the store serves (checkpoint.ts):
   * durable when it resolves, whatever the policy. Rejects with IO and with CLOSED; what was copied is removed then.
   */
  async checkpoint(target: CheckpointTarget): Promise<CheckpointProgress> {
    this.#commitPending();
    if (this.#isClosed) throw new OperatingError("CLOSED", "the store is closed");
    if (this.#writer.failure !== null) throw this.#writer.failure;
    this.#replayed = [...this.#replayed, ...this.#writer.rotate()];
    const segments = this.#replayed.map(({ id }) => id);
    const capture = this.#keeper.capture(segments, this.#writer.end);
    return writeCheckpoint({
      disk: this.#disk,
      clock: this.#clock,
      log: this.#log,
      directory: this.#directory,
      capture,
      syncLog: () => this.#writer.sync(),
      target,
    });
  }

  stats(): LsmStats {
    return lsmStats({
      keeper: this.#keeper,
      writer: this.#writer,
      reader: this.#reader,
      active: this.#active,
      room: this.#room,
      blockCacheBytes: this.#settings.blockCacheBytes,
      isRefused: this.#refusal !== null,
      unsyncedBatches: this.#syncs.unsyncedBatches,
    });
  }

  /**
   * Commits, makes everything durable, marks the orderly stop and closes the store, which must not be used afterwards.
   * Rejects with IO when that did not succeed; the store is closed then too.
   */
  async close(): Promise<void> {
    try {
      this.#commitPending();
      await this.#writer.sync();
      this.#isClosed = true;
      await this.#keeper.close(this.#writer.end);
    } finally {
      this.#isClosed = true;
      this.#syncs.close();
      await this.#keeper.stop();
      this.#writer.close();
      this.#room.close();
    }
  }

  #requireWritable(table: MemoryTable): void {
    if (this.#isClosed) throw new OperatingError("CLOSED", "the store is closed");
    if (this.#writer.failure !== null) throw this.#writer.failure;
    // The batch itself does not count: a single one may be larger than a memory table.
    const overflow = this.#fillOf(table, table.sealedBytes);
    if (overflow <= OVERFLOW_FACTOR || this.#keeper.frozen.length === 0) return;
    throw this.#keeper.failure ?? new OperatingError("BUSY", "the disk does not keep up with the writes; try again later");
  }

  #scheduleCommit(): void {
    this.#isCommitDue = true;
    this.#clock.defer(() => {
      this.#isCommitDue = false;
      try {
        this.#commitPending();
      } catch (error) {
        // Who must know calls `commit` later in this turn, or waits for `committed`.
        this.#log.warn({ err: error }, "a turn's writes were refused");
      }
    });
  }

  /** For those who put nothing themselves: a refusal of others' writes is no concern of theirs. */
  #commitPending(): void {
    if (!this.#batch.isEmpty) this.commit();
  }

  /** Tells those who wait, and keeps the refusal until all who put something in this turn have committed. */
  #refuseTurn(error: unknown): void {
    for (const { reject } of this.#committing.splice(0)) reject(error);
    this.#turnRefusal = error;
    const undone = ++this.#undone;
    this.#clock.defer(() => {
      // Something of a later turn may have been undone since, and who put that commits later.
      if (undone === this.#undone) this.#turnRefusal = null;
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
    const operations = this.#batch.operations();
    while (operations.next() && operations.kind !== Operation.CLEAR) {
      if (operations.kind === Operation.COUNT) this.#counters[operations.index]! -= operations.delta;
    }
    this.#batch.reset();
    this.pair.id++;
    table.undo();
  }

  /** The batch with a CLEAR is written. The memory table that holds it is flushed at once, so that the space comes back. */
  #keepCleared(): void {
    this.#countersBeforeClear = null;
    this.#keeper.keepCleared();
    this.#freeze();
  }

  /** 1 and more: the active table is full, or its log long enough. */
  #fillOf({ entries, bytes: allBytes }: MemoryTable, bytes = allBytes): number {
    return fillOf({ bytes, entries, logBytes: this.#logBytes }, this.#settings);
  }

  #freeze(): void {
    const segments = [...this.#replayed, ...this.#writer.rotate()];
    this.#keeper.freeze({ table: this.#active, segments, counters: this.#counters.slice() });
    this.#replayed = [];
    this.#active = new MemoryTable(this.#takeSlab());
    this.#logBytes = 0;
  }

  /** The slab of the table last flushed, unless a scan still reads it. */
  #takeSlab(): Slab {
    const flushed = this.#flushed;
    this.#flushed = null;
    if (flushed === null || flushed.pins > 0) return new Slab(this.#settings.memoryTableBytes);
    flushed.slab.reset();
    return flushed.slab;
  }

  /** Something changed: the active table may be full, or be frozen now, and writers may go on or must not. */
  #relieve(): void {
    if (this.#isClosed) return;
    const { failure } = this.#keeper;
    // What refused batches have left in the slab is used again: a table without a log has nothing to flush.
    const isFull = this.#logBytes > 0 && this.#fillOf(this.#active) >= 1;
    if (isFull && this.#keeper.frozen.length === 0 && this.#batch.isEmpty) this.#freeze();
    const backlog = judgeBacklog({
      isSyncLate: this.#syncs.isLate,
      frozenTables: this.#keeper.frozen.length,
      fill: this.#fillOf(this.#active),
      levelZeroTables: this.#keeper.set.levels[0]!.length,
      levelZeroLimit: this.#settings.levelZeroTables,
    });
    this.#room.set(backlog, failure);
  }
}
