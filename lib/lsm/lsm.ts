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
import { BATCH_HEADER_BYTES, Operation, OperationReader } from "./log-format.js";
import type { SegmentRange } from "./log-recovery.js";
import type { LogWriter } from "./log-writer.js";
import type { FsyncPolicy, LsmSettings } from "./lsm-settings.js";
import { DELETED, type FrozenTable, MemoryTable, newSlab } from "./memory-table.js";
import { type OpenedStore, openStore } from "./open-store.js";
import { type Found, Peek } from "./peek.js";

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

/** `slow`: writers should hold back a little. `stopped`: writers wait for `room`. */
export type Backlog = "open" | "slow" | "stopped";

export interface ScanPage {
  readonly entries: readonly { readonly key: string; readonly value: Buffer | null }[];
  readonly next: string | null;
}

const SYNC_INTERVAL_MS = 1000;

export class Lsm {
  /** The value of the last `peek` that answered FOUND: borrowed until the next call and the next await. */
  readonly found: Found;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #settings: LsmSettings;
  readonly #writer: LogWriter;
  #fsync: FsyncPolicy;
  #active: MemoryTable;
  /** Newest first. */
  #frozen: FrozenTable[];
  /** Segments from before the start that the active table was rebuilt from. */
  #replayed: readonly SegmentRange[];
  #counters: Float64Array;
  #cleared: Cleared | null = null;
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
    this.found = store.reader.found;
    this.#fsync = options.settings.fsync;
    this.#active = store.active;
    this.#frozen = store.frozen;
    this.#replayed = store.replayed;
    this.#counters = store.counters;
  }

  /** Looks a key up without waiting; FOUND leaves the value in `found`. Sees this turn's writes. */
  peek(key: string): Peek {
    const place = this.#active.find(key);
    if (place >= 0) {
      this.#active.view(place, this.found);
      return Peek.FOUND;
    }
    if (place === DELETED) return Peek.ABSENT;
    for (const { table } of this.#frozen) {
      const older = table.find(key);
      if (older >= 0) {
        table.view(older, this.found);
        return Peek.FOUND;
      }
      if (older === DELETED) return Peek.ABSENT;
    }
    return Peek.ABSENT;
  }

  /** The value as of the call, or null. The bytes are the caller's. Rejects with IO or CORRUPT. */
  async read(key: string): Promise<Buffer | null> {
    const { found } = this;
    switch (this.peek(key)) {
      case Peek.FOUND:
        return Buffer.from(found.buffer.subarray(found.start, found.end));
      default:
        return null;
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

  /**
   * Drops all entries and sets all counters to 0, as part of this turn's batch: what is put after it in the same turn
   * stays. Not before this turn's earlier writes were committed (or refused) on their own.
   */
  clear(): void {
    this.#cleared ??= { frozen: this.#frozen, counters: this.#counters };
    this.#active.clear();
    this.#frozen = [];
    this.#counters = new Float64Array(this.#counters.length);
    if (!this.#isCommitDue) this.#scheduleCommit();
  }

  /** Writes this turn's batch to the log. Throws IO, after which the batch is undone. Does nothing when nothing is pending. */
  commit(): void {
    const table = this.#active;
    if (!table.hasPending) return;
    try {
      this.#requireWritable();
      this.#writer.append(table.slab, table.pendingStart, table.bytes);
    } catch (error) {
      this.#undo();
      throw error;
    }
    table.seal();
    this.#cleared = null;
    if (this.#isFull(table)) this.#freeze();
    if (this.#fsync === "always") background(this.#sync());
    else if (this.#fsync === "everysec" && !this.#isSyncDue) this.#scheduleSync();
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

  sync(): Promise<void> {
    this.commit();
    return this.#writer.sync();
  }

  stats(): { isWritable: boolean; unsyncedBytes: number } {
    return { isWritable: this.#writer.failure === null, unsyncedBytes: this.#writer.appendedBytes - this.#writer.syncedBytes };
  }

  async scan(range: { from: string; to: string | null; limit: number; values: "with" | "without" }): Promise<ScanPage> {
    const entries: { key: string; value: Buffer | null }[] = [];
    const tables = [this.#active, ...this.#frozen.map((f) => f.table)];
    let from: string = range.from;
    for (;;) {
      let best: string | null = null;
      for (const t of tables) {
        const k = t.ceiling(from);
        if (k !== null && (best === null || k < best)) best = k;
      }
      if (best === null || (range.to !== null && best >= range.to)) return { entries, next: null };
      if (entries.length === range.limit) return { entries, next: best };
      if (this.peek(best) === Peek.FOUND)
        entries.push({ key: best, value: Buffer.from(this.found.buffer.subarray(this.found.start, this.found.end)) });
      from = `${best}\0`;
    }
  }

  setFsync(policy: FsyncPolicy): void {
    this.#fsync = policy;
    if (policy !== "no" && !this.#isSyncDue) this.#scheduleSync();
  }

  /** Whether writers should go on. */
  backlog(): Backlog {
    if (this.#isSyncLate) return "stopped";
    return "open";
  }

  /** Resolves when `backlog` is not `stopped`. Rejects with IO when the disk is what stops it. */
  async room(): Promise<void> {
    while (this.backlog() === "stopped") await this.#writer.sync();
  }

  /** Commits, makes everything durable and closes the store. It must not be used afterwards. */
  async close(): Promise<void> {
    this.commit();
    this.#isClosed = true;
    if (this.#writer.failure === null) await this.#writer.sync();
    this.#writer.close();
  }

  #requireWritable(): void {
    if (this.#isClosed) throw new OperatingError("CLOSED", "the store is closed");
  }

  #scheduleCommit(): void {
    this.#isCommitDue = true;
    this.#clock.defer(() => {
      this.#isCommitDue = false;
      try {
        this.commit();
      } catch (error) {
        // Who must know has called `commit` or `acknowledged` before.
        this.#log.warn({ err: error }, "writes that nobody waited for were refused");
      }
    });
  }

  /** Takes the batch being built back, counters included. */
  #undo(): void {
    const table = this.#active;
    if (this.#cleared !== null) {
      this.#frozen = this.#cleared.frozen;
      this.#counters = this.#cleared.counters;
      this.#cleared = null;
    }
    const operations = new OperationReader(table.slab, table.pendingStart + BATCH_HEADER_BYTES, table.bytes);
    while (operations.next() && operations.kind !== Operation.CLEAR) {
      if (operations.kind === Operation.COUNT) this.#counters[operations.index]! -= operations.delta;
    }
    table.undo();
  }

  #isFull(table: MemoryTable): boolean {
    return table.bytes >= this.#settings.memoryTableBytes || table.entries >= this.#settings.memoryTableEntries;
  }

  #freeze(): void {
    const segments = [...this.#replayed, ...this.#writer.rotate()];
    this.#frozen.unshift({ table: this.#active, segments, counters: this.#counters.slice() });
    this.#replayed = [];
    this.#active = new MemoryTable(newSlab(this.#settings.memoryTableBytes));
  }

  #scheduleSync(): void {
    this.#isSyncDue = true;
    this.#clock.after(SYNC_INTERVAL_MS, () => {
      this.#isSyncDue = false;
      if (this.#isClosed || this.#fsync !== "everysec" || this.#writer.syncedBytes === this.#writer.appendedBytes) return;
      // Still at the sync of a second ago: writers wait rather than have more at stake.
      if (this.#writer.isSyncing) this.#isSyncLate = true;
      else background(this.#sync());
      this.#scheduleSync();
    });
  }

  async #sync(): Promise<void> {
    try {
      await this.#writer.sync();
      this.#isSyncLate = false;
    } catch (error) {
      this.#log.error({ err: error }, "the log could not be synced");
    }
  }
}

/** What a CLEAR in the batch being built has put aside. */
interface Cleared {
  readonly frozen: FrozenTable[];
  readonly counters: Float64Array;
}
