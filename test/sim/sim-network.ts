/**
 * An in-memory Network: byte streams between ends in one process, delivered through a Clock, so that a test or a
 * simulation decides when. It is meaner than a real one where the seam allows it: chunks are cut where the `cut` function
 * says, and each chunk is overwritten as soon as the callback that borrowed it returns.
 *
 * An end has a send window: bytes beyond it wait (`pendingBytes`) until the other side has taken some, as with a socket.
 *
 * Machines have names: `endpoint(name)` is the network as one of them sees it. Between two of them the way may be slow
 * (`setDelay`, `drawDelayMs`) or cut (`cutOff`, as when packets vanish: nobody is told, and what was sent arrives when it is
 * `heal`ed), and a machine may be frozen (`freeze`, as a process by SIGSTOP: its system takes connections and bytes, it sees
 * none of them) or without power (`powerOff`: nobody is told, and who connects waits in vain).
 */
import { assert } from "../../lib/assert.js";
import { OperatingError } from "../../lib/errors.js";
import { type Clock, pause } from "../../lib/host/clock.js";
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
  /** Drawn for each message, in addition to `setDelay`. The bytes of one connection stay in order. Default: none. */
  readonly drawDelayMs?: (from: string, to: string) => number;
  /** Is told of every chunk that reaches its receiver. */
  readonly onDeliver?: (from: string, to: string, bytes: number) => void;
}

export class SimNetwork implements Network {
  readonly clock: Clock;
  readonly windowBytes: number;
  readonly #listeners = new Map<number, { options: ListenOptions; name: string }>();
  /** Whose ports these are, or were: a machine without power is still the one that does not answer. */
  readonly #owners = new Map<number, string>();
  readonly #cut: (length: number) => number;
  readonly #drawDelayMs: (from: string, to: string) => number;
  readonly #onDeliver: (from: string, to: string, bytes: number) => void;
  readonly #ends = new Set<SimConnection>();
  #nextPort = 49_152;
  /** Ordered pairs of names, `from>to`. */
  readonly #delaysMs = new Map<string, number>();
  readonly #cuts = new Set<string>();
  readonly #frozen = new Set<string>();
  readonly #off = new Set<string>();
  /** What waits until the way is free again. */
  #held: { from: string; to: string; run: () => void }[] = [];

  constructor(options: SimNetworkOptions) {
    this.clock = options.clock;
    this.#cut = options.cut ?? ((length) => length);
    this.windowBytes = options.windowBytes ?? 65_536;
    this.#drawDelayMs = options.drawDelayMs ?? (() => 0);
    this.#onDeliver = options.onDeliver ?? (() => undefined);
  }

  listen(options: ListenOptions): Promise<Listener> {
    return this.listenAs("", options);
  }

  connect(options: ConnectOptions): Promise<Connection> {
    return this.connectAs("", options);
  }

  /** The network as the machine of that name sees it. */
  endpoint(name: string): Network {
    return {
      listen: (options) => this.listenAs(name, options),
      connect: (options) => this.connectAs(name, options),
    };
  }

  async listenAs(name: string, options: ListenOptions): Promise<Listener> {
    const port = options.port === 0 ? this.#nextPort++ : options.port;
    if (this.#listeners.has(port)) throw new OperatingError("UNAVAILABLE", `port ${port} is in use`);
    const listener = { options, name };
    this.#listeners.set(port, listener);
    this.#owners.set(port, name);
    return {
      port,
      close: async () => {
        if (this.#listeners.get(port) === listener) this.#listeners.delete(port);
      },
    };
  }

  async connectAs(name: string, options: ConnectOptions): Promise<Connection> {
    const to = this.#owners.get(options.port) ?? "";
    if (this.#off.has(to) || this.#cuts.has(`${name}>${to}`) || this.#cuts.has(`${to}>${name}`)) {
      await pause(this.clock, options.timeoutMs);
      throw new OperatingError("TIMEOUT", `no connection to ${options.host}:${options.port} within ${options.timeoutMs} ms`);
    }
    const roundTripMs = this.drawDelay(name, to) + this.drawDelay(to, name);
    if (roundTripMs > 0) await pause(this.clock, roundTripMs);
    return this.connectNow(options, name);
  }

  /** Connects within the call, for tests. Throws what `connect` rejects with. */
  connectNow(options: { host: string; port: number }, name = ""): SimConnection {
    const listener = this.#listeners.get(options.port);
    if (listener === undefined) throw new OperatingError("UNAVAILABLE", `nothing listens on ${options.host}:${options.port}`);
    const port = this.#nextPort++;
    const client = new SimConnection(this, { host: "127.0.0.1", port }, { ...options, name, from: listener.name });
    const server = new SimConnection(this, options, { host: "127.0.0.1", port, name: listener.name, from: name });
    client.pair(server);
    server.pair(client);
    this.#ends.add(client).add(server);
    // The system of a frozen machine accepts; its process learns of it later.
    if (this.#frozen.has(listener.name)) {
      this.#held.push({ from: name, to: listener.name, run: () => listener.options.onConnection(server) });
    } else listener.options.onConnection(server);
    return client;
  }

  /** Bytes take so long from one to the other. */
  setDelay(from: string, to: string, delayMs: number): void {
    this.#delaysMs.set(`${from}>${to}`, delayMs);
  }

  delayMs(from: string, to: string): number {
    return this.#delaysMs.get(`${from}>${to}`) ?? 0;
  }

  /** How long the next message takes. */
  drawDelay(from: string, to: string): number {
    return this.delayMs(from, to) + this.#drawDelayMs(from, to);
  }

  /** Nothing passes from any of `some` to any of `others` or back. */
  cutOff(some: readonly string[], others: readonly string[]): void {
    for (const one of some) for (const other of others) this.#cuts.add(`${one}>${other}`).add(`${other}>${one}`);
  }

  /** Only this direction. */
  cutWay(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`);
  }

  heal(): void {
    this.#cuts.clear();
    this.#release();
  }

  /** Exactly these ways are cut from now on, each given as [from, to]. */
  replaceCuts(ways: Iterable<readonly [string, string]>): void {
    this.#cuts.clear();
    for (const [from, to] of ways) this.#cuts.add(`${from}>${to}`);
    this.#release();
  }

  /** The machine's process is gone: its system closes what it had open, and whoever is at the other end is told. */
  endProcess(name: string): void {
    this.#forgetListeners(name);
    for (const end of this.#endsOf(name)) end.destroy();
  }

  /** The machine is gone: nobody is told. Until `powerOn` nothing of it answers. */
  powerOff(name: string): void {
    this.#off.add(name);
    this.#forgetListeners(name);
    for (const end of this.#endsOf(name)) end.vanish();
  }

  /** Who still had connections to it learns now that they are gone. */
  powerOn(name: string): void {
    this.#off.delete(name);
    for (const end of [...this.#ends]) if (end.from === name && end.hasLostOther) end.reset();
  }

  #forgetListeners(name: string): void {
    for (const [port, listener] of [...this.#listeners]) if (listener.name === name) this.#listeners.delete(port);
    this.#held = this.#held.filter(({ to }) => to !== name);
  }

  #endsOf(name: string): SimConnection[] {
    return [...this.#ends].filter((end) => end.name === name);
  }

  freeze(name: string): void {
    this.#frozen.add(name);
  }

  thaw(name: string): void {
    this.#frozen.delete(name);
    this.#release();
  }

  /** Nothing that comes `from` one reaches the process of the other now. */
  isStuck(from: string, to: string): boolean {
    return this.#frozen.has(to) || this.#cuts.has(`${from}>${to}`);
  }

  /** Runs it now, or when the way is free. */
  whenFree(way: { from: string; to: string }, run: () => void): void {
    if (this.isStuck(way.from, way.to)) this.#held.push({ ...way, run });
    else run();
  }

  #release(): void {
    const held = this.#held;
    this.#held = [];
    for (const { from, to, run } of held) this.whenFree({ from, to }, run);
    for (const end of [...this.#ends]) end.wake();
  }

  /** Breaks every connection, as when a cable is cut and both sides notice. */
  dropAll(): void {
    for (const end of [...this.#ends]) end.reset();
  }

  /** Breaks the connections of which either end passes; returns how many. */
  dropWhere(isWanted: (end: { readonly name: string; readonly from: string }) => boolean): number {
    let dropped = 0;
    for (const end of [...this.#ends]) {
      if (!isWanted(end)) continue;
      end.reset();
      end.resetOther();
      dropped++;
    }
    return dropped;
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

  delivered(from: string, to: string, bytes: number): void {
    this.#onDeliver(from, to, bytes);
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
  /** Nothing is encrypted here; a test that wants the ends of an encrypted connection sets the same bytes at both. */
  channelBinding: Buffer | null = null;
  /** The machine it belongs to, and the one at the other end. */
  readonly name: string;
  readonly from: string;
  readonly #network: SimNetwork;
  #other: SimConnection | null = null;
  #handlers: ConnectionHandlers | null = null;
  /** Written here and not in the window yet; in the window and not taken by the other side yet. */
  #unsent: Buffer[] = [];
  #unsentBytes = 0;
  #arriving: Buffer[] = [];
  #arrivingBytes = 0;
  /** Of `#arrivingBytes`, those that are not here yet: the next to arrive first. */
  #underWayBytes = 0;
  readonly #underWay: Buffer[] = [];
  #isPaused = false;
  #isDelivering = false;
  #hasEnded = false;
  #hasOtherEnded = false;
  #hasToldEnd = false;
  #isClosed = false;
  #error: Error | null = null;

  constructor(network: SimNetwork, local: Address, remote: Address & { name: string; from: string }) {
    this.#network = network;
    this.name = remote.name;
    this.from = remote.from;
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
    if (this.#hasOtherEnded && this.#hasEnded) return;
    const delayMs = this.#network.drawDelay(this.name, this.from);
    const tell = (): void => this.#network.whenFree({ from: this.name, to: this.from }, () => other.reset());
    if (delayMs === 0) this.#network.clock.defer(tell);
    else this.#network.clock.after(delayMs, tell);
  }

  /** The way from the other end may be free again. */
  wake(): void {
    this.#deliverSoon();
  }

  /** This end is gone, and the other does not know. */
  vanish(): void {
    if (!this.#isClosed) this.#close(null);
  }

  /** True when the other end is gone. */
  get hasLostOther(): boolean {
    return this.#other!.#isClosed;
  }

  resetOther(): void {
    this.#other!.reset();
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
      other.#arrive(part, this.#network.drawDelay(this.name, this.from));
      this.#unsentBytes -= part.length;
      moved = true;
    }
    if (moved) other.#deliverSoon();
  }

  /** Takes bytes into the window that reach this end after `delayMs`. */
  #arrive(part: Buffer, delayMs: number): void {
    this.#arrivingBytes += part.length;
    if (delayMs === 0 && this.#underWayBytes === 0) {
      this.#arriving.push(part);
      return;
    }
    this.#underWayBytes += part.length;
    this.#underWay.push(part);
    this.#network.clock.after(delayMs, () => {
      if (this.#isClosed) return;
      // Delays differ, but a connection keeps its order: what was sent first is here first.
      const next = this.#underWay.shift()!;
      this.#underWayBytes -= next.length;
      this.#arriving.push(next);
      this.#deliverSoon();
    });
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
    if (this.#isClosed || this.#isPaused || this.#network.isStuck(this.from, this.name)) return;
    const other = this.#other!;
    if (this.#arrivingBytes > this.#underWayBytes) {
      this.#deliverChunk();
      if (!other.#isClosed) other.#afterRoom();
      if (this.#isClosed) return;
      this.#deliverSoon();
    } else if (other.#hasEnded && other.#unsentBytes === 0 && this.#underWayBytes === 0 && !this.#hasToldEnd) {
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
    this.#network.delivered(this.from, this.name, length);
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
