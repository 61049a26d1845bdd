/**
 * The Network seam on Node's sockets. Chunks are read into one buffer of the process where this Node allows it (see
 * node-shared-reads.ts), so they are truly borrowed. Sockets stay half-open after the other side's end until this side
 * ends too. Nagle's delay is off, keep-alive is on.
 */
import net from "node:net";
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";
import type { Connection, ConnectionHandlers, ConnectOptions, Listener, ListenOptions, Network } from "./network.js";
import { probeSharedReads, SharedReads } from "./node-shared-reads.js";

/** Connections waiting to be accepted, as Redis's tcp-backlog; the system caps it. */
const BACKLOG = 511;
/** As Redis's tcp-keepalive: a vanished peer is noticed after about two such periods. */
const KEEP_ALIVE_MS = 300_000;
/** More than this is given to the socket in parts, so that `pendingBytes` shows progress and no part is copied twice. */
const PART_BYTES_MAX = 262_144;

/** How accepted sockets are read: `probe` uses the shared buffer where it works. */
export type ReadMode = "probe" | "data-events";

export class NodeNetwork implements Network {
  readonly #reads = new SharedReads();
  readonly #mode: ReadMode;
  #sharing: Promise<boolean> | null = null;

  constructor(mode: ReadMode = "probe") {
    this.#mode = mode;
  }

  async listen(options: ListenOptions): Promise<Listener> {
    const isSharing = await this.#isSharing();
    const server = net.createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
      pauseOnConnect: isSharing,
    });
    const reads = isSharing ? this.#reads : null;
    server.on("connection", (accepted: net.Socket) => {
      // A client that is gone already has no address; there is nobody to serve.
      if (accepted.remoteAddress === undefined) accepted.destroy();
      else options.onConnection(new NodeConnection(accepted, reads));
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", (cause: NodeJS.ErrnoException) => reject(listenError(options, cause)));
      server.listen({ host: options.host, port: options.port, backlog: BACKLOG }, resolve);
    });
    // Failing accepts (no file descriptors left) are retried by Node; the listener stays.
    server.on("error", () => undefined);
    return new NodeListener(server);
  }

  connect(options: ConnectOptions): Promise<Connection> {
    const where = `${options.host}:${options.port}`;
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: options.host, port: options.port, allowHalfOpen: true, noDelay: true });
      const deadline = setTimeout(() => {
        socket.destroy();
        reject(new OperatingError("TIMEOUT", `no connection to ${where} within ${options.timeoutMs} ms`));
      }, options.timeoutMs);
      const fail = (cause: Error): void => {
        clearTimeout(deadline);
        reject(new OperatingError("UNAVAILABLE", `cannot connect to ${where}: ${cause.message}`, { cause }));
      };
      socket.once("error", fail);
      socket.once("connect", () => {
        clearTimeout(deadline);
        socket.off("error", fail);
        socket.pause();
        resolve(new NodeConnection(socket, null));
      });
    });
  }

  #isSharing(): Promise<boolean> {
    this.#sharing ??= this.#mode === "probe" ? probeSharedReads() : Promise.resolve(false);
    return this.#sharing;
  }
}

class NodeListener implements Listener {
  readonly port: number;
  readonly #server: net.Server;

  constructor(server: net.Server) {
    const address = server.address();
    assert(address !== null && typeof address === "object", "a listening TCP server has an address");
    this.port = address.port;
    this.#server = server;
  }

  /** The port is free when this returns; Node's own callback would wait for the open connections too. */
  close(): Promise<void> {
    if (this.#server.listening) this.#server.close();
    return Promise.resolve();
  }
}

class NodeConnection implements Connection {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #socket: net.Socket;
  /** Parts not yet given to the socket, and how many bytes they are. */
  #parts: (string | Buffer)[] = [];
  #partsBytes = 0;
  #handlers: ConnectionHandlers | null = null;
  #isPaused = false;
  #isEnding = false;
  #error: Error | null = null;

  /** `accepted` reads nothing yet. With `reads` its handle is moved to a socket that reads through the shared buffer. */
  constructor(accepted: net.Socket, reads: SharedReads | null) {
    this.remoteAddress = accepted.remoteAddress ?? "";
    this.remotePort = accepted.remotePort ?? 0;
    this.localAddress = accepted.localAddress ?? "";
    this.localPort = accepted.localPort ?? 0;
    this.#socket = reads === null ? accepted : reads.adopt(accepted, (chunk) => this.#onRead(chunk));
    this.#socket.on("error", (error) => {
      this.#error = error;
    });
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === null, "a connection is started once");
    this.#handlers = handlers;
    const socket = this.#socket;
    socket.on("end", () => handlers.onEnd());
    socket.on("drain", () => this.#onDrain());
    socket.on("close", () => handlers.onClose(this.#error));
    // With shared reads no `data` event ever comes; the listener makes the stream flow, which `end` needs.
    socket.on("data", (chunk: Buffer) => handlers.onData(chunk));
    if (socket.closed) queueMicrotask(() => handlers.onClose(this.#error));
    else if (!this.#isPaused) socket.resume();
  }

  write(bytes: string | Buffer): void {
    if (this.#isEnding || bytes.length === 0) return;
    if (this.#partsBytes === 0 && bytes.length <= PART_BYTES_MAX) {
      this.#send(bytes);
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

  #onRead(chunk: Buffer): boolean {
    this.#handlers?.onData(chunk);
    return !this.#isPaused;
  }

  #send(bytes: string | Buffer): boolean {
    return typeof bytes === "string" ? this.#socket.write(bytes, "latin1") : this.#socket.write(bytes);
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
      isReady = this.#send(part);
    }
    if (taken > 0) this.#parts.splice(0, taken);
    if (this.#partsBytes === 0 && this.#isEnding) this.#socket.end();
  }

  #onDrain(): void {
    if (this.#partsBytes > 0) this.#sendParts();
    if (this.pendingBytes === 0) this.#handlers?.onDrain();
  }
}

function headOf(bytes: string | Buffer): string | Buffer {
  return typeof bytes === "string" ? bytes.slice(0, PART_BYTES_MAX) : bytes.subarray(0, PART_BYTES_MAX);
}

function restOf(bytes: string | Buffer): string | Buffer {
  return typeof bytes === "string" ? bytes.slice(PART_BYTES_MAX) : bytes.subarray(PART_BYTES_MAX);
}

function listenError(options: ListenOptions, cause: NodeJS.ErrnoException): OperatingError {
  const where = `${options.host}:${options.port}`;
  const advice =
    cause.code === "EADDRINUSE"
      ? "the address is in use; stop what listens there or choose another port"
      : cause.code === "EACCES"
        ? "not permitted; choose a port above 1023"
        : cause.code === "EADDRNOTAVAIL"
          ? "this machine has no such address; choose another to bind"
          : cause.message;
  return new OperatingError("UNAVAILABLE", `cannot listen on ${where}: ${advice}`, { cause });
}
