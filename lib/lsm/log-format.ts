/**
 * Layout of the commit log (docs/FORMATS.md, "Commit log"). All integers are little-endian.
 *
 *   segment file `<id, 8 digits>.log`
 *     header   magic "KNDRDLOG" | version u32 | id u32 | previous id u32 | previous end u32 |
 *              synced segment u32 | synced offset u32 | CRC-32 u32 of all before it
 *     batch*   mark u32 | CRC-32 u32 of all after it | payload bytes u32 | segment u32 | offset u32 |
 *              synced segment u32 | synced offset u32 | payload
 *   payload    operation*: PUT key value | REMOVE key | COUNT index delta | CLEAR
 *
 * Invariant: a batch verifies only at the place it was written to, because it names its segment and offset under its own
 * checksum. Zeros never verify. The synced position is the end of what was known durable when the batch was written.
 */
import { assert } from "../assert.js";
import { crc32 } from "../bytes/crc32.js";
import { latin1Of } from "../bytes/latin1.js";
import { type Cursor, readVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";

/** Numbers are the stored format. */
export const Operation = { REMOVE: 0, PUT: 1, COUNT: 2, CLEAR: 3 } as const;
export type Operation = (typeof Operation)[keyof typeof Operation];

/** A place in the log: everything before `offset` of `segment`. Segment ids start at 1; segment 0 stands before them all. */
export interface LogPosition {
  readonly segment: number;
  readonly offset: number;
}

export const LOG_START: LogPosition = { segment: 0, offset: 0 };

/** Negative, zero or positive as `a` stands before, at or behind `b`. */
export function compareLogPositions(a: LogPosition, b: LogPosition): number {
  return a.segment === b.segment ? a.offset - b.offset : a.segment - b.segment;
}

const SUFFIX = ".log";

export function segmentFileName(id: number): string {
  return `${String(id).padStart(8, "0")}${SUFFIX}`;
}

/** The id in a segment's file name; null for other names. */
export function segmentIdOf(fileName: string): number | null {
  return /^\d{8,10}\.log$/.test(fileName) ? Number(fileName.slice(0, -SUFFIX.length)) : null;
}

export const SEGMENT_HEADER_BYTES = 36;
export const BATCH_HEADER_BYTES = 28;

const MAGIC = "KNDRDLOG";
const VERSION = 1;
/** Bytes 0xd5 'K' 'B' 0x8e: unlikely in text, never zero. */
const BATCH_MARK = 0x8e42_4bd5;
const batchMarkBytes = Buffer.from([0xd5, 0x4b, 0x42, 0x8e]);

export interface SegmentHeader {
  readonly id: number;
  /** The segment before this one, 0 when there is none, and where its valid batches end. */
  readonly previous: LogPosition;
  /** What was known durable when this segment was created. */
  readonly synced: LogPosition;
}

export function encodeSegmentHeader(header: SegmentHeader): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  let at = bytes.write(MAGIC, "latin1");
  at = bytes.writeUInt32LE(VERSION, at);
  at = bytes.writeUInt32LE(header.id, at);
  at = bytes.writeUInt32LE(header.previous.segment, at);
  at = bytes.writeUInt32LE(header.previous.offset, at);
  at = bytes.writeUInt32LE(header.synced.segment, at);
  at = bytes.writeUInt32LE(header.synced.offset, at);
  bytes.writeUInt32LE(crc32(bytes, 0, at), at);
  return bytes;
}

/** Null when the bytes are no header of segment `id`: cut, damaged or never written. Throws CORRUPT for a later version. */
export function decodeSegmentHeader(bytes: Buffer, id: number): SegmentHeader | null {
  if (bytes.length < SEGMENT_HEADER_BYTES || latin1Of(bytes, 0, MAGIC.length) !== MAGIC) return null;
  if (crc32(bytes, 0, SEGMENT_HEADER_BYTES - 4) !== bytes.readUInt32LE(SEGMENT_HEADER_BYTES - 4)) return null;
  const version = bytes.readUInt32LE(8);
  if (version !== VERSION) {
    throw new OperatingError(
      "CORRUPT",
      `${segmentFileName(id)} has format version ${version}; this program reads version ${VERSION}: use the program that wrote it`,
    );
  }
  if (bytes.readUInt32LE(12) !== id) return null;
  return {
    id,
    previous: { segment: bytes.readUInt32LE(16), offset: bytes.readUInt32LE(20) },
    synced: { segment: bytes.readUInt32LE(24), offset: bytes.readUInt32LE(28) },
  };
}

/**
 * Fills in the header of the batch in `bytes[start, end)`, whose payload starts BATCH_HEADER_BYTES after `start`, for the
 * place where it is about to be written.
 */
export function sealBatch(bytes: Buffer, start: number, end: number, place: LogPosition, synced: LogPosition): void {
  assert(end - start > BATCH_HEADER_BYTES, "log: an empty batch");
  bytes.writeUInt32LE(BATCH_MARK, start);
  bytes.writeUInt32LE(end - start - BATCH_HEADER_BYTES, start + 8);
  bytes.writeUInt32LE(place.segment, start + 12);
  bytes.writeUInt32LE(place.offset, start + 16);
  bytes.writeUInt32LE(synced.segment, start + 20);
  bytes.writeUInt32LE(synced.offset, start + 24);
  bytes.writeUInt32LE(crc32(bytes, start + 8, end), start + 4);
}

/** The end of the valid batch of `segment` at `at`, or -1 when no valid batch that ends by `limit` stands there. */
export function batchEndAt(bytes: Buffer, at: number, limit: number, segment: number): number {
  if (at + BATCH_HEADER_BYTES >= limit || bytes.readUInt32LE(at) !== BATCH_MARK) return -1;
  const end = at + BATCH_HEADER_BYTES + bytes.readUInt32LE(at + 8);
  if (end > limit || bytes.readUInt32LE(at + 12) !== segment || bytes.readUInt32LE(at + 16) !== at) return -1;
  return crc32(bytes, at + 8, end) === bytes.readUInt32LE(at + 4) ? end : -1;
}

/** What the valid batch at `at` says was known durable. */
export function syncedPositionAt(bytes: Buffer, at: number): LogPosition {
  return { segment: bytes.readUInt32LE(at + 20), offset: bytes.readUInt32LE(at + 24) };
}

/** The next place from `from` where a batch could begin, or -1. */
export function nextBatchMark(bytes: Buffer, from: number): number {
  return bytes.indexOf(batchMarkBytes, from);
}

/** Walks the operations of a payload that verified. Fields describe the operation of the last `next` that returned true. */
export class OperationReader {
  kind: Operation = Operation.CLEAR;
  /** Where the key's length stands; the key follows it. */
  keyAt = 0;
  keyStart = 0;
  keyEnd = 0;
  /** Where the value's length stands; the value follows it. */
  valueAt = 0;
  valueStart = 0;
  valueEnd = 0;
  index = 0;
  delta = 0;
  #bytes: Buffer;
  #end = 0;
  readonly #cursor: Cursor = { at: 0 };

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#cursor.at = start;
    this.#end = end;
  }

  /** False at the end. Throws CORRUPT on what no writer writes. */
  next(): boolean {
    const cursor = this.#cursor;
    if (cursor.at === this.#end) return false;
    const kind = this.#bytes[cursor.at++];
    switch (kind) {
      case Operation.PUT:
        this.#readKey();
        this.valueAt = cursor.at;
        this.valueEnd = this.#skip();
        this.valueStart = this.valueEnd - this.#length;
        break;
      case Operation.REMOVE:
        this.#readKey();
        break;
      case Operation.COUNT:
        this.index = readVarint(this.#bytes, cursor, this.#end);
        this.delta = unzigzag(readVarint(this.#bytes, cursor, this.#end));
        break;
      case Operation.CLEAR:
        break;
      default:
        throw new OperatingError("CORRUPT", `operation ${kind} in a log batch is unknown to this program`);
    }
    this.kind = kind;
    return true;
  }

  /** The key of a PUT or REMOVE. */
  key(): string {
    return latin1Of(this.#bytes, this.keyStart, this.keyEnd);
  }

  #length = 0;

  #readKey(): void {
    this.keyAt = this.#cursor.at;
    this.keyEnd = this.#skip();
    this.keyStart = this.keyEnd - this.#length;
  }

  /** Reads a length and moves behind as many bytes. */
  #skip(): number {
    this.#length = readVarint(this.#bytes, this.#cursor, this.#end);
    if (this.#length > this.#end - this.#cursor.at)
      throw new OperatingError("CORRUPT", "an operation in a log batch is cut off");
    this.#cursor.at += this.#length;
    return this.#cursor.at;
  }
}

/** Maps signed integers to unsigned ones, small magnitudes to small numbers. */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : value * -2 - 1;
}

export function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}
