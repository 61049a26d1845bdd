/**
 * What the node that runs FLUSHDB or FLUSHALL asks the others, before it has the members agree and after: docs/FORMATS.md,
 * "Messages about copies".
 *
 *     FLUSH POINT: ring version varint, which the receiver has to know before it answers
 *         answer: status u8 | store id 8 bytes, highest sequence given out varint | (store id 8 bytes, end of its lease varint)*
 */
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { STORE_ID_BYTES } from "../causality/actor.js";
import { OperatingError } from "../errors.js";
import { AnswerStatus } from "./replica-messages.js";

/** Up to which of its sequences a store has given dots: 0 for none. */
export interface StorePoint {
  /** 8 latin1 characters. */
  readonly storeId: string;
  readonly sequence: number;
}

export interface FlushPoint {
  readonly own: StorePoint;
  /** Of other stores what is known by gossip: none of their sequences is at or above it. */
  readonly leases: readonly StorePoint[];
}

export function encodeFlushRequest(ringVersion: number): Buffer {
  const bytes = Buffer.allocUnsafe(varintLength(ringVersion));
  writeVarint(bytes, 0, ringVersion);
  return bytes;
}

/** The ring version in a request. Throws CORRUPT. */
export function decodeFlushRequest(bytes: Buffer): number {
  return readVarint(bytes, { at: 0 }, bytes.length);
}

/** The answer, its status included. */
export function encodeFlushPoint({ own, leases }: FlushPoint): Buffer {
  const points = [own, ...leases];
  const length = points.reduce((sum, { sequence }) => sum + STORE_ID_BYTES + varintLength(sequence), 1);
  const bytes = Buffer.allocUnsafe(length);
  bytes[0] = AnswerStatus.ok;
  let at = 1;
  for (const { storeId, sequence } of points) at = writeVarint(bytes, writeLatin1(bytes, at, storeId), sequence);
  return bytes;
}

/** What an answer with status `ok` says. Throws CORRUPT. */
export function decodeFlushPoint(answer: Buffer): FlushPoint {
  const cursor: Cursor = { at: 1 };
  const own = readPoint(answer, cursor);
  const leases: StorePoint[] = [];
  while (cursor.at < answer.length) leases.push(readPoint(answer, cursor));
  return { own, leases };
}

function readPoint(bytes: Buffer, cursor: Cursor): StorePoint {
  if (bytes.length - cursor.at < STORE_ID_BYTES) throw new OperatingError("CORRUPT", "a message of a peer is cut off");
  const storeId = latin1Of(bytes, cursor.at, cursor.at + STORE_ID_BYTES);
  cursor.at += STORE_ID_BYTES;
  return { storeId, sequence: readVarint(bytes, cursor, bytes.length) };
}
