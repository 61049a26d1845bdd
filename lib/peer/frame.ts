/**
 * Frames: how a stream of bytes between two members is cut into messages (docs/FORMATS.md, "Peer protocol").
 *
 *     length u32 of what follows | type u8 | body
 *
 * `FrameReader` gives complete frames to its sink as borrowed ranges. It holds no more than what has arrived of one frame, or,
 * while its sink halts it, of one chunk; it never makes room for a length that was merely announced.
 */
import { assert } from "../assert.js";

/** Numbers on the wire: append, never reuse. */
export const FrameType = {
  hello: 1,
  welcome: 2,
  proof: 3,
  admitted: 4,
  refused: 5,
  batch: 16,
  request: 17,
  answer: 18,
  failure: 19,
  ping: 20,
  pong: 21,
  leaving: 22,
} as const;

/** Length and type. */
export const FRAME_HEAD_BYTES = 5;
/** The call's id, with which the body of a request, answer or failure begins. */
export const CALL_ID_BYTES = 4;
/** Body of a request in front of its payload: call id u32, kind u8, deadline f64. */
export const REQUEST_HEAD_BYTES = CALL_ID_BYTES + 1 + 8;
/** What a frame may be longer than its payload. */
const OVERHEAD_BYTES_MAX = 32;
/** A frame that is too long is passed over up to this length; one that claims more is damage. */
const SKIPPED_BYTES_MAX = 2 ** 30;
/** A buffer that a long frame needed is not kept. */
const KEPT_BYTES_MAX = 262_144;

const NO_BYTES = Buffer.alloc(0);

export interface FrameSink {
  /** Bytes a payload may have; longer frames are passed over. */
  readonly payloadBytesMax: number;
  /** True while no frame may be delivered. */
  readonly isHalted: boolean;
  /** A frame: its body is `bytes[start, end)`, borrowed until the call returns. */
  onFrame(type: number, bytes: Buffer, start: number, end: number): void;
  /** A frame that is too long, of which only type and call id are told. False: no such frame is passed over, it is damage. */
  onOversize(type: number, callId: number, lengthBytes: number): boolean;
  /** What arrived is no frame. The sink is expected to halt for good. */
  onDamage(what: string): void;
}

export class FrameReader {
  readonly #sink: FrameSink;
  /** What arrived and could not be delivered yet: `#held[#start, #end)`. */
  #held = NO_BYTES;
  #start = 0;
  #end = 0;
  /** Bytes still to come of a frame that is passed over. */
  #skipBytes = 0;
  #isParsing = false;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  get heldBytes(): number {
    return this.#end - this.#start;
  }

  /** Takes in a borrowed chunk and delivers what is complete. */
  receive(chunk: Buffer): void {
    assert(!this.#isParsing, "frames: a chunk while one is parsed");
    if (this.#end > this.#start) {
      this.#hold(chunk, 0);
      this.resume();
      return;
    }
    const parsed = this.#parse(chunk, 0, chunk.length);
    if (parsed < chunk.length) this.#hold(chunk, parsed);
  }

  /** Delivers what was held back, as far as the sink takes it. */
  resume(): void {
    if (this.#isParsing || this.#end === this.#start) return;
    this.#start = this.#parse(this.#held, this.#start, this.#end);
    if (this.#start < this.#end) return;
    this.#start = 0;
    this.#end = 0;
    if (this.#held.length > KEPT_BYTES_MAX) this.#held = NO_BYTES;
  }

  clear(): void {
    this.#held = NO_BYTES;
    this.#start = 0;
    this.#end = 0;
  }

  /** Appends `chunk[from, ...)` to what is held. Grows with what arrived, by doubling. */
  #hold(chunk: Buffer, from: number): void {
    const bytes = chunk.length - from;
    const heldBytes = this.#end - this.#start;
    if (this.#end + bytes > this.#held.length) {
      const isRoomy = heldBytes + bytes <= this.#held.length;
      const target = isRoomy ? this.#held : Buffer.allocUnsafeSlow(Math.max(2 * heldBytes, heldBytes + bytes, 1_024));
      this.#held.copy(target, 0, this.#start, this.#end);
      this.#held = target;
      this.#start = 0;
      this.#end = heldBytes;
    }
    chunk.copy(this.#held, this.#end, from);
    this.#end += bytes;
  }

  /** Delivers the frames of `bytes[start, end)`; returns where it stopped. */
  #parse(bytes: Buffer, start: number, end: number): number {
    this.#isParsing = true;
    const at = this.#parseFrames(bytes, start, end);
    this.#isParsing = false;
    return at;
  }

  #parseFrames(bytes: Buffer, start: number, end: number): number {
    const sink = this.#sink;
    for (let at = start; ; ) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, end - at);
        this.#skipBytes -= skipped;
        at += skipped;
      }
      if (sink.isHalted || end - at < FRAME_HEAD_BYTES) return at;
      const length = bytes.readUInt32BE(at);
      if (length === 0) return this.#damaged(end, "an empty frame");
      const next = at + 4 + length;
      const type = bytes[at + 4]!;
      if (length > sink.payloadBytesMax + OVERHEAD_BYTES_MAX) {
        if (length > SKIPPED_BYTES_MAX) return this.#damaged(end, "a frame of impossible length");
        if (end - at < FRAME_HEAD_BYTES + CALL_ID_BYTES) return at;
        const isPassedOver = sink.onOversize(type, bytes.readUInt32BE(at + FRAME_HEAD_BYTES), length);
        if (!isPassedOver) return this.#damaged(end, "a frame longer than its type may be");
        this.#skipBytes = 4 + length;
        continue;
      }
      if (next > end) return at;
      sink.onFrame(type, bytes, at + FRAME_HEAD_BYTES, next);
      at = next;
    }
  }

  /** Everything up to `end` is dropped. */
  #damaged(end: number, what: string): number {
    this.#sink.onDamage(what);
    return end;
  }
}
