/**
 * What members ask each other about the keys of a database as a whole: docs/FORMATS.md, "Messages about copies".
 *
 *     KEYS: ring version varint | database u8 | hash u32 to begin with in the first slot | count varint | spans of slots
 *         answer: status u8 | slot varint, hash u32: complete up to here | (data key length varint, data key,
 *                 fingerprint u32 u32, expiry varint)*
 *     COUNTS: ring version varint | database u8 | draw u32 | spans of slots
 *         answer: status u8 | keys varint | slot varint, rank varint of the key that was drawn
 *
 * Spans of slots: slot-spans.ts.
 */
import { writeLatin1 } from "../bytes/latin1.js";
import { SLOTS } from "../bytes/slot.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { DATABASES } from "./data-key.js";
import { AnswerStatus, readDataKey } from "./replica-messages.js";
import { readSpans, type SlotSpan, spansLength, writeSpans } from "./slot-spans.js";

/** Which keys of some slots to tell. */
export interface KeysRequest {
  readonly database: number;
  /** Where to begin in the first of the slots; the others are meant from their first key on. */
  readonly fromHash: number;
  /** Keys that are wanted, from 1: a page has a few more, or fewer when it takes long. */
  readonly count: number;
  readonly spans: readonly SlotSpan[];
}

/** A record whose newest version is a value, expired or not: whoever asks judges that by its own clock. */
export interface ListedKey {
  readonly dataKey: string;
  /** Two copies of a key with equal ones have seen the same, and hold the same versions. */
  readonly high: number;
  readonly low: number;
  /** Unix time in milliseconds; 0 when it does not expire. */
  readonly expiryMs: number;
}

export interface KeysPage {
  /** In the order of their data keys. */
  readonly keys: readonly ListedKey[];
  /** All keys before this place are told; slot `SLOTS`: all that were asked for. */
  readonly slot: number;
  readonly hash: number;
}

/** What of some slots to count, and which of the keys to draw. */
export interface CountsRequest {
  readonly database: number;
  /** 0 to before 2^32, as a share of all that is counted. */
  readonly draw: number;
  readonly spans: readonly SlotSpan[];
}

export interface Counts {
  readonly keys: number;
  /** The slot of the key that was drawn, and how many come before it there; 0 and 0 where there is none. */
  readonly slot: number;
  readonly rank: number;
}

const HASH_BYTES = 4;

export function encodeKeysRequest(ringVersion: number, request: KeysRequest): Buffer {
  const { database, fromHash, count, spans } = request;
  const length = varintLength(ringVersion) + 1 + HASH_BYTES + varintLength(count) + spansLength(spans);
  const bytes = Buffer.allocUnsafe(length);
  let at = writeVarint(bytes, 0, ringVersion);
  bytes[at++] = database;
  at = bytes.writeUInt32BE(fromHash, at);
  writeSpans(bytes, writeVarint(bytes, at, count), spans);
  return bytes;
}

/** Throws CORRUPT. */
export function decodeKeysRequest(bytes: Buffer): KeysRequest & { readonly ringVersion: number } {
  const cursor: Cursor = { at: 0 };
  const ringVersion = readVarint(bytes, cursor, bytes.length);
  const database = readDatabase(bytes, cursor);
  const fromHash = readHash(bytes, cursor);
  const count = readVarint(bytes, cursor, bytes.length);
  if (count < 1) throw new OperatingError("CORRUPT", "a message of a peer asks for no keys");
  return { ringVersion, database, fromHash, count, spans: readSpans(bytes, cursor) };
}

/** Bytes that a key takes in an answer. */
export function listedBytes({ dataKey, expiryMs }: ListedKey): number {
  return varintLength(dataKey.length) + dataKey.length + 2 * HASH_BYTES + varintLength(expiryMs);
}

/** The answer to a KEYS, its status included. */
export function encodeKeysPage({ keys, slot, hash }: KeysPage): Buffer {
  let length = 1 + varintLength(slot) + HASH_BYTES;
  for (const key of keys) length += listedBytes(key);
  const bytes = Buffer.allocUnsafe(length);
  bytes[0] = AnswerStatus.ok;
  let at = bytes.writeUInt32BE(hash, writeVarint(bytes, 1, slot));
  for (const { dataKey, high, low, expiryMs } of keys) {
    at = writeLatin1(bytes, writeVarint(bytes, at, dataKey.length), dataKey);
    at = bytes.writeUInt32BE(low, bytes.writeUInt32BE(high, at));
    at = writeVarint(bytes, at, expiryMs);
  }
  return bytes;
}

/** The page in an answer with status `ok`. Throws CORRUPT. */
export function decodeKeysPage(answer: Buffer): KeysPage {
  const cursor: Cursor = { at: 1 };
  const slot = readVarint(answer, cursor, answer.length);
  const hash = readHash(answer, cursor);
  if (slot > SLOTS) throw new OperatingError("CORRUPT", "an answer of a peer names slots that there are not");
  const keys: ListedKey[] = [];
  while (cursor.at < answer.length) {
    const dataKey = readDataKey(answer, cursor, answer.length);
    const high = readHash(answer, cursor);
    const low = readHash(answer, cursor);
    keys.push({ dataKey, high, low, expiryMs: readVarint(answer, cursor, answer.length) });
  }
  return { keys, slot, hash };
}

export function encodeCountsRequest(ringVersion: number, { database, draw, spans }: CountsRequest): Buffer {
  const bytes = Buffer.allocUnsafe(varintLength(ringVersion) + 1 + HASH_BYTES + spansLength(spans));
  let at = writeVarint(bytes, 0, ringVersion);
  bytes[at++] = database;
  at = bytes.writeUInt32BE(draw, at);
  writeSpans(bytes, at, spans);
  return bytes;
}

/** Throws CORRUPT. */
export function decodeCountsRequest(bytes: Buffer): CountsRequest & { readonly ringVersion: number } {
  const cursor: Cursor = { at: 0 };
  const ringVersion = readVarint(bytes, cursor, bytes.length);
  const database = readDatabase(bytes, cursor);
  const draw = readHash(bytes, cursor);
  return { ringVersion, database, draw, spans: readSpans(bytes, cursor) };
}

/** The answer to a COUNTS, its status included. */
export function encodeCounts({ keys, slot, rank }: Counts): Buffer {
  const bytes = Buffer.allocUnsafe(1 + varintLength(keys) + varintLength(slot) + varintLength(rank));
  bytes[0] = AnswerStatus.ok;
  writeVarint(bytes, writeVarint(bytes, writeVarint(bytes, 1, keys), slot), rank);
  return bytes;
}

/** The counts in an answer with status `ok`. Throws CORRUPT. */
export function decodeCounts(answer: Buffer): Counts {
  const cursor: Cursor = { at: 1 };
  const keys = readVarint(answer, cursor, answer.length);
  const slot = readVarint(answer, cursor, answer.length);
  const rank = readVarint(answer, cursor, answer.length);
  if (slot >= SLOTS) throw new OperatingError("CORRUPT", "an answer of a peer names a slot that there is not");
  return { keys, slot, rank };
}

function readDatabase(bytes: Buffer, cursor: Cursor): number {
  const database = bytes[cursor.at++] ?? DATABASES;
  if (database >= DATABASES) throw new OperatingError("CORRUPT", "a message of a peer names a database that there is not");
  return database;
}

function readHash(bytes: Buffer, cursor: Cursor): number {
  if (bytes.length - cursor.at < HASH_BYTES) throw cutOff();
  cursor.at += HASH_BYTES;
  return bytes.readUInt32BE(cursor.at - HASH_BYTES);
}

function cutOff(): OperatingError {
  return new OperatingError("CORRUPT", "a message of a peer is cut off");
}
