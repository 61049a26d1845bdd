/** Prints any file of a store, line by line, for people. Changes nothing. */
import { latin1Of } from "../bytes/latin1.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import { LOCK_FILE } from "./directory-lock.js";
import {
  BATCH_HEADER_BYTES,
  batchEndAt,
  decodeSegmentHeader,
  nextBatchMark,
  Operation,
  OperationReader,
  SEGMENT_HEADER_BYTES,
  segmentIdOf,
  syncedPositionAt,
} from "./log-format.js";
import { decodeManifest, MANIFEST_FILE, MANIFEST_NEW_FILE } from "./manifest.js";
import { inspectTable } from "./table-check.js";
import { tableNumberOf } from "./table-format.js";

/** Lines about the file. Throws UNAVAILABLE when there is none or its name says nothing, CORRUPT and IO. */
export function* inspectFile(disk: Disk, path: string): Generator<string, void, void> {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const segment = segmentIdOf(name);
  if (tableNumberOf(name) !== null) yield* describe(inspectTable(disk, path));
  else if (segment !== null) yield* inspectSegment(readWhole(disk, path), segment);
  else if (name === MANIFEST_FILE || name === MANIFEST_NEW_FILE) yield* inspectManifest(readWhole(disk, path), path);
  else if (name === LOCK_FILE) yield latin1Of(readWhole(disk, path)).trim();
  else
    throw new OperatingError("UNAVAILABLE", `${path} is no file of a store: they are named manifest, lock, *.log and *.table`);
}

function* inspectSegment(bytes: Buffer, id: number): Generator<string, void, void> {
  const header = decodeSegmentHeader(bytes, id);
  yield header === null ? "header: damaged" : `header: ${JSON.stringify(header)}`;
  for (let at = SEGMENT_HEADER_BYTES; at < bytes.length; ) {
    const end = batchEndAt(bytes, at, bytes.length, id);
    if (end < 0) {
      const next = nextBatchMark(bytes, at + 1);
      yield `${at}: no valid batch${next < 0 ? " from here on" : `; something like one at ${next}`}`;
      if (next < 0) return;
      at = next;
      continue;
    }
    const { segment, offset } = syncedPositionAt(bytes, at);
    yield `${at}: batch of ${end - at} bytes, known durable then: segment ${segment} byte ${offset}`;
    yield* inspectBatch(bytes, at + BATCH_HEADER_BYTES, end);
    at = end;
  }
}

function* inspectBatch(bytes: Buffer, start: number, end: number): Generator<string, void, void> {
  const operations = new OperationReader(bytes, start, end);
  try {
    while (operations.next()) yield `  ${describeOperation(operations)}`;
  } catch (error) {
    yield `  ${messageOf(error)}`;
  }
}

function describeOperation(operation: OperationReader): string {
  switch (operation.kind) {
    case Operation.PUT:
      return `put ${printable(operation.key())} (${operation.valueEnd - operation.valueStart} bytes)`;
    case Operation.REMOVE:
      return `remove ${printable(operation.key())}`;
    case Operation.COUNT:
      return `count ${operation.index} by ${operation.delta}`;
    case Operation.CLEAR:
      return "clear";
  }
}

function* inspectManifest(bytes: Buffer, path: string): Generator<string, void, void> {
  const { levels, counters, ...rest } = decodeManifest(bytes, path, 0);
  yield* describe(rest);
  for (const [depth, level] of levels.entries()) {
    yield `level ${depth}: ${level.length} tables`;
    for (const meta of level)
      yield `  ${JSON.stringify({ ...meta, first: printable(meta.first), last: printable(meta.last) })}`;
  }
  for (const [index, value] of counters.entries()) if (value !== 0) yield `counter ${index}: ${value}`;
}

function* describe(value: object): Generator<string, void, void> {
  for (const [name, field] of Object.entries(value)) yield `${name}: ${JSON.stringify(field)}`;
}

/** Bytes outside of printable ASCII, and the backslash, as \xNN. */
function printable(key: string): string {
  return key.replace(/[^ -[\]-~]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function readWhole(disk: Disk, path: string): Buffer {
  const file = disk.open(path);
  if (file === null) throw new OperatingError("UNAVAILABLE", `there is no file ${path}`);
  try {
    const bytes = Buffer.allocUnsafeSlow(file.size);
    return bytes.subarray(0, file.readNow(0, bytes, 0, bytes.length));
  } finally {
    file.close();
  }
}
