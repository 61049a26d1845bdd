/**
 * Calls of one turn to one member, in one request: docs/FORMATS.md, "BATCH". A coordinator under load sends hundreds of small
 * ones at a time, and most of what each costs is a frame, an object and a place among the calls that wait.
 *
 * INVARIANT: each call of a batch is told once what became of it: its answer, a failure, or that it is to be asked alone.
 *
 *     request: (kind u8, length u32, payload as that kind has it)*
 *     answer:  (length varint, answer as that kind has it; empty: it is to be asked alone)*, in the order of the calls
 */
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { PeerCallHead, PeerFailureCode } from "../peer/peer.js";
import { AnswerStatus, ReplicaKind } from "./replica-messages.js";

/** A call that may travel with others. */
export interface BatchedCall extends PeerCallHead {
  /** Instead of an answer: the member has to look at its disk first, or failed, and the others of the batch do not wait for that. */
  onAlone(): void;
}

const ITEM_HEAD_BYTES = 5;
const BYTES_MIN = 4_096;
/** A batch is sent when it has so many bytes or calls. */
const BATCH_BYTES = 65_536;
export const BATCH_CALLS_MAX = 512;
/** Longer ones gain nothing. */
export const BATCHED_BYTES_MAX = 16_384;
/** Calls travel together when their deadlines lie so close: the batch has the latest. */
const DEADLINE_MS_APART = 50;
const NO_CALLS: readonly BatchedCall[] = [];
const OK = Buffer.from([AnswerStatus.ok]);

/** Writes the request of a batch. Reused: `clear` begins the next one. */
export class BatchBytes {
  bytes = Buffer.allocUnsafeSlow(BYTES_MIN);
  #end = 0;

  get length(): number {
    return this.#end;
  }

  /** A payload of up to `bytesMax` goes into the batch with what is in it. */
  hasRoom(bytesMax: number): boolean {
    return this.#end === 0 || this.#end + ITEM_HEAD_BYTES + bytesMax <= BATCH_BYTES;
  }

  /** Where in `bytes` a payload of up to `bytesMax` is to be written. REQUIRES `end` before anything else. */
  begin(bytesMax: number): number {
    const start = this.#end + ITEM_HEAD_BYTES;
    if (start + bytesMax > this.bytes.length) this.#grow(start + bytesMax);
    return start;
  }

  /** The payload of a call of this kind stands there, up to `end`. */
  end(kind: number, end: number): void {
    const { bytes } = this;
    const start = this.#end;
    const length = end - start - ITEM_HEAD_BYTES;
    bytes[start] = kind;
    bytes[start + 1] = length >>> 24;
    bytes[start + 2] = (length >>> 16) & 0xff;
    bytes[start + 3] = (length >>> 8) & 0xff;
    bytes[start + 4] = length & 0xff;
    this.#end = end;
  }

  /** The request, borrowed until the next `begin`. */
  view(): Buffer {
    return this.bytes.subarray(0, this.#end);
  }

  clear(): void {
    this.#end = 0;
  }

  #grow(length: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.bytes.length, length));
    this.bytes.copy(larger, 0, 0, this.#end);
    this.bytes = larger;
  }
}

/** Fills batches for one member. */
export class BatchWriter {
  readonly to: MemberId;
  readonly #request = new BatchBytes();
  #calls: BatchedCall[] = [];
  #deadlineMs = 0;

  constructor(to: MemberId) {
    this.to = to;
  }

  get isEmpty(): boolean {
    return this.#calls.length === 0;
  }

  get bytes(): Buffer {
    return this.#request.bytes;
  }

  /** Whether a call with a payload of up to `bytesMax` goes into the batch as it is; if not, that one is to be sent first. */
  hasRoom(call: BatchedCall, bytesMax: number): boolean {
    if (this.isEmpty) return true;
    if (this.#calls.length >= BATCH_CALLS_MAX || !this.#request.hasRoom(bytesMax)) return false;
    return isSentTogether(call.deadlineMs, this.#deadlineMs);
  }

  /** Where in `bytes` a payload of up to `bytesMax` is to be written. REQUIRES room, and `end` before anything else. */
  begin(bytesMax: number): number {
    return this.#request.begin(bytesMax);
  }

  /** The payload of this call stands there, up to `end`. */
  end(call: BatchedCall, end: number): void {
    this.#deadlineMs = this.isEmpty ? call.deadlineMs : Math.max(this.#deadlineMs, call.deadlineMs);
    this.#calls.push(call);
    this.#request.end(call.kind, end);
  }

  /** The batch, as one call with its payload (borrowed until the next `begin`); empty from then on. */
  take(): { readonly call: PeerCallHead; readonly payload: Buffer } {
    const call = new BatchCall({ to: this.to, kind: ReplicaKind.batch, deadlineMs: this.#deadlineMs }, this.#calls);
    const payload = this.#request.view();
    this.#calls = [];
    this.#request.clear();
    return { call, payload };
  }
}

/** True when calls of these deadlines may travel together. */
export function isSentTogether(oneMs: number, otherMs: number): boolean {
  return Math.abs(oneMs - otherMs) <= DEADLINE_MS_APART;
}

/** The request of which these calls are told the answers, in their order. */
export class BatchCall implements PeerCallHead {
  readonly to: MemberId;
  readonly kind: number;
  readonly deadlineMs: number;
  #calls: readonly BatchedCall[];

  constructor(head: { to: MemberId; kind: number; deadlineMs: number }, calls: readonly BatchedCall[]) {
    this.to = head.to;
    this.kind = head.kind;
    this.deadlineMs = head.deadlineMs;
    this.#calls = calls;
  }

  onAnswer(payload: Buffer): void {
    const calls = this.#calls;
    this.#calls = NO_CALLS;
    const cursor: Cursor = { at: 0 };
    for (const call of calls) {
      const length = answerLength(payload, cursor);
      const start = cursor.at;
      if (length === null) {
        call.onFailure("FAILED", "a damaged answer");
        continue;
      }
      cursor.at += length;
      if (length === 0) call.onAlone();
      else if (length === 1 && payload[start] === AnswerStatus.ok) call.onAnswer(OK);
      else call.onAnswer(payload.subarray(start, start + length));
    }
  }

  onFailure(code: PeerFailureCode, text: string): void {
    const calls = this.#calls;
    this.#calls = NO_CALLS;
    for (const call of calls) call.onFailure(code, text);
  }
}

/** How long the next answer to a batch is, which `cursor` then stands before; null when it is damaged from here on. */
export function answerLength(payload: Buffer, cursor: Cursor): number | null {
  const first = payload[cursor.at];
  if (first !== undefined && first < 128 && first < payload.length - cursor.at) {
    cursor.at++;
    return first;
  }
  try {
    const length = readVarint(payload, cursor, payload.length);
    if (length <= payload.length - cursor.at) return length;
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
  }
  cursor.at = payload.length;
  return null;
}

/** Reads the calls of a batch in place: `payload[start, end)` of `kind`. */
export class BatchReader {
  readonly #bytes: Buffer;
  kind = 0;
  start = 0;
  end = 0;

  constructor(payload: Buffer) {
    this.#bytes = payload;
  }

  /** Moves to the next call; false at the end. Throws CORRUPT. */
  next(): boolean {
    const bytes = this.#bytes;
    const at = this.end;
    if (at === bytes.length) return false;
    if (bytes.length - at < ITEM_HEAD_BYTES) throw damaged();
    this.kind = bytes[at]!;
    const length = bytes[at + 1]! * 2 ** 24 + ((bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!);
    this.start = at + ITEM_HEAD_BYTES;
    this.end = this.start + length;
    if (this.end > bytes.length) throw damaged();
    return true;
  }
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a batch of a peer is damaged");
}

/** Answers to a batch take no more than this; calls that find no room are to be asked alone. */
const ANSWERS_BYTES_MAX = 1_048_576;

/** Fills the answer to a batch. Reused. */
export class BatchAnswers {
  #bytes = Buffer.allocUnsafeSlow(4_096);
  #end = 0;

  reset(): void {
    this.#end = 0;
  }

  /** The answer of the next call is this status alone. */
  addStatus(status: number): void {
    this.#reserve(2);
    this.#bytes[this.#end++] = 1;
    this.#bytes[this.#end++] = status;
  }

  /** It is this. */
  add(answer: Buffer): void {
    this.#begin(answer.length);
    answer.copy(this.#bytes, this.#end);
    this.#end += answer.length;
  }

  /** It is `ok` and a record, `record[start, end)`; or, for want of room, to be asked alone. */
  addRecord(record: Uint8Array, start: number, end: number): void {
    const length = 1 + end - start;
    if (this.#end + length > ANSWERS_BYTES_MAX) return this.addAlone();
    this.#begin(length);
    this.#bytes[this.#end++] = AnswerStatus.ok;
    this.#bytes.set(record.subarray(start, end), this.#end);
    this.#end += end - start;
  }

  addAlone(): void {
    this.#reserve(1);
    this.#bytes[this.#end++] = 0;
  }

  /** All of them, borrowed. */
  view(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  /** The same, owned. */
  take(): Buffer {
    return Buffer.from(this.view());
  }

  #begin(length: number): void {
    this.#reserve(varintLength(length) + length);
    this.#end = writeVarint(this.#bytes, this.#end, length);
  }

  #reserve(length: number): void {
    if (this.#end + length <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(2 * this.#bytes.length, this.#end + length));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}
