/**
 * Connections over TLS: one whose handshake is over, and one that was accepted and whose handshake is still to come.
 *
 * An accepted connection is handed to its owner before its handshake, as Redis does it: so whoever bounds connections bounds
 * handshakes too, and may refuse one at once. Until the handshake is over nothing is delivered and what is written waits.
 *
 * INVARIANT: the raw socket under a handshake is never destroyed from within an event of Node's TLS: those come from inside
 * OpenSSL, which would go on with what was freed (a segmentation fault). There the TLS socket is destroyed, which waits.
 */
import type net from "node:net";
import type tls from "node:tls";
import { assert } from "../assert.js";
import type { Connection, ConnectionHandlers } from "./network.js";
import { NodeConnection, type OnRefused } from "./node-connection.js";
import { tlsProblem } from "./node-tls-failures.js";

/** RFC 9266. */
const BINDING_LABEL = "EXPORTER-Channel-Binding";
const BINDING_BYTES = 32;

/** A connection whose handshake is over. */
export class TlsConnection extends NodeConnection {
  readonly #binding: Buffer;
  readonly #onWritten = (error?: Error | null): void => {
    if (!error) this.onSent();
  };

  constructor(socket: tls.TLSSocket) {
    super(socket, null);
    this.#binding = socket.exportKeyingMaterial(BINDING_BYTES, BINDING_LABEL, Buffer.alloc(0));
  }

  override get channelBinding(): Buffer {
    return this.#binding;
  }

  /** What arrives was encrypted: there is no TLS in it to look for. */
  protected override receiverFor(handlers: ConnectionHandlers): ConnectionHandlers {
    return handlers;
  }

  /**
   * Even a write that the system takes at once is pending until the next turn here, and below the socket's high-water mark no
   * drain tells of its end. Without the callback those bytes would count as unsent for as long as the connection is idle.
   */
  protected override send(socket: net.Socket, bytes: string | Buffer): boolean {
    if (typeof bytes === "string") return socket.write(bytes, "latin1", this.#onWritten);
    return socket.write(bytes, this.#onWritten);
  }

  protected override explain(error: Error): Error {
    return new Error(tlsProblem(error, "traffic"), { cause: error });
  }
}

export interface AcceptedTlsOptions {
  readonly raw: net.Socket;
  readonly handshakeMsMax: number;
  readonly onRefused: OnRefused | null;
  /** The handshake is over, one way or the other, or nobody waits for it any more. Called once. */
  readonly onSettled: () => void;
}

/** An accepted connection, from before its handshake on. */
export class AcceptedTlsConnection implements Connection {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #raw: net.Socket;
  readonly #options: AcceptedTlsOptions;
  readonly #deadline: NodeJS.Timeout;
  #isSettled = false;
  #open: TlsConnection | null = null;
  #handlers: ConnectionHandlers | null = null;
  /** Written before the handshake: a refusal, since nothing was asked yet. */
  #early: (string | Buffer)[] = [];
  #earlyBytes = 0;
  #isPaused = false;
  #isEnding = false;
  #isClosed = false;
  #error: Error | null = null;

  constructor(options: AcceptedTlsOptions) {
    const { raw, handshakeMsMax } = options;
    this.remoteAddress = raw.remoteAddress ?? "";
    this.remotePort = raw.remotePort ?? 0;
    this.localAddress = raw.localAddress ?? "";
    this.localPort = raw.localPort ?? 0;
    this.#raw = raw;
    this.#options = options;
    this.#deadline = setTimeout(() => {
      this.refuse(`it completed no TLS handshake within ${handshakeMsMax} ms`);
      raw.destroy();
    }, handshakeMsMax);
    raw.on("close", () => this.#onRawClose());
  }

  /** The handshake is over and the other side may be served. */
  secured(socket: tls.TLSSocket): void {
    if (this.#isSettled) {
      socket.destroy();
      return;
    }
    this.#settle();
    socket.allowHalfOpen = true;
    const open = new TlsConnection(socket);
    this.#open = open;
    if (this.#isPaused) open.pause();
    else socket.pause();
    if (this.#handlers !== null) open.start(this.#handlers);
    for (const bytes of this.#early.splice(0)) open.write(bytes);
    this.#earlyBytes = 0;
    if (this.#isEnding) open.end();
  }

  /** Says why the other side is not served, as a sentence about it. REQUIRES that the caller closes the socket. */
  refuse(why: string): void {
    if (this.#isSettled) return;
    this.#settle();
    this.#error = new Error(why);
    this.#options.onRefused?.(this.remoteAddress, why);
  }

  get channelBinding(): Buffer | null {
    return this.#open?.channelBinding ?? null;
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === null, "a connection is started once");
    this.#handlers = handlers;
    if (this.#open !== null) this.#open.start(handlers);
    else if (this.#isClosed) queueMicrotask(() => handlers.onClose(this.#error));
  }

  write(bytes: string | Buffer): void {
    if (this.#open !== null) {
      this.#open.write(bytes);
    } else if (!this.#isSettled && !this.#isEnding) {
      this.#early.push(bytes);
      this.#earlyBytes += bytes.length;
    }
  }

  get pendingBytes(): number {
    return this.#open === null ? this.#earlyBytes : this.#open.pendingBytes;
  }

  pause(): void {
    this.#isPaused = true;
    this.#open?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#open?.resume();
  }

  end(): void {
    this.#isEnding = true;
    this.#open?.end();
  }

  destroy(): void {
    if (this.#open !== null) {
      this.#open.destroy();
      return;
    }
    this.#settle();
    this.#raw.destroy();
  }

  #settle(): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#deadline);
    this.#options.onSettled();
  }

  /** From the handshake on the open connection tells of the end. */
  #onRawClose(): void {
    if (this.#open !== null) return;
    this.#early = [];
    this.#earlyBytes = 0;
    if (!this.#isSettled) this.#error = new Error("it closed the connection before the TLS handshake was over");
    this.#settle();
    this.#isClosed = true;
    this.#handlers?.onClose(this.#error);
  }
}
