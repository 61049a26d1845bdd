/**
 * One connection: frames in, frames out, nothing of what they mean. What is written in one turn leaves in one write, at its
 * end; on links that carry calls it begins with a batch frame that says when that was.
 *
 * INVARIANT: the sink is told of the end exactly once, and of nothing after it.
 */
import { assert } from "../assert.js";
import type { Connection, ConnectionHandlers } from "../host/network.js";
import { FRAME_HEAD_BYTES, FrameReader, type FrameSink, FrameType } from "./frame.js";
import { OutBuffer } from "./out-buffer.js";

/** Why a wire ended whose other side closed it. */
export const PEER_CLOSED = "the peer closed the connection";

const BATCH_BYTES = FRAME_HEAD_BYTES + 8;

export interface WireSink {
  readonly payloadBytesMax: number;
  /** A frame whose body is `bytes[start, end)`, borrowed. */
  onFrame(type: number, bytes: Buffer, start: number, end: number): void;
  /** See `FrameSink`. */
  onOversize(type: number, callId: number, lengthBytes: number): boolean;
  /** Bytes that waited to be sent have left, some or all. */
  onSent(): void;
  onClosed(why: string): void;
}

export interface WireOwner {
  monotonicMs(): number;
  /** Calls `wire.flush()` at the end of this turn. */
  flushSoon(wire: Wire): void;
}

export class Wire implements ConnectionHandlers, FrameSink {
  readonly connection: Connection;
  sink: WireSink;
  /** When the chunk being read arrived. */
  arrivedMs: number;
  readonly #owner: WireOwner;
  /** Each turn's write begins with its time. */
  #stampsBatches = false;
  readonly #reader = new FrameReader(this);
  readonly #out = new OutBuffer();
  #isFlushScheduled = false;
  #isFrameOpen = false;
  /** Of the open frame: the distance of its head from the start of what waits. */
  #frameStart = 0;
  #isReadingStopped = false;
  #isClosed = false;

  constructor(owner: WireOwner, connection: Connection, sink: WireSink) {
    this.#owner = owner;
    this.connection = connection;
    this.sink = sink;
    this.arrivedMs = owner.monotonicMs();
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Bytes not yet handed to the system. */
  get queuedBytes(): number {
    return this.#out.length + this.connection.pendingBytes;
  }

  // Out.

  /** Begins a frame: room for `bodyBytesMax` bytes is at `at` of what is returned. REQUIRES an `endFrame` in the same turn. */
  beginFrame(type: number, bodyBytesMax: number): OutBuffer {
    assert(!this.#isFrameOpen, "wire: one frame at a time is written");
    this.#isFrameOpen = true;
    const out = this.#out;
    if (!this.#isFlushScheduled) {
      this.#isFlushScheduled = true;
      this.#owner.flushSoon(this);
    }
    out.reserve(BATCH_BYTES + FRAME_HEAD_BYTES + bodyBytesMax);
    if (out.length === 0 && this.#stampsBatches) {
      out.at = out.bytes.writeUInt32BE(BATCH_BYTES - 4, out.at);
      out.bytes[out.at] = FrameType.batch;
      out.at += 9;
    }
    this.#frameStart = out.length;
    out.bytes[out.at + 4] = type;
    out.at += FRAME_HEAD_BYTES;
    return out;
  }

  /** From now on each turn's write begins with a batch frame. */
  startStamping(): void {
    this.flush();
    this.#stampsBatches = true;
  }

  endFrame(): void {
    assert(this.#isFrameOpen, "wire: a frame that ends has begun");
    this.#isFrameOpen = false;
    const out = this.#out;
    out.bytes.writeUInt32BE(out.length - this.#frameStart - 4, out.start + this.#frameStart);
  }

  /** A whole frame. */
  sendFrame(type: number, body: Uint8Array): void {
    const out = this.beginFrame(type, body.length);
    out.bytes.set(body, out.at);
    out.at += body.length;
    this.endFrame();
  }

  /** Sends what this turn wrote. */
  flush(): void {
    assert(!this.#isFrameOpen, "wire: a frame ends in the turn in which it began");
    this.#isFlushScheduled = false;
    const out = this.#out;
    if (this.#isClosed || out.length === 0) return;
    if (this.#stampsBatches) out.bytes.writeDoubleBE(this.#owner.monotonicMs(), out.start + FRAME_HEAD_BYTES);
    this.connection.write(out.take());
    if (this.connection.pendingBytes > 0) return;
    // All of it is the system's: nobody looks at these bytes any more.
    out.reuse();
    this.sink.onSent();
  }

  /** Sends what waits and closes this side; the other is expected to close. */
  finish(): void {
    this.flush();
    if (!this.#isClosed) this.connection.end();
  }

  /** Closes at once; the sink is told. Harmless when closed. */
  close(why: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.connection.destroy();
    this.#reader.clear();
    this.sink.onClosed(why);
  }

  // In.

  /** While reading is stopped no frame is delivered and the peer's bytes stay with the system. */
  stopReading(): void {
    if (this.#isReadingStopped || this.#isClosed) return;
    this.#isReadingStopped = true;
    this.connection.pause();
  }

  startReading(): void {
    if (!this.#isReadingStopped || this.#isClosed) return;
    this.#isReadingStopped = false;
    this.arrivedMs = this.#owner.monotonicMs();
    this.#reader.resume();
    if (!this.#isReadingStopped && !this.#isClosed) this.connection.resume();
  }

  get isReadingStopped(): boolean {
    return this.#isReadingStopped;
  }

  // ConnectionHandlers.

  onData(chunk: Buffer): void {
    if (this.#isClosed) return;
    this.arrivedMs = this.#owner.monotonicMs();
    this.#reader.receive(chunk);
  }

  onEnd(): void {
    this.close(PEER_CLOSED);
  }

  onDrain(): void {
    if (this.#isClosed) return;
    if (this.connection.pendingBytes === 0 && this.#out.length === 0) this.#out.reuse();
    this.sink.onSent();
  }

  onClose(error: Error | null): void {
    this.close(error === null ? "the connection was closed" : `the connection broke: ${error.message}`);
  }

  // FrameSink.

  get payloadBytesMax(): number {
    return this.sink.payloadBytesMax;
  }

  get isHalted(): boolean {
    return this.#isClosed || this.#isReadingStopped;
  }

  onFrame(type: number, bytes: Buffer, start: number, end: number): void {
    this.sink.onFrame(type, bytes, start, end);
  }

  onOversize(type: number, callId: number, lengthBytes: number): boolean {
    return this.sink.onOversize(type, callId, lengthBytes);
  }

  onDamage(what: string): void {
    this.close(`the peer sent ${what}`);
  }
}
