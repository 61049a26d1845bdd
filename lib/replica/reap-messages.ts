/**
 * What members ask each other before something leaves for good, and to have it leave: docs/FORMATS.md, "Peer protocol".
 *
 *     REAP: what u8 | ring version varint | ...
 *         MARK: spans of slots
 *             answer: status u8 | instance 8 bytes | tag u48 | store id 8 bytes, epoch varint | bits of the slots that are held up
 *         CONFIRM: (length of the data key varint, its bytes, digest u48)*
 *             answer: status u8 | bits of the keys whose records are these, durably
 *         FENCE:
 *             answer: status u8, once all that had begun when it came is over
 *         CHECK: instance 8 bytes | tag u48 | spans of slots
 *             answer: status u8 | bits of the slots that are held up
 *         REMOVE: id u56 | number of stores varint | (store id 8 bytes, epoch varint)* | keys as for CONFIRM
 *             answer: status u8 | records removed varint | records pruned varint
 *         LAST: spans of slots
 *             answer: status u8 | (id u56 of each slot)*
 *
 * Numbers of fixed length are big-endian. An instance is of one run of a process.
 */
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { readU56, U56_BYTES, writeU56 } from "../bytes/u56.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { STORE_ID_BYTES } from "../causality/actor.js";
import type { LiveStores } from "../causality/record-pruning.js";
import { OperatingError } from "../errors.js";
import { bitsOf, hasBit, type KeyDigest, keyDigestsLength, readKeyDigests, writeKeyDigests } from "./key-digests.js";
import { AnswerStatus } from "./replica-messages.js";
import { readSpans, type SlotSpan, slotsOf, spansLength, writeSpans } from "./slot-spans.js";

const What = { mark: 0, confirm: 1, fence: 2, check: 3, remove: 4, last: 5 } as const;

const INSTANCE_BYTES = 8;
const TAG_BYTES = 6;

/** A moment of a member: of one run of its process, and after which of the changes to its hints. */
export interface Mark {
  /** 8 latin1 characters. */
  readonly instance: string;
  readonly tag: number;
}

export type ReapRequest =
  | { readonly what: "mark"; readonly ringVersion: number; readonly spans: readonly SlotSpan[] }
  | { readonly what: "confirm"; readonly ringVersion: number; readonly keys: readonly KeyDigest[] }
  | { readonly what: "fence"; readonly ringVersion: number }
  | { readonly what: "check"; readonly ringVersion: number; readonly mark: Mark; readonly spans: readonly SlotSpan[] }
  | {
      readonly what: "remove";
      readonly ringVersion: number;
      readonly id: number;
      readonly live: LiveStores;
      readonly keys: readonly KeyDigest[];
    }
  | { readonly what: "last"; readonly ringVersion: number; readonly spans: readonly SlotSpan[] };

export function encodeReapRequest(request: ReapRequest): Buffer {
  const { what, ringVersion } = request;
  const head = Buffer.allocUnsafe(1 + varintLength(ringVersion));
  head[0] = What[what];
  writeVarint(head, 1, ringVersion);
  switch (what) {
    case "mark":
    case "last":
      return Buffer.concat([head, encodeSpans(request.spans)]);
    case "confirm":
      return Buffer.concat([head, encodeKeys(request.keys)]);
    case "fence":
      return head;
    case "check":
      return Buffer.concat([head, encodeMark(request.mark), encodeSpans(request.spans)]);
    case "remove":
      return Buffer.concat([head, encodeIds([request.id]), encodeStores(request.live), encodeKeys(request.keys)]);
  }
}

/** Throws CORRUPT. */
export function decodeReapRequest(bytes: Buffer): ReapRequest {
  const cursor: Cursor = { at: 1 };
  const ringVersion = readVarint(bytes, cursor, bytes.length);
  switch (bytes[0]) {
    case What.mark:
      return { what: "mark", ringVersion, spans: readSpans(bytes, cursor) };
    case What.last:
      return { what: "last", ringVersion, spans: readSpans(bytes, cursor) };
    case What.confirm:
      return { what: "confirm", ringVersion, keys: readKeyDigests(bytes, cursor) };
    case What.fence:
      return { what: "fence", ringVersion };
    case What.check:
      return { what: "check", ringVersion, mark: readMark(bytes, cursor), spans: readSpans(bytes, cursor) };
    case What.remove: {
      const [id] = readIds(bytes, cursor.at, 1);
      cursor.at += U56_BYTES;
      const live = readStores(bytes, cursor, readVarint(bytes, cursor, bytes.length));
      return { what: "remove", ringVersion, id: id!, live, keys: readKeyDigests(bytes, cursor) };
    }
    default:
      throw damaged();
  }
}

/** `heldUp`: of the slots asked for, in their order. */
export interface MarkAnswer {
  readonly mark: Mark;
  readonly storeId: string;
  readonly epoch: number;
  readonly heldUp: readonly boolean[];
}

export function encodeMarkAnswer({ mark, storeId, epoch, heldUp }: MarkAnswer): Buffer {
  return Buffer.concat([Buffer.of(AnswerStatus.ok), encodeMark(mark), encodeStore(storeId, epoch), bitsOf(heldUp)]);
}

/** Of an answer with status `ok`. Throws CORRUPT. */
export function decodeMarkAnswer(answer: Buffer, spans: readonly SlotSpan[]): MarkAnswer {
  const cursor: Cursor = { at: 1 };
  const mark = readMark(answer, cursor);
  const [[storeId, epoch] = ["", 0]] = readStores(answer, cursor, 1);
  return { mark, storeId, epoch, heldUp: readFlags(answer, cursor.at, countOf(spans)) };
}

export function encodeFlagsAnswer(flags: readonly boolean[]): Buffer {
  return Buffer.concat([Buffer.of(AnswerStatus.ok), bitsOf(flags)]);
}

/** So many flags of an answer with status `ok`. Throws CORRUPT. */
export function decodeFlagsAnswer(answer: Buffer, count: number): boolean[] {
  return readFlags(answer, 1, count);
}

export function encodeRemoveAnswer({ removed, pruned }: { removed: number; pruned: number }): Buffer {
  const answer = Buffer.allocUnsafe(1 + varintLength(removed) + varintLength(pruned));
  answer[0] = AnswerStatus.ok;
  writeVarint(answer, writeVarint(answer, 1, removed), pruned);
  return answer;
}

export function encodeLastAnswer(ids: readonly number[]): Buffer {
  return Buffer.concat([Buffer.of(AnswerStatus.ok), encodeIds(ids)]);
}

/** Of the slots asked for, in their order. Throws CORRUPT. */
export function decodeLastAnswer(answer: Buffer, spans: readonly SlotSpan[]): number[] {
  return readIds(answer, 1, countOf(spans));
}

function countOf(spans: readonly SlotSpan[]): number {
  return [...slotsOf(spans)].length;
}

function encodeSpans(spans: readonly SlotSpan[]): Buffer {
  const bytes = Buffer.allocUnsafe(spansLength(spans));
  writeSpans(bytes, 0, spans);
  return bytes;
}

function encodeKeys(keys: readonly KeyDigest[]): Buffer {
  const bytes = Buffer.allocUnsafe(keyDigestsLength(keys));
  writeKeyDigests(bytes, 0, keys);
  return bytes;
}

function encodeMark({ instance, tag }: Mark): Buffer {
  const bytes = Buffer.allocUnsafe(INSTANCE_BYTES + TAG_BYTES);
  bytes.writeUIntBE(tag, writeLatin1(bytes, 0, instance), TAG_BYTES);
  return bytes;
}

function readMark(bytes: Buffer, cursor: Cursor): Mark {
  const tagAt = cursor.at + INSTANCE_BYTES;
  if (tagAt + TAG_BYTES > bytes.length) throw damaged();
  const mark = { instance: latin1Of(bytes, cursor.at, tagAt), tag: bytes.readUIntBE(tagAt, TAG_BYTES) };
  cursor.at = tagAt + TAG_BYTES;
  return mark;
}

function encodeStores(live: LiveStores): Buffer {
  const count = Buffer.allocUnsafe(varintLength(live.size));
  writeVarint(count, 0, live.size);
  return Buffer.concat([count, ...[...live].map(([storeId, epoch]) => encodeStore(storeId, epoch))]);
}

function encodeStore(storeId: string, epoch: number): Buffer {
  const bytes = Buffer.allocUnsafe(STORE_ID_BYTES + varintLength(epoch));
  writeVarint(bytes, writeLatin1(bytes, 0, storeId), epoch);
  return bytes;
}

function readStores(bytes: Buffer, cursor: Cursor, count: number): Map<string, number> {
  const stores = new Map<string, number>();
  for (let left = count; left > 0; left--) {
    const idEnd = cursor.at + STORE_ID_BYTES;
    if (idEnd > bytes.length) throw damaged();
    const storeId = latin1Of(bytes, cursor.at, idEnd);
    cursor.at = idEnd;
    stores.set(storeId, readVarint(bytes, cursor, bytes.length));
  }
  return stores;
}

function encodeIds(ids: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(ids.length * U56_BYTES);
  for (const [index, id] of ids.entries()) writeU56(bytes, index * U56_BYTES, id);
  return bytes;
}

function readIds(bytes: Buffer, start: number, count: number): number[] {
  if (start + count * U56_BYTES > bytes.length) throw damaged();
  return Array.from({ length: count }, (_, index) => readU56(bytes, start + index * U56_BYTES));
}

function readFlags(bytes: Buffer, start: number, count: number): boolean[] {
  if (start + Math.ceil(count / 8) > bytes.length) throw damaged();
  return Array.from({ length: count }, (_, at) => hasBit(bytes, start, at));
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a message of a peer about reaping is damaged");
}
