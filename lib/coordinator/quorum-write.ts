/**
 * One write on its way to the replicas of its key: this node has stored the record, and sends it to the other owners once its
 * turn is committed. A member that is down, or slow to answer, is stood in for by the next healthy one, which keeps a hint;
 * where there is none left, this node keeps a mark that the member lacks the record. The client is told when the tally says so;
 * the rest is seen to afterwards.
 *
 * INVARIANT: every owner that did not acknowledge has a hint, here or on a stand-in, by the time nothing is in flight.
 */
import { background } from "../background.js";
import { forSending } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { slotOfDataKey } from "../replica/data-key.js";
import { encodedRecordOf } from "../replica/encoded-record.js";
import type { StoreHead } from "../replica/remote-replicas.js";
import type { EncodedRecord, MintedDot, Records } from "../replica/replica.js";
import { AnswerStatus } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { BeginLimit } from "./begin-limit.js";
import type { Quorum } from "./consistency.js";
import type { Lateness, Request } from "./in-flight.js";
import type { Sink } from "./keyspace.js";
import { type QuorumContext, standInFor } from "./quorum-context.js";
import { QuorumTally, type TallyVerdict } from "./quorum-tally.js";
import type { QuorumWriteOptions, WriteSoFar } from "./quorum-write-options.js";
import type { SlotPlan } from "./slot-plan.js";
import { listsOf } from "./small-lists.js";
import { Soon } from "./soon.js";
import { Relaunch, type Role, StoreCall, UncoveredSeen, WriteMarks, type WriteOnItsWay, writeReached } from "./write-calls.js";

/** A write is sent anew at most so often: above what others held, and by a newer ring. */
const ROUNDS_MAX = 4;

const TOO_LATE = "others hold something newer, and it was passed on too late to be made above that; it may still take effect";

const OWNER = 1;
const PARTNER = 2;
const STOOD_IN = 2;
const STAND_IN_CALL = 16;
/** Bits of a place that say that something is open. */
const OPEN = ~((OWNER | PARTNER) << STOOD_IN);

const zeros = listsOf(0);

export class QuorumWrite implements TurnWork, Request, WriteOnItsWay {
  readonly #context: QuorumContext;
  #plan: SlotPlan;
  readonly #dataKey: string;
  readonly #quorum: Quorum;
  readonly #standIns: "strict" | "sloppy";
  readonly #sink: Sink<void>;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  #tally: QuorumTally;
  /** Counts the sendings: answers to an earlier one do not count for a later. */
  round = 0;
  #sentMs = 0;
  #isLaunched = false;
  /** The disk has told what became of this node's own copy. */
  #isOwnKnown = false;
  #isTold = false;
  /** Calls without an answer. */
  #open = 0;
  /**
   * By position: whose call is open (OWNER, PARTNER), who of them is stood in for (the same, shifted by STOOD_IN), and above
   * that how many calls to stand-ins are open.
   */
  #places: number[];
  readonly #marks: WriteMarks;
  /** A newer ring is being fetched, after which it is sent anew. */
  #isRingAwaited = false;
  /** Members that were asked to stand in. */
  #used: Set<MemberId> | null = null;
  #plain: MintedDot | null;
  readonly #begin: BeginLimit | undefined;
  readonly #isHint: boolean;
  readonly #resume: WriteSoFar | undefined;
  /** Until it is launched. */
  #record: EncodedRecord | null;
  #uncovered: UncoveredSeen | null;
  /** It is being minted once more. */
  #isMinting = false;

  constructor(context: QuorumContext, options: QuorumWriteOptions) {
    this.#context = context;
    this.#dataKey = options.dataKey;
    this.#quorum = options.quorum;
    this.#plan = context.plans.of(slotOfDataKey(options.dataKey));
    this.#standIns = options.standIns;
    this.#sink = options.sink;
    this.#plain = options.plain;
    this.#begin = options.begin;
    this.#isHint = options.held === "as a hint";
    this.#resume = options.resume;
    this.#record = options.record ?? null;
    this.#uncovered = options.resume?.uncovered ?? null;
    this.deadlineMs = options.deadlineMs;
    this.hedgeAtMs = options.deadlineMs;
    this.#marks = new WriteMarks(context.hints, options.dataKey);
    this.#places = zeros(this.#plan.owners.length);
    this.#tally = this.#newTally();
  }

  /** The record is stored here: sends it at the end of this turn. */
  start(): void {
    this.#context.turn.add(this);
    this.#context.inFlight.add(this);
  }

  get isSettled(): boolean {
    return this.#isTold && this.#open === 0;
  }

  // TurnWork: what the disk says.

  committed(): void {
    this.launch(0);
  }

  durable(): void {
    this.onDurable(0);
  }

  lost(error: OperatingError): void {
    this.onLost(0, error);
  }

  /** What was stored for this round is in the log. */
  launch(round: number): void {
    if (round !== this.round) return;
    this.#isLaunched = true;
    // By the ring as it is now: whoever reads this node's copy for a new owner relies on it.
    this.#usePlan(this.#context.plans.of(slotOfDataKey(this.#dataKey)));
    try {
      this.#launch();
    } catch (error) {
      this.#abandon(error);
    }
  }

  /** And on the disk: that of an earlier round says nothing of this one. */
  onDurable(round: number): void {
    if (round !== this.round) return;
    this.#isOwnKnown = true;
    if (this.#isHint) return this.#settle(this.#tally.stoodIn(0));
    const { selfId } = this.#context;
    const { selfPosition, partners } = this.#plan;
    if (selfPosition >= 0) this.#settle(this.#tally.answered(selfPosition));
    const asPartner = partners.indexOf(selfId);
    if (asPartner >= 0) this.#settle(this.#tally.answered(asPartner, "partner"));
    this.#settle(this.#tally.verdict);
  }

  onLost(round: number, error: OperatingError): void {
    if (round !== this.round) return;
    this.#isOwnKnown = true;
    if (this.#isLaunched) {
      const { selfPosition } = this.#plan;
      this.#settle(selfPosition >= 0 ? this.#tally.gaveUp(selfPosition) : this.#tally.verdict);
    } else if (round === 0) this.#fail(error);
    // What an earlier round stored is here, and its answers count no longer.
    else this.#abandon(error);
  }

  // Request: what time says.

  hedge(isLate: Lateness): boolean {
    const { owners, partners } = this.#plan;
    const agoMs = this.#context.health.nowMs() - this.#sentMs;
    const late: { readonly position: number; readonly target: MemberId }[] = [];
    for (let position = 0; position < owners.length; position++) {
      const place = this.#places[position]!;
      const open = place & ~(place >> STOOD_IN);
      if ((open & OWNER) !== 0 && isLate(owners[position]!, agoMs)) late.push({ position, target: owners[position]! });
      if ((open & PARTNER) !== 0 && isLate(partners[position]!, agoMs)) late.push({ position, target: partners[position]! });
    }
    if (late.length === 0) return false;
    // A mark helps nobody to an answer: where nobody else can stand in, it waits until the call has failed.
    const helps = this.#nextStandIn(late[0]!.position) !== null;
    if (helps) for (const { position, target } of late) this.#standInSoon(position, target);
    else this.hedgeAtMs = this.deadlineMs;
    return helps;
  }

  expire(): void {
    this.#fail(this.#quorumError());
  }

  // Sending.

  #launch(): void {
    this.#withRecord((record) => this.#sendToAll(record));
    this.#record = null;
    // Last, for it may look into the engine, which ends what is at hand.
    for (const [position, owner] of this.#plan.owners.entries())
      if (this.#hasBefore(owner)) this.#settle(this.#tally.answered(position));
  }

  #noteNewer(record: RecordView | null): void {
    if (this.#plain !== null && record !== null) this.#uncovered ??= UncoveredSeen.ofOwn(record, this.#plain);
  }

  #hasBefore(owner: MemberId): boolean {
    return this.round === 0 && this.#resume?.storedBy.has(owner) === true;
  }

  #sendToAll(record: EncodedRecord): void {
    const { health, selfId } = this.#context;
    const { owners, partners, extras, pairs } = this.#plan;
    this.#sentMs = health.nowMs();
    this.hedgeAtMs = this.#sentMs;
    for (let position = 0; position < owners.length; position++) {
      // For the first owner this node stands in itself.
      const isSeenTo = owners[position] === selfId || (this.#isHint && position === 0);
      if (!isSeenTo && !this.#hasBefore(owners[position]!)) this.#sendToOwner(position, owners[position]!, "owner", record);
      if (pairs === undefined) continue;
      const partner = partners[position]!;
      if (partner !== null && partner !== selfId) this.#sendToOwner(position, partner, "partner", record);
    }
    for (const extra of extras) if (extra !== selfId) this.#sendToOwner(-1, extra, "extra", record);
  }

  #sendToOwner(position: number, to: MemberId, role: Role, record: EncodedRecord): void {
    const { health } = this.#context;
    const link = health.linkOf(to);
    if (link === null || !link.isUsable) return this.#standIn(position, to, record);
    this.hedgeAtMs = Math.max(this.hedgeAtMs, this.#sentMs + health.hedgeAfterMsOf(link));
    const isQuiet = health.isQuietNow(link) || this.#resume?.late.has(to) === true;
    this.#send(position, to, role, null, record);
    if (isQuiet && this.#nextStandIn(position) !== null) this.#standIn(position, to, record);
  }

  /** Has the next healthy member keep a hint for `target`; with none left, this node keeps a mark. */
  #standIn(position: number, target: MemberId, record: EncodedRecord): void {
    if (position >= 0) this.#places[position]! |= this.#bitOf(position, target) << STOOD_IN;
    const standIn = this.#nextStandIn(position);
    if (standIn === null) {
      if (!this.#isHint) this.#marks.add(target);
      this.#giveUpIfIdle(position);
      return;
    }
    this.#used ??= new Set();
    this.#used.add(standIn);
    this.#send(position, standIn, "stand-in", target, record);
  }

  /**
   * The same at the end of this turn: what is stored here now is not committed before, and if the disk refuses that, nobody
   * else may have it.
   */
  #standInSoon(position: number, target: MemberId): void {
    const { round } = this;
    // Until then something is open at this place.
    if (position >= 0) this.#places[position]! |= this.#bitOf(position, target) << STOOD_IN;
    this.#countStandIn(position, 1);
    const run = (): void => {
      if (round !== this.round) return;
      this.#countStandIn(position, -1);
      this.#withRecord((record) => this.#standIn(position, target, record));
    };
    this.#context.turn.add(new Soon(run));
  }

  #countStandIn(position: number, change: 1 | -1): void {
    if (position >= 0) this.#places[position]! += change * STAND_IN_CALL;
  }

  /** Past the deadline nothing is sent to anybody. */
  #nextStandIn(position: number): MemberId | null {
    if (this.#context.health.nowMs() >= this.deadlineMs) return null;
    const slot = slotOfDataKey(this.#dataKey);
    const centre = this.#plan.centreOf(Math.max(0, position));
    return standInFor(this.#context, this.#plan, { slot, centre, used: this.#used });
  }

  #send(position: number, to: MemberId, role: Role, hintFor: MemberId | null, record: EncodedRecord): void {
    const call = new StoreCall(this, { to, position, role, target: hintFor ?? to });
    this.#open++;
    if (role === "stand-in") this.#countStandIn(position, 1);
    else if (position >= 0) this.#places[position]! |= role === "owner" ? OWNER : PARTNER;
    this.#context.remote.storeSoon(call, this.#headOf(hintFor), record);
  }

  /** At the end of this turn, as in `#standInSoon`. */
  onAlone(call: StoreCall): void {
    const hintFor = call.role === "stand-in" ? call.target : null;
    const run = (): void => {
      const isGone = !this.#isHint && this.#context.replica.peek(this.#dataKey) === "absent";
      if (isGone) this.#tell();
      if (isGone || call.round !== this.round) return this.#close(call);
      this.#withRecord((record) => this.#context.remote.store(call, this.#headOf(hintFor), record));
    };
    this.#context.turn.add(new Soon(run));
  }

  #headOf(hintFor: MemberId | null): StoreHead {
    return { ringVersion: this.#plan.ring.document.version, hintFor, dataKey: this.#dataKey };
  }

  /** Gives the record as it is now, which covers what this write stored; reads it from the disk where it has left memory. */
  #withRecord(use: (record: EncodedRecord) => void): void {
    const { replica } = this.#context;
    if (this.#isHint) return background(this.#withReadRecord(use));
    try {
      switch (replica.peek(this.#dataKey)) {
        case "found":
          this.#noteNewer(replica.record);
          use(this.#record ?? replica.encodedAtHand());
          return this.#marks.make();
        case "absent":
          // All was cleared since: there is nothing left to keep.
          return this.#tell();
        default:
          background(this.#withReadRecord(use));
      }
    } catch (error) {
      this.#abandon(error);
    }
  }

  async #withReadRecord(use: (record: EncodedRecord) => void): Promise<void> {
    const { round } = this;
    try {
      const { replica, hints } = this.#context;
      const bytes = await (this.#isHint ? hints.read(this.#dataKey, this.#plan.owners) : replica.read(this.#dataKey));
      if (round !== this.round) return;
      if (bytes === null) return this.#tell();
      if (!this.#isHint) this.#noteNewer(replica.view(bytes));
      use(encodedRecordOf(forSending(bytes)));
      this.#marks.make();
    } catch (error) {
      this.#abandon(error);
    }
  }

  /** It cannot be sent, or not any more: all who may lack it are marked. */
  #abandon(error: unknown): void {
    if (!(error instanceof OperatingError)) throw error;
    const { selfId } = this.#context;
    if (!this.#isHint) for (const owner of this.#plan.allOwners()) if (owner !== selfId) this.#marks.add(owner);
    this.#marks.make();
    this.#fail(error);
  }

  // Answers.

  onStored(call: StoreCall, answer: Buffer): void {
    switch (answer[0]) {
      case AnswerStatus.uncovered:
        this.#uncovered ??= new UncoveredSeen();
        if (call.round === this.round && !this.#uncovered.note(answer)) return this.onFailed(call);
        break;
      case AnswerStatus.ok:
        break;
      case AnswerStatus.staleRing:
        return this.#onStaleRing(call);
      default:
        return this.onFailed(call);
    }
    this.#close(call);
    // A mark may be of a later round, which stored more.
    if (call.round !== this.round) return;
    const { position, role, target } = call;
    if (role !== "stand-in") this.#marks.takeBack(target);
    if (position < 0) return;
    const side = this.#bitOf(position, target) === OWNER ? "owner" : "partner";
    this.#settle(role === "stand-in" ? this.#tally.stoodIn(position, side) : this.#tally.answered(position, side));
  }

  /** The slot has other owners by now: once they are known here, they are sent the record. */
  #onStaleRing(call: StoreCall): void {
    this.#close(call);
    if (this.#isRingAwaited || call.round !== this.round) return;
    this.#isRingAwaited = true;
    background(this.#goOnWithRing(call.to));
  }

  async #goOnWithRing(from: MemberId): Promise<void> {
    await this.#context.fetchRing(from);
    this.#isRingAwaited = false;
    this.round++;
    if (this.round <= ROUNDS_MAX) this.#sendAnew();
    else this.#abandon(this.#quorumError());
  }

  onFailed(call: StoreCall): void {
    this.#close(call);
    if (call.round !== this.round) return;
    const { position, role, target } = call;
    // Who is stood in for has its hint, or will have it; another stand-in takes the place of one that failed.
    const stoodIn = position < 0 ? 0 : this.#places[position]! >> STOOD_IN;
    const isSeenTo = role !== "stand-in" && position >= 0 && (stoodIn & this.#bitOf(position, target)) !== 0;
    if (isSeenTo) this.#giveUpIfIdle(position);
    else this.#standInSoon(position, target);
  }

  #close(call: StoreCall): void {
    const { position, role } = call;
    this.#open--;
    if (position < 0 || call.round !== this.round) return;
    if (role === "stand-in") this.#countStandIn(position, -1);
    else this.#places[position]! &= ~(role === "owner" ? OWNER : PARTNER);
  }

  #bitOf(position: number, target: MemberId): number {
    return this.#plan.owners[position] === target ? OWNER : PARTNER;
  }

  #giveUpIfIdle(position: number): void {
    if (position >= 0 && (this.#places[position]! & OPEN) === 0) this.#settle(this.#tally.gaveUp(position));
  }

  // The verdict.

  #settle(verdict: TallyVerdict): void {
    if (this.#isTold || this.#isMinting || verdict.kind === "waiting") return;
    // Where nobody can be reached that is known before the disk has told of this node's own copy, which counts.
    if (verdict.kind === "unavailable") {
      if (!this.#isOwnKnown) return;
      return this.#fail(this.#quorumError(this.#places.filter((place) => (place & (OWNER | PARTNER)) !== 0).length));
    }
    if (this.#plain !== null && (this.#uncovered?.stamp ?? 0) >= this.#plain.stamp) background(this.#mintAbove(this.#plain));
    else this.#tell();
  }

  /** Mints the same once more, above what others hold that this node had not seen; reads it first where it has left memory. */
  async #mintAbove({ sequence }: MintedDot): Promise<void> {
    const { replica } = this.#context;
    const keys = [this.#dataKey];
    const fetched: Records = new Map();
    this.#plain = null;
    this.#isMinting = true;
    try {
      let records: Records | null;
      while ((records = replica.gather(keys, fetched)) === null) await replica.fetch(keys, fetched);
      if (this.#isTold) return;
      this.#isMinting = false;
      if (this.#begin?.isPast) throw new OperatingError("UNAVAILABLE", TOO_LATE);
      const { stamp, context } = this.#uncovered!;
      replica.observe(stamp);
      // A later write of this node superseded it: that one sees to the rest.
      if (!replica.mintAgain(this.#dataKey, records, sequence, context)) return this.#tell();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return this.#fail(error);
    }
    this.round++;
    this.#sendAnew();
  }

  /** Sends what is stored here now, by the newest ring, at the end of this turn. */
  #sendAnew(): void {
    this.#isLaunched = false;
    this.#isOwnKnown = false;
    this.isHedged = false;
    this.hedgeAtMs = this.deadlineMs;
    this.#used = null;
    this.#reset();
    this.#context.turn.add(new Relaunch(this));
  }

  #usePlan(plan: SlotPlan): void {
    if (plan === this.#plan) return;
    this.#plan = plan;
    this.#reset();
  }

  #reset(): void {
    this.#places = zeros(this.#plan.owners.length);
    this.#tally = this.#newTally();
  }

  #tell(): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#sink.onResult();
  }

  #fail(error: OperatingError): void {
    if (this.#isTold) return;
    this.#isTold = true;
    this.#sink.onFailure(error);
  }

  /** `asked`: those who can be reached and have yet to answer. */
  #quorumError(asked = 0): OperatingError {
    const { reached, needed } = this.#tally.progress;
    return writeReached(reached + asked, needed);
  }

  #newTally(): QuorumTally {
    const { groups, writes } = this.#plan.needs(this.#quorum);
    const { pairs } = this.#plan;
    return new QuorumTally({ groups, needs: writes, standIns: this.#standIns, pairs });
  }
}
