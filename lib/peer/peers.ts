/**
 * The links between this node and its peers. Payload-blind: a payload is bytes, its one-byte kind names the handler, and
 * who is a member, or may be, is the owner's business.
 *
 * Each node dials one connection to each peer it has an address of, and sends its own calls on it; answers come back on it.
 * All that one turn writes to a peer leaves in one write.
 */
import { assert } from "../assert.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause, type Timer } from "../host/clock.js";
import type { Connection, Listener, Network } from "../host/network.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import { PeerCallError, type PeerFailureCode, PeerRefusal } from "./failure.js";
import {
  type Accepted,
  type AcceptOutcome,
  Acceptor,
  Dialler,
  type PeerHello,
  type PeerIdentity,
  type PeerObjection,
} from "./handshake.js";
import { HearingTime } from "./hearing-time.js";
import {
  ID_LENGTH_MAX,
  INSTANCE_BYTES,
  PROTOCOL_VERSION_MAX,
  PROTOCOL_VERSION_MIN,
  type ProtocolVersions,
  SETTINGS_BYTES_MAX,
} from "./hello.js";
import { IncomingLink, type IncomingOwner, type PeerHandler } from "./incoming-link.js";
import type { OutBuffer } from "./out-buffer.js";
import { type LinkOwner, OutgoingLink, type PeerAddress, type PeerState } from "./outgoing-link.js";
import type { PeerCall, PeerCallHead, PeerNotice } from "./peer-call.js";
import type { PeerSettings } from "./settings.js";
import type { Wire } from "./wire.js";

/** A tick that comes so many times later than it should says that this process was stopped. */
const STOPPED_TICKS = 3;
/** Links that one run of a peer may have to us: more than one only while it replaces them. */
const LINKS_PER_PEER_MAX = 4;
/** Complaints that are remembered so as not to be logged again. */
const COMPLAINTS_MAX = 256;
/** Who leaves looks so often whether anything is under way, and has to find nothing so many times. */
const LEAVE_LOOK_MS = 20;
const LEAVE_LOOKS = 2;

export interface PeersOptions {
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Read at each use. */
  readonly settings: PeerSettings;
  /** Asked for each hello. */
  readonly identity: () => PeerIdentity;
  /** Null, or why a peer is refused. Asked on both sides, once the secret is proven. */
  readonly admit: (hello: PeerHello) => PeerObjection | null;
  /** What is spoken. Default: all that this code knows; less makes of it what an older build is to others. */
  readonly versions?: ProtocolVersions;
}

export class Peers implements LinkOwner, IncomingOwner, AcceptOutcome {
  readonly clock: Clock;
  readonly network: Network;
  readonly random: Random;
  readonly settings: PeerSettings;
  readonly versions: ProtocolVersions;
  readonly instance: Buffer;
  readonly sinceVersions = new Uint8Array(256).fill(PROTOCOL_VERSION_MIN);
  readonly handlers: (PeerHandler | null)[] = new Array<PeerHandler | null>(256).fill(null);
  readonly #log: Log;
  readonly #identity: () => PeerIdentity;
  readonly #admit: (hello: PeerHello) => PeerObjection | null;
  readonly #links = new Map<string, OutgoingLink>();
  readonly #incoming = new Map<string, IncomingLink[]>();
  #incomingCount = 0;
  readonly #acceptors = new Set<Acceptor>();
  readonly #dialled = new Set<Dialler>();
  readonly #upListeners: ((peerId: string) => void)[] = [];
  readonly #downListeners: ((peerId: string) => void)[] = [];
  readonly #refusalListeners: ((peerId: string, refusal: PeerRefusal) => void)[] = [];
  /** `whom` and text, with a newline between. */
  readonly #complaints = new Set<string>();
  #listener: Listener | null = null;
  #isClosed = false;
  #isLeaving = false;

  /** What the end of this turn has to do. */
  #dirty: Wire[] = [];
  #failing: { call: PeerCallHead; code: PeerFailureCode; text: string }[] = [];
  #isTurnScheduled = false;
  #isTurnEnding = false;
  /** What a turn's end began has an end of its own. */
  #isNextTurnDue = false;
  #turnMs = 0;
  readonly #endTurn = (): void => this.#onTurnEnd();
  readonly #turnListeners: (() => void)[] = [];
  #beginning: OutgoingLink | null = null;

  readonly #onTick = (): void => this.#tick();
  #tickTimer: Timer;
  #tickedMs: number;
  readonly hearing: HearingTime;

  constructor(options: PeersOptions) {
    const { settings } = options;
    assert(settings.queuedBytesMax >= 262_144, "peers: at least 256 KB may be queued");
    this.clock = options.clock;
    this.network = options.network;
    this.random = options.random;
    this.settings = settings;
    this.versions = options.versions ?? { min: PROTOCOL_VERSION_MIN, max: PROTOCOL_VERSION_MAX };
    this.instance = options.random.bytes(INSTANCE_BYTES);
    this.#log = options.log;
    this.#identity = options.identity;
    this.#admit = options.admit;
    this.hearing = new HearingTime(options.clock, () => [...this.#links.values()].some(({ hasCalls }) => hasCalls));
    this.#tickedMs = options.clock.monotonicMs();
    this.#tickTimer = options.clock.after(this.#tickMs, this.#onTick);
  }

  /** Accepts links. Rejects with `UNAVAILABLE`. Returns the port, which matters where 0 was asked for. */
  async listen(address: PeerAddress): Promise<number> {
    assert(this.#listener === null, "peers: listens once");
    const onConnection = (connection: Connection): void => this.#onConnection(connection);
    this.#listener = await this.network.listen({ host: address.host, port: address.port, onConnection });
    return this.#listener.port;
  }

  /**
   * Registers what runs calls and notices of `kind`, 0 to 255. Once a kind. `since`: the protocol version that brought the kind;
   * to a peer that speaks only older ones a call of it fails at once with NO_HANDLER, unsent.
   */
  serve(kind: number, handler: PeerHandler, since: number = PROTOCOL_VERSION_MIN): void {
    assert(kind >= 0 && kind <= 255 && this.handlers[kind] === null, "peers: one handler a kind, 0 to 255");
    this.sinceVersions[kind] = since;
    if (since <= this.versions.max) this.handlers[kind] = handler;
  }

  /** The highest protocol version that this node and the peer both speak; null without a link to it. */
  versionOf(peerId: string): number | null {
    return this.#links.get(peerId)?.version ?? null;
  }

  /** From now on the peer is dialled there, and a link to it kept. */
  setAddress(peerId: string, address: PeerAddress): void {
    assert(peerId.length >= 1 && peerId.length <= ID_LENGTH_MAX, "peers: an id is 1 to 64 characters");
    assert(!this.#isClosed && peerId !== this.identity().peerId, "peers: a link to another node, while open");
    this.#linkTo(peerId).setAddress(address);
  }

  /** Closes the links with the peer, both ways, and dials it no more. Its calls fail with UNAVAILABLE. */
  forget(peerId: string): void {
    const link = this.#links.get(peerId);
    this.#links.delete(peerId);
    link?.forget("the peer was forgotten");
    for (const incoming of [...(this.#incoming.get(peerId) ?? [])]) incoming.close("the peer was forgotten");
  }

  /** What is known of a peer that was given an address; null otherwise. A live view. */
  state(peerId: string): PeerState | null {
    return this.#links.get(peerId) ?? null;
  }

  /** There is a link, and the peer did not miss `missedDeadlinesMax` deadlines in a row. */
  isUsable(peerId: string): boolean {
    return this.#links.get(peerId)?.isUsable ?? false;
  }

  /** The peer has a link to this node. */
  isLinkedFrom(peerId: string): boolean {
    return this.#incoming.has(peerId);
  }

  /** Asks the peer for a sign of life. Does nothing without a link. */
  probe(peerId: string): void {
    this.#links.get(peerId)?.probe();
  }

  /** Peers that have an address. */
  peerIds(): IterableIterator<string> {
    return this.#links.keys();
  }

  /** Called when a link to a peer comes up, after the hello. */
  onUp(listener: (peerId: string) => void): void {
    this.#upListeners.push(listener);
  }

  /** Called when a link to a peer ends, after its calls have failed. */
  onDown(listener: (peerId: string) => void): void {
    this.#downListeners.push(listener);
  }

  /** Called when a peer that has an address was dialled and this node, or the peer, will not have the link. */
  onRefusal(listener: (peerId: string, refusal: PeerRefusal) => void): void {
    this.#refusalListeners.push(listener);
  }

  /** Calls `listener` at the end of each turn that wrote to a peer or called `endTurnSoon`, before anything of it leaves. */
  onTurnEnd(listener: () => void): void {
    this.#turnListeners.push(listener);
  }

  /** Makes sure that this turn's end is told to its listeners. */
  endTurnSoon(): void {
    if (this.#isTurnEnding) this.#isNextTurnDue = true;
    else if (!this.#isTurnScheduled) this.#scheduleTurnEnd();
  }

  /**
   * Links with whoever is at an address, and keeps the link as `setAddress` does. Resolves with its id when the hello is over.
   * Rejects with `UNAVAILABLE` or `TIMEOUT`, or with a `PeerRefusal` that says why (`self`: it is this node).
   */
  dial(address: PeerAddress): Promise<string> {
    if (this.#isClosed) return Promise.reject(new OperatingError("CLOSED", "this node is stopping"));
    return new Promise((resolve, reject) => {
      const dialler: Dialler = new Dialler(
        this,
        { host: address.host, port: address.port, peerId: null },
        {
          onLinked: (wire, peer) => {
            this.#dialled.delete(dialler);
            this.#linkTo(peer.peerId).adopt(address, wire, peer);
            resolve(peer.peerId);
          },
          onDialFailed: (error) => {
            this.#dialled.delete(dialler);
            reject(error);
          },
        },
      );
      this.#dialled.add(dialler);
    });
  }

  // Calls.

  /** Sends a call; its outcome is told to the call itself. See `PeerCall`, `PeerFailureCode`. */
  send(call: PeerCall): void {
    const link = this.#links.get(call.to);
    if (link === undefined) this.failSoon(call, "UNAVAILABLE", "the peer is not known; the call was not sent");
    else link.send(call);
  }

  /**
   * As `send`, but the payload is written straight to where it leaves from: up to `payloadBytesMax` bytes at `at` of `bytes`,
   * then `end`, in the same turn and before anything else is sent. Null: the call was not taken, and is told why.
   */
  begin(call: PeerCallHead, payloadBytesMax: number): OutBuffer | null {
    assert(this.#beginning === null, "peers: one call at a time is written");
    const link = this.#links.get(call.to);
    if (link === undefined) {
      this.failSoon(call, "UNAVAILABLE", "the peer is not known; the call was not sent");
      return null;
    }
    const out = link.begin(call, payloadBytesMax);
    if (out !== null) this.#beginning = link;
    return out;
  }

  end(): void {
    assert(this.#beginning !== null, "peers: a call that ends has begun");
    this.#beginning.end();
    this.#beginning = null;
  }

  /** Sends one way. False when it certainly was not sent: no link, or a bound was reached. */
  notify(notice: PeerNotice): boolean {
    return this.#links.get(notice.to)?.notify(notice) ?? false;
  }

  /** For what is not hot. The answer is owned. Rejects with a `PeerCallError`; after UNAVAILABLE or TIMEOUT it may have taken effect. */
  call(request: { to: string; kind: number; payload: Uint8Array; deadlineMs: number }): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const { to, kind, payload, deadlineMs } = request;
      const onAnswer = (answer: Buffer): void => resolve(Buffer.from(answer));
      const onFailure = (code: PeerFailureCode, text: string): void => {
        reject(new PeerCallError(code, `call ${kind} to ${to}`, text === "" ? code : text));
      };
      this.send({ to, kind, payload, deadlineMs, onAnswer, onFailure });
    });
  }

  /**
   * Tells all peers that this node is about to stop, so that they begin nothing more here, and resolves when what they have
   * begun is answered, after `maxMs` at the latest.
   */
  async leave(maxMs: number): Promise<void> {
    this.#isLeaving = true;
    if (this.#incoming.size === 0) return;
    for (const link of this.#incomingLinks()) link.sayLeaving();
    const untilMs = this.clock.monotonicMs() + maxMs;
    // What was sent before that was heard is still to come.
    for (let quiet = 0; quiet < LEAVE_LOOKS && this.clock.monotonicMs() < untilMs; quiet++) {
      await pause(this.clock, LEAVE_LOOK_MS);
      if (this.#incomingLinks().some((link) => link.handlersRunning > 0)) quiet = 0;
    }
  }

  #incomingLinks(): IncomingLink[] {
    return [...this.#incoming.values()].flat();
  }

  /** Closes everything; calls fail with UNAVAILABLE. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#tickTimer.cancel();
    for (const link of [...this.#links.values()]) link.forget("this node is stopping");
    for (const link of this.#incomingLinks()) link.close("this node is stopping");
    for (const dialler of [...this.#dialled]) dialler.cancel("this node is stopping");
    for (const acceptor of [...this.#acceptors]) acceptor.cancel("this node is stopping");
    await this.#listener?.close();
  }

  // What links ask of their owner.

  identity(): PeerIdentity {
    const identity = this.#identity();
    assert(identity.settings.length <= SETTINGS_BYTES_MAX, "peers: settings of at most 4096 bytes");
    return identity;
  }

  admit(hello: PeerHello): PeerObjection | null {
    return this.#admit(hello);
  }

  hasTwin(peerId: string, instance: string): boolean {
    // Who lives is heard as often as it pings; the links of a process that ended are closed, or silent.
    const heardMs = this.clock.monotonicMs() - 2 * this.settings.pingMs;
    return (this.#incoming.get(peerId) ?? []).some((link) => link.instance !== instance && link.heardMs > heardMs);
  }

  monotonicMs(): number {
    return this.clock.monotonicMs();
  }

  turnMs(): number {
    if (!this.#isTurnScheduled) this.#scheduleTurnEnd();
    return this.#turnMs;
  }

  flushSoon(wire: Wire): void {
    this.#dirty.push(wire);
    if (!this.#isTurnScheduled) this.#scheduleTurnEnd();
  }

  failSoon(call: PeerCallHead, code: PeerFailureCode, text: string): void {
    this.#failing.push({ call, code, text });
    if (!this.#isTurnScheduled) this.#scheduleTurnEnd();
  }

  linkUp(link: OutgoingLink, peer: PeerHello): void {
    for (const key of this.#complaints) if (key.startsWith(`${link.peerId}\n`)) this.#complaints.delete(key);
    this.#log.debug({ peer: link.peerId, address: peer.remoteAddress }, "linked with a peer");
    for (const listener of this.#upListeners) listener(link.peerId);
  }

  linkDown(link: OutgoingLink, why: string): void {
    // One that was forgotten ended as its owner wished.
    if (this.#links.get(link.peerId) === link) this.#complain(link.peerId, `the link to ${link.peerId} ended: ${why}`);
    for (const listener of this.#downListeners) listener(link.peerId);
  }

  dialFailed(link: OutgoingLink, error: OperatingError): void {
    this.#complain(link.peerId, messageOf(error));
    if (error instanceof PeerRefusal) for (const listener of this.#refusalListeners) listener(link.peerId, error);
  }

  linkClosed(link: IncomingLink, why: string): void {
    const links = this.#incoming.get(link.peerId);
    const index = links?.indexOf(link) ?? -1;
    if (links === undefined || index < 0) return;
    links.splice(index, 1);
    this.#incomingCount--;
    if (links.length === 0) this.#incoming.delete(link.peerId);
    this.#log.debug({ peer: link.peerId }, `a link from the peer ended: ${why}`);
  }

  // AcceptOutcome.

  onAccepted(accepted: Accepted): void {
    const { peerId } = accepted.peer;
    const link = new IncomingLink(this, accepted);
    // A peer that restarted has no use for its old links, and while half-open they would never end by themselves.
    for (const old of [...(this.#incoming.get(peerId) ?? [])])
      if (old.instance !== link.instance) old.close("the peer restarted");
    const links = this.#incoming.get(peerId) ?? [];
    if (links.length >= LINKS_PER_PEER_MAX) links[0]!.close("the peer has newer links");
    links.push(link);
    this.#incoming.set(peerId, links);
    this.#incomingCount++;
    if (this.#isLeaving) link.sayLeaving();
    // It lives: what waits before it is dialled once more need not wait.
    this.#links.get(peerId)?.retryNow();
  }

  onAcceptFailed(error: OperatingError, remoteAddress: string): void {
    this.#complain(remoteAddress, messageOf(error));
  }

  onHelloOver(acceptor: Acceptor): void {
    this.#acceptors.delete(acceptor);
  }

  #onConnection(connection: Connection): void {
    const isFull = this.#acceptors.size >= this.settings.handshakesMax || this.#incomingCount >= this.settings.linksMax;
    if (isFull || this.#isClosed) {
      connection.destroy();
      if (!this.#isClosed) this.#complain("full", "too many connections of peers at once; further ones are closed");
      return;
    }
    this.#acceptors.add(new Acceptor(this, connection, this));
  }

  /** The link to a peer, made if there is none. */
  #linkTo(peerId: string): OutgoingLink {
    let link = this.#links.get(peerId);
    if (link === undefined) {
      link = new OutgoingLink(this, peerId);
      this.#links.set(peerId, link);
    }
    return link;
  }

  /** Logs what is wrong with `whom`, once until there is a link again. */
  #complain(whom: string, text: string): void {
    const key = `${whom}\n${text}`;
    if (this.#isClosed || this.#complaints.has(key)) return;
    if (this.#complaints.size >= COMPLAINTS_MAX) this.#complaints.clear();
    this.#complaints.add(key);
    this.#log.warn({ peer: whom }, text);
  }

  // Time.

  #scheduleTurnEnd(): void {
    this.#isTurnScheduled = true;
    this.#turnMs = this.clock.monotonicMs();
    this.clock.defer(this.#endTurn);
  }

  /** What its callbacks write leaves with the rest; what fails in them is told at the end of the next turn. */
  #onTurnEnd(): void {
    this.#isTurnEnding = true;
    this.#isNextTurnDue = false;
    for (const listener of this.#turnListeners) listener();
    if (this.#failing.length > 0) for (const { call, code, text } of this.#failing.splice(0)) call.onFailure(code, text);
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const wire of dirty) wire.flush();
    this.#isTurnEnding = false;
    this.#isTurnScheduled = false;
    if (this.#isNextTurnDue || this.#failing.length > 0 || this.#dirty.length > 0) this.#scheduleTurnEnd();
  }

  get #tickMs(): number {
    return this.settings.pingMs / 2;
  }

  #tick(): void {
    const nowMs = this.clock.monotonicMs();
    const wasStopped = nowMs - this.#tickedMs >= STOPPED_TICKS * this.#tickMs;
    this.#tickedMs = nowMs;
    for (const link of [...this.#links.values()]) link.tick(nowMs, wasStopped);
    for (const link of this.#incomingLinks()) link.tick(nowMs, wasStopped);
    this.#tickTimer = this.clock.after(this.#tickMs, this.#onTick);
  }
}
