/**
 * What a node that is no replica of a key asks of one that is: docs/FORMATS.md, "Peer protocol". WRITE is one version to mint;
 * COMMAND is a whole command of a client, run where its key is decided on. Kinds and codes are numbers on the wire: append,
 * never reuse.
 *
 *     WRITE:   ring version varint | spare ms varint | stamp u56 | flags u8 | consistency | expiry ms varint | write id (length varint, bytes) |
 *              data key (length varint, bytes) | covered: context, or actor 12 bytes and sequence varint | value
 *     COMMAND: ring version varint | spare ms varint | lease number varint | stamp u56 | protocol u8 | database u8 | consistency | write id | arguments (count varint, (length varint, bytes)*)
 *         consistency: flags u8 | level u8, or 255 and read varint, write varint
 *     answers: status u8 | WRITE: context; COMMAND: the encoded reply; an error: code u8, text
 */
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { ACTOR_BYTES } from "../causality/actor.js";
import type { Covered } from "../causality/record.js";
import {
  contextLength,
  readActor,
  readAtLeast,
  readContext,
  readStamp,
  STAMP_BYTES,
  writeContext,
  writeStamp,
} from "../causality/record-format.js";
import type { VersionVector } from "../causality/version-vector.js";
import { type ErrorCode, OperatingError } from "../errors.js";
import { DATABASES } from "../replica/data-key.js";
import { readDataKey } from "../replica/replica-messages.js";
import { type Consistency, LEVELS } from "./consistency.js";

/** `lease` is a notice: see decision-leases.ts. */
export const ForwardKind = { write: 5, command: 6, lease: 8 } as const;

export const ForwardStatus = { ok: 0, staleRing: 1, error: 2 } as const;

/** The receiver knows a newer ring, in which the slot has other owners. */
export const STALE_RING = Buffer.from([ForwardStatus.staleRing]);

/** Numbers on the wire. */
const CODES: readonly ErrorCode[] = [
  "IO",
  "CORRUPT",
  "LOCKED",
  "CONFIG",
  "ARGUMENT",
  "BUSY",
  "TIMEOUT",
  "CLOSED",
  "UNAVAILABLE",
  "QUORUM",
  "CONFLICT",
];

const NUMBERS = 255;
const STRICT = 1;
const CONFLICTS_ERROR = 2;
const HAS_VALUE = 1;
const COVERS_CONTEXT = 2;
const COVERS_VERSION = 4;
const AS_STAND_IN = 8;

/** One version to mint. */
export interface WriteRequest {
  readonly ringVersion: number;
  /** It must be begun so long before the deadline of its call, or not at all: milliseconds, a whole number. */
  readonly spareMs: number;
  /** Of the sender's clock: see `Forwarded`. */
  readonly stamp: number;
  readonly consistency: Consistency;
  readonly dataKey: string;
  readonly covered: Covered;
  /** Null: a tombstone. */
  readonly value: Uint8Array | null;
  readonly expiryMs: number;
  /** Latin1, not empty. */
  readonly writeId: string;
  /** No replica can be reached: the receiver is to keep it for them. */
  readonly isForStandIn: boolean;
}

export interface CommandRequest {
  readonly ringVersion: number;
  /** As for a WRITE. */
  readonly spareMs: number;
  /** Of the sending: by it a lease says what it covers. 0: no lease does. */
  readonly leaseNumber: number;
  readonly stamp: number;
  readonly protocol: 2 | 3;
  readonly database: number;
  readonly consistency: Consistency;
  readonly writeId: string;
  readonly args: readonly Buffer[];
}

export function encodeWrite(write: WriteRequest): Buffer {
  const { covered, value, dataKey, writeId } = write;
  const length =
    varintLength(write.ringVersion) +
    varintLength(write.spareMs) +
    STAMP_BYTES +
    1 +
    consistencyLength(write.consistency) +
    varintLength(write.expiryMs) +
    textLength(writeId) +
    textLength(dataKey) +
    coveredLength(covered) +
    (value?.length ?? 0);
  const bytes = Buffer.allocUnsafe(length);
  let at = writeVarint(bytes, writeVarint(bytes, 0, write.ringVersion), write.spareMs);
  at = writeStamp(bytes, at, write.stamp);
  bytes[at++] = (value === null ? 0 : HAS_VALUE) | coveredFlag(covered) | (write.isForStandIn ? AS_STAND_IN : 0);
  at = writeConsistency(bytes, at, write.consistency);
  at = writeVarint(bytes, at, write.expiryMs);
  at = writeText(bytes, writeText(bytes, at, writeId), dataKey);
  at = writeCovered(bytes, at, covered);
  if (value !== null) bytes.set(value, at);
  return bytes;
}

/** The value is a view of `bytes`. Throws CORRUPT. */
export function decodeWrite(bytes: Buffer): WriteRequest {
  const cursor: Cursor = { at: 0 };
  const end = bytes.length;
  const ringVersion = readVarint(bytes, cursor, end);
  const spareMs = readVarint(bytes, cursor, end);
  const stamp = readStampAt(bytes, cursor, end);
  const flags = readByte(bytes, cursor, end);
  const consistency = readConsistency(bytes, cursor, end);
  const expiryMs = readVarint(bytes, cursor, end);
  const writeId = readText(bytes, cursor, end);
  const dataKey = readDataKey(bytes, cursor, end);
  const covered = readCovered(bytes, cursor, end, flags);
  const value = (flags & HAS_VALUE) === 0 ? null : bytes.subarray(cursor.at);
  if (writeId === "") throw damaged();
  const isForStandIn = (flags & AS_STAND_IN) !== 0;
  return { ringVersion, spareMs, stamp, consistency, dataKey, covered, value, expiryMs, writeId, isForStandIn };
}

export function encodeCommand(command: CommandRequest): Buffer {
  const { args, writeId } = command;
  let length =
    varintLength(command.ringVersion) +
    varintLength(command.spareMs) +
    varintLength(command.leaseNumber) +
    STAMP_BYTES +
    2 +
    consistencyLength(command.consistency);
  length += textLength(writeId) + varintLength(args.length);
  for (const arg of args) length += varintLength(arg.length) + arg.length;
  const bytes = Buffer.allocUnsafe(length);
  let at = writeVarint(bytes, writeVarint(bytes, 0, command.ringVersion), command.spareMs);
  at = writeVarint(bytes, at, command.leaseNumber);
  at = writeStamp(bytes, at, command.stamp);
  bytes[at++] = command.protocol;
  bytes[at++] = command.database;
  at = writeConsistency(bytes, at, command.consistency);
  at = writeText(bytes, at, writeId);
  at = writeVarint(bytes, at, args.length);
  for (const arg of args) {
    at = writeVarint(bytes, at, arg.length);
    at += arg.copy(bytes, at);
  }
  return bytes;
}

/** The arguments are owned. Throws CORRUPT. */
export function decodeCommand(bytes: Buffer): CommandRequest {
  const cursor: Cursor = { at: 0 };
  const end = bytes.length;
  const ringVersion = readVarint(bytes, cursor, end);
  const spareMs = readVarint(bytes, cursor, end);
  const leaseNumber = readVarint(bytes, cursor, end);
  const stamp = readStampAt(bytes, cursor, end);
  const protocol = readByte(bytes, cursor, end) === 3 ? 3 : 2;
  const database = readByte(bytes, cursor, end);
  if (database >= DATABASES) throw damaged();
  const consistency = readConsistency(bytes, cursor, end);
  const writeId = readText(bytes, cursor, end);
  const count = readVarint(bytes, cursor, end);
  if (count < 1 || count > end - cursor.at) throw damaged();
  const args: Buffer[] = [];
  for (let index = 0; index < count; index++) {
    const length = readVarint(bytes, cursor, end);
    if (length > end - cursor.at) throw damaged();
    args.push(Buffer.from(bytes.subarray(cursor.at, cursor.at + length)));
    cursor.at += length;
  }
  return { ringVersion, spareMs, leaseNumber, stamp, protocol, database, consistency, writeId, args };
}

/** The answer to a WRITE that was made: what its replica has seen of the key now. */
export function encodeWritten(context: VersionVector): Buffer {
  const bytes = Buffer.allocUnsafe(1 + contextLength(context));
  bytes[0] = ForwardStatus.ok;
  writeContext(bytes, 1, context);
  return bytes;
}

export function decodeWritten(answer: Buffer): VersionVector {
  return readContext(answer, { at: 1 }, answer.length);
}

/** The answer to a COMMAND: `reply` is encoded RESP, latin1. */
export function encodeReplied(reply: string): Buffer {
  const bytes = Buffer.allocUnsafe(1 + reply.length);
  bytes[0] = ForwardStatus.ok;
  writeLatin1(bytes, 1, reply);
  return bytes;
}

export function encodeRefused({ code, message }: OperatingError): Buffer {
  return Buffer.concat([Buffer.from([ForwardStatus.error, CODES.indexOf(code)]), Buffer.from(message, "utf8")]);
}

/** The error in an answer whose status says that there is one. */
export function decodeRefused(answer: Buffer): OperatingError {
  return new OperatingError(CODES[answer[1] ?? 0] ?? "UNAVAILABLE", answer.toString("utf8", 2));
}

function consistencyLength({ quorum }: Consistency): number {
  return 2 + (quorum.kind === "level" ? 0 : varintLength(quorum.read) + varintLength(quorum.write));
}

function writeConsistency(bytes: Buffer, start: number, { quorum, standIns, conflicts }: Consistency): number {
  bytes[start] = (standIns === "strict" ? STRICT : 0) | (conflicts === "error" ? CONFLICTS_ERROR : 0);
  bytes[start + 1] = quorum.kind === "level" ? LEVELS.indexOf(quorum.level) : NUMBERS;
  if (quorum.kind === "level") return start + 2;
  return writeVarint(bytes, writeVarint(bytes, start + 2, quorum.read), quorum.write);
}

function readConsistency(bytes: Buffer, cursor: Cursor, end: number): Consistency {
  const flags = readByte(bytes, cursor, end);
  const level = readByte(bytes, cursor, end);
  const standIns = (flags & STRICT) === 0 ? "sloppy" : "strict";
  const conflicts = (flags & CONFLICTS_ERROR) === 0 ? "newest" : "error";
  if (level === NUMBERS) {
    const read = readVarint(bytes, cursor, end);
    const write = readVarint(bytes, cursor, end);
    if (read < 1 || write < 1) throw damaged();
    return { quorum: { kind: "numbers", read, write }, standIns, conflicts };
  }
  const name = LEVELS[level];
  if (name === undefined) throw damaged();
  return { quorum: { kind: "level", level: name }, standIns, conflicts };
}

function coveredFlag(covered: Covered): number {
  return covered.kind === "all" ? 0 : covered.kind === "context" ? COVERS_CONTEXT : COVERS_VERSION;
}

function coveredLength(covered: Covered): number {
  if (covered.kind === "version") return ACTOR_BYTES + varintLength(covered.dot.sequence);
  return contextLength(covered.kind === "all" ? covered.seen : covered.context);
}

function writeCovered(bytes: Buffer, at: number, covered: Covered): number {
  if (covered.kind === "version") return writeVarint(bytes, writeLatin1(bytes, at, covered.dot.actor), covered.dot.sequence);
  return writeContext(bytes, at, covered.kind === "all" ? covered.seen : covered.context);
}

function readCovered(bytes: Buffer, cursor: Cursor, end: number, flags: number): Covered {
  if ((flags & COVERS_VERSION) !== 0) {
    const actor = readActor(bytes, cursor, end);
    return { kind: "version", dot: { actor, sequence: readAtLeast(bytes, cursor, end, 1) } };
  }
  const context = readContext(bytes, cursor, end);
  return (flags & COVERS_CONTEXT) !== 0 ? { kind: "context", context } : { kind: "all", seen: context };
}

function textLength(text: string): number {
  return varintLength(text.length) + text.length;
}

function writeText(bytes: Buffer, at: number, text: string): number {
  return writeLatin1(bytes, writeVarint(bytes, at, text.length), text);
}

function readText(bytes: Buffer, cursor: Cursor, end: number): string {
  const length = readVarint(bytes, cursor, end);
  if (length > end - cursor.at) throw damaged();
  const text = latin1Of(bytes, cursor.at, cursor.at + length);
  cursor.at += length;
  return text;
}

function readStampAt(bytes: Buffer, cursor: Cursor, end: number): number {
  if (end - cursor.at < STAMP_BYTES) throw damaged();
  const stamp = readStamp(bytes, cursor.at);
  cursor.at += STAMP_BYTES;
  return stamp;
}

function readByte(bytes: Buffer, cursor: Cursor, end: number): number {
  if (cursor.at >= end) throw damaged();
  return bytes[cursor.at++]!;
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a forwarded request is damaged");
}
