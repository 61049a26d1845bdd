/**
 * Everything older than the active memory table: frozen memory tables on their way to the disk, and the table set. Runs
 * flushes and compactions one of each at a time, keeps the manifest, and removes files that nothing needs.
 *
 * Invariants: the oldest frozen table is flushed first. A change is visible in memory as soon as its files are durable; a
 * file is removed only when the durable manifest does not name it, and no reader uses it. After CLEAR the set is empty, but
 * the manifest names the old tables until the memory table that holds the CLEAR is a table itself.
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { RunningJob, Workers } from "../host/workers.js";
import type { Log } from "../log.js";
import type { BlockCache } from "./block-cache.js";
import type { StoreCapture } from "./checkpoint.js";
import type { CompactionInput, CompactionOutput } from "./compaction.js";
import { type Compaction, chooseCompaction } from "./compaction-choice.js";
import type { FilePool } from "./file-pool.js";
import type { FlushInput, FlushOutput } from "./flush.js";
import type { LogPosition } from "./log-format.js";
import type { LogWriter } from "./log-writer.js";
import type { LsmSettings } from "./lsm-settings.js";
import { type ManifestState, writeManifest } from "./manifest.js";
import type { FrozenTable } from "./memory-table.js";
import { StoreFiles } from "./store-files.js";
import { Table } from "./table.js";
import type { TableMeta } from "./table-format.js";
import { TableSet } from "./table-set.js";

export interface TableKeeperOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly workers: Workers;
  readonly log: Log;
  readonly directory: string;
  readonly settings: LsmSettings;
  readonly files: FilePool;
  readonly cache: BlockCache;
  readonly writer: LogWriter;
  /** What is on disk now. */
  readonly manifest: ManifestState;
  /** Newest first. */
  readonly frozen: readonly FrozenTable[];
  /** Log segments that exist. */
  readonly segments: readonly number[];
  /** True when the log holds a CLEAR: the manifest's tables are hidden. */
  readonly isCleared: boolean;
}

/** Counts since the start. */
export interface TableKeeperStats {
  flushes: number;
  flushedBytes: number;
  compactions: number;
  moves: number;
  compactedBytesRead: number;
  compactedBytesWritten: number;
  /** Reads of clients that met a damaged block. */
  damagedReads: number;
}

const RETRY_MS_MIN = 1_000;
/** Writes resume so long after room is back on a full disk, at the latest. */
const RETRY_MS_MAX = 5_000;
/** How often tables are looked at for values that have expired meanwhile. */
const REVIEW_MS = 60_000;
/** A table of which this share can be dropped is compacted on its own account. */
const DROPPABLE_SHARE = 0.5;

/** What `clear` replaced, to be put back should its batch not be written. */
interface BeforeClear {
  readonly frozen: readonly FrozenTable[];
  readonly set: TableSet;
}

export class TableKeeper {
  readonly stats: TableKeeperStats = {
    flushes: 0,
    flushedBytes: 0,
    compactions: 0,
    moves: 0,
    compactedBytesRead: 0,
    compactedBytesWritten: 0,
    damagedReads: 0,
  };
  /** Newest first. Replaced, never changed. */
  frozen: readonly FrozenTable[];
  /** Pinned once by this keeper. */
  set: TableSet;
  /** Why the last flush or compaction failed; null once one succeeded. */
  failure: OperatingError | null = null;
  /** Called after each change that may let writers go on, or must stop them. */
  onChange: () => void = () => undefined;
  /** Called with a frozen table that is in the table set now. */
  onFlushed: (frozen: FrozenTable) => void = () => undefined;
  readonly #options: TableKeeperOptions;
  /** The tables that a CLEAR hides, while the manifest must still name them. */
  #hidden: TableSet | null = null;
  #beforeClear: BeforeClear | null = null;
  /** As of the start of segment #oldestSegment. */
  #counters: Float64Array;
  #oldestSegment: number;
  #nextTable: number;
  readonly #cursors: string[];
  readonly #files: StoreFiles;
  #isManifestStale = false;
  #saving: Promise<void> | null = null;
  #flushing: Promise<void> | null = null;
  #compacting: Promise<void> | null = null;
  readonly #jobs = new Set<RunningJob<unknown>>();
  #review: Timer | null = null;
  #pauses = new Set<() => void>();
  #isClosing = false;
  /** Numbers of the tables whose damage was told. */
  readonly #damaged = new Set<number>();

  constructor(options: TableKeeperOptions) {
    const { manifest } = options;
    this.#options = options;
    this.frozen = options.frozen;
    this.#counters = manifest.counters;
    this.#oldestSegment = manifest.oldestSegment;
    this.#nextTable = manifest.nextTable;
    this.#cursors = [...manifest.cursors];
    this.#files = new StoreFiles({ ...options, named: numbersOf(manifest.levels) });
    const levels = manifest.levels.map((metas) => metas.map((meta) => this.#open(meta)));
    this.set = TableSet.of(levels.length === 0 ? [[]] : levels, (table) => this.#onUnused(table));
    if (options.isCleared) this.#hideTables();
  }

  get isFlushing(): boolean {
    return this.#flushing !== null;
  }

  get isCompacting(): boolean {
    return this.#compacting !== null;
  }

  /** Begins background work. */
  start(): void {
    this.#wake();
    this.#scheduleReview();
  }

  /** The table becomes the newest of the frozen ones. */
  freeze(frozen: FrozenTable): void {
    this.frozen = [frozen, ...this.frozen];
    this.#files.addSegments(frozen.segments.map(({ id }) => id));
    this.#wake();
  }

  /** All that is here is dropped, as soon as `keepCleared` says that the batch was written; `undoClear` takes it back. */
  clear(): void {
    if (this.#beforeClear !== null) return;
    this.#beforeClear = { frozen: this.frozen, set: this.set };
    this.frozen = [];
    this.set = this.#emptySet();
  }

  undoClear(): void {
    if (this.#beforeClear === null) return;
    this.set.unpin();
    ({ frozen: this.frozen, set: this.set } = this.#beforeClear);
    this.#beforeClear = null;
  }

  keepCleared(): void {
    const before = this.#beforeClear;
    if (before === null) return;
    this.#beforeClear = null;
    if (this.#hidden === null) this.#hidden = before.set;
    else before.set.unpin();
  }

  /** The store as of now, for a copy of it: no file of it goes until `release`. `segments`: those of the active memory table. */
  capture(segments: readonly number[], end: LogPosition): StoreCapture {
    assert(this.#beforeClear === null, "keeper: what is captured is committed");
    const state = { ...this.#manifest(), known: end };
    const set = this.#hidden ?? this.set;
    const needed = [...this.#files.segments, ...segments].filter((id) => id >= state.oldestSegment);
    set.pin();
    this.#files.hold();
    const release = (): void => {
      set.unpin();
      this.#files.release();
    };
    return { state, segments: [...new Set(needed)].sort((a, b) => a - b), release };
  }

  /** Ends background work and writes the manifest with the mark of an orderly stop at the log's end. Rejects with IO. */
  async close(stoppedAt: LogPosition): Promise<void> {
    await this.stop();
    await writeManifest(this.#options.disk, this.#options.directory, { ...this.#manifest(), stoppedAt });
  }

  /** Ends background work only. The tables are closed; their files stay. Idempotent. */
  async stop(): Promise<void> {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#review?.cancel();
    for (const job of this.#jobs) job.cancel();
    for (const wake of this.#pauses) wake();
    await this.#flushing;
    await this.#compacting;
    await this.#saving?.catch(() => undefined);
    this.set.close();
    this.#hidden?.close();
  }

  #wake(): void {
    if (this.#isClosing) return;
    if (this.#flushing === null && this.frozen.length > 0) {
      this.#flushing = this.#work(() => this.#flushOldest()).finally(() => {
        this.#flushing = null;
        this.#wake();
      });
      background(this.#flushing);
    }
    if (this.#compacting === null && this.#nextCompaction() !== null) {
      this.#compacting = this.#work(() => this.#compactOnce()).finally(() => {
        this.#compacting = null;
        this.#wake();
      });
      background(this.#compacting);
    }
  }

  /** Repeats `step` while it has something to do, and after failures again and again. */
  async #work(step: () => Promise<boolean>): Promise<void> {
    let retryMs = RETRY_MS_MIN;
    while (!this.#isClosing) {
      try {
        if (!(await step())) return;
        this.failure = null;
        retryMs = RETRY_MS_MIN;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        if (this.#isClosing) return;
        this.failure = error.code === "IO" ? error : new OperatingError("IO", messageOf(error), { cause: error });
        this.#options.log.error({ err: error, retryMs }, "a flush or compaction failed and is tried again");
        this.onChange();
        await this.#pause(retryMs);
        retryMs = Math.min(retryMs * 2, RETRY_MS_MAX);
      }
      this.onChange();
    }
  }

  async #flushOldest(): Promise<boolean> {
    await this.#clearDecided();
    const frozen = this.frozen.at(-1);
    // What failed before: the manifest has to be written even if nothing new happened.
    if (frozen === undefined) return this.#isManifestStale ? this.#save().then(() => true) : false;
    const { directory, settings, clock } = this.#options;
    const { blockBytes, filterFalsePositives } = settings;
    const isLowest = frozen.table.hidesOlder || this.set.levels.every((level) => level.length === 0);
    const { tables } = await this.#run<FlushOutput>("flush", "first", {
      directory,
      slab: frozen.table.slab.bytes,
      indexSlots: frozen.table.indexSlots,
      entries: frozen.table.entries,
      number: this.#nextTable++,
      blockBytes,
      filterFalsePositives,
      nowMs: clock.wallMs(),
      tombstones: isLowest ? "drop" : "keep",
    } satisfies FlushInput);
    await this.#clearDecided();
    // A CLEAR dropped it meanwhile.
    if (this.frozen.at(-1) !== frozen) {
      this.#removeTables(tables);
      return true;
    }
    this.#install({ add: tables.map((meta) => ({ level: 0, table: this.#open(meta) })), remove: new Set() });
    this.frozen = this.frozen.slice(0, -1);
    this.#oldestSegment = Math.max(...frozen.segments.map(({ id }) => id)) + 1;
    this.#counters = frozen.counters;
    if (frozen.table.hidesOlder) this.#forgetHidden();
    this.stats.flushes++;
    for (const meta of tables) this.stats.flushedBytes += meta.bytes;
    this.onFlushed(frozen);
    this.onChange();
    await this.#save();
    return true;
  }

  async #compactOnce(): Promise<boolean> {
    await this.#clearDecided();
    const compaction = this.#nextCompaction();
    if (compaction === null) return this.#isManifestStale ? this.#save().then(() => true) : false;
    const inputs = compaction.inputs.flat();
    const { level, outputLevel } = compaction;
    const before = this.set;
    if (compaction.isMove) {
      const [moved] = inputs;
      const table = before.levels[level]!.find(({ meta }) => meta.number === moved!.number)!;
      this.#install({ add: [{ level: outputLevel, table }], remove: new Set([moved!.number]) });
      this.stats.moves++;
    } else {
      const output = await this.#compact(compaction);
      await this.#clearDecided();
      if (!this.#holds(inputs)) {
        this.#removeTables(output.tables);
        return true;
      }
      const add = output.tables.map((meta) => ({ level: outputLevel, table: this.#open(meta) }));
      this.#install({ add, remove: new Set(inputs.map((meta) => meta.number)) });
      this.stats.compactions++;
      this.stats.compactedBytesRead += output.bytesRead;
      this.stats.compactedBytesWritten += output.bytesWritten;
    }
    this.#cursors[level] = compaction.cursor;
    for (let at = 0; at < level; at++) this.#cursors[at] ??= "";
    this.onChange();
    await this.#save();
    return true;
  }

  #compact(compaction: Compaction): Promise<CompactionOutput> {
    const { directory, settings, clock } = this.#options;
    const firstOutputNumber = this.#nextTable;
    this.#nextTable += compaction.outputNumbers;
    return this.#run<CompactionOutput>("compaction", "last", {
      directory,
      inputs: compaction.inputs.map((run) => run.map((meta) => meta.number)),
      firstOutputNumber,
      outputNumbers: compaction.outputNumbers,
      tableBytesMax: settings.tableBytes,
      blockBytes: settings.blockBytes,
      filterFalsePositives: settings.filterFalsePositives,
      nowMs: clock.wallMs(),
      older: compaction.older,
    } satisfies CompactionInput);
  }

  #nextCompaction(): Compaction | null {
    const { settings, clock } = this.#options;
    return chooseCompaction(this.set.metas(), {
      levelZeroTables: settings.levelZeroTables,
      levelBytesBase: settings.levelBytesBase,
      levelBytesFactor: settings.levelBytesFactor,
      tableBytesMax: settings.tableBytes,
      droppableShare: DROPPABLE_SHARE,
      cursors: this.#cursors,
      nowMs: clock.wallMs(),
    });
  }

  async #run<Output>(job: string, place: "first" | "last", input: unknown): Promise<Output> {
    const running = this.#options.workers.start<Output>(job, input, place);
    this.#jobs.add(running);
    try {
      return await running.result;
    } finally {
      this.#jobs.delete(running);
    }
  }

  #scheduleReview(): void {
    this.#review = this.#options.clock.after(REVIEW_MS, () => {
      this.#wake();
      this.#scheduleReview();
    });
  }

  /** Waits until the batch with a CLEAR, should there be one, is written or undone: within this turn. */
  async #clearDecided(): Promise<void> {
    while (this.#beforeClear !== null) await new Promise<void>((resolve) => this.#options.clock.defer(resolve));
  }

  #open(meta: TableMeta): Table {
    const { files, cache, directory } = this.#options;
    const onDamage = (table: Table, error: unknown): void => this.#noteDamage(table, error);
    return Table.open({ files, cache, directory, number: meta.number, meta, onDamage });
  }

  /** Each read says so to its client; the log says it once a table. */
  #noteDamage({ meta }: Table, error: unknown): void {
    this.stats.damagedReads++;
    if (this.#damaged.has(meta.number)) return;
    this.#damaged.add(meta.number);
    this.#options.log.error({ err: error }, "a table is damaged: reads of what it held fail; see `kindred check --salvage`");
  }

  #install(change: Parameters<TableSet["with"]>[0]): void {
    const before = this.set;
    this.set = before.with(change);
    before.unpin();
    this.#isManifestStale = true;
  }

  #holds(metas: readonly TableMeta[]): boolean {
    const present = numbersOf(this.set.metas());
    return metas.every((meta) => present.has(meta.number));
  }

  #emptySet(): TableSet {
    return TableSet.of([[]], (table) => this.#onUnused(table));
  }

  #hideTables(): void {
    this.#hidden = this.set;
    this.set = this.#emptySet();
  }

  #forgetHidden(): void {
    const hidden = this.#hidden;
    this.#hidden = null;
    this.#isManifestStale = true;
    hidden?.unpin();
  }

  #manifest(): ManifestState {
    // During a CLEAR that is not decided yet, what was there before it still counts.
    const shown = this.#hidden ?? this.#beforeClear?.set ?? this.set;
    return {
      levels: shown.metas(),
      nextTable: this.#nextTable,
      oldestSegment: this.#oldestSegment,
      known: this.#options.writer.known,
      stoppedAt: null,
      cursors: this.#cursors,
      counters: this.#counters,
    };
  }

  /** Makes the manifest on disk tell what memory holds, then removes the files that it does not name any more. */
  async #save(): Promise<void> {
    this.#isManifestStale = true;
    while (this.#isManifestStale) {
      this.#saving ??= this.#saveOnce().finally(() => {
        this.#saving = null;
      });
      await this.#saving;
    }
  }

  async #saveOnce(): Promise<void> {
    const { disk, directory, writer } = this.#options;
    const state = this.#manifest();
    this.#isManifestStale = false;
    // Whether this succeeds or not: from now on the new one may be in place, or come into place by a crash.
    this.#files.naming(numbersOf(state.levels));
    try {
      await writeManifest(disk, directory, state);
    } catch (error) {
      this.#isManifestStale = true;
      throw error;
    }
    writer.drop(state.oldestSegment - 1);
    this.#files.named(numbersOf(state.levels), state.oldestSegment);
  }

  #onUnused(table: Table): void {
    if (!this.#isClosing) this.#files.tableUnused(table.meta.number);
  }

  #removeTables(metas: readonly TableMeta[]): void {
    this.#files.discard(metas.map((meta) => meta.number));
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        timer.cancel();
        this.#pauses.delete(finish);
        resolve();
      };
      const timer = this.#options.clock.after(delayMs, finish);
      this.#pauses.add(finish);
    });
  }
}

function numbersOf(levels: readonly (readonly TableMeta[])[]): ReadonlySet<number> {
  return new Set(levels.flat().map((meta) => meta.number));
}
