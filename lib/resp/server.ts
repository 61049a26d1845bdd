/**
 * The front end: listens, accepts connections, and ends each turn: the changes of the turn's requests are committed
 * once, then each connection that has replies writes once. What commands mean is the dispatcher's business.
 */
import type { Clock, Timer } from "../host/clock.js";
import type { Connection, Listener, Network } from "../host/network.js";
import type { Log } from "../log.js";
import type { CommitGate, Dispatcher } from "./call.js";
import { ClientConnection } from "./connection.js";
import type { ConnectionOwner, RespCounters } from "./connection-owner.js";
import { Release } from "./release.js";
import type { Session } from "./session.js";
import type { RespSettings } from "./settings.js";
import { WriteHold } from "./write-hold.js";

/** How often idle clients and stuck outputs are looked for. */
const SWEEP_MS = 1_000;
/** Refused connections that may linger until they have read why; above that they are just closed. */
const REFUSED_MAX = 1_000;
const REFUSED_MS_MAX = 1_000;

export interface RespServerOptions<S extends Session> {
  readonly network: Network;
  readonly clock: Clock;
  readonly log: Log;
  readonly dispatcher: Dispatcher<S>;
  readonly commitGate: CommitGate;
  /** Read at each use; may change at run time. */
  readonly settings: RespSettings;
  /** Says why a connection is not served, as an error's text without the dash; `null` where it is. For protected mode. */
  readonly refusal?: (connection: Connection) => string | null;
}

export class RespServer<S extends Session> implements ConnectionOwner<S> {
  readonly settings: RespSettings;
  readonly dispatcher: Dispatcher<S>;
  readonly counters: RespCounters = {
    connectionsReceived: 0,
    connectionsRejected: 0,
    requests: 0,
    inputBytes: 0,
    outputBytes: 0,
    protocolErrors: 0,
    outputLimitCloses: 0,
    queryBufferLimitCloses: 0,
    idleCloses: 0,
  };
  readonly writeHold: WriteHold;
  turn = 0;
  unsentBytes = 0;

  readonly #network: Network;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #refusal: (connection: Connection) => string | null;
  readonly #release: Release;
  readonly #connections = new Set<ClientConnection<S>>();
  readonly #listeners: Listener[] = [];
  #refusedOpen = 0;
  #toSend: ClientConnection<S>[] = [];
  #toGoOn: ClientConnection<S>[] = [];
  #hasTurnEnd = false;
  readonly #endTurn = (): void => this.#atTurnEnd();
  #sweepTimer: Timer | null = null;
  #isStopping = false;
  #onEmpty: (() => void) | null = null;

  constructor(options: RespServerOptions<S>) {
    this.settings = options.settings;
    this.dispatcher = options.dispatcher;
    this.#network = options.network;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#refusal = options.refusal ?? (() => null);
    this.#release = new Release(options.commitGate, (failure) => {
      for (const connection of this.#connections) connection.failHeldUpWrites(this.turn - 1, failure);
    });
    this.writeHold = new WriteHold({ gate: options.commitGate, clock: options.clock, settings: options.settings });
  }

  /** Connections being served. */
  get clients(): number {
    return this.#connections.size;
  }

  /**
   * Listens on one more address and returns the port. Rejects with an `OperatingError` of code `UNAVAILABLE` where the
   * address cannot be used.
   */
  async listen(address: { host: string; port: number }): Promise<number> {
    const listener = await this.#network.listen({ ...address, onConnection: (connection) => this.#accept(connection) });
    this.#listeners.push(listener);
    this.#sweepTimer ??= this.#clock.after(SWEEP_MS, () => this.#sweep());
    return listener.port;
  }

  /**
   * Stops accepting, answers what is in flight, sends it and closes. What is not done after `deadlineMs` is cut off.
   * Requests received but not begun are not run.
   */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#listeners.splice(0).map((listener) => listener.close()));
    const done = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    for (const connection of [...this.#connections]) connection.closeAfterReplies();
    const deadline = this.#clock.after(deadlineMs, () => {
      this.#log.warn({ clients: this.#connections.size }, "clients that did not close in time are cut off");
      for (const connection of [...this.#connections]) connection.kill();
    });
    if (this.#connections.size > 0) await done;
    deadline.cancel();
    this.#sweepTimer?.cancel();
  }

  // ConnectionOwner.

  wallMs(): number {
    return this.#clock.wallMs();
  }

  sendAtEndOfTurn(connection: ClientConnection<S>): void {
    this.#toSend.push(connection);
    this.commitAtEndOfTurn();
  }

  goOnNextTurn(connection: ClientConnection<S>): void {
    this.#toGoOn.push(connection);
    this.commitAtEndOfTurn();
  }

  commitAtEndOfTurn(): void {
    if (this.#hasTurnEnd) return;
    this.#hasTurnEnd = true;
    this.#clock.defer(this.#endTurn);
  }

  closed(connection: ClientConnection<S>): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#onEmpty?.();
  }

  #atTurnEnd(): void {
    this.#hasTurnEnd = false;
    this.turn++;
    const toSend = this.#toSend;
    const toGoOn = this.#toGoOn;
    if (toSend.length > 0) this.#toSend = [];
    if (toGoOn.length > 0) this.#toGoOn = [];
    this.#release.turn(toSend);
    for (const connection of toGoOn) connection.goOn();
  }

  #accept(socket: Connection): void {
    this.counters.connectionsReceived++;
    const refusal =
      this.#connections.size >= this.settings.maxClients ? "ERR max number of clients reached" : this.#refusal(socket);
    if (refusal !== null || this.#isStopping) {
      this.#refuse(socket, refusal);
      return;
    }
    const connection = new ClientConnection(this, socket);
    this.#connections.add(connection);
    connection.start(this.#clock.monotonicMs());
  }

  /** Tells the client why and closes; the client gets a moment to read it. */
  #refuse(socket: Connection, refusal: string | null): void {
    this.counters.connectionsRejected++;
    const destroy = (): void => socket.destroy();
    this.#refusedOpen++;
    const timer = this.#clock.after(REFUSED_MS_MAX, destroy);
    socket.start({
      onData: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      onClose: () => {
        timer.cancel();
        this.#refusedOpen--;
      },
    });
    if (refusal !== null) socket.write(`-${refusal}\r\n`);
    if (this.#refusedOpen > REFUSED_MAX) destroy();
    else socket.end();
  }

  #sweep(): void {
    const nowMs = this.#clock.monotonicMs();
    for (const connection of [...this.#connections]) connection.sweep(nowMs);
    this.#sweepTimer = this.#clock.after(SWEEP_MS, () => this.#sweep());
  }
}
