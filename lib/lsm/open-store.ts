/**
 * Opens a store's directory: reads the manifest, removes what no manifest names, opens the tables and replays the log into
 * memory tables.
 *
 * Invariant: when it returns, all that was found is durable, so that what is written next never outlives what it builds on.
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Workers } from "../host/workers.js";
import type { Log } from "../log.js";
import { BlockCache } from "./block-cache.js";
import { FilePool } from "./file-pool.js";
import { compareLogPositions, LOG_START, segmentFileName, segmentIdOf } from "./log-format.js";
import { type LogRecovery, type LogVisitor, readLog, type SegmentRange } from "./log-recovery.js";
import { LogWriter } from "./log-writer.js";
import { fillOf, type LsmSettings } from "./lsm-settings.js";
import { MANIFEST_NEW_FILE, type ManifestState, readManifest, writeManifest } from "./manifest.js";
import { type FrozenTable, MemoryTable } from "./memory-table.js";
import { ReadPolicy } from "./read-policy.js";
import { Slab } from "./slab.js";
import { tableNumberOf } from "./table-format.js";
import { TableKeeper } from "./table-keeper.js";
import { TableReader } from "./table-reader.js";

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

export interface OpenedStore {
  readonly writer: LogWriter;
  readonly reader: TableReader;
  readonly active: MemoryTable;
  readonly keeper: TableKeeper;
  readonly replayed: readonly SegmentRange[];
  readonly counters: Float64Array;
  readonly recovery: LogRecovery;
  /** True when the store was new or closed in good order: nothing that was acknowledged can be missing. */
  readonly wasStopped: boolean;
}

export async function openStore(options: LsmOptions): Promise<OpenedStore> {
  const { disk, clock, workers, directory, settings, log } = options;
  disk.makeDirectory(directory);
  const existing = readManifest(disk, directory, settings.counters);
  if (existing === null) requireEmpty(disk, directory);
  const manifest = existing ?? emptyManifest(settings);
  if (existing === null) await writeManifest(disk, directory, manifest);

  const replay = new Replay(options, manifest.counters.slice());
  const recovery = await readLog(
    { disk, directory, oldest: manifest.oldestSegment, known: manifest.known, onDamage: "refuse" },
    replay,
  );
  if (recovery.cut !== null) {
    const { at, bytes } = recovery.cut;
    log.warn({ segment: at.segment, offset: at.offset, bytes }, "the log ends in an interrupted write, which was cut off");
  }
  replay.finish();
  const settled = await settle(disk, directory, manifest, recovery);
  const wasStopped = existing === null || isAtStop(manifest, recovery);
  const writer = new LogWriter({ disk, directory, nextId: recovery.nextId, previous: recovery.end, known: recovery.end });
  const cache = new BlockCache({ bytes: settings.blockCacheBytes, frameBytes: settings.blockBytes });
  const reader = new TableReader({ clock, cache, policy: new ReadPolicy() });
  const { active, frozen, ranges, counters } = replay;
  const keeper = new TableKeeper({
    disk,
    clock,
    workers,
    log,
    directory,
    settings,
    files: new FilePool(disk, settings.maxOpenFiles),
    cache,
    writer,
    manifest: settled,
    frozen,
    segments: recovery.segments,
    isCleared: active.hidesOlder || frozen.some(({ table }) => table.hidesOlder),
  });
  return { writer, reader, keeper, active, replayed: ranges, counters, recovery, wasStopped };
}

/** Whether the log ends where it did at an orderly stop; what a refused write may have left behind that place was never part of it. */
function isAtStop({ stoppedAt, oldestSegment }: ManifestState, recovery: LogRecovery): boolean {
  if (stoppedAt === null) return false;
  // At that stop everything was in tables: no batch of the log was needed any more.
  if (stoppedAt.segment < oldestSegment) return recovery.end.segment < oldestSegment;
  return compareLogPositions(stoppedAt, recovery.end) === 0;
}

function emptyManifest(settings: LsmSettings): ManifestState {
  return {
    levels: [],
    nextTable: 1,
    oldestSegment: 1,
    known: LOG_START,
    stoppedAt: null,
    cursors: [],
    counters: new Float64Array(settings.counters),
  };
}

/** A directory with data but without a manifest lost it: the manifest is made before anything else. */
function requireEmpty(disk: Disk, directory: string): void {
  const names = disk.list(directory) ?? [];
  const data = names.find((name) => segmentIdOf(name) !== null || tableNumberOf(name) !== null);
  if (data === undefined) return;
  throw new OperatingError(
    "CORRUPT",
    `${directory} holds data (${data}) but no manifest: it is not a whole data directory. Restore a backup, or start with an empty directory`,
  );
}

/** Removes what is no part of the store, makes the rest durable, and takes the mark of an orderly stop away. */
async function settle(disk: Disk, directory: string, manifest: ManifestState, recovery: LogRecovery): Promise<ManifestState> {
  const named = new Set(manifest.levels.flat().map((meta) => meta.number));
  for (const name of disk.list(directory) ?? []) {
    const number = tableNumberOf(name);
    if (name === MANIFEST_NEW_FILE || (number !== null && !named.has(number))) disk.remove(`${directory}/${name}`);
  }
  for (const id of recovery.surplus) disk.remove(`${directory}/${segmentFileName(id)}`);
  for (const id of recovery.segments) {
    const file = disk.open(`${directory}/${segmentFileName(id)}`);
    file?.syncNow();
    file?.close();
  }
  disk.syncDirectoryNow(directory);
  // The mark of an orderly stop must be gone before anything is written; that the log was durable up to here is worth
  // knowing should it be damaged later.
  const isNews = compareLogPositions(recovery.end, manifest.known) > 0 && recovery.segments.length > 0;
  if (manifest.stoppedAt === null && !isNews) return manifest;
  const settled = { ...manifest, stoppedAt: null, known: isNews ? recovery.end : manifest.known };
  await writeManifest(disk, directory, settled);
  return settled;
}

/** Builds memory tables from the log, as the engine did when it wrote it. */
class Replay implements LogVisitor {
  active: MemoryTable;
  readonly frozen: FrozenTable[] = [];
  ranges: SegmentRange[] = [];
  counters: Float64Array;
  readonly #options: LsmOptions;
  #doneBytes = 0;

  constructor(options: LsmOptions, counters: Float64Array) {
    this.#options = options;
    this.counters = counters;
    this.active = new MemoryTable(new Slab(options.settings.memoryTableBytes));
  }

  async onSegment(_id: number, bytes: number): Promise<void> {
    const { settings, onProgress } = this.#options;
    const isFull = this.active.bytes + bytes > settings.memoryTableBytes || this.active.entries >= settings.memoryTableEntries;
    if (this.ranges.length > 0 && isFull) this.#freeze();
    this.#doneBytes += bytes;
    onProgress?.(this.#doneBytes, this.#doneBytes);
  }

  /**
   * The whole log is read. A table that is full now is frozen however many are already: one that is far beyond its size (a
   * single batch may be) would else have the first write of the new run refused.
   */
  finish(): void {
    const logBytes = this.ranges.reduce((sum, { end }) => sum + end, 0);
    const { bytes, entries } = this.active;
    if (this.ranges.length > 0 && fillOf({ bytes, entries, logBytes }, this.#options.settings) >= 1) this.#freeze();
  }

  #freeze(): void {
    this.frozen.unshift({ table: this.active, segments: this.ranges, counters: this.counters.slice() });
    this.active = new MemoryTable(new Slab(this.#options.settings.memoryTableBytes));
    this.ranges = [];
  }

  onBatch(bytes: Buffer, start: number, end: number): void {
    this.active.replay(bytes, start, end, this);
  }

  onSegmentEnd(range: SegmentRange): void {
    this.ranges.push(range);
  }

  onCount(index: number, delta: number): void {
    this.counters[index] = (this.counters[index] ?? 0) + delta;
  }

  onClear(): void {
    this.counters.fill(0);
    this.frozen.length = 0;
  }
}
