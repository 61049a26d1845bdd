/**
 * Once a second: one more heartbeat, a look at who stands still, and a digest to a few members. Decides nothing itself:
 * membership merges, the failure detector judges, and this file gives them time, chance and messages.
 *
 * An exchange has three parts: our digest; what the other has newer, with what it wants of ours; what it wanted. Messages
 * are bounded, each exchange has a deadline, and a member that has not answered yet is not asked again.
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import { FailureDetector, type MemberStatus, type StatusChange, suspectAfterMs } from "./failure-detector.js";
import { decodeGossip, encodeGossip, type GossipBody, type GossipMessage } from "./gossip-messages.js";
import type { MemberId } from "./member.js";
import type { MemberAddress, MemberContents, MemberEntry, MemberLoad } from "./member-entry.js";
import { type Member, type MemberChange, Membership } from "./membership.js";

/** Where to send: `id` is null for a seed that nothing is known of but its address. */
export interface GossipPeer {
  readonly id: MemberId | null;
  readonly address: MemberAddress;
}

/** What lib/peer gives. */
export interface GossipTransport {
  /**
   * Sends a message and resolves with what the other's `receive` returned; the reply is borrowed until the next turn.
   * Rejects with an `OperatingError`, at the latest at `deadlineMs` (monotonic).
   */
  exchange(to: GossipPeer, bytes: Buffer, deadlineMs: number): Promise<Buffer>;
}

export type GossipChange = MemberChange | ({ readonly kind: "status" } & StatusChange);

export interface GossipOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly transport: GossipTransport;
  /** Our own entry, its generation durable. */
  readonly self: MemberEntry;
  /** Read at each use: its owner may change it. */
  readonly seeds: readonly MemberAddress[];
  /** The version of the ring document held here. */
  readonly ringVersion: () => number;
  /** A peer holds a newer ring document: fetch it. Not called again before it has settled (or `RING_FETCH_MS_MAX` later). */
  readonly onNewerRing: (from: GossipPeer, version: number) => Promise<void>;
  /** Makes a generation above this one durable (the larger of it + 1 and the wall clock) and resolves with it. */
  readonly raiseGeneration: (above: number) => Promise<number>;
  /** Asked every few heartbeats. */
  readonly load?: () => MemberLoad;
  /** Called in the turn in which it changed; must not throw. */
  readonly onChange?: (change: GossipChange) => void;
  readonly heartbeatMs?: number;
  readonly fanout?: number;
}

export interface MemberReport {
  readonly member: Member;
  readonly status: MemberStatus;
  /** Monotonic milliseconds. */
  readonly sinceMs: number;
}

const HEARTBEAT_MS = 1_000;
/** Three a round: news reaches 500 members in about five rounds, and the loss of a message or two is not noticed. */
const FANOUT = 3;
/** A round comes this much earlier or later, so that members do not fall into step. */
const JITTER = 0.1;
/** In heartbeats: an exchange takes at most this long; a round that comes later than this finds that we did not run. */
const EXCHANGE_HEARTBEATS = 2;
const STALL_HEARTBEATS = 3;
/**
 * Load is told this often, in heartbeats: once for so many members, within bounds. Each telling makes an entry travel to
 * everybody, which is little among few.
 */
const LOAD_MEMBERS = 16;
const LOAD_HEARTBEATS_MIN = 3;
const LOAD_HEARTBEATS_MAX = 10;
const RING_FETCH_MS_MAX = 10_000;

export class Gossip {
  readonly membership: Membership;
  readonly #options: GossipOptions;
  readonly #detector: FailureDetector;
  readonly #heartbeatMs: number;
  readonly #fanout: number;
  /** Exchanges under way, by peer, with when they began. At most a round's worth of peers for each of two rounds. */
  readonly #underWay = new Map<string, number>();
  /** Seeds that turned out to be ourselves. */
  readonly #ownAddresses = new Set<string>();
  #live: Member[] = [];
  #suspected: Member[] = [];
  #isStale = true;
  #timer: Timer | null = null;
  #lastRoundMs = 0;
  #rounds = 0;
  #isRaising = false;
  #ringFetchAtMs = Number.NEGATIVE_INFINITY;
  #state: "new" | "running" | "stopped" = "new";

  constructor(options: GossipOptions) {
    this.#options = options;
    this.#heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS;
    this.#fanout = options.fanout ?? FANOUT;
    this.membership = new Membership(options.self, options.clock.monotonicMs());
    this.#detector = new FailureDetector(options.self.id);
  }

  /** The first round runs at once. */
  start(): void {
    assert(this.#state === "new", "gossip: started once");
    this.#state = "running";
    this.#lastRoundMs = this.#options.clock.monotonicMs();
    this.#round();
  }

  /** Idempotent. Exchanges under way end by themselves and change nothing any more. */
  stop(): void {
    this.#state = "stopped";
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Changes what we say about ourselves, from the next round on. */
  update(fields: Partial<Omit<MemberContents, "suspects" | "ringVersion">>): void {
    this.membership.update(fields);
  }

  /** The ring document removed these ids. */
  remove(ids: Iterable<MemberId>): void {
    for (const change of this.membership.remove(ids)) {
      this.#detector.forget(change.member.id);
      this.#tell(change);
    }
  }

  /** All members, ourselves included, ascending by id. */
  reports(): readonly MemberReport[] {
    return this.membership.members.map((member) => ({ member, ...this.#detector.statusOf(member) }));
  }

  /** `up` also for one that is not known: nothing speaks against it. */
  statusOf(id: MemberId): MemberStatus {
    const member = this.membership.get(id);
    return member === null ? "up" : this.#detector.statusOf(member).status;
  }

  /** How long a counter may stand still at present. */
  get suspectAfterMs(): number {
    const { size: members, pages } = this.membership;
    return suspectAfterMs({ members, pages, heartbeatMs: this.#heartbeatMs, fanout: this.#fanout });
  }

  /** Answers a peer's message, in the same turn. Throws CORRUPT for one that no member sends and CLOSED when stopped. */
  receive(bytes: Buffer): Buffer {
    if (this.#state !== "running") throw new OperatingError("CLOSED", "gossip is not running");
    const nowMs = this.#options.clock.monotonicMs();
    const message = decodeGossip(bytes);
    const { sender } = message.header;
    // Ourselves, by one of our own addresses; or a removed member, which learns of that from the ring document.
    if (sender === this.membership.selfId || this.membership.isRemoved(sender)) return this.#encode({ kind: "nod" });
    const { body } = message;
    let reply: GossipBody = { kind: "nod" };
    if (body.kind === "digest") reply = { kind: "answer", answer: this.membership.answer(body.page, nowMs) };
    else if (body.kind === "entries") this.membership.mergeEntries(body.entries, nowMs);
    else throw new OperatingError("CORRUPT", `a gossip message of kind ${body.kind} is no request`);
    const encoded = this.#encode(reply);
    this.#settleMerge();
    const address = this.membership.get(sender)?.contents.peerAddress;
    if (address !== undefined) this.#noteRing({ id: sender, address }, message.header.ringVersion);
    return encoded;
  }

  /** Tells a member of this one at once, so that it can reach it. Nothing where it is not known yet. */
  greet(id: MemberId): void {
    const member = this.membership.get(id);
    if (member === null || this.#state !== "running") return;
    const { transport, clock, log } = this.#options;
    const message = this.#encode({ kind: "entries", entries: this.membership.entriesOf([this.membership.selfId]) });
    const deadlineMs = clock.monotonicMs() + EXCHANGE_HEARTBEATS * this.#heartbeatMs;
    const greeted = transport.exchange(peerOf(member), message, deadlineMs).then(
      () => undefined,
      (error: unknown) => {
        if (!(error instanceof OperatingError)) throw error;
        log.debug({ member: id, code: error.code }, `it was not greeted: ${error.message}`);
      },
    );
    background(greeted);
  }

  #round(): void {
    const { clock, random, ringVersion, load } = this.#options;
    const nowMs = clock.monotonicMs();
    // Armed first: whatever a round meets, there is a next one.
    const delayMs = this.#heartbeatMs * (1 - JITTER + 2 * JITTER * random.fraction());
    this.#timer = clock.after(delayMs, () => this.#round());
    if (nowMs - this.#lastRoundMs > STALL_HEARTBEATS * this.#heartbeatMs) this.#detector.resume(nowMs);
    this.#lastRoundMs = nowMs;
    this.#judge(nowMs);
    const { contents } = this.membership.self;
    if (contents.ringVersion !== ringVersion()) this.membership.update({ ringVersion: ringVersion() });
    if (load !== undefined && this.#rounds % this.#loadHeartbeats === 0) this.#tellLoad(contents.load, load());
    this.membership.beat(nowMs);
    this.#rounds++;
    this.#forgetOverdue(nowMs);
    this.#send(nowMs);
  }

  get #loadHeartbeats(): number {
    const wanted = Math.ceil(this.membership.members.length / LOAD_MEMBERS);
    return Math.min(LOAD_HEARTBEATS_MAX, Math.max(LOAD_HEARTBEATS_MIN, wanted));
  }

  #judge(nowMs: number): void {
    const changes = this.#detector.evaluate(this.membership.members, nowMs, this.suspectAfterMs);
    if (changes.length === 0) return;
    this.#isStale = true;
    this.membership.update({ suspects: this.#detector.suspects() });
    for (const change of changes) this.#tell({ kind: "status", ...change });
  }

  /** Two digits of load are enough, and equal ones are no news. */
  #tellLoad(last: MemberLoad, current: MemberLoad): void {
    const next = {
      requestsPerSecond: rounded(current.requestsPerSecond),
      storedBytes: rounded(current.storedBytes),
      waitingHints: rounded(current.waitingHints),
      busyPermille: current.busyPermille === null ? null : rounded(current.busyPermille),
      diskFreeBytes: current.diskFreeBytes === null ? null : rounded(current.diskFreeBytes),
    };
    const isNews =
      next.requestsPerSecond !== last.requestsPerSecond ||
      next.storedBytes !== last.storedBytes ||
      next.waitingHints !== last.waitingHints ||
      next.busyPermille !== last.busyPermille ||
      next.diskFreeBytes !== last.diskFreeBytes;
    if (isNews) this.membership.update({ load: next });
  }

  /** A digest to a few members that live, sometimes to one that does not seem to, now and then to a seed. */
  #send(nowMs: number): void {
    const { random, seeds } = this.#options;
    if (this.#isStale) this.#sort();
    const { pages } = this.membership;
    const firstPage = Math.floor(random.fraction() * pages);
    const digests = Array.from({ length: Math.min(pages, this.#fanout) }, (_, index) =>
      this.#encode({ kind: "digest", page: this.membership.digest((firstPage + index) % pages) }),
    );
    let sent = 0;
    const sendTo = (peer: GossipPeer) => this.#begin(peer, digests[sent++ % digests.length]!, nowMs);
    const live = this.#live;
    for (let index = 0; index < Math.min(this.#fanout, live.length); index++) {
      // The first places of the list are those already chosen.
      const other = index + Math.floor(random.fraction() * (live.length - index));
      const chosen = live[other]!;
      live[other] = live[index]!;
      live[index] = chosen;
      sendTo(peerOf(chosen));
    }
    // About one message a round, of all members together, to each that seems dead; one that is alone always tries.
    const suspected = this.#suspected;
    if (suspected.length > 0 && random.fraction() < Math.max(0.1, suspected.length / (live.length + 1))) {
      sendTo(peerOf(suspected[Math.floor(random.fraction() * suspected.length)]!));
    }
    // So that parts of a cluster that never heard of each other meet. One that knows nobody tells several at once: a ring
    // may count on it a moment later, and a member that has not heard of it cannot reach it.
    const foreign = seeds.filter((seed) => !this.#ownAddresses.has(keyOf(seed)));
    const isDue = foreign.length > 0 && random.fraction() < foreign.length / (live.length + 1) / 2;
    const toMeet = live.length === 0 ? Math.min(this.#fanout, foreign.length) : isDue ? 1 : 0;
    for (let met = 0; met < toMeet; met++) {
      const [seed] = foreign.splice(Math.floor(random.fraction() * foreign.length), 1);
      sendTo({ id: null, address: seed! });
    }
  }

  #sort(): void {
    this.#live = [];
    this.#suspected = [];
    for (const member of this.membership.members) {
      if (member === this.membership.self) continue;
      (this.#detector.isSuspect(member.id) ? this.#suspected : this.#live).push(member);
    }
    this.#isStale = false;
  }

  #begin(peer: GossipPeer, digest: Buffer, nowMs: number): void {
    const key = keyOf(peer.address);
    if (this.#underWay.has(key)) return;
    this.#underWay.set(key, nowMs);
    const done = () => {
      if (this.#underWay.get(key) === nowMs) this.#underWay.delete(key);
    };
    background(
      this.#exchange(peer, digest, nowMs + EXCHANGE_HEARTBEATS * this.#heartbeatMs).then(done, (error: unknown) => {
        done();
        if (!(error instanceof OperatingError)) throw error;
        const { host, port } = peer.address;
        this.#options.log.debug({ host, port, code: error.code }, `gossip failed: ${error.message}`);
      }),
    );
  }

  async #exchange(peer: GossipPeer, digest: Buffer, deadlineMs: number): Promise<void> {
    const { transport, clock } = this.#options;
    const { header, body } = decodeGossip(await transport.exchange(peer, digest, deadlineMs));
    const nowMs = clock.monotonicMs();
    if (this.#state !== "running") return;
    if (header.sender === this.membership.selfId) {
      this.#ownAddresses.add(keyOf(peer.address));
      return;
    }
    this.#noteRing({ id: header.sender, address: peer.address }, header.ringVersion);
    if (body.kind !== "answer" || this.membership.isRemoved(header.sender)) return;
    const { rows, entries, wanted } = body.answer;
    try {
      this.membership.mergeRows(rows, nowMs);
      this.membership.mergeEntries(entries, nowMs);
    } finally {
      this.#settleMerge();
    }
    if (wanted.length === 0) return;
    const message = this.#encode({ kind: "entries", entries: this.membership.entriesOf(wanted) });
    this.#noteNod(decodeGossip(await transport.exchange(peer, message, deadlineMs)));
  }

  #noteNod({ body }: GossipMessage): void {
    if (body.kind !== "nod") throw new OperatingError("CORRUPT", `a gossip message of kind ${body.kind} instead of a nod`);
  }

  /** A transport that never settles must not keep us from asking again. */
  #forgetOverdue(nowMs: number): void {
    for (const [key, sinceMs] of this.#underWay) {
      if (nowMs - sinceMs > (EXCHANGE_HEARTBEATS + 1) * this.#heartbeatMs) this.#underWay.delete(key);
    }
  }

  #settleMerge(): void {
    const { changes, generationAbove } = this.membership.takeMerged();
    for (const change of changes) {
      if (change.kind === "joined") this.#isStale = true;
      this.#tell(change);
    }
    if (generationAbove !== null && !this.#isRaising) background(this.#raise(generationAbove));
  }

  async #raise(above: number): Promise<void> {
    const { log, raiseGeneration, clock } = this.#options;
    this.#isRaising = true;
    try {
      log.warn({ generation: above }, "another run knew more of this member: going on in a new generation");
      const generation = await raiseGeneration(above);
      assert(generation > above, "gossip: the generation that was asked for");
      if (this.#state === "running" && generation > this.membership.self.generation) {
        this.membership.restart(generation, clock.monotonicMs());
      }
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      // The next digest that shows it asks again.
      log.error({ code: error.code }, `no new generation: ${messageOf(error)}`);
    } finally {
      this.#isRaising = false;
    }
  }

  #noteRing(from: GossipPeer, version: number): void {
    const { clock, ringVersion, onNewerRing, log } = this.#options;
    if (version <= ringVersion()) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#ringFetchAtMs < RING_FETCH_MS_MAX) return;
    this.#ringFetchAtMs = nowMs;
    const done = () => {
      if (this.#ringFetchAtMs === nowMs) this.#ringFetchAtMs = Number.NEGATIVE_INFINITY;
    };
    background(
      onNewerRing(from, version).then(done, (error: unknown) => {
        done();
        if (!(error instanceof OperatingError)) throw error;
        log.debug({ version, code: error.code }, `the newer ring document was not fetched: ${error.message}`);
      }),
    );
  }

  #tell(change: GossipChange): void {
    if (change.kind === "removed") this.#isStale = true;
    this.#options.onChange?.(change);
  }

  #encode(body: GossipBody): Buffer {
    return encodeGossip({ sender: this.membership.selfId, ringVersion: this.#options.ringVersion() }, body);
  }
}

function peerOf(member: Member): GossipPeer {
  return { id: member.id, address: member.contents.peerAddress };
}

function keyOf({ host, port }: MemberAddress): string {
  return `${host}:${port}`;
}

/** The two leading digits. */
function rounded(value: number): number {
  if (value < 100) return Math.max(0, Math.round(value));
  const unit = 10 ** (Math.floor(Math.log10(value)) - 1);
  return Math.floor(value / unit) * unit;
}
