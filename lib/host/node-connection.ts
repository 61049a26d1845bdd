/**
 * A connection on one of Node's sockets. Writes above a bound are given to the socket in parts, so that `pendingBytes` shows
 * progress and no part is copied twice.
 *
 * The first bytes of a connection that is not encrypted are looked at once: a TLS record there means that one side has TLS
 * and the other has not, and that is told as such instead of as damage. Later chunks go straight to their receiver.
 */
import type net from "node:net";
import { assert } from "../assert.js";
import { loopTurn } from "./loop-turn.js";
import type { Connection, ConnectionHandlers } from "./network.js";
import type { SharedReads } from "./node-shared-reads.js";

/** More than this is given to the socket in parts. */
const PART_BYTES_MAX = 262_144;

/** The first bytes of TLS: a record of a handshake or of an alert, of any version there is. */
const TLS_HANDSHAKE = 0x16;
const TLS_ALERT = 0x15;
const TLS_MAJOR = 0x03;

const SPEAKS_TLS = "it speaks TLS, and this node does not: set tls-cert and tls-key here, or use no TLS there";

/** Told of each connection that is refused before anything of it was understood. */
export type OnRefused = (remoteAddress: string, why: string) => void;

export class NodeConnection implements Connection {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #socket: net.Socket;
  readonly #onRefused: OnRefused | null;
  /** Parts not yet given to the socket, and how many bytes they are. */
  #parts: (string | Buffer)[] = [];
  #partsBytes = 0;
  #handlers: ConnectionHandlers | null = null;
  #isPaused = false;
  #isEnding = false;
  #error: Error | null = null;

  /** `accepted` reads nothing yet. With `reads` its handle is moved to a socket that reads through the shared buffer. */
  constructor(accepted: net.Socket, reads: SharedReads | null, onRefused: OnRefused | null = null) {
    this.remoteAddress = accepted.remoteAddress ?? "";
    this.remotePort = accepted.remotePort ?? 0;
    this.localAddress = accepted.localAddress ?? "";
    this.localPort = accepted.localPort ?? 0;
    this.#socket = reads === null ? accepted : reads.adopt(accepted, (chunk) => this.#onRead(chunk));
    this.#onRefused = onRefused;
    this.#socket.on("error", (error) => {
      this.#error = this.explain(error);
    });
  }

  get channelBinding(): Buffer | null {
    return null;
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === null, "a connection is started once");
    this.#handlers = this.receiverFor(handlers);
    const socket = this.#socket;
    socket.on("end", () => handlers.onEnd());
    socket.on("drain", () => this.onSent());
    socket.on("close", () => handlers.onClose(this.#error));
    // With shared reads no `data` event ever comes; the listener makes the stream flow, which `end` needs.
    socket.on("data", (chunk: Buffer) => this.#deliver(chunk));
    if (socket.closed) queueMicrotask(() => handlers.onClose(this.#error));
    else if (!this.#isPaused) socket.resume();
  }

  write(bytes: string | Buffer): void {
    if (this.#isEnding || bytes.length === 0) return;
    if (this.#partsBytes === 0 && bytes.length <= PART_BYTES_MAX) {
      this.send(this.#socket, bytes);
      return;
    }
    this.#parts.push(bytes);
    this.#partsBytes += bytes.length;
    if (!this.#socket.writableNeedDrain) this.#sendParts();
  }

  get pendingBytes(): number {
    return this.#partsBytes + this.#socket.writableLength;
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#handlers !== null) this.#socket.resume();
  }

  end(): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    if (this.#partsBytes === 0) this.#socket.end();
  }

  destroy(): void {
    this.#isEnding = true;
    this.#parts = [];
    this.#partsBytes = 0;
    this.#socket.destroy();
  }

  /** Closes because of what the other side does; `onClose` is told why. */
  refuse(why: string): void {
    this.#error ??= new Error(why);
    this.#onRefused?.(this.remoteAddress, why);
    this.destroy();
  }

  /** From the next chunk on this is its receiver. */
  deliverTo(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
  }

  /** What receives the first chunk. */
  protected receiverFor(handlers: ConnectionHandlers): ConnectionHandlers {
    return new FirstChunk(this, handlers);
  }

  /** Gives bytes to the socket; false when it asks to wait for its drain. */
  protected send(socket: net.Socket, bytes: string | Buffer): boolean {
    return typeof bytes === "string" ? socket.write(bytes, "latin1") : socket.write(bytes);
  }

  /** An error of the socket as people should read it. */
  protected explain(error: Error): Error {
    return error;
  }

  /** Some of what was given to the socket has left. */
  protected onSent(): void {
    if (this.#partsBytes > 0 && !this.#socket.writableNeedDrain) this.#sendParts();
    if (this.pendingBytes === 0) this.#handlers?.onDrain();
  }

  #onRead(chunk: Buffer): boolean {
    if (this.#handlers !== null) this.#deliver(chunk);
    return !this.#isPaused;
  }

  #deliver(chunk: Buffer): void {
    this.#handlers!.onData(chunk);
    loopTurn.noteRead(chunk.length);
  }

  /** Gives the socket parts until it asks to wait for its drain. */
  #sendParts(): void {
    let taken = 0;
    for (let isReady = true; isReady && taken < this.#parts.length; ) {
      const bytes = this.#parts[taken]!;
      const part = bytes.length <= PART_BYTES_MAX ? bytes : headOf(bytes);
      this.#partsBytes -= part.length;
      if (part === bytes) taken++;
      else this.#parts[taken] = restOf(bytes);
      isReady = this.send(this.#socket, part);
    }
    if (taken > 0) this.#parts.splice(0, taken);
    if (this.#partsBytes === 0 && this.#isEnding) this.#socket.end();
  }
}

/** Looks at the first chunk of a connection and is out of the way from then on. */
class FirstChunk implements ConnectionHandlers {
  readonly #connection: NodeConnection;
  readonly #handlers: ConnectionHandlers;

  constructor(connection: NodeConnection, handlers: ConnectionHandlers) {
    this.#connection = connection;
    this.#handlers = handlers;
  }

  onData(chunk: Buffer): void {
    this.#connection.deliverTo(this.#handlers);
    const isRecord = chunk[0] === TLS_HANDSHAKE || chunk[0] === TLS_ALERT;
    if (isRecord && chunk[1] === TLS_MAJOR) this.#connection.refuse(SPEAKS_TLS);
    else this.#handlers.onData(chunk);
  }

  onEnd(): void {
    this.#handlers.onEnd();
  }

  onDrain(): void {
    this.#handlers.onDrain();
  }

  onClose(error: Error | null): void {
    this.#handlers.onClose(error);
  }
}

function headOf(bytes: string | Buffer): string | Buffer {
  return typeof bytes === "string" ? bytes.slice(0, PART_BYTES_MAX) : bytes.subarray(0, PART_BYTES_MAX);
}

function restOf(bytes: string | Buffer): string | Buffer {
  return typeof bytes === "string" ? bytes.slice(PART_BYTES_MAX) : bytes.subarray(PART_BYTES_MAX);
}
