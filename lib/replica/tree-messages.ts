/**
 * What members ask each other about their hash trees: docs/FORMATS.md, "Peer protocol". The tree has a root, groups of slots, slots,
 * and below a slot stretches of its keys, cut by whoever asks so that each holds some of its own.
 *
 *     TREE: what u8 | ring version varint | ...
 *         SUMS: number of sums varint (1: the root, or GROUPS) | (sum u48)*
 *             answer: status u8 | bits of the sums that differ | for each that does, where groups were asked for, leaf u56 of its slots
 *         LEAVES: spans of slots
 *             answer: status u8 | (leaf u56 of each slot)*
 *         KEYS: slot u16 | place u40 to begin with | (place u40 behind the stretch, sum u48)* of stretches, ascending
 *             answer: status u8 | place u40 up to which it answers | bits of the stretches that differ
 *                     | (data key: length varint, bytes; digest u48)* of those
 *
 * Numbers of fixed length are big-endian. A leaf is 0 where the sum is not known or the slot is not compared, else twice the sum
 * and one. A place in a slot is a database u8 and a hash u32; keys of one place stay together.
 */
import { SLOTS } from "../bytes/slot.js";
import { readU56, U56_BYTES, writeU56 } from "../bytes/u56.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { DATABASES, databaseOfDataKey, dataKeyFloor, hashOfDataKey, slotOfDataKey } from "./data-key.js";
import { bitsOf, hasBit, type KeyDigest, keyDigestsLength, readKeyDigests, writeKeyDigests } from "./key-digests.js";
import { AnswerStatus } from "./replica-messages.js";
import { readSpans, type SlotSpan, spansLength, writeSpans } from "./slot-spans.js";

export const GROUPS = 256;
export const SLOTS_PER_GROUP = SLOTS / GROUPS;

const SUM_BYTES = 6;
const LEAF_BYTES = U56_BYTES;
const PLACE_BYTES = 5;
const HASHES = 2 ** 32;
/** Behind the last place of a slot. */
export const PLACES = DATABASES * HASHES;

const What = { sums: 0, leaves: 1, keys: 2 } as const;

/** Some keys of one slot, in the order of their places. */
export interface Stretch {
  /** Behind its last place. */
  readonly end: number;
  /** Of the digests of its keys. */
  readonly sum: number;
}

export type { KeyDigest };

export type TreeRequest =
  | { readonly what: "sums"; readonly ringVersion: number; readonly sums: readonly number[] }
  | { readonly what: "leaves"; readonly ringVersion: number; readonly spans: readonly SlotSpan[] }
  | {
      readonly what: "keys";
      readonly ringVersion: number;
      readonly slot: number;
      readonly from: number;
      readonly stretches: readonly Stretch[];
    };

/** Where in its slot a key stands. */
export function placeOf(dataKey: string): number {
  return databaseOfDataKey(dataKey) * HASHES + hashOfDataKey(dataKey);
}

/** The first possible data key at a place of a slot; `PLACES`: the first behind the slot. */
export function floorAt(slot: number, place: number): string {
  return dataKeyFloor(slot, Math.floor(place / HASHES), place % HASHES);
}

export function encodeTreeRequest(request: TreeRequest): Buffer {
  const head = 1 + varintLength(request.ringVersion);
  switch (request.what) {
    case "sums": {
      const { sums } = request;
      const bytes = Buffer.allocUnsafe(head + varintLength(sums.length) + SUM_BYTES * sums.length);
      let at = writeVarint(bytes, writeHead(bytes, What.sums, request.ringVersion), sums.length);
      for (const sum of sums) at = bytes.writeUIntBE(sum, at, SUM_BYTES);
      return bytes;
    }
    case "leaves": {
      const bytes = Buffer.allocUnsafe(head + spansLength(request.spans));
      writeSpans(bytes, writeHead(bytes, What.leaves, request.ringVersion), request.spans);
      return bytes;
    }
    case "keys": {
      const { slot, from, stretches } = request;
      const bytes = Buffer.allocUnsafe(head + 2 + PLACE_BYTES + stretches.length * (PLACE_BYTES + SUM_BYTES));
      let at = bytes.writeUInt16BE(slot, writeHead(bytes, What.keys, request.ringVersion));
      at = bytes.writeUIntBE(from, at, PLACE_BYTES);
      for (const { end, sum } of stretches) at = bytes.writeUIntBE(sum, bytes.writeUIntBE(end, at, PLACE_BYTES), SUM_BYTES);
      return bytes;
    }
  }
}

/** Throws CORRUPT. */
export function decodeTreeRequest(bytes: Buffer): TreeRequest {
  const cursor: Cursor = { at: 1 };
  const ringVersion = readVarint(bytes, cursor, bytes.length);
  switch (bytes[0]) {
    case What.sums: {
      const count = readVarint(bytes, cursor, bytes.length);
      if ((count !== 1 && count !== GROUPS) || bytes.length - cursor.at !== count * SUM_BYTES) throw damaged();
      return { what: "sums", ringVersion, sums: readAll(bytes, cursor.at, SUM_BYTES) };
    }
    case What.leaves:
      return { what: "leaves", ringVersion, spans: readSpans(bytes, cursor) };
    case What.keys:
      return { what: "keys", ringVersion, ...decodeKeysAsked(bytes, cursor.at) };
    default:
      throw damaged();
  }
}

function decodeKeysAsked(bytes: Buffer, start: number): { slot: number; from: number; stretches: Stretch[] } {
  const listAt = start + 2 + PLACE_BYTES;
  const width = PLACE_BYTES + SUM_BYTES;
  if (bytes.length < listAt + width || (bytes.length - listAt) % width !== 0) throw damaged();
  const slot = bytes.readUInt16BE(start);
  const from = bytes.readUIntBE(start + 2, PLACE_BYTES);
  const stretches: Stretch[] = [];
  let last = from;
  for (let at = listAt; at < bytes.length; at += width) {
    const end = bytes.readUIntBE(at, PLACE_BYTES);
    if (end <= last || end > PLACES) throw damaged();
    stretches.push({ end, sum: bytes.readUIntBE(at + PLACE_BYTES, SUM_BYTES) });
    last = end;
  }
  if (slot >= SLOTS) throw damaged();
  return { slot, from, stretches };
}

/** `differing`: which of the sums; `leaves`: of a group's slots in order, asked for only where there are groups. */
export function encodeSumsAnswer(differing: readonly boolean[], leaves: (group: number) => readonly number[]): Buffer {
  const parts: Buffer[] = [Buffer.of(AnswerStatus.ok), bitsOf(differing)];
  differing.forEach((differs, group) => {
    if (differs && differing.length > 1) parts.push(encodeLeaves(leaves(group)));
  });
  return Buffer.concat(parts);
}

/** The leaves of the groups that differ, by group; empty lists where the root was asked for. Throws CORRUPT. */
export function decodeSumsAnswer(answer: Buffer, count: number): Map<number, number[]> {
  const groups = new Map<number, number[]>();
  let at = 1 + Math.ceil(count / 8);
  for (let group = 0; group < count; group++) {
    if (!hasBit(answer, 1, group)) continue;
    const end = count === 1 ? at : at + SLOTS_PER_GROUP * LEAF_BYTES;
    if (end > answer.length) throw damaged();
    groups.set(group, readAll(answer.subarray(0, end), at, LEAF_BYTES));
    at = end;
  }
  if (at !== answer.length) throw damaged();
  return groups;
}

export function encodeLeavesAnswer(leaves: readonly number[]): Buffer {
  return Buffer.concat([Buffer.of(AnswerStatus.ok), encodeLeaves(leaves)]);
}

/** Throws CORRUPT. */
export function decodeLeavesAnswer(answer: Buffer, count: number): number[] {
  if (answer.length !== 1 + count * LEAF_BYTES) throw damaged();
  return readAll(answer, 1, LEAF_BYTES);
}

/** `end`: the place up to which stretches were compared; `keys`: all there are up to it in those that differ. */
export interface KeysAnswer {
  readonly end: number;
  readonly differing: readonly boolean[];
  readonly keys: readonly KeyDigest[];
}

export function encodeKeysAnswer({ end, differing, keys }: KeysAnswer): Buffer {
  const bits = bitsOf(differing);
  const bytes = Buffer.allocUnsafe(1 + PLACE_BYTES + bits.length + keyDigestsLength(keys));
  bytes[0] = AnswerStatus.ok;
  const at = bytes.writeUIntBE(end, 1, PLACE_BYTES);
  writeKeyDigests(bytes, at + bits.copy(bytes, at), keys);
  return bytes;
}

/** The answer to so many stretches of this slot. Throws CORRUPT, also where a key is not of the slot. */
export function decodeKeysAnswer(answer: Buffer, slot: number, stretches: number): KeysAnswer {
  const bitsAt = 1 + PLACE_BYTES;
  const keysAt = bitsAt + Math.ceil(stretches / 8);
  if (answer.length < keysAt) throw damaged();
  const end = answer.readUIntBE(1, PLACE_BYTES);
  const differing = Array.from({ length: stretches }, (_, at) => hasBit(answer, bitsAt, at));
  const keys = readKeyDigests(answer, { at: keysAt });
  if (keys.some(({ dataKey }) => slotOfDataKey(dataKey) !== slot)) throw damaged();
  if (end > PLACES) throw damaged();
  return { end, differing, keys };
}

function writeHead(bytes: Buffer, what: number, ringVersion: number): number {
  bytes[0] = what;
  return writeVarint(bytes, 1, ringVersion);
}

/** Leaves as they stand in messages, and in the record of a clean stop. */
export function encodeLeaves(leaves: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(leaves.length * LEAF_BYTES);
  for (const [index, leaf] of leaves.entries()) writeU56(bytes, index * LEAF_BYTES, leaf);
  return bytes;
}

/** The leaves that stand there from `start` on. */
export function decodeLeaves(bytes: Buffer, start: number): number[] {
  return readAll(bytes, start, LEAF_BYTES);
}

function readAll(bytes: Buffer, start: number, width: typeof SUM_BYTES | typeof LEAF_BYTES): number[] {
  const numbers: number[] = [];
  for (let at = start; at < bytes.length; at += width) {
    numbers.push(width === SUM_BYTES ? bytes.readUIntBE(at, SUM_BYTES) : readU56(bytes, at));
  }
  return numbers;
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a message of a peer about its hash tree is damaged");
}
