/**
 * One write on its way to the replicas of its key: this node has stored the record, and sends it to the other owners once its
 * turn is committed. A member that is down, or slow to answer, is stood in for by the next healthy one, which keeps a hint;
 * where there is none left, this node keeps a mark that the member lacks the record. The client is told when the tally says so;
 * the rest is seen to afterwards.
 *
 * To each other data centre the record goes once: one owner there passes it on. Owners that count for nothing at this level, those
 * of other data centres at a LOCAL one, are not waited for and not stood in for: who of them does not have it is marked.
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
import type { EncodedRecord, MintedDot } from "../replica/replica.js";
import { AnswerStatus } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { BeginLimit } from "./begin-limit.js";
import type { Lateness, Request } from "./in-flight.js";
import type { Sink } from "./keyspace.js";
import { mintAbove } from "./mint-above.js";
import { type QuorumContext, standInFor } from "./quorum-context.js";
import { tooFewIn } from "./quorum-needs.js";
import type { TallyVerdict } from "./quorum-tally.js";
import type { QuorumWriteOptions, WriteSoFar } from "./quorum-write-options.js";
import { relayFirst } from "./relay-choice.js";
import { Soon } from "./soon.js";
import {
  headOf,
  Relaunch,
  type Role,
  StoreCall,
  UncoveredSeen,
  WriteMarks,
  type WriteOnItsWay,
  writeReached,
} from "./write-calls.js";
import { WriteProgress } from "./write-progress.js";

/** A write is sent anew at most so often: above what others held, and by a newer ring. */
const ROUNDS_MAX = 4;

export class QuorumWrite extends WriteProgress implements TurnWork, Request, WriteOnItsWay {
  readonly #context: QuorumContext;
  readonly #dataKey: string;
  readonly #sink: Sink<void>;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  /** Others pass it on in their data centres. */
  #isPassedOn = false;
  /** Counts the sendings: answers to an earlier one do not count for a later. */
  round = 0;
  #sentMs = 0;
  #isLaunched = false;
  /** The disk has told what became of this node's own copy. */
  #isOwnKnown = false;
  #isTold = false;
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
    super(context.plans.of(slotOfDataKey(options.dataKey)), options.quorum, options.standIns);
    this.#context = context;
    this.#dataKey = options.dataKey;
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
  }

  /** The record is stored here: sends it at the end of this turn. */
  start(): void {
    this.#context.turn.add(this);
    this.#context.inFlight.add(this);
  }

  get isSettled(): boolean {
    return this.#isTold && this.open === 0;
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
    const plan = this.#context.plans.of(slotOfDataKey(this.#dataKey));
    if (plan !== this.plan) this.beginAnew(plan);
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
    const standsIn = this.#isHint && this.plan.standsInHere(this.quorum, 0);
    if (this.#isHint) return this.#settle(standsIn ? this.tally.stoodIn(0) : this.tally.gaveUp(0));
    const { selfId } = this.#context;
    const { selfPosition, partners } = this.plan;
    if (selfPosition >= 0) this.#settle(this.tally.answered(selfPosition));
    const asPartner = partners.indexOf(selfId);
    if (asPartner >= 0) this.#settle(this.tally.answered(asPartner, "partner"));
    this.#settle(this.tally.verdict);
  }

  onLost(round: number, error: OperatingError): void {
    if (round !== this.round) return;
    this.#isOwnKnown = true;
    if (this.#isLaunched) {
      const { selfPosition } = this.plan;
      this.#settle(selfPosition >= 0 ? this.tally.gaveUp(selfPosition) : this.tally.verdict);
    } else if (round === 0) this.#end(error);
    // What an earlier round stored is here, and its answers count no longer.
    else this.#abandon(error);
  }

  // Request: what time says.

  hedge(isLate: Lateness): boolean {
    const agoMs = this.#context.health.nowMs() - this.#sentMs;
    const late = this.lateTargets((target) => isLate(target, agoMs));
    if (late.length === 0) return false;
    if (this.#isPassedOn) {
      // Whoever was to pass it on may be the one that is late.
      this.#isPassedOn = false;
      const passedOn = late.filter(({ position }) => position >= this.plan.nearCount);
      for (const { position, target } of passedOn) this.#sendAgainSoon(position, target);
      this.hedgeAtMs = this.#sentMs + 2 * agoMs;
      if (passedOn.length > 0) return false;
    }
    // A mark helps nobody to an answer: where nobody else can stand in, it waits until the call has failed.
    const helps = this.#nextStandIn(late[0]!.position) !== null;
    if (helps) for (const { position, target } of late) this.#standInSoon(position, target);
    else this.hedgeAtMs = this.deadlineMs;
    return helps;
  }

  expire(): void {
    this.#end(this.#quorumError());
  }

  // Sending.

  #launch(): void {
    this.#withRecord((record) => this.#sendToAll(record));
    this.#record = null;
    // Last, for it may look into the engine, which ends what is at hand.
    for (const [position, owner] of this.plan.owners.entries())
      if (this.#hasBefore(owner)) this.#settle(this.tally.answered(position));
  }

  #noteNewer(record: RecordView | null): void {
    if (this.#plain !== null && record !== null) this.#uncovered ??= UncoveredSeen.ofOwn(record, this.#plain);
  }

  #hasBefore(owner: MemberId): boolean {
    return this.round === 0 && this.#resume?.storedBy.has(owner) === true;
  }

  #sendToAll(record: EncodedRecord): void {
    const { health, selfId } = this.#context;
    const { owners, partners, extras, pairs, nearCount, far } = this.plan;
    this.#sentMs = health.nowMs();
    this.hedgeAtMs = this.#sentMs;
    for (let position = 0; position < owners.length; position++) {
      const owner = owners[position]!;
      if (position < nearCount && this.#isToBeSent(position)) this.#sendToOwner(position, owner, "owner", record, null);
      if (pairs === undefined) continue;
      const partner = partners[position]!;
      if (partner !== null && partner !== selfId) this.#sendToOwner(position, partner, "partner", record, null);
    }
    for (const extra of extras) if (extra !== selfId) this.#sendToOwner(-1, extra, "extra", record, null);
    for (const positions of far) this.#sendFar(positions, record);
  }

  #isToBeSent(position: number): boolean {
    // For the first owner this node stands in itself.
    if (position === this.plan.selfPosition || (this.#isHint && position === 0)) return false;
    return !this.#hasBefore(this.plan.owners[position]!);
  }

  /** One copy for the owners of another data centre. */
  #sendFar(positions: readonly number[], record: EncodedRecord): void {
    const { remote, health } = this.#context;
    const calls: StoreCall[] = [];
    // One that others were late for is not trusted to a relay again.
    const isAlone = this.#resume !== undefined;
    for (const position of positions) {
      if (!this.#isToBeSent(position)) continue;
      this.#sendToOwner(position, this.plan.owners[position]!, "owner", record, isAlone ? null : calls);
    }
    this.#isPassedOn ||= calls.length > 1;
    if (calls.length > 0)
      remote.relaySoon(relayFirst(calls, health, this.plan.relayShift), headOf(this.plan, this.#dataKey, null), record);
  }

  /** `calls`: it does not leave by itself, but is added to these. */
  #sendToOwner(position: number, to: MemberId, role: Role, record: EncodedRecord, calls: StoreCall[] | null): void {
    const { health } = this.#context;
    const link = health.linkOf(to);
    if (link === null || !link.isUsable) return this.#standIn(position, to, record);
    const isQuiet = health.isQuietNow(link) || this.#resume?.late.has(to) === true;
    const counts = position < this.counting;
    if (isQuiet && !counts) return this.#standIn(position, to, record);
    if (counts) this.hedgeAtMs = Math.max(this.hedgeAtMs, this.#sentMs + health.hedgeAfterMsOf(link));
    const call = this.#beginCall(position, to, role, null);
    if (calls === null) this.#context.remote.storeSoon(call, headOf(this.plan, this.#dataKey, null), record);
    else calls.push(call);
    if (isQuiet && this.#nextStandIn(position) !== null) this.#standIn(position, to, record);
  }

  /** Has the next healthy member keep a hint for `target`; with none left, this node keeps a mark. */
  #standIn(position: number, target: MemberId, record: EncodedRecord): void {
    this.noteStoodIn(position, target);
    const standIn = this.#nextStandIn(position);
    if (standIn === null) {
      if (!this.#isHint) this.#marks.add(target);
      this.#giveUpIfIdle(position);
      return;
    }
    this.#used ??= new Set();
    this.#used.add(standIn);
    const call = this.#beginCall(position, standIn, "stand-in", target);
    this.#context.remote.storeSoon(call, headOf(this.plan, this.#dataKey, target), record);
  }

  /**
   * The same at the end of this turn: what is stored here now is not committed before, and if the disk refuses that, nobody
   * else may have it.
   */
  #standInSoon(position: number, target: MemberId): void {
    this.noteStoodIn(position, target);
    this.#sendSoon(position, (record) => this.#standIn(position, target, record));
  }

  /** The same with what another was to pass on, which goes to the owner itself. */
  #sendAgainSoon(position: number, target: MemberId): void {
    this.#sendSoon(position, (record) => {
      const call = this.#beginCall(position, target, "again", null);
      this.#context.remote.storeSoon(call, headOf(this.plan, this.#dataKey, null), record);
    });
  }

  #sendSoon(position: number, send: (record: EncodedRecord) => void): void {
    const { round } = this;
    // Until then something is open at this place.
    this.noteOther(position, 1);
    const run = (): void => {
      if (round !== this.round) return;
      this.noteOther(position, -1);
      this.#withRecord(send);
    };
    this.#context.turn.add(new Soon(run));
  }

  /** Past the deadline nothing is sent to anybody. */
  #nextStandIn(position: number): MemberId | null {
    if (position >= this.counting || this.#context.health.nowMs() >= this.deadlineMs) return null;
    const slot = slotOfDataKey(this.#dataKey);
    const centre = this.plan.centreOf(Math.max(0, position));
    const elsewhere = this.plan.needs(this.quorum).counts === "all" ? "too" : "not";
    return standInFor(this.#context, this.plan, { slot, centre, used: this.#used, elsewhere });
  }

  #beginCall(position: number, to: MemberId, role: Role, hintFor: MemberId | null): StoreCall {
    this.noteSent(position, role);
    return new StoreCall(this, { to, position, role, target: hintFor ?? to });
  }

  /** At the end of this turn, as in `#standInSoon`. */
  onAlone(call: StoreCall): void {
    const hintFor = call.role === "stand-in" ? call.target : null;
    const run = (): void => {
      const isGone = !this.#isHint && this.#context.replica.peek(this.#dataKey) === "absent";
      if (isGone) this.#end(null);
      if (isGone || call.round !== this.round) return this.#close(call);
      this.#withRecord((record) => this.#context.remote.store(call, headOf(this.plan, this.#dataKey, hintFor), record));
    };
    this.#context.turn.add(new Soon(run));
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
          return this.#end(null);
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
      const bytes = await (this.#isHint ? hints.read(this.#dataKey, this.plan.owners) : replica.read(this.#dataKey));
      if (round !== this.round) return;
      if (bytes === null) return this.#end(null);
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
    if (!this.#isHint) for (const owner of this.plan.allOwners()) if (owner !== selfId) this.#marks.add(owner);
    this.#marks.make();
    this.#end(error);
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
    const side = this.sideOf(position, target);
    this.#settle(role === "stand-in" ? this.tally.stoodIn(position, side) : this.tally.answered(position, side));
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
    const isSeenTo = role !== "stand-in" && this.isStoodIn(position, target);
    const isPassedOn = role === "owner" && position >= this.plan.nearCount && position < this.counting;
    if (isSeenTo) this.#giveUpIfIdle(position);
    else if (isPassedOn && this.#context.health.isUsable(target)) this.#sendAgainSoon(position, target);
    else this.#standInSoon(position, target);
  }

  #close(call: StoreCall): void {
    this.open--;
    if (call.round === this.round) this.noteClosed(call.position, call.role);
  }

  #giveUpIfIdle(position: number): void {
    if (this.isIdle(position)) this.#settle(this.tally.gaveUp(position));
  }

  // The verdict.

  #settle(verdict: TallyVerdict): void {
    if (this.#isTold || this.#isMinting || verdict.kind === "waiting") return;
    // Where nobody can be reached that is known before the disk has told of this node's own copy, which counts.
    if (verdict.kind === "unavailable") {
      if (!this.#isOwnKnown) return;
      return this.#end(this.#quorumError(this.asked));
    }
    if (this.#plain !== null && (this.#uncovered?.stamp ?? 0) >= this.#plain.stamp) background(this.#mintAbove(this.#plain));
    else this.#end(null);
  }

  /** Mints the same once more, above what others hold that this node had not seen. */
  #mintAbove(minted: MintedDot): Promise<void> {
    this.#plain = null;
    this.#isMinting = true;
    return mintAbove(this.#context.replica, {
      dataKey: this.#dataKey,
      minted,
      uncovered: this.#uncovered!,
      begin: this.#begin,
      isTold: () => this.#isTold,
      onMinted: () => {
        this.#isMinting = false;
        this.round++;
        this.#sendAnew();
      },
      onOver: (error) => this.#end(error),
    });
  }

  /** Sends what is stored here now, by the newest ring, at the end of this turn. */
  #sendAnew(): void {
    this.#isLaunched = false;
    this.#isOwnKnown = false;
    this.isHedged = false;
    this.hedgeAtMs = this.deadlineMs;
    this.#used = null;
    this.beginAnew(this.plan);
    this.#context.turn.add(new Relaunch(this));
  }

  /** Null: it is done. */
  #end(error: OperatingError | null): void {
    if (this.#isTold) return;
    this.#isTold = true;
    if (error === null) this.#sink.onResult();
    else this.#sink.onFailure(error);
  }

  /** `asked`: those who can be reached and have yet to answer. */
  #quorumError(asked = 0): OperatingError {
    const { progress, lacking } = this.tally;
    const where = tooFewIn(this.plan.needs(this.quorum), lacking);
    return writeReached(progress.reached + asked, progress.needed, where);
  }
}
