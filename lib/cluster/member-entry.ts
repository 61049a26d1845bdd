/**
 * What a member writes about itself. Only its owner ever changes an entry; everybody else passes it on as the bytes that it
 * came in, so that fields of later versions survive members that do not know them.
 *
 * An entry is a *stamp* (who, which generation, which heartbeat, and the heartbeat at which the contents last changed) and
 * *contents*. Contents change only together with the heartbeat, so stamps with the same generation and the same `changed`
 * have the same contents: a newer heartbeat of known contents needs no contents to travel.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { MEMBER_ID_BYTES, type MemberId, type UnknownField } from "./member.js";

export interface MemberAddress {
  /** A name or an address, 1 to 255 bytes. */
  readonly host: string;
  /** 0 to 65535; 0 only for a client address that is not served. */
  readonly port: number;
}

/** Whole numbers; how much work a member has. */
export interface MemberLoad {
  readonly requestsPerSecond: number;
  readonly storedBytes: number;
  readonly waitingHints: number;
  /** Thousandths of the time for which the thread of requests was busy. Null: a member of an earlier version does not tell. */
  readonly busyPermille: number | null;
  /** Bytes free where it keeps its data. Null where that is not known. */
  readonly diskFreeBytes: number | null;
}

export type MemberState = "joining" | "up" | "leaving";

export interface MemberContents {
  /** For people; at most 255 bytes. */
  readonly name: string;
  readonly peerAddress: MemberAddress;
  readonly clientAddress: MemberAddress;
  readonly load: MemberLoad;
  /** 16 lowercase hex characters. */
  readonly storeId: string;
  /** The end of the sequences that the store has leased. */
  readonly sequenceLease: number;
  /** Whom this member suspects: ascending, at most `SUSPECTS_MAX`. */
  readonly suspects: readonly MemberId[];
  /** At most 255 bytes. */
  readonly softwareVersion: string;
  readonly protocolVersion: number;
  readonly state: MemberState;
  /** The version of the ring document that this member holds. */
  readonly ringVersion: number;
  /** Ascending by tag. */
  readonly unknown: readonly UnknownField[];
}

/** Which entry of a member this is: the newer (generation, heartbeat) wins. */
export interface MemberStamp {
  readonly id: MemberId;
  /** 1 to `GENERATION_MAX`: of one run of the process. */
  readonly generation: number;
  /** From 1, one more each second. */
  readonly heartbeat: number;
  /** The heartbeat at which the contents last changed, 1 to `heartbeat`. */
  readonly changed: number;
}

export interface MemberEntry extends MemberStamp {
  readonly contents: MemberContents;
}

/** 16 members that are cut off together are rare, 128 are a data centre: each is still named by many of those who see it. */
export const SUSPECTS_MAX = 128;
export const CONTENTS_BYTES_MAX = 4096;
/** Generations are milliseconds of Unix time; this is the year 6429. */
export const GENERATION_MAX = 2 ** 47;
export const HEARTBEAT_MAX = 2 ** 32 - 1;
const TEXT_BYTES_MAX = 255;

/** Numbers on the wire: append, never reuse. */
const TAG = {
  name: 1,
  peerAddress: 2,
  clientAddress: 3,
  load: 4,
  store: 5,
  suspects: 6,
  software: 7,
  state: 8,
  ringVersion: 9,
} as const;
const TAG_KNOWN_MAX = 9;
const STATES: readonly MemberState[] = ["joining", "up", "leaving"];

/** Layout: docs/FORMATS.md, "Gossip messages". Asserts the bounds above: the owner keeps them. */
export function encodeContents(contents: MemberContents): Buffer {
  const fields: { tag: number; bytes: Uint8Array }[] = [
    { tag: TAG.name, bytes: textBytes(contents.name) },
    { tag: TAG.peerAddress, bytes: addressBytes(contents.peerAddress) },
    { tag: TAG.clientAddress, bytes: addressBytes(contents.clientAddress) },
    { tag: TAG.load, bytes: loadBytes(contents.load) },
    { tag: TAG.store, bytes: Buffer.concat([idBytes(contents.storeId), varints(contents.sequenceLease)]) },
    { tag: TAG.suspects, bytes: suspectsBytes(contents.suspects) },
    { tag: TAG.software, bytes: Buffer.concat([varints(contents.protocolVersion), textBytes(contents.softwareVersion)]) },
    { tag: TAG.state, bytes: varints(STATES.indexOf(contents.state)) },
    { tag: TAG.ringVersion, bytes: varints(contents.ringVersion) },
    ...contents.unknown,
  ];
  let length = 0;
  for (const { tag, bytes } of fields) length += varintLength(tag) + varintLength(bytes.length) + bytes.length;
  assert(length <= CONTENTS_BYTES_MAX, "member entry: contents within their bound");
  const encoded = Buffer.allocUnsafe(length);
  let at = 0;
  let last = 0;
  for (const { tag, bytes } of fields) {
    assert(tag > last, "member entry: tags ascend");
    last = tag;
    at = writeVarint(encoded, at, tag);
    at = writeVarint(encoded, at, bytes.length);
    at = copyBytes(bytes, 0, bytes.length, encoded, at);
  }
  return encoded;
}

/** Throws CORRUPT for bytes that `encodeContents` of no version writes. A field that is missing has its empty value. */
export function decodeContents(bytes: Buffer): MemberContents {
  if (bytes.length > CONTENTS_BYTES_MAX) throw corrupt(`${bytes.length} bytes of contents, at most ${CONTENTS_BYTES_MAX}`);
  const contents = emptyContents();
  const unknown: UnknownField[] = [];
  const cursor: Cursor = { at: 0 };
  let last = 0;
  while (cursor.at < bytes.length) {
    const tag = readVarint(bytes, cursor, bytes.length);
    const length = readVarint(bytes, cursor, bytes.length);
    if (tag <= last) throw corrupt("fields out of order");
    last = tag;
    const end = cursor.at + length;
    if (end > bytes.length) throw corrupt("a field is cut off");
    if (tag > TAG_KNOWN_MAX) unknown.push({ tag, bytes: Buffer.from(bytes.subarray(cursor.at, end)) });
    else readField(contents, tag, bytes, cursor, end);
    cursor.at = end;
  }
  if (contents.peerAddress.port === 0) throw corrupt("no address");
  return { ...contents, unknown };
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

function emptyContents(): Writable<MemberContents> {
  return {
    name: "",
    peerAddress: { host: "", port: 0 },
    clientAddress: { host: "", port: 0 },
    load: { requestsPerSecond: 0, storedBytes: 0, waitingHints: 0, busyPermille: null, diskFreeBytes: null },
    storeId: "0000000000000000",
    sequenceLease: 0,
    suspects: [],
    softwareVersion: "",
    protocolVersion: 0,
    state: "up",
    ringVersion: 0,
    unknown: [],
  };
}

/** Reads one known field. Bytes behind what this version reads of it are of a later one and are left alone. */
function readField(contents: Writable<MemberContents>, tag: number, bytes: Buffer, cursor: Cursor, end: number): void {
  switch (tag) {
    case TAG.name:
      contents.name = readText(bytes, cursor, end);
      return;
    case TAG.peerAddress:
      contents.peerAddress = readAddress(bytes, cursor, end);
      return;
    case TAG.clientAddress:
      contents.clientAddress = readAddress(bytes, cursor, end);
      return;
    case TAG.load:
      contents.load = {
        requestsPerSecond: readVarint(bytes, cursor, end),
        storedBytes: readVarint(bytes, cursor, end),
        waitingHints: readVarint(bytes, cursor, end),
        busyPermille: readKnown(bytes, cursor, end),
        diskFreeBytes: readKnown(bytes, cursor, end),
      };
      return;
    case TAG.store:
      contents.storeId = readId(bytes, cursor, end);
      contents.sequenceLease = readVarint(bytes, cursor, end);
      return;
    case TAG.suspects:
      contents.suspects = readSuspects(bytes, cursor, end);
      return;
    case TAG.software:
      contents.protocolVersion = readVarint(bytes, cursor, end);
      contents.softwareVersion = readText(bytes, cursor, end);
      return;
    case TAG.state:
      // A state of a later version: such a member takes part, which is all that this one needs to know.
      contents.state = STATES[readVarint(bytes, cursor, end)] ?? "up";
      return;
    default:
      contents.ringVersion = readVarint(bytes, cursor, end);
  }
}

/** Ids are eight bytes on the wire. */
export function idBytes(id: string): Buffer {
  const bytes = Buffer.from(id, "hex");
  assert(bytes.length === MEMBER_ID_BYTES, "member entry: an id is 16 hex characters");
  return bytes;
}

function readId(bytes: Buffer, cursor: Cursor, end: number): string {
  if (cursor.at + MEMBER_ID_BYTES > end) throw corrupt("an id is cut off");
  cursor.at += MEMBER_ID_BYTES;
  return bytes.toString("hex", cursor.at - MEMBER_ID_BYTES, cursor.at);
}

function suspectsBytes(suspects: readonly MemberId[]): Buffer {
  assert(suspects.length <= SUSPECTS_MAX, "member entry: suspects within their bound");
  return Buffer.concat(suspects.map(idBytes));
}

function readSuspects(bytes: Buffer, cursor: Cursor, end: number): readonly MemberId[] {
  const count = (end - cursor.at) / MEMBER_ID_BYTES;
  if (!Number.isInteger(count) || count > SUSPECTS_MAX) throw corrupt("a list of suspects of an odd length");
  const suspects: MemberId[] = [];
  for (let index = 0; index < count; index++) suspects.push(readId(bytes, cursor, end));
  return suspects;
}

/** A length byte before the text. */
function textBytes(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  assert(bytes.length <= TEXT_BYTES_MAX, "member entry: a text has at most 255 bytes");
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

function readText(bytes: Buffer, cursor: Cursor, end: number): string {
  const start = cursor.at + 1;
  if (start > end) throw corrupt("a text is missing");
  const stop = start + bytes[cursor.at]!;
  if (stop > end) throw corrupt("a text is cut off");
  cursor.at = stop;
  return bytes.toString("utf8", start, stop);
}

function addressBytes({ host, port }: MemberAddress): Buffer {
  return Buffer.concat([textBytes(host), varints(port)]);
}

function readAddress(bytes: Buffer, cursor: Cursor, end: number): MemberAddress {
  const host = readText(bytes, cursor, end);
  const port = readVarint(bytes, cursor, end);
  if (port > 65_535) throw corrupt(`port ${port}`);
  return { host, port };
}

function loadBytes({ requestsPerSecond, storedBytes, waitingHints, busyPermille, diskFreeBytes }: MemberLoad): Buffer {
  return varints(requestsPerSecond, storedBytes, waitingHints, known(busyPermille), known(diskFreeBytes));
}

/** What may be unknown is one more than it is; 0, or nothing, says that it is unknown. */
function known(value: number | null): number {
  return value === null ? 0 : value + 1;
}

function readKnown(bytes: Buffer, cursor: Cursor, end: number): number | null {
  const value = cursor.at < end ? readVarint(bytes, cursor, end) : 0;
  return value === 0 ? null : value - 1;
}

function varints(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(values.reduce((sum, value) => sum + varintLength(value), 0));
  values.reduce((at, value) => writeVarint(bytes, at, value), 0);
  return bytes;
}

function corrupt(what: string): OperatingError {
  return new OperatingError("CORRUPT", `a member's entry is malformed: ${what}`);
}
