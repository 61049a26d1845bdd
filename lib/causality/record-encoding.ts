/**
 * Records to bytes and back, whole: for merging, sending and repair. The hot paths use record-view and record-writer. Equal
 * records have equal bytes; whatever `decodeRecord` accepts keeps the record's invariants.
 */
import { assert } from "../assert.js";
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { ACTOR_BYTES, type Dot } from "./actor.js";
import { type Field, NO_FIELDS, newestFirst, type Record, type Version } from "./record.js";
import {
  CONTEXT,
  contextLength,
  corruptRecord,
  DOT_HEAD_BYTES,
  EXPIRY,
  FIELDS,
  LOCAL,
  NO_VALUE,
  RECORD_FORMAT,
  readActor,
  readAtLeast,
  readContext,
  readStamp,
  SIBLINGS,
  STAMP_BYTES,
  skip,
  TYPE_MASK,
  TYPE_STRING,
  TYPE_TOMBSTONE,
  WRITE_ID,
  writeContext,
  writeStamp,
} from "./record-format.js";
import { CONTEXT_ENTRIES_MAX } from "./record-pruning.js";
import { RecordView } from "./record-view.js";
import { VersionVector } from "./version-vector.js";

/** A body that is shorter has a context of fewer entries than `CONTEXT_ENTRIES_MAX`. */
export const LONG_CONTEXT_BYTES = CONTEXT_ENTRIES_MAX * (ACTOR_BYTES + 1);

/** The record's bytes, owned by the caller (they may lie in Node's shared pool: copy what is kept long). No local area. */
export function encodeRecord(record: Record): Buffer {
  const [first, ...others] = record.versions;
  assert(first !== undefined, "record: has a version");
  const hasContext = !isDotAlone(record.context, first.dot);
  let bodyLength = dotLength(first.dot) + extrasLength(first) + (hasContext ? contextLength(record.context) : 0);
  for (const version of others) bodyLength += otherLength(version) + (version.value?.length ?? 0);
  const headerLength =
    3 +
    (others.length > 0 ? varintLength(record.versions.length) : 0) +
    (first.expiryMs > 0 ? varintLength(first.expiryMs) : 0) +
    varintLength(bodyLength);
  const bytes = Buffer.allocUnsafe(headerLength + bodyLength + (first.value?.length ?? 0));

  bytes[0] = RECORD_FORMAT;
  bytes[1] = (others.length > 0 ? SIBLINGS : 0) | (hasContext ? CONTEXT : 0);
  bytes[2] = kindOf(first);
  let at = 3;
  if (others.length > 0) at = writeVarint(bytes, at, record.versions.length);
  if (first.expiryMs > 0) at = writeVarint(bytes, at, first.expiryMs);
  at = writeVarint(bytes, at, bodyLength);
  at = writeExtras(bytes, writeDot(bytes, at, first), first);
  if (hasContext) at = writeContext(bytes, at, record.context);
  for (const version of others) at = writeOther(bytes, at, version);
  for (const version of others) at = writeValue(bytes, at, version);
  assert(at === headerLength + bodyLength, "record: body as long as measured");
  at = writeValue(bytes, at, first);
  assert(at === bytes.length, "record: as long as measured");
  return bytes;
}

/**
 * The record in `bytes[start, end)`, without its local area. Values and fields are views of the given bytes: borrowed.
 * Throws CORRUPT on damage or a format that this version does not know.
 */
export function decodeRecord(bytes: Uint8Array, start = 0, end = bytes.length): Record {
  const view = new RecordView();
  view.read(bytes, start, end);
  const cursor: Cursor = { at: view.bodyStart };
  const bodyEnd = view.valueStart;
  // Properties are written out, in one order, because spreading several objects into one takes microseconds.
  const stamp = readStamp(bytes, view.bodyStart + ACTOR_BYTES);
  const dot = readDot(bytes, cursor, bodyEnd);
  const type = typeOf(view.kind);
  const value = view.isTombstone ? null : bytes.subarray(view.valueStart, view.valueEnd);
  const writeId = readWriteId(bytes, cursor, bodyEnd, view.kind);
  const fields = readFields(bytes, cursor, bodyEnd, view.kind);
  const newest: Version = { dot, stamp, expiryMs: view.expiryMs, type, value, writeId, fields };
  const context = (view.flags & CONTEXT) === 0 ? VersionVector.of(dot) : readContext(bytes, cursor, bodyEnd);
  const others = view.versionCount > 1 ? readOthers(bytes, cursor, bodyEnd, view.versionCount - 1) : [];
  const versions = [newest, ...others];
  if (cursor.at !== bodyEnd) throw corruptRecord("its body is longer than its parts");
  if ((view.flags & CONTEXT) !== 0 && isDotAlone(context, dot)) throw corruptRecord("its context is redundant");
  for (const [index, version] of versions.entries()) {
    if (!context.covers(version.dot)) throw corruptRecord("its context does not cover a version");
    if (index > 0 && newestFirst(versions[index - 1]!, version) >= 0) throw corruptRecord("its versions are not sorted");
  }
  return { context, versions };
}

/** The context of a record that was read into `view`, without what else it holds. Throws CORRUPT. */
export function contextOf({ bytes, bodyStart, valueStart: end, flags, kind }: RecordView): VersionVector {
  const cursor: Cursor = { at: bodyStart };
  const dot = readDot(bytes, cursor, end);
  if ((flags & CONTEXT) === 0) return VersionVector.of(dot);
  if ((kind & WRITE_ID) !== 0) skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
  if ((kind & FIELDS) !== 0) skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
  return readContext(bytes, cursor, end);
}

/** True when more stores and epochs have written the key than `CONTEXT_ENTRIES_MAX`. Throws CORRUPT. */
export function hasLongContext({ bytes, bodyStart, valueStart: end, flags, kind }: RecordView): boolean {
  if ((flags & CONTEXT) === 0 || end - bodyStart < LONG_CONTEXT_BYTES) return false;
  const cursor: Cursor = { at: bodyStart };
  readDot(bytes, cursor, end);
  if ((kind & WRITE_ID) !== 0) skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
  if ((kind & FIELDS) !== 0) skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
  return readVarint(bytes, cursor, end) > CONTEXT_ENTRIES_MAX;
}

/** The write id of the newest version of a record that was read into `view`; null where it has none. Throws CORRUPT. */
export function writeIdOf({ bytes, bodyStart, valueStart: end, kind }: RecordView): string | null {
  if ((kind & WRITE_ID) === 0) return null;
  const cursor: Cursor = { at: bodyStart };
  readDot(bytes, cursor, end);
  return readWriteId(bytes, cursor, end, kind);
}

/** The replica-local area of a stored record: borrowed bytes, empty where there is none. Throws CORRUPT. */
export function localAreaOf(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
  const view = new RecordView();
  view.read(bytes, start, end);
  return bytes.subarray(view.valueEnd, end);
}

/**
 * The stored record with another local area (empty: none), owned by the caller. Whatever encodes a record anew leaves the
 * area out, so one who needs it carries it over with this. Throws CORRUPT.
 */
export function withLocalArea(bytes: Uint8Array, start: number, end: number, area: Uint8Array): Buffer {
  const view = new RecordView();
  view.read(bytes, start, end);
  const { versionCount, expiryMs, flags, kind, bodyStart, valueStart, valueEnd } = view;
  const target = Buffer.allocUnsafe(end - start + 3 * 8 + area.length);
  target[0] = RECORD_FORMAT;
  target[1] = area.length > 0 ? flags | LOCAL : flags & ~LOCAL;
  target[2] = kind;
  let at = 3;
  if (versionCount > 1) at = writeVarint(target, at, versionCount);
  if (expiryMs > 0) at = writeVarint(target, at, expiryMs);
  if (area.length > 0) at = writeVarint(target, at, area.length);
  at = writeVarint(target, at, valueStart - bodyStart);
  target.set(bytes.subarray(bodyStart, valueEnd), at);
  at += valueEnd - bodyStart;
  target.set(area, at);
  return target.subarray(0, at + area.length);
}

/** The bytes that other replicas may see: the record without its local area. The given bytes themselves where it has none. */
export function forSending(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
  const hasArea = localAreaOf(bytes, start, end).length > 0;
  return hasArea ? withLocalArea(bytes, start, end, new Uint8Array(0)) : bytes.subarray(start, end);
}

function isDotAlone(context: VersionVector, dot: Dot): boolean {
  return context.size === 1 && context.sequenceOf(dot.actor) === dot.sequence;
}

function kindOf(version: Version): number {
  assert(version.type === "string" || version.value === null, "record: a tombstone has no value");
  assert(Number.isSafeInteger(version.expiryMs) && version.expiryMs >= 0, "record: an expiry is a time or 0");
  return (
    (version.type === "string" ? TYPE_STRING : TYPE_TOMBSTONE) |
    (version.expiryMs > 0 ? EXPIRY : 0) |
    (version.value === null ? NO_VALUE : 0) |
    (version.writeId !== null ? WRITE_ID : 0) |
    (version.fields.length > 0 ? FIELDS : 0)
  );
}

function typeOf(kind: number): Version["type"] {
  switch (kind & TYPE_MASK) {
    case TYPE_STRING:
      return "string";
    case TYPE_TOMBSTONE:
      if ((kind & NO_VALUE) === 0) throw corruptRecord("a tombstone has a value");
      return "tombstone";
    default:
      throw corruptRecord("a version's type is not known to this version of Kindred");
  }
}

function dotLength(dot: Dot): number {
  return DOT_HEAD_BYTES + varintLength(dot.sequence);
}

function writeDot(target: Uint8Array, at: number, { dot, stamp }: Version): number {
  assert(dot.actor.length === ACTOR_BYTES, "record: an actor is 12 bytes");
  return writeVarint(target, writeStamp(target, writeLatin1(target, at, dot.actor), stamp), dot.sequence);
}

/** Reads a dot; the stamp in the middle of it is read apart. */
function readDot(bytes: Uint8Array, cursor: Cursor, end: number): Dot {
  const actor = readActor(bytes, cursor, end);
  skip(cursor, STAMP_BYTES, end);
  return { actor, sequence: readAtLeast(bytes, cursor, end, 1) };
}

/** Write id and fields. */
function extrasLength({ writeId, fields }: Version): number {
  let length = writeId === null ? 0 : varintLength(writeId.length) + writeId.length;
  if (fields.length > 0) {
    const inner = fieldsLength(fields);
    length += varintLength(inner) + inner;
  }
  return length;
}

function fieldsLength(fields: readonly Field[]): number {
  let length = 0;
  for (const { tag, bytes } of fields) length += varintLength(tag) + varintLength(bytes.length) + bytes.length;
  return length;
}

function writeExtras(target: Uint8Array, start: number, { writeId, fields }: Version): number {
  let at = start;
  if (writeId !== null) {
    assert(writeId.length > 0, "record: a write id is not empty");
    at = writeLatin1(target, writeVarint(target, at, writeId.length), writeId);
  }
  if (fields.length === 0) return at;
  at = writeVarint(target, at, fieldsLength(fields));
  for (const { tag, bytes } of fields) {
    at = writeVarint(target, writeVarint(target, at, tag), bytes.length);
    target.set(bytes, at);
    at += bytes.length;
  }
  return at;
}

function readWriteId(bytes: Uint8Array, cursor: Cursor, end: number, kind: number): string | null {
  if ((kind & WRITE_ID) === 0) return null;
  const start = skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
  return latin1Of(bytes, start, cursor.at);
}

function readFields(bytes: Uint8Array, cursor: Cursor, end: number, kind: number): readonly Field[] {
  if ((kind & FIELDS) === 0) return NO_FIELDS;
  const fieldsEnd = readAtLeast(bytes, cursor, end, 1) + cursor.at;
  if (fieldsEnd > end) throw corruptRecord("its fields reach past its end");
  const fields: Field[] = [];
  while (cursor.at < fieldsEnd) {
    const tag = readVarint(bytes, cursor, fieldsEnd);
    if (fields.length > 0 && fields.at(-1)!.tag >= tag) throw corruptRecord("its fields are not sorted");
    const start = skip(cursor, readVarint(bytes, cursor, fieldsEnd), fieldsEnd);
    fields.push({ tag, bytes: bytes.subarray(start, cursor.at) });
  }
  return fields;
}

function otherLength(version: Version): number {
  return (
    1 +
    dotLength(version.dot) +
    (version.expiryMs > 0 ? varintLength(version.expiryMs) : 0) +
    (version.value === null ? 0 : varintLength(version.value.length)) +
    extrasLength(version)
  );
}

function writeOther(target: Uint8Array, start: number, version: Version): number {
  target[start] = kindOf(version);
  let at = writeDot(target, start + 1, version);
  if (version.expiryMs > 0) at = writeVarint(target, at, version.expiryMs);
  if (version.value !== null) at = writeVarint(target, at, version.value.length);
  return writeExtras(target, at, version);
}

function writeValue(target: Uint8Array, at: number, { value }: Version): number {
  if (value === null) return at;
  target.set(value, at);
  return at + value.length;
}

/** The versions after the newest: first what is known of each, then their values. */
function readOthers(bytes: Uint8Array, cursor: Cursor, end: number, count: number): Version[] {
  const heads: { version: Version; valueLength: number }[] = [];
  for (let index = 0; index < count; index++) {
    const kindAt = skip(cursor, 1, end);
    const kind = bytes[kindAt]!;
    const type = typeOf(kind);
    const dot = readDot(bytes, cursor, end);
    const stamp = readStamp(bytes, kindAt + 1 + ACTOR_BYTES);
    const expiryMs = (kind & EXPIRY) === 0 ? 0 : readAtLeast(bytes, cursor, end, 1);
    const valueLength = (kind & NO_VALUE) === 0 ? readVarint(bytes, cursor, end) : -1;
    const writeId = readWriteId(bytes, cursor, end, kind);
    const fields = readFields(bytes, cursor, end, kind);
    heads.push({ version: { dot, stamp, expiryMs, type, value: null, writeId, fields }, valueLength });
  }
  return heads.map(({ version, valueLength }) => {
    if (valueLength < 0) return version;
    const start = skip(cursor, valueLength, end);
    return { ...version, value: bytes.subarray(start, cursor.at) };
  });
}
