/**
 * The layout of a stored record, format 1 (docs/FORMATS.md, "Records"). What a GET needs stands first and the value of the
 * newest version last, so that a read decodes the header alone and copies the value once.
 *
 *     format u8 = 1 | record flags u8 | newest version's kind u8
 *     [version count varint, >= 2: SIBLINGS] [expiry varint: EXPIRY of kind] [local length varint, >= 1: LOCAL]
 *     body length varint | body | value of the newest version | local area
 *
 *     body:      dot | [write id: WRITE_ID] [fields: FIELDS] | [context: CONTEXT] | other versions | values of those
 *     dot:       actor 12 bytes | stamp u56, big-endian | sequence varint
 *     write id:  length varint >= 1 | bytes              fields: total length varint >= 1 | (tag varint, length varint, bytes)*
 *     context:   entry count varint | (actor 12 bytes, sequence varint)*          left out where it is the newest dot alone
 *     other version: kind u8 | dot | [expiry varint] [value length varint: not NO_VALUE] [write id] [fields]
 *
 * The actor and the high bytes of the stamp repeat from record to record: next to each other they compress to one copy.
 * This file holds the numbers and what reads and writes the small parts; every reader checks bounds and throws CORRUPT.
 */
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { ACTOR_BYTES, type Dot } from "./actor.js";
import { VersionVector } from "./version-vector.js";

export const RECORD_FORMAT = 1;

/** Record flags. */
export const SIBLINGS = 1;
export const CONTEXT = 2;
export const LOCAL = 4;
export const RECORD_FLAGS = SIBLINGS | CONTEXT | LOCAL;

/** A version's kind: its type in the low four bits, flags above. A tombstone has NO_VALUE too. */
export const TYPE_MASK = 15;
export const TYPE_STRING = 1;
export const TYPE_TOMBSTONE = 2;
export const EXPIRY = 16;
export const NO_VALUE = 32;
export const WRITE_ID = 64;
export const FIELDS = 128;

export const STAMP_BYTES = 7;
/** Where the sequence stands in a dot. */
export const DOT_HEAD_BYTES = ACTOR_BYTES + STAMP_BYTES;
export const DOT_BYTES_MIN = DOT_HEAD_BYTES + 1;

/** The error of every reader here. */
export function corruptRecord(what: string): OperatingError {
  return new OperatingError("CORRUPT", `a record is damaged: ${what}`);
}

/** Of a record in another format: a later program wrote it. */
export function laterRecord(format: number): OperatingError {
  const text = `a record has format ${format}; this program reads format ${RECORD_FORMAT}: use the program that wrote it`;
  return new OperatingError("CORRUPT", text);
}

/** Writes a stamp; returns the position after it. REQUIRES room for STAMP_BYTES. */
export function writeStamp(target: Uint8Array, at: number, stamp: number): number {
  const high = Math.floor(stamp / 0x1_0000_0000);
  const low = stamp >>> 0;
  target[at] = high >>> 16;
  target[at + 1] = high >>> 8;
  target[at + 2] = high;
  target[at + 3] = low >>> 24;
  target[at + 4] = low >>> 16;
  target[at + 5] = low >>> 8;
  target[at + 6] = low;
  return at + STAMP_BYTES;
}

/** REQUIRES STAMP_BYTES bytes at `at`. */
export function readStamp(bytes: Uint8Array, at: number): number {
  const high = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
  const low = ((bytes[at + 3]! << 24) | (bytes[at + 4]! << 16) | (bytes[at + 5]! << 8) | bytes[at + 6]!) >>> 0;
  if (high > 0x1f_ffff) throw corruptRecord("a stamp is out of range");
  return high * 0x1_0000_0000 + low;
}

/** A length, count or time that has to be at least `min`. */
export function readAtLeast(bytes: Uint8Array, cursor: Cursor, end: number, min: number): number {
  const value = readVarint(bytes, cursor, end);
  if (value < min) throw corruptRecord("a number is smaller than any that is written");
  return value;
}

/** Moves the cursor over `length` bytes and returns where they start. */
export function skip(cursor: Cursor, length: number, end: number): number {
  const start = cursor.at;
  if (length > end - start) throw corruptRecord("a part reaches past its end");
  cursor.at = start + length;
  return start;
}

export function readActor(bytes: Uint8Array, cursor: Cursor, end: number): string {
  const start = skip(cursor, ACTOR_BYTES, end);
  return latin1Of(bytes, start, cursor.at);
}

/** Bytes that `writeContext` writes. */
export function contextLength(context: VersionVector): number {
  let length = varintLength(context.size);
  for (const { sequence } of context.entries) length += ACTOR_BYTES + varintLength(sequence);
  return length;
}

/** Writes a context; returns the position after it. REQUIRES room for `contextLength(context)` bytes. */
export function writeContext(target: Uint8Array, at: number, context: VersionVector): number {
  let next = writeVarint(target, at, context.size);
  for (const { actor, sequence } of context.entries) {
    next = writeVarint(target, writeLatin1(target, next, actor), sequence);
  }
  return next;
}

/** Reads a context and moves the cursor behind it. Throws CORRUPT where it is cut, unsorted or impossible. */
export function readContext(bytes: Uint8Array, cursor: Cursor, end: number): VersionVector {
  const count = readVarint(bytes, cursor, end);
  if (count > (end - cursor.at) / (ACTOR_BYTES + 1)) throw corruptRecord("a context has more entries than there is room for");
  const entries: Dot[] = [];
  for (let index = 0; index < count; index++) {
    const actor = readActor(bytes, cursor, end);
    if (index > 0 && entries[index - 1]!.actor >= actor) throw corruptRecord("a context is not sorted");
    entries.push({ actor, sequence: readAtLeast(bytes, cursor, end, 1) });
  }
  return VersionVector.ofSorted(entries);
}
