/**
 * What members ask each other about records: docs/FORMATS.md, "Peer protocol". Written straight into the bytes that leave and
 * read in place from those that came: nothing here allocates but where it says so. Kinds are numbers on the wire: append, never
 * reuse.
 *
 *     STORE, HANDOVER: ring version varint | flags u8 | [member id 8 bytes: IS_HINT] | data key, record (each length varint, bytes)
 *         answer: status u8 | [stamp u56, context: status UNCOVERED]
 *     READ: ring version varint | flags u8 | data key
 *         answer: status u8 | record, empty where there is none
 *     RANGE: ring version varint | number of spans varint | (slots to pass over varint, slots that are meant varint)*
 *            | data key to begin with, empty for the first of the first slot
 *         answer: status u8 | data key to go on with (length varint, bytes; empty: all is told) | (key and record, each length varint, bytes)*
 *
 * Data keys and records are as they are stored, records without their local area.
 */
import { copyBytes } from "../bytes/copy.js";
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { contextLength, readContext, readStamp, STAMP_BYTES, writeContext, writeStamp } from "../causality/record-format.js";
import type { VersionVector } from "../causality/version-vector.js";
import { MEMBER_ID_BYTES, type MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { BACKGROUND_KIND_MIN } from "../peer/peer.js";
import { isStorableDataKey, isWholeDataKey } from "./data-key.js";
import { type EncodedRecord, NO_PAIR } from "./encoded-record.js";
import { readSpans, slotsOf, spansLength, spansOf, writeSpans } from "./slot-spans.js";

export const ReplicaKind = {
  /** Merge this record into yours, or keep it as a hint. */
  store: 3,
  read: 4,
  /** Some of these two: call-batch.ts. */
  batch: 7,
  /** A batch that is to be passed on: relay-messages.ts. */
  relay: 9,
  /** A hint for the receiver: as `store`, in the background. */
  handover: BACKGROUND_KIND_MIN + 1,
  /** Some records of some slots. */
  range: BACKGROUND_KIND_MIN + 2,
  /** Which keys there are: key-messages.ts. */
  keys: BACKGROUND_KIND_MIN + 3,
  /** How many there are. */
  counts: BACKGROUND_KIND_MIN + 4,
  /** How far a flush goes: flush-messages.ts. */
  flushPoint: BACKGROUND_KIND_MIN + 5,
  /** How the hash trees differ: tree-messages.ts. */
  tree: BACKGROUND_KIND_MIN + 6,
  /** How far the receiver is with slots that it is to own: intake-messages.ts. */
  intake: BACKGROUND_KIND_MIN + 7,
  /** What may leave for good: reap-messages.ts. */
  reap: BACKGROUND_KIND_MIN + 8,
  /** What became of a `relay` at another member; how long that takes says nothing about the receiver. */
  relayed: BACKGROUND_KIND_MIN + 9,
} as const;

/** The protocol version that brought these kinds; the others are as old as the protocol. */
export const ReplicaKindSince = { relay: 2, relayed: 2, tree: 2, intake: 2, reap: 2 } as const;

export const AnswerStatus = {
  /** Done; what was sent covers all that there is now. */
  ok: 0,
  /** The receiver knows a newer ring in which the slot has other owners; nothing was done. */
  staleRing: 1,
  /** Stored; beside it stand versions that what was sent has not seen. */
  uncovered: 2,
  /** There is no room for a hint; nothing was done. */
  full: 3,
} as const;

const NO_BYTES = new Uint8Array(0);

/** Flags of STORE. */
const IS_HINT = 1;
/** Flags of READ. */
const WITH_HINTS = 1;

/** A STORE as read in place. One object, reused by its reader. */
export class StoreRequest {
  ringVersion = 0;
  /** For whom it is kept as a hint; null where the receiver is to hold it itself. */
  target: MemberId | null = null;
  dataKey = "";
  /** Where in what was read the data key stands. */
  dataKeyStart = 0;
  /** Borrowed from what was read. Key and record lie there as a pair of the engine. */
  readonly record = { bytes: NO_BYTES as Uint8Array, start: 0, end: 0, pairStart: 0 };
  readonly #cursor: Cursor = { at: 0 };

  /** Reads what is in `bytes[start, end)`. Throws CORRUPT. */
  read(bytes: Buffer, start = 0, end = bytes.length): void {
    const cursor = this.#cursor;
    cursor.at = start;
    this.ringVersion = readVarint(bytes, cursor, end);
    const flags = cursor.at < end ? bytes[cursor.at++]! : 0;
    this.target = null;
    if ((flags & IS_HINT) !== 0) {
      if (end - cursor.at < MEMBER_ID_BYTES) throw cutOff();
      this.target = bytes.toString("hex", cursor.at, cursor.at + MEMBER_ID_BYTES);
      cursor.at += MEMBER_ID_BYTES;
    }
    const { record } = this;
    record.pairStart = cursor.at;
    this.dataKey = readDataKey(bytes, cursor, end);
    this.dataKeyStart = cursor.at - this.dataKey.length;
    if (readVarint(bytes, cursor, end) !== end - cursor.at) throw cutOff();
    record.bytes = bytes;
    record.start = cursor.at;
    record.end = end;
  }
}

/** Bytes that `writeStore` writes at most. */
export function storeBytesMax(dataKey: string, recordBytes: number): number {
  return 8 + 1 + MEMBER_ID_BYTES + 8 + dataKey.length + 8 + recordBytes;
}

/** Writes a STORE of the record in `record[start, end)`; returns the position after it. */
export function writeStore(
  target: Buffer,
  start: number,
  store: { readonly ringVersion: number; readonly hintFor: MemberId | null; readonly dataKey: string },
  record: EncodedRecord,
): number {
  let at = writeVarint(target, start, store.ringVersion);
  target[at++] = store.hintFor === null ? 0 : IS_HINT;
  if (store.hintFor !== null) at += target.write(store.hintFor, at, "hex");
  const { bytes, start: recordStart, end, pairStart } = record;
  if (pairStart !== NO_PAIR) return copyBytes(bytes, pairStart, end, target, at);
  at = writeLatin1(target, writeVarint(target, at, store.dataKey.length), store.dataKey);
  return copyBytes(bytes, recordStart, end, target, writeVarint(target, at, end - recordStart));
}

/** What stands beside a record that was stored: a newer stamp than the sender's means that its write was not the last. */
export interface Uncovered {
  /** The newest stamp of the versions that the sender's record has not seen. */
  readonly stamp: number;
  /** All that the receiver has seen of the key. */
  readonly context: VersionVector;
}

/** The answer to a STORE (allocates). */
export function encodeUncovered({ stamp, context }: Uncovered): Buffer {
  const bytes = Buffer.allocUnsafe(1 + STAMP_BYTES + contextLength(context));
  bytes[0] = AnswerStatus.uncovered;
  writeContext(bytes, writeStamp(bytes, 1, stamp), context);
  return bytes;
}

/** Reads what follows the status. Throws CORRUPT. */
export function decodeUncovered(answer: Buffer): Uncovered {
  if (answer.length < 1 + STAMP_BYTES) throw cutOff();
  return { stamp: readStamp(answer, 1), context: readContext(answer, { at: 1 + STAMP_BYTES }, answer.length) };
}

/** Bytes that `writeRead` writes at most. */
export function readBytesMax(dataKey: string): number {
  return 8 + 1 + dataKey.length;
}

/** `from`: may the receiver answer from hints that it keeps for others? */
export function writeRead(
  target: Buffer,
  start: number,
  read: { readonly ringVersion: number; readonly dataKey: string; readonly from: "records" | "hints too" },
): number {
  const at = writeVarint(target, start, read.ringVersion);
  target[at] = read.from === "records" ? 0 : WITH_HINTS;
  return writeLatin1(target, at + 1, read.dataKey);
}

/** A READ as read in place. One object, reused by its reader. */
export class ReadRequest {
  ringVersion = 0;
  isWithHints = false;
  dataKey = "";
  readonly #cursor: Cursor = { at: 0 };

  /** Reads what is in `bytes[start, end)`. Throws CORRUPT. */
  read(bytes: Buffer, start = 0, end = bytes.length): void {
    const cursor = this.#cursor;
    cursor.at = start;
    this.ringVersion = readVarint(bytes, cursor, end);
    if (cursor.at >= end) throw cutOff();
    this.isWithHints = (bytes[cursor.at++]! & WITH_HINTS) !== 0;
    this.dataKey = checked(latin1Of(bytes, cursor.at, end));
  }
}

export interface RangeRequest {
  readonly ringVersion: number;
  /** Ascending, each once, at least one: so a request for a ring without records is answered at once. */
  readonly slots: readonly number[];
  /** Null: from the beginning. */
  readonly from: string | null;
}

export function encodeRangeRequest({ ringVersion, slots, from }: RangeRequest): Buffer {
  const key = from ?? "";
  const spans = spansOf(slots);
  const bytes = Buffer.allocUnsafe(varintLength(ringVersion) + spansLength(spans) + key.length);
  const at = writeSpans(bytes, writeVarint(bytes, 0, ringVersion), spans);
  writeLatin1(bytes, at, key);
  return bytes;
}

/** Throws CORRUPT. */
export function decodeRangeRequest(bytes: Buffer): RangeRequest {
  const cursor: Cursor = { at: 0 };
  const ringVersion = readVarint(bytes, cursor, bytes.length);
  const slots = [...slotsOf(readSpans(bytes, cursor))];
  const from = latin1Of(bytes, cursor.at, bytes.length);
  return { ringVersion, slots, from: from === "" ? null : checked(from) };
}

export interface RangePage {
  readonly records: readonly { readonly dataKey: string; readonly record: Uint8Array }[];
  /** Null: all is told. */
  readonly next: string | null;
}

/** The answer to a RANGE, its status included. */
export function encodeRangePage({ records, next }: RangePage): Buffer {
  const key = next ?? "";
  let length = 1 + varintLength(key.length) + key.length;
  for (const { dataKey, record } of records) {
    length += varintLength(dataKey.length) + dataKey.length + varintLength(record.length) + record.length;
  }
  const bytes = Buffer.allocUnsafe(length);
  bytes[0] = AnswerStatus.ok;
  let at = writeLatin1(bytes, writeVarint(bytes, 1, key.length), key);
  for (const { dataKey, record } of records) {
    at = writeLatin1(bytes, writeVarint(bytes, at, dataKey.length), dataKey);
    at = copyBytes(record, 0, record.length, bytes, writeVarint(bytes, at, record.length));
  }
  return bytes;
}

/** The page in an answer with status `ok`; records are views of it. Throws CORRUPT. */
export function decodeRangePage(answer: Buffer): RangePage {
  const cursor: Cursor = { at: 1 };
  const end = answer.length;
  const next = readText(answer, cursor, end);
  const records: { dataKey: string; record: Uint8Array }[] = [];
  while (cursor.at < end) {
    const dataKey = readDataKey(answer, cursor, end);
    const length = readVarint(answer, cursor, end);
    if (length > end - cursor.at) throw cutOff();
    records.push({ dataKey, record: answer.subarray(cursor.at, cursor.at + length) });
    cursor.at += length;
  }
  return { records, next: next === "" ? null : checked(next) };
}

/** Of a record. What is looked up or stored by a key that is none would end this process. */
export function readDataKey(bytes: Buffer, cursor: Cursor, end: number): string {
  const dataKey = readText(bytes, cursor, end);
  if (!isStorableDataKey(dataKey)) throw noSuchKey();
  return dataKey;
}

/** To look up: a client may ask for a key that is longer than any there is. */
function checked(dataKey: string): string {
  if (!isWholeDataKey(dataKey)) throw noSuchKey();
  return dataKey;
}

function noSuchKey(): OperatingError {
  return new OperatingError("CORRUPT", "a message of a peer names a key that there is not");
}

function readText(bytes: Buffer, cursor: Cursor, end: number): string {
  const length = readVarint(bytes, cursor, end);
  if (length > end - cursor.at) throw cutOff();
  const text = latin1Of(bytes, cursor.at, cursor.at + length);
  cursor.at += length;
  return text;
}

function cutOff(): OperatingError {
  return new OperatingError("CORRUPT", "a message of a peer is cut off");
}
