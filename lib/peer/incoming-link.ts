/**
 * A link that a peer dialled: its requests go to the handlers, their answers back. Requests that are late by the peer's own
 * clock never reach a handler, however long they lay in a buffer.
 *
 * INVARIANT: what waits to be sent to a peer that does not read is bounded: its requests are not read past half of
 * `queuedBytesMax`, and past the whole the link is closed.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import { messageOf, OperatingError } from "../errors.js";
import type { ClockOffset } from "./clock-offset.js";
import { type RefusalCode, wireCodeOf } from "./failure.js";
import { CALL_ID_BYTES, FrameType, REQUEST_HEAD_BYTES } from "./frame.js";
import type { Accepted } from "./handshake.js";
import type { OutBuffer } from "./out-buffer.js";
import type { PeerSettings } from "./settings.js";
import type { Wire, WireSink } from "./wire.js";

const NO_BYTES = Buffer.alloc(0);
/** Nothing to say; as long as the shortest body on a link. */
const LEAVING_BODY = Buffer.alloc(CALL_ID_BYTES);
/** Longest text of a refusal, in characters. */
const TEXT_LENGTH_MAX = 300;

/**
 * Runs a call. It may answer within the call or later, and answers exactly once, also when the answer is of no use any more.
 * An `OperatingError` that it throws before that is its refusal (`FAILED`); anything else it throws is a bug.
 */
export type PeerHandler = (request: PeerRequest) => void;

export interface IncomingOwner {
  readonly settings: PeerSettings;
  /** By kind. */
  readonly handlers: readonly (PeerHandler | null)[];
  monotonicMs(): number;
  linkClosed(link: IncomingLink, why: string): void;
}

/** A peer's call, or notice. */
export class PeerRequest {
  /** The peer's id. */
  readonly from: string;
  readonly kind: number;
  /** Absolute, on the local monotonic clock; infinite where there is none. Estimated, see `ClockOffset`. */
  readonly deadlineMs: number;
  /** Borrowed: valid until the handler returns, empty from then on. */
  payload: Buffer;
  readonly #link: IncomingLink;
  /** 0 for a notice. */
  readonly #callId: number;
  #isAnswered: boolean;

  constructor(link: IncomingLink, head: { callId: number; kind: number; deadlineMs: number }, payload: Buffer) {
    this.from = link.peerId;
    this.kind = head.kind;
    this.deadlineMs = head.deadlineMs;
    this.payload = payload;
    this.#link = link;
    this.#callId = head.callId;
    this.#isAnswered = head.callId === 0;
  }

  /** Nobody waits for an answer: it answers nothing. */
  get isNotice(): boolean {
    return this.#callId === 0;
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** Its link has ended: no answer reaches whoever sent it, who knows or will know. */
  get isAbandoned(): boolean {
    return this.#link.isClosed;
  }

  /**
   * Past its deadline. Ask in the same step that stores: who sent it was told TIMEOUT, and has perhaps done otherwise since.
   */
  isLate(): boolean {
    return this.#link.nowMs() >= this.deadlineMs;
  }

  /** `payload` is copied. */
  answer(payload: Uint8Array = NO_BYTES): void {
    const out = this.beginAnswer(payload.length);
    if (out === null) return;
    out.at = copyBytes(payload, 0, payload.length, out.bytes, out.at);
    this.endAnswer();
  }

  /**
   * Room for an answer of up to `payloadBytesMax` bytes: write at `at` of `bytes`, move `at`, and call `endAnswer` in the same
   * turn. Null when nobody will read it (a notice, a link that closed) or it is too long (the caller is told): then no `endAnswer`.
   */
  beginAnswer(payloadBytesMax: number): OutBuffer | null {
    if (this.#callId === 0) return null;
    this.#settle();
    return this.#link.beginAnswer(this.#callId, payloadBytesMax);
  }

  endAnswer(): void {
    this.#link.endAnswer();
  }

  /** Instead of an answer. LATE: it was not run because `isLate`. */
  refuse(code: RefusalCode, text = ""): void {
    if (this.#callId === 0) return;
    this.#settle();
    this.#link.sendFailure(this.#callId, code, text);
  }

  #settle(): void {
    assert(!this.#isAnswered, "peer: a request is answered once");
    this.#isAnswered = true;
    this.#link.handlerDone();
  }
}

export class IncomingLink implements WireSink {
  readonly peerId: string;
  /** Of the peer's run of its process. */
  readonly instance: string;
  readonly #owner: IncomingOwner;
  readonly #wire: Wire;
  readonly #offset: ClockOffset;
  #running = 0;
  #heardMs: number;

  constructor(owner: IncomingOwner, accepted: Accepted) {
    this.#owner = owner;
    this.#wire = accepted.wire;
    this.#offset = accepted.offset;
    this.peerId = accepted.peer.peerId;
    this.instance = accepted.instance;
    this.#heardMs = accepted.wire.arrivedMs;
    accepted.wire.sink = this;
  }

  get handlersRunning(): number {
    return this.#running;
  }

  nowMs(): number {
    return this.#owner.monotonicMs();
  }

  get isClosed(): boolean {
    return this.#wire.isClosed;
  }

  /** When the peer was last heard on it, on the monotonic clock. */
  get heardMs(): number {
    return this.#heardMs;
  }

  /** Tells the peer to begin nothing more here: this node is about to stop. What it sent already is answered. */
  sayLeaving(): void {
    if (!this.isClosed) this.#wire.sendFrame(FrameType.leaving, LEAVING_BODY);
  }

  close(why: string): void {
    this.#wire.close(why);
  }

  /** See `OutgoingLink.tick`. */
  tick(nowMs: number, wasStopped: boolean): void {
    if (wasStopped || this.#wire.isReadingStopped) this.#heardMs = nowMs;
    else if (nowMs - this.#heardMs >= this.#owner.settings.idleMsMax) this.close("nothing came from the peer, not even a ping");
  }

  // For requests.

  handlerDone(): void {
    this.#running--;
  }

  beginAnswer(callId: number, payloadBytesMax: number): OutBuffer | null {
    const wire = this.#wire;
    if (wire.isClosed) return null;
    const { frameBytesMax, queuedBytesMax } = this.#owner.settings;
    if (payloadBytesMax > frameBytesMax) {
      const text = `an answer of ${payloadBytesMax} bytes; at most ${frameBytesMax} (frameBytesMax); the call was run`;
      this.sendFailure(callId, "TOO_LARGE", text);
      return null;
    }
    if (!this.#hasRoom(wire.queuedBytes + payloadBytesMax, queuedBytesMax)) return null;
    const out = wire.beginFrame(FrameType.answer, CALL_ID_BYTES + payloadBytesMax);
    out.at = out.bytes.writeUInt32BE(callId, out.at);
    return out;
  }

  endAnswer(): void {
    this.#wire.endFrame();
  }

  sendFailure(callId: number, code: RefusalCode, text: string): void {
    const wire = this.#wire;
    if (wire.isClosed || !this.#hasRoom(wire.queuedBytes, this.#owner.settings.queuedBytesMax)) return;
    const bytes = Buffer.from(text.slice(0, TEXT_LENGTH_MAX));
    const out = wire.beginFrame(FrameType.failure, CALL_ID_BYTES + 1 + bytes.length);
    out.at = out.bytes.writeUInt32BE(callId, out.at);
    out.bytes[out.at++] = wireCodeOf(code);
    out.bytes.set(bytes, out.at);
    out.at += bytes.length;
    wire.endFrame();
  }

  /** Stops reading, or closes, when the peer leaves too much unread. */
  #hasRoom(queuedBytes: number, queuedBytesMax: number): boolean {
    if (2 * queuedBytes <= queuedBytesMax) return true;
    if (queuedBytes > queuedBytesMax) {
      this.close(`the peer leaves ${queuedBytes} bytes of answers unread (queuedBytesMax)`);
      return false;
    }
    this.#wire.stopReading();
    return true;
  }

  // WireSink.

  get payloadBytesMax(): number {
    return this.#owner.settings.frameBytesMax;
  }

  onFrame(type: number, bytes: Buffer, start: number, end: number): void {
    this.#heardMs = this.#wire.arrivedMs;
    switch (type) {
      case FrameType.request:
        if (end - start < REQUEST_HEAD_BYTES) this.#wire.onDamage("a request that is cut off");
        else this.#onRequest(bytes, start, end);
        return;
      case FrameType.batch:
        this.#onBatch(bytes, start, end);
        return;
      case FrameType.ping:
        if (end - start >= CALL_ID_BYTES) this.#onPing(bytes.readUInt32BE(start));
        else this.#wire.onDamage("a ping that is cut off");
        return;
      case FrameType.refused:
        this.close("the peer refuses this node");
        return;
      default:
        this.#wire.onDamage("a frame that does not belong on this link");
    }
  }

  onOversize(type: number, callId: number, lengthBytes: number): boolean {
    if (type !== FrameType.request) return false;
    const text = `a request of about ${lengthBytes} bytes; ${this.peerId} is sent at most ${this.payloadBytesMax} (frameBytesMax)`;
    if (callId !== 0) this.sendFailure(callId, "TOO_LARGE", text);
    return true;
  }

  onSent(): void {
    if (4 * this.#wire.queuedBytes <= this.#owner.settings.queuedBytesMax) this.#wire.startReading();
  }

  onClosed(why: string): void {
    this.#owner.linkClosed(this, why);
  }

  #onBatch(bytes: Buffer, start: number, end: number): void {
    const sentMs = end - start >= 8 ? bytes.readDoubleBE(start) : Number.NaN;
    if (Number.isFinite(sentMs)) this.#offset.sample(this.#wire.arrivedMs, sentMs);
    else this.#wire.onDamage("a batch without its time");
  }

  #onPing(id: number): void {
    if (!this.#hasRoom(this.#wire.queuedBytes, this.#owner.settings.queuedBytesMax)) return;
    const out = this.#wire.beginFrame(FrameType.pong, CALL_ID_BYTES);
    out.at = out.bytes.writeUInt32BE(id, out.at);
    this.#wire.endFrame();
  }

  #onRequest(bytes: Buffer, start: number, end: number): void {
    const callId = bytes.readUInt32BE(start);
    const kind = bytes[start + CALL_ID_BYTES]!;
    const sentDeadlineMs = bytes.readDoubleBE(start + CALL_ID_BYTES + 1);
    if (Number.isNaN(sentDeadlineMs)) return this.#wire.onDamage("a request without a deadline");
    const deadlineMs = this.#offset.toLocalMs(sentDeadlineMs);
    const handler = this.#owner.handlers[kind] ?? null;
    const refusal = this.#refusalOf(handler, deadlineMs);
    if (handler === null || refusal !== null) {
      if (callId !== 0) this.sendFailure(callId, refusal ?? "NO_HANDLER", "");
      return;
    }
    const request = new PeerRequest(this, { callId, kind, deadlineMs }, bytes.subarray(start + REQUEST_HEAD_BYTES, end));
    if (callId !== 0) this.#running++;
    this.#run(handler, request);
    request.payload = NO_BYTES;
  }

  #refusalOf(handler: PeerHandler | null, deadlineMs: number): RefusalCode | null {
    if (this.nowMs() >= deadlineMs) return "LATE";
    if (handler === null) return "NO_HANDLER";
    return this.#running >= this.#owner.settings.handlersMax ? "BUSY" : null;
  }

  #run(handler: PeerHandler, request: PeerRequest): void {
    try {
      handler(request);
    } catch (error) {
      // A notice that makes no sense is dropped: nobody waits to be told.
      if (!(error instanceof OperatingError) || (request.isAnswered && !request.isNotice)) throw error;
      request.refuse("FAILED", messageOf(error));
    }
  }
}
