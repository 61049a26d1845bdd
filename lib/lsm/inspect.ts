/** Tells what any file of a store holds, piece by piece, for people and for programs. Changes nothing. */
import { latin1Of } from "../bytes/latin1.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Disk, DiskFile } from "../host/disk.js";
import { BACKUP_FILE, parseNote } from "./backup.js";
import { Step } from "./cursor.js";
import { LOCK_FILE } from "./directory-lock.js";
import { TOMBSTONE } from "./entry.js";
import { FilePool } from "./file-pool.js";
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
import { Table } from "./table.js";
import { jobCursor } from "./table-cursor.js";
import { type TableMeta, tableNumberOf } from "./table-format.js";

/** A piece of a file: what it is, and its fields. Keys are printable: other bytes, and the backslash, stand as \xNN. */
export interface Piece {
  readonly is: string;
  readonly [field: string]: unknown;
}

/** The pieces of the file, in its order. Throws UNAVAILABLE when there is none or its name says nothing, CORRUPT and IO. */
export function* inspectFile(disk: Disk, path: string): Generator<Piece, void, void> {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const segment = segmentIdOf(name);
  const table = tableNumberOf(name);
  if (table !== null) yield* inspectTable(disk, path, table);
  else if (segment !== null) yield* inspectSegment(readWhole(disk, path), segment);
  else if (name === MANIFEST_FILE || name === MANIFEST_NEW_FILE) yield* inspectManifest(readWhole(disk, path), path);
  else if (name === BACKUP_FILE) yield { is: "backup", ...parseNote(readWhole(disk, path).toString(), path) };
  else if (name === LOCK_FILE) yield { is: "lock", text: latin1Of(readWhole(disk, path)).trim() };
  else {
    throw new OperatingError(
      "UNAVAILABLE",
      `${path} is not named like a file of a store: manifest, lock, backup.json, or a number of eight digits with .log or .table`,
    );
  }
}

/** For people: the piece on one line. */
export function describePiece({ is, ...fields }: Piece): string {
  const words = Object.entries(fields).map(([name, value]) => {
    return `${name} ${typeof value === "string" && value !== "" ? value : JSON.stringify(value)}`;
  });
  return words.length === 0 ? is : `${is}: ${words.join(", ")}`;
}

function* inspectSegment(bytes: Buffer, id: number): Generator<Piece, void, void> {
  const header = decodeSegmentHeader(bytes, id);
  yield header === null ? { is: "damaged header" } : { is: "header", ...header };
  for (let at = SEGMENT_HEADER_BYTES; at < bytes.length; ) {
    const end = batchEndAt(bytes, at, bytes.length, id);
    if (end < 0) {
      const next = nextBatchMark(bytes, at + 1);
      yield { is: "no valid batch", at, next: next < 0 ? null : next };
      if (next < 0) return;
      at = next;
      continue;
    }
    yield { is: "batch", at, bytes: end - at, durableThen: syncedPositionAt(bytes, at) };
    yield* inspectBatch(bytes, at + BATCH_HEADER_BYTES, end);
    at = end;
  }
}

function* inspectBatch(bytes: Buffer, start: number, end: number): Generator<Piece, void, void> {
  const operations = new OperationReader(bytes, start, end);
  try {
    while (operations.next()) yield pieceOf(operations);
  } catch (error) {
    yield { is: "damaged operation", reason: messageOf(error) };
  }
}

function pieceOf(operation: OperationReader): Piece {
  switch (operation.kind) {
    case Operation.PUT:
      return { is: "put", key: printable(operation.key()), bytes: operation.valueEnd - operation.valueStart };
    case Operation.REMOVE:
      return { is: "remove", key: printable(operation.key()) };
    case Operation.COUNT:
      return { is: "count", index: operation.index, by: operation.delta };
    case Operation.CLEAR:
      return { is: "clear" };
  }
}

function* inspectTable(disk: Disk, path: string, number: number): Generator<Piece, void, void> {
  const slash = path.lastIndexOf("/");
  const directory = slash < 0 ? "." : path.slice(0, slash);
  requireFile(disk, path).close();
  const table = Table.open({ files: new FilePool(disk, 1), cache: null, directory, number });
  try {
    yield { is: "table", ...printableMeta(table.meta), blocks: table.index.blocks, memoryBytes: table.memoryBytes };
    const cursor = jobCursor([table]);
    let block = -1;
    for (let step = cursor.seek(""); step === Step.ENTRY; step = cursor.next()) {
      if (cursor.block !== block) {
        block = cursor.block;
        yield { is: "block", number: block, at: table.index.offsetOf(block), bytes: table.index.lengthOf(block) };
      }
      const key = printable(cursor.key);
      yield cursor.kind === TOMBSTONE ? { is: "removed", key } : { is: "entry", key, bytes: cursor.end - cursor.start };
    }
  } finally {
    table.close();
  }
}

function* inspectManifest(bytes: Buffer, path: string): Generator<Piece, void, void> {
  const { levels, counters, cursors, ...rest } = decodeManifest(bytes, path, 0);
  yield { is: "manifest", ...rest, cursors: cursors.map(printable) };
  for (const [level, metas] of levels.entries()) {
    for (const meta of metas) yield { is: "table", level, ...printableMeta(meta) };
  }
  for (const [index, value] of counters.entries()) if (value !== 0) yield { is: "counter", index, value };
}

function printableMeta(meta: TableMeta): TableMeta {
  return { ...meta, first: printable(meta.first), last: printable(meta.last) };
}

/** Bytes outside of printable ASCII, and the backslash, as \xNN. */
function printable(key: string): string {
  return key.replace(/[^ -[\]-~]/g, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function requireFile(disk: Disk, path: string): DiskFile {
  const file = disk.open(path);
  if (file === null) throw new OperatingError("UNAVAILABLE", `there is no file ${path}`);
  return file;
}

function readWhole(disk: Disk, path: string): Buffer {
  const file = requireFile(disk, path);
  try {
    const bytes = Buffer.allocUnsafe(file.size);
    return bytes.subarray(0, file.readNow(0, bytes, 0, bytes.length));
  } finally {
    file.close();
  }
}
