/**
 * The flush job: rebuilds a frozen memory table from its log segments and writes it as one sorted table. Reading the log
 * back verifies every checksum once more, and spares the thread of requests sorting and copying.
 */
import { OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import type { Job } from "../host/workers.js";
import type { ExpiryOf } from "./compaction.js";
import { PUT, TOMBSTONE } from "./entry.js";
import { KeyIndex, keyIn } from "./key-index.js";
import { keyOrder } from "./key-order.js";
import {
  BATCH_HEADER_BYTES,
  batchEndAt,
  Operation,
  OperationReader,
  SEGMENT_HEADER_BYTES,
  segmentFileName,
} from "./log-format.js";
import type { SegmentRange } from "./log-recovery.js";
import type { TableMeta } from "./table-format.js";
import { TableWriter } from "./table-writer.js";

export interface FlushInput {
  readonly directory: string;
  /** The segments of the memory table, oldest first. */
  readonly segments: readonly SegmentRange[];
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

/** Batches and entries after which a step ends. */
const PER_STEP = 512;
const DELETED = -1;

/** The job. Yields bytes written after each block; the table and its directory are synced before it returns. */
export function flushJob(options: { expiresAtMs?: ExpiryOf } = {}): Job<FlushInput, FlushOutput> {
  return function* flush({ disk }, input) {
    const bytes = readSegments(disk, input);
    const collected = yield* collect(bytes, input);
    const keyCount = collected.keyAts.length;
    if (keyCount !== input.entries) {
      throw new OperatingError(
        "CORRUPT",
        `the log in ${input.directory} has ${keyCount} keys where memory has ${input.entries}: it changed under the running server`,
      );
    }
    const writer = new TableWriter({ ...input, disk });
    let isComplete = false;
    try {
      yield* write(writer, collected, bytes, { ...options, tombstones: input.tombstones });
      const tables = writer.entries > 0 ? [writer.finish()] : [];
      if (tables.length > 0) disk.syncDirectoryNow(input.directory);
      isComplete = tables.length > 0;
      return { tables };
    } finally {
      if (!isComplete) writer.abandon();
    }
  };
}

/** All segments, one after the other. */
function readSegments(disk: Disk, { directory, segments }: FlushInput): Buffer {
  const bytes = Buffer.allocUnsafeSlow(segments.reduce((sum, { end }) => sum + end, 0));
  let at = 0;
  for (const { id, end } of segments) {
    const path = `${directory}/${segmentFileName(id)}`;
    const file = disk.open(path);
    if (file === null) throw new OperatingError("CORRUPT", `${path} is missing`);
    try {
      const got = file.readNow(0, bytes, at, end);
      if (got < end) throw new OperatingError("CORRUPT", `${path} ends at byte ${got} of ${end}`);
    } finally {
      file.close();
    }
    at += end;
  }
  return bytes;
}

/** The keys in order of first appearance, and for each where its value's length stands, or DELETED. */
class Collected {
  readonly #bytes: Buffer;
  keyAts: number[] = [];
  places: number[] = [];
  /** From keys to their indexes in the two lists. */
  #indexes = new KeyIndex();

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  replay(operations: OperationReader): void {
    while (operations.next()) {
      if (operations.kind === Operation.PUT) this.#set(operations.keyAt, operations.valueAt);
      else if (operations.kind === Operation.REMOVE) this.#set(operations.keyAt, DELETED);
      else if (operations.kind === Operation.CLEAR) this.#clear();
    }
  }

  keys(): string[] {
    return this.keyAts.map((keyAt) => keyIn(this.#bytes, keyAt));
  }

  #set(keyAt: number, place: number): void {
    const found = this.#indexes.findStored(this.#bytes, keyAt);
    if (found >= 0) this.places[this.#indexes.placeAt(found)] = place;
    else {
      this.#indexes.addStored(this.#bytes, keyAt, this.keyAts.length);
      this.keyAts.push(keyAt);
      this.places.push(place);
    }
  }

  #clear(): void {
    this.keyAts = [];
    this.places = [];
    this.#indexes = new KeyIndex();
  }
}

function* collect(bytes: Buffer, { directory, segments }: FlushInput): Generator<number, Collected, void> {
  const collected = new Collected(bytes);
  let base = 0;
  let batches = 0;
  for (const { id, end } of segments) {
    const segment = bytes.subarray(base, base + end);
    for (let at = SEGMENT_HEADER_BYTES; at < end; ) {
      const batchEnd = batchEndAt(segment, at, end, id);
      if (batchEnd < 0) throw new OperatingError("CORRUPT", `${directory}/${segmentFileName(id)} is damaged at byte ${at}`);
      collected.replay(new OperationReader(bytes, base + at + BATCH_HEADER_BYTES, base + batchEnd));
      at = batchEnd;
      if (++batches % PER_STEP === 0) yield 0;
    }
    base += end;
  }
  return collected;
}

function* write(
  writer: TableWriter,
  collected: Collected,
  bytes: Buffer,
  options: { readonly expiresAtMs?: ExpiryOf; readonly tombstones: "keep" | "drop" },
): Generator<number, void, void> {
  const keys = collected.keys();
  const { places } = collected;
  const view = { start: 0, end: 0 };
  let entriesInStep = 0;
  for (const index of keyOrder(keys)) {
    const key = keys[index]!;
    const place = places[index]!;
    let written = 0;
    if (place !== DELETED) {
      viewValue(bytes, place, view);
      const { start, end } = view;
      written = writer.add(key, PUT, bytes, start, end, options.expiresAtMs?.(key, bytes, start, end));
    } else if (options.tombstones === "keep") written = writer.add(key, TOMBSTONE, bytes, 0, 0);
    if (written === 0 && ++entriesInStep < PER_STEP) continue;
    entriesInStep = 0;
    yield written;
  }
}

/** The value whose length stands at `place`. The bytes were verified, so the length is whole. */
function viewValue(bytes: Buffer, place: number, view: { start: number; end: number }): void {
  let at = place;
  let length = 0;
  for (let scale = 1; ; scale *= 128) {
    const byte = bytes[at++]!;
    length += (byte & 127) * scale;
    if (byte < 128) break;
  }
  view.start = at;
  view.end = at + length;
}
