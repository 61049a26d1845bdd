/**
 * What members say to each other about members: a digest, its answer, the entries that were wanted, and a nod. Layout:
 * docs/FORMATS.md, "Gossip messages". Decoding checks all that the walks over rows rely on; decoded parts are borrowed.
 */
import { assert, unreachable } from "../assert.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import type { MemberId } from "./member.js";
import { CONTENTS_BYTES_MAX, idBytes } from "./member-entry.js";
import { type DigestAnswer, type DigestPage, ENTRIES_BYTES_MAX, PAGE_ROWS_MAX, type PackedEntry } from "./membership.js";
import { checkRows, ROW_BYTES, Rows } from "./membership-rows.js";

/** In front of every message. */
export interface GossipHeader {
  readonly sender: MemberId;
  /** The version of the ring document that the sender holds. */
  readonly ringVersion: number;
}

export type GossipBody =
  | { readonly kind: "digest"; readonly page: DigestPage }
  | { readonly kind: "answer"; readonly answer: DigestAnswer }
  | { readonly kind: "entries"; readonly entries: readonly PackedEntry[] }
  | { readonly kind: "nod" };

export interface GossipMessage {
  readonly header: GossipHeader;
  readonly body: GossipBody;
}

const FORMAT = 1;
const KINDS = ["digest", "answer", "entries", "nod"] as const;
const ID_BYTES = 8;
const HEADER_BYTES_MAX = 64;
/** The most that a message takes: rows, entries and wanted ids, each within its bound. */
export const MESSAGE_BYTES_MAX = HEADER_BYTES_MAX + PAGE_ROWS_MAX * (ROW_BYTES + ID_BYTES) + ENTRIES_BYTES_MAX + 16;

export function encodeGossip(header: GossipHeader, body: GossipBody): Buffer {
  const target = Buffer.allocUnsafe(HEADER_BYTES_MAX + bytesOf(body));
  target[0] = FORMAT;
  target[1] = KINDS.indexOf(body.kind) + 1;
  target.set(idBytes(header.sender), 2);
  let at = writeVarint(target, 2 + ID_BYTES, header.ringVersion);
  // Room for what later versions add to the header: its length, none yet.
  at = writeVarint(target, at, 0);
  switch (body.kind) {
    case "digest":
      target.set(idBytes(body.page.after), at);
      target.set(idBytes(body.page.upTo), at + ID_BYTES);
      at = writeRows(target, at + 2 * ID_BYTES, body.page.rows);
      break;
    case "answer": {
      const wanted = body.answer.wanted.slice(0, PAGE_ROWS_MAX);
      at = writeEntries(target, writeRows(target, at, body.answer.rows), body.answer.entries);
      at = writeVarint(target, at, wanted.length);
      for (const id of wanted) {
        target.set(idBytes(id), at);
        at += ID_BYTES;
      }
      break;
    }
    case "entries":
      at = writeEntries(target, at, body.entries);
      break;
    case "nod":
      break;
    default:
      unreachable(body);
  }
  assert(at <= MESSAGE_BYTES_MAX, "gossip: a message within its bound");
  return target.subarray(0, at);
}

/** Throws CORRUPT for what no member sends. Rows and contents point into `bytes`. */
export function decodeGossip(bytes: Buffer): GossipMessage {
  if (bytes.length > MESSAGE_BYTES_MAX) throw corrupt(`${bytes.length} bytes`);
  if (bytes.length < 2 + ID_BYTES || bytes[0] !== FORMAT) throw corrupt(`format ${bytes[0]}; this version reads ${FORMAT}`);
  const kind = KINDS[bytes[1]! - 1];
  if (kind === undefined) throw corrupt(`kind ${bytes[1]}`);
  const cursor: Cursor = { at: 2 };
  const sender = readId(bytes, cursor);
  const ringVersion = readVarint(bytes, cursor, bytes.length);
  take(bytes, cursor, readVarint(bytes, cursor, bytes.length));
  const body = readBody(kind, bytes, cursor);
  if (cursor.at !== bytes.length) throw corrupt("bytes behind its end");
  return { header: { sender, ringVersion }, body };
}

function readBody(kind: (typeof KINDS)[number], bytes: Buffer, cursor: Cursor): GossipBody {
  switch (kind) {
    case "digest": {
      const after = readId(bytes, cursor);
      const upTo = readId(bytes, cursor);
      const rows = readRows(bytes, cursor);
      if (after > upTo) throw corrupt("an empty range");
      if (rows.length > 0 && (rows.idAt(0) <= after || rows.idAt(rows.length - 1) > upTo))
        throw corrupt("a stamp out of range");
      return { kind, page: { after, upTo, rows } };
    }
    case "answer": {
      const rows = readRows(bytes, cursor);
      const entries = readEntries(bytes, cursor);
      const count = readCount(bytes, cursor, ID_BYTES);
      const wanted: MemberId[] = [];
      for (let index = 0; index < count; index++) wanted.push(readId(bytes, cursor));
      return { kind, answer: { rows, entries, wanted } };
    }
    case "entries":
      return { kind, entries: readEntries(bytes, cursor) };
    case "nod":
      return { kind };
    default:
      return unreachable(kind);
  }
}

function bytesOf(body: GossipBody): number {
  switch (body.kind) {
    case "digest":
      return body.page.rows.bytes.length;
    case "answer": {
      const { rows, entries, wanted } = body.answer;
      return rows.bytes.length + entriesBytes(entries) + wanted.length * ID_BYTES;
    }
    case "entries":
      return entriesBytes(body.entries);
    case "nod":
      return 0;
    default:
      return unreachable(body);
  }
}

function entriesBytes(entries: readonly PackedEntry[]): number {
  return entries.reduce((sum, { contents }) => sum + ROW_BYTES + varintLength(contents.length) + contents.length, 0);
}

function writeRows(target: Buffer, at: number, rows: Rows): number {
  const start = writeVarint(target, at, rows.length);
  target.set(rows.bytes, start);
  return start + rows.bytes.length;
}

function readRows(bytes: Buffer, cursor: Cursor): Rows {
  const rows = new Rows(take(bytes, cursor, readCount(bytes, cursor, ROW_BYTES) * ROW_BYTES));
  checkRows(rows, true);
  return rows;
}

function writeEntries(target: Buffer, at: number, entries: readonly PackedEntry[]): number {
  let next = writeVarint(target, at, entries.length);
  for (const { stamp, contents } of entries) {
    new Rows(target.subarray(next, next + ROW_BYTES)).set(0, stamp);
    next = writeVarint(target, next + ROW_BYTES, contents.length);
    target.set(contents, next);
    next += contents.length;
  }
  return next;
}

function readEntries(bytes: Buffer, cursor: Cursor): readonly PackedEntry[] {
  const count = readCount(bytes, cursor, ROW_BYTES + 1);
  const entries: PackedEntry[] = [];
  for (let index = 0; index < count; index++) {
    const row = new Rows(take(bytes, cursor, ROW_BYTES));
    checkRows(row, false);
    const length = readVarint(bytes, cursor, bytes.length);
    if (length > CONTENTS_BYTES_MAX) throw corrupt(`an entry of ${length} bytes`);
    entries.push({ stamp: row.stampAt(0), contents: take(bytes, cursor, length) });
  }
  return entries;
}

/** A number of things of at least `bytesEach`, which must fit into what is left. */
function readCount(bytes: Buffer, cursor: Cursor, bytesEach: number): number {
  const count = readVarint(bytes, cursor, bytes.length);
  if (count * bytesEach > bytes.length - cursor.at) throw corrupt("it is cut off");
  return count;
}

function readId(bytes: Buffer, cursor: Cursor): MemberId {
  return take(bytes, cursor, ID_BYTES).toString("hex");
}

function take(bytes: Buffer, cursor: Cursor, length: number): Buffer {
  const start = cursor.at;
  if (length > bytes.length - start) throw corrupt("it is cut off");
  cursor.at = start + length;
  return bytes.subarray(start, start + length);
}

function corrupt(what: string): OperatingError {
  return new OperatingError("CORRUPT", `a gossip message is malformed: ${what}`);
}
