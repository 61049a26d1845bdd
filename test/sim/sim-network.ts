/**
 * An in-memory Network: byte streams between ends in one process, delivered through a Clock, so that a test or a
 * simulation decides when. It is meaner than a real one where the seam allows it: chunks are cut where the `cut` function
 * says, and each chunk is overwritten as soon as the callback that borrowed it returns.
 *
 * An end has a send window: bytes beyond it wait (`pendingBytes`) until the other side has taken some, as with a socket.
 */
import { assert } from "../../lib/assert.js";
import { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";
import type {
  Connection,
  ConnectionHandlers,
  ConnectOptions,
  Listener,
  ListenOptions,
  Network,
} from "../../lib/host/network.js";

/** What a borrowed chunk is overwritten with: neither a digit, nor a letter, nor part of a request's frame. */
const OVERWRITTEN = 0xee;

export interface SimNetworkOptions {
  readonly clock: Clock;
  /** How many of the next `length` bytes (at least one) are delivered as one chunk. Default: all. */
  readonly cut?: (length: number) => number;
  /** Bytes that may be under way or unread in one direction. Default: 65536. */
  readonly windowBytes?: number;
}

export class SimNetwork implements Network {
  readonly clock: Clock;
  readonly windowBytes: number;
  readonly #listeners = new Map<number, ListenOptions>();
  readonly #cut: (length: number) => number;
  readonly #ends = new Set<SimConnection>();
  #nextPort = 49_152;

  constructor(options: SimNetworkOptions) {
    this.clock = options.clock;
    this.#cut = options.cut ?? ((length) => length);
    this.windowBytes = options.windowBytes ?? 65_536;
  }

  async listen(options: ListenOptions): Promise<Listener> {
    const port = options.port === 0 ? this.#nextPort++ : options.port;
    if (this.#listeners.has(port)) throw new OperatingError("UNAVAILABLE", `port ${port} is in use`);
    this.#listeners.set(port, options);
    return {
      port,
      close: async () => {
        this.#listeners.delete(port);
      },
    };
  }

  async connect(options: ConnectOptions): Promise<Connection> {
    return this.connectNow(options);
  }

  /** Connects within the call, for tests. Throws what `connect` rejects with. */
  connectNow(options: { host: string; port: number }): SimConnection {
    const listener = this.#listeners.get(options.port);
    if (listener === undefined) throw new OperatingError("UNAVAILABLE", `nothing listens on ${options.host}:${options.port}`);
    const port = this.#nextPort++;
    const client = new SimConnection(this, { host: "127.0.0.1", port }, options);
    const server = new SimConnection(this, options, { host: "127.0.0.1", port });
    client.pair(server);
    server.pair(client);
    this.#ends.add(client).add(server);
    listener.onConnection(server);
    return client;
  }

  /** Breaks every connection, as when a cable is cut and both sides notice. */
  dropAll(): void {
    for (const end of [...this.#ends]) end.reset();
  }

  /** The same, but for one connection, given by either end. */
  dropAllBut(kept: SimConnection): void {
    for (const end of [...this.#ends]) if (end !== kept && !end.isPairOf(kept)) end.reset();
  }

  /** Connections, counted once per end. */
  get openEnds(): number {
    return this.#ends.size;
  }

  cut(length: number): number {
    const bytes = this.#cut(length);
    assert(bytes >= 1 && bytes <= length, "a cut is within the bytes at hand");
    return bytes;
  }

  forget(end: SimConnection): void {
    this.#ends.delete(end);
  }
}

interface Address {
  readonly host: string;
  readonly port: number;
}

export class SimConnection implements Connection {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly #network: SimNetwork;
  #other: SimConnection | null = null;
  #handlers: ConnectionHandlers | null = null;
  /** Written here and not in the window yet; in the window and not taken by the other side yet. */
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #arriving: Buffer[] = [];
  #arrivingBytes = 0;
  #isPaused = false;
  #isDelivering = false;
  #hasEnded = false;
  #hasOtherEnded = false;
  #hasToldEnd = false;
  #isClosed = false;
  #error: Error | null = null;

  constructor(network: SimNetwork, local: Address, remote: Address) {
    this.#network = network;
    this.localAddress = local.host;
    this.localPort = local.port;
    this.remoteAddress = remote.host;
    this.remotePort = remote.port;
  }

  pair(other: SimConnection): void {
    this.#other = other;
  }

  isPairOf(other: SimConnection): boolean {
    return this.#other === other;
  }

  get pendingBytes(): number {
    return this.#unsentBytes;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  start(handlers: ConnectionHandlers): void {
    assert(this.#handlers === null, "a connection is started once");
    this.#handlers = handlers;
    this.#deliverSoon();
  }

  write(bytes: string | Buffer): void {
    if (this.#hasEnded || this.#isClosed) return;
    const copy = typeof bytes === "string" ? Buffer.from(bytes, "latin1") : Buffer.from(bytes);
    this.#unsent.push(copy);
    this.#unsentBytes += copy.length;
    this.#fillWindow();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#deliverSoon();
  }

  end(): void {
    if (this.#hasEnded || this.#isClosed) return;
    this.#hasEnded = true;
    this.#other!.#deliverSoon();
    this.#closeIfOver();
  }

  destroy(): void {
    if (this.#isClosed) return;
    this.#close(null);
    const other = this.#other!;
    // What is unread at the other side is lost with the connection, as a reset does.
    if (!this.#hasOtherEnded || !this.#hasEnded) this.#network.clock.defer(() => other.reset());
  }

  /** Breaks this end as if the other had vanished. */
  reset(): void {
    if (!this.#isClosed) this.#close(new Error("connection reset"));
  }

  /** Moves bytes into the window as far as there is room. */
  #fillWindow(): void {
    const other = this.#other!;
    let moved = false;
    while (this.#unsent.length > 0 && other.#arrivingBytes < this.#network.windowBytes) {
      const bytes = this.#unsent.shift()!;
      const room = this.#network.windowBytes - other.#arrivingBytes;
      const part = bytes.subarray(0, room);
      if (part.length < bytes.length) this.#unsent.unshift(bytes.subarray(part.length));
      other.#arriving.push(part);
      other.#arrivingBytes += part.length;
      this.#unsentBytes -= part.length;
      moved = true;
    }
    if (moved) other.#deliverSoon();
  }

  #deliverSoon(): void {
    if (this.#isDelivering || this.#handlers === null) return;
    this.#isDelivering = true;
    this.#network.clock.defer(() => {
      this.#isDelivering = false;
      this.#deliver();
    });
  }

  /** Delivers one chunk, or the end. */
  #deliver(): void {
    if (this.#isClosed || this.#isPaused) return;
    const other = this.#other!;
    if (this.#arrivingBytes > 0) {
      this.#deliverChunk();
      if (!other.#isClosed) other.#afterRoom();
      if (this.#isClosed) return;
      this.#deliverSoon();
    } else if (other.#hasEnded && other.#unsentBytes === 0 && !this.#hasToldEnd) {
      this.#hasToldEnd = true;
      this.#hasOtherEnded = true;
      this.#handlers!.onEnd();
      this.#closeIfOver();
      other.#closeIfOver();
    }
  }

  #deliverChunk(): void {
    const all = this.#arriving.length === 1 ? this.#arriving[0]! : Buffer.concat(this.#arriving);
    const length = this.#network.cut(all.length);
    const chunk = Buffer.from(all.subarray(0, length));
    this.#arriving = length < all.length ? [all.subarray(length)] : [];
    this.#arrivingBytes -= length;
    this.#handlers!.onData(chunk);
    chunk.fill(OVERWRITTEN);
  }

  #afterRoom(): void {
    if (this.#unsentBytes === 0) return;
    this.#fillWindow();
    if (this.#unsentBytes === 0) this.#handlers?.onDrain();
  }

  /** Both sides have ended and everything was delivered: an orderly close. */
  #closeIfOver(): void {
    const other = this.#other!;
    if (this.#hasEnded && this.#hasToldEnd && (other.#hasToldEnd || other.#isClosed)) this.#close(null);
  }

  #close(error: Error | null): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#error = error;
    this.#unsent = [];
    this.#unsentBytes = 0;
    this.#arriving = [];
    this.#arrivingBytes = 0;
    this.#network.forget(this);
    const handlers = this.#handlers;
    if (handlers !== null) this.#network.clock.defer(() => handlers.onClose(this.#error));
  }
}
