/**
 * The compaction job: merges runs of tables into new, disjoint ones. Pure in the sense of the Workers seam: tables in,
 * tables out. For each key only the newest entry stays; a tombstone goes where no older table can hold its key; values may
 * be replaced by what the owner of their format says. The invariant: a reader finds the same in the outputs, with the
 * older tables below them, as in the inputs; and nothing is removed here but outputs that were not completed.
 */
import type { Disk } from "../host/disk.js";
import type { Job } from "../host/workers.js";
import type { KeyRange } from "./compaction-choice.js";
import { MergeCursor, Step } from "./cursor.js";
import { PUT, TOMBSTONE } from "./entry.js";
import { FilePool } from "./file-pool.js";
import { Table } from "./table.js";
import { jobCursor } from "./table-cursor.js";
import type { TableMeta } from "./table-format.js";
import { TableWriter } from "./table-writer.js";

/** What to store instead of the value `bytes[start, end)` (borrowed) at the wall time `nowMs`: itself, or new bytes. */
export type Transform = (key: string, bytes: Buffer, start: number, end: number, nowMs: number) => "keep" | Uint8Array;

/** The wall time in ms at which the value expires, so that `Transform` will replace it; Infinity when never. */
export type ExpiryOf = (key: string, bytes: Uint8Array, start: number, end: number) => number;

export interface CompactionOptions {
  readonly transform?: Transform;
  readonly expiresAtMs?: ExpiryOf;
}

export interface CompactionInput {
  readonly directory: string;
  /** Numbers of the tables: runs in key order, newest run first. */
  readonly inputs: readonly (readonly number[])[];
  /** Outputs are numbered from here. */
  readonly firstOutputNumber: number;
  /** How many outputs there may be; the last one takes all that is left. */
  readonly outputNumbers: number;
  /** An output is complete when its blocks take this many bytes. */
  readonly tableBytesMax: number;
  readonly blockBytes: number;
  readonly filterFalsePositives: number;
  /** The wall clock, for the transform. */
  readonly nowMs: number;
  /** Where tombstones must stay: ascending, disjoint (`Compaction.older`). */
  readonly older: readonly KeyRange[];
}

export interface CompactionOutput {
  /** In key order; none when everything was dropped. */
  readonly tables: readonly TableMeta[];
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Tombstones that were dropped. */
  readonly tombstonesDropped: number;
}

/** Entries after which a step ends even if nothing was written: all of them were dropped. */
const ENTRIES_PER_STEP = 512;
/** Each run reads one table at a time. */
const OPEN_FILES_MAX = 64;

/** The job. Yields bytes written after each block; syncs its outputs and then their directory before it returns. */
export function compactionJob(options: CompactionOptions = {}): Job<CompactionInput, CompactionOutput> {
  return function* compact({ disk }, input) {
    const files = new FilePool(disk, OPEN_FILES_MAX);
    const opened: Table[] = [];
    const outputs = new Outputs({ disk, input });
    let isComplete = false;
    try {
      const runs: Table[][] = [];
      for (const numbers of input.inputs) {
        const run: Table[] = [];
        for (const number of numbers) {
          const table = Table.open({ files, cache: null, directory: input.directory, number });
          opened.push(table);
          run.push(table);
          yield 0;
        }
        runs.push(run);
      }
      const tombstonesDropped = yield* merge(runs, outputs, input, options);
      const tables = outputs.finish();
      disk.syncDirectoryNow(input.directory);
      isComplete = true;
      const bytesRead = opened.reduce((sum, table) => sum + table.meta.bytes, 0);
      const bytesWritten = tables.reduce((sum, table) => sum + table.bytes, 0);
      return { tables, bytesRead, bytesWritten, tombstonesDropped };
    } finally {
      for (const table of opened) table.close();
      if (!isComplete) outputs.abandon();
    }
  };
}

function* merge(
  runs: readonly (readonly Table[])[],
  outputs: Outputs,
  { nowMs, older }: CompactionInput,
  { transform, expiresAtMs }: CompactionOptions,
): Generator<number, number, void> {
  const cursor = new MergeCursor(runs.map(jobCursor));
  const needed = new RangeWalk(older);
  let tombstonesDropped = 0;
  let entriesInStep = 0;
  for (let step = cursor.seek(""); step === Step.ENTRY; step = cursor.next()) {
    const { key, buffer, start, end } = cursor;
    let written = 0;
    if (cursor.kind === TOMBSTONE) {
      if (needed.covers(key)) written = outputs.writer().add(key, TOMBSTONE, buffer, start, start);
      else tombstonesDropped++;
    } else {
      const replacement = transform?.(key, buffer, start, end, nowMs) ?? "keep";
      if (replacement === "keep") {
        const expiryMs = expiresAtMs?.(key, buffer, start, end) ?? Number.POSITIVE_INFINITY;
        // What the transform keeps though it has expired would be droppable for ever: it is not counted.
        const countedMs = expiryMs > nowMs ? expiryMs : Number.POSITIVE_INFINITY;
        written = outputs.writer().add(key, PUT, buffer, start, end, countedMs);
      } else {
        written = outputs.writer().add(key, PUT, replacement, 0, replacement.length);
      }
    }
    if (written === 0 && ++entriesInStep < ENTRIES_PER_STEP) continue;
    entriesInStep = 0;
    yield written;
  }
  return tombstonesDropped;
}

/** The tables that the job writes, one after the other. */
class Outputs {
  readonly #disk: Disk;
  readonly #input: CompactionInput;
  readonly #writers: TableWriter[] = [];
  readonly #tables: TableMeta[] = [];

  constructor({ disk, input }: { disk: Disk; input: CompactionInput }) {
    this.#disk = disk;
    this.#input = input;
  }

  /** The writer for the next entry: a new one when the last table is full. */
  writer(): TableWriter {
    const { directory, firstOutputNumber, outputNumbers, tableBytesMax, blockBytes, filterFalsePositives, nowMs } = this.#input;
    const current = this.#writers.at(-1);
    if (current !== undefined && (current.fileBytes < tableBytesMax || this.#writers.length === outputNumbers)) return current;
    if (current !== undefined) this.#tables.push(current.finish());
    const number = firstOutputNumber + this.#writers.length;
    const writer = new TableWriter({ disk: this.#disk, directory, number, blockBytes, filterFalsePositives, nowMs });
    this.#writers.push(writer);
    return writer;
  }

  finish(): readonly TableMeta[] {
    const current = this.#writers.at(-1);
    if (current !== undefined) this.#tables.push(current.finish());
    return this.#tables;
  }

  abandon(): void {
    for (const writer of this.#writers) writer.abandon();
  }
}

/** Tells of ascending keys whether they lie in one of ascending ranges. */
class RangeWalk {
  readonly #ranges: readonly KeyRange[];
  #at = 0;

  constructor(ranges: readonly KeyRange[]) {
    this.#ranges = ranges;
  }

  /** REQUIRES a key above those asked before. */
  covers(key: string): boolean {
    while (this.#at < this.#ranges.length && this.#ranges[this.#at]!.last < key) this.#at++;
    const range = this.#ranges[this.#at];
    return range !== undefined && key >= range.first;
  }
}
