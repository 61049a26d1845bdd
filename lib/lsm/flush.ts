/**
 * The flush job: writes a frozen memory table, whose memory the worker shares, as one sorted table. Spares the thread of
 * requests sorting, encoding and compressing. REQUIRES that the memory stays as it is until the job has ended.
 */
import { OperatingError } from "../errors.js";
import type { Job } from "../host/workers.js";
import type { ExpiryOf } from "./compaction.js";
import { PUT, TOMBSTONE } from "./entry.js";
import { placesOf } from "./key-index.js";
import { keyOrder } from "./key-order.js";
import { keyAt, viewValue } from "./slab.js";
import type { TableMeta } from "./table-format.js";
import { TableWriter } from "./table-writer.js";

export interface FlushInput {
  readonly directory: string;
  /** The memory table's slab and index. */
  readonly slab: Uint8Array;
  readonly indexSlots: Int32Array;
  /** How many keys the memory table had: a cross-check. */
  readonly entries: number;
  /** The number of the table. */
  readonly number: number;
  readonly blockBytes: number;
  readonly filterFalsePositives: number;
  /** The wall clock. */
  readonly nowMs: number;
  /** What to do with removed keys: `drop` where nothing older can hold them. */
  readonly tombstones: "keep" | "drop";
}

export interface FlushOutput {
  /** One, or none when nothing was left. */
  readonly tables: readonly TableMeta[];
}

/** Entries after which a step ends. */
const PER_STEP = 512;

/** The job. Yields bytes written after each block; the table and its directory are synced before it returns. */
export function flushJob(options: { expiresAtMs?: ExpiryOf } = {}): Job<FlushInput, FlushOutput> {
  return function* flush({ disk }, input) {
    const writer = new TableWriter({ ...input, disk });
    let isComplete = false;
    try {
      yield* write(writer, input, options.expiresAtMs);
      const tables = writer.entries > 0 ? [writer.finish()] : [];
      if (tables.length > 0) disk.syncDirectoryNow(input.directory);
      isComplete = tables.length > 0;
      return { tables };
    } finally {
      if (!isComplete) writer.abandon();
    }
  };
}

function* write(
  writer: TableWriter,
  { slab, indexSlots, entries, tombstones }: FlushInput,
  expiresAtMs: ExpiryOf | undefined,
): Generator<number, void, void> {
  const places = placesOf(indexSlots);
  if (places.length !== entries) {
    throw new OperatingError("CORRUPT", `a memory table of ${entries} keys has ${places.length} in its index`);
  }
  yield 0;
  const keys = places.map((place) => keyAt(slab, Math.abs(place)));
  yield 0;
  const view = { start: 0, end: 0 };
  let entriesInStep = 0;
  for (const index of keyOrder(keys)) {
    const key = keys[index]!;
    const place = places[index]!;
    let written = 0;
    if (place > 0) {
      viewValue(slab, place, view);
      const { start, end } = view;
      written = writer.add(key, PUT, slab, start, end, expiresAtMs?.(key, slab, start, end));
    } else if (tombstones === "keep") written = writer.add(key, TOMBSTONE, slab, 0, 0);
    if (written === 0 && ++entriesInStep < PER_STEP) continue;
    entriesInStep = 0;
    yield written;
  }
}
