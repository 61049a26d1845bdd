/**
 * One read of a key at a quorum: asks as many replicas as the level needs, nearest first and this node before all others,
 * and one more for each that is slow. This node's own copy counts as it was when the read came: what the same client writes
 * behind the read is not in it. What they hold is compared byte by byte; only where it differs is it decoded and
 * merged, and those who lack something are sent the merged record before the read is answered: what a client was shown is
 * then held by as many replicas as it asked.
 */
import { background } from "../background.js";
import { merge, type Record } from "../causality/record.js";
import { encodeRecord } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { slotOfDataKey } from "../replica/data-key.js";
import type { ReadHead } from "../replica/remote-replicas.js";
import { AnswerStatus } from "../replica/replica-messages.js";
import type { Lateness, Request } from "./in-flight.js";
import { OwnCopy } from "./own-copy.js";
import { type QuorumContext, standInFor } from "./quorum-context.js";
import { NO_GROUP, type QuorumNeeds, tooFewIn } from "./quorum-needs.js";
import { QuorumTally, type TallyVerdict } from "./quorum-tally.js";
import { type Answer, decoded, isSame, isSameKnowledge, ReadCall, type ReadOnItsWay, readReached } from "./read-answers.js";
import { ReadRepair } from "./read-repair.js";
import type { SlotPlan } from "./slot-plan.js";
import { listsOf } from "./small-lists.js";
import { Soon } from "./soon.js";

/** Is told the outcome, once. */
export interface RecordSink {
  /** What a quorum holds, null where there is no record; the view is valid until the call returns. */
  onRecord(view: RecordView | null): void;
  onFailure(error: unknown): void;
}

export interface QuorumReadOptions {
  readonly dataKey: string;
  /** What it waits for, by who keeps the key. */
  readonly needsIn: (plan: SlotPlan) => QuorumNeeds;
  readonly standIns: "strict" | "sloppy";
  /** Monotonic. */
  readonly deadlineMs: number;
  readonly sink: RecordSink;
  /** This node's own copy as it was when the read came, null where there was none; left out: it comes now. */
  readonly own?: Buffer | null;
}

/** A read begins anew at most so often because the ring changed. */
const ROUNDS_MAX = 3;
/** After so long another owner is asked besides this node's own disk. */
const OWN_DISK_MS = 50;

const NOT_ASKED = 0;
const ASKED = 1;
const CLOSED = 2;

const unasked = listsOf(NOT_ASKED);

export class QuorumRead implements Request, ReadOnItsWay {
  readonly #context: QuorumContext;
  #plan: SlotPlan;
  readonly #dataKey: string;
  readonly #needsIn: (plan: SlotPlan) => QuorumNeeds;
  #needs: QuorumNeeds;
  readonly #standIns: "strict" | "sloppy";
  readonly #sink: RecordSink;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  isSettled = false;
  #tally: QuorumTally;
  #state: number[];
  #answers: Answer[] = [];
  /** Counts the askings: answers to an earlier one are of no use to a later. */
  round = 0;
  #isRingAwaited = false;
  #own: OwnCopy | null;
  #usesOwn = false;
  /** All others have answered, and the disk has not. */
  #isOwnAwaited = false;
  #used: Set<MemberId> | null = null;
  #isCompleting = false;
  #askedMs = 0;

  constructor(context: QuorumContext, options: QuorumReadOptions) {
    this.#context = context;
    this.#dataKey = options.dataKey;
    this.#needsIn = options.needsIn;
    this.#plan = context.plans.of(slotOfDataKey(options.dataKey));
    this.#needs = options.needsIn(this.#plan);
    this.#standIns = options.standIns;
    this.#sink = options.sink;
    this.deadlineMs = options.deadlineMs;
    this.hedgeAtMs = options.deadlineMs;
    this.#own = options.own === undefined ? null : new OwnCopy(context.replica, options.dataKey, options.own);
    this.#tally = this.#newTally();
    this.#state = unasked(this.#plan.owners.length);
  }

  /** Asks. The sink is not called within this call. */
  start(): void {
    this.#context.inFlight.add(this);
    this.#askAll();
  }

  /** The same where a member was asked already, and answered this (borrowed). The sink may be called within this call. */
  startWith(from: MemberId, payload: Buffer): void {
    const position = this.#plan.owners.indexOf(from);
    const { selfPosition } = this.#plan;
    // Who keeps the key, and how many are needed, may be others than when that member was asked.
    if (position < 0 || selfPosition < 0 || !this.#isPair(position, selfPosition)) return this.start();
    if (payload[0] !== AnswerStatus.ok) return this.start();
    this.#context.inFlight.add(this);
    this.#askedMs = this.#context.health.nowMs();
    this.#askSelf();
    this.#finish(() => this.#takeAnswer(new ReadCall(this, { to: from, position, isStandIn: false }), payload));
  }

  /** The same where a member was asked already and is late: others come first. */
  startWithout(late: MemberId): void {
    const position = this.#plan.owners.indexOf(late);
    if (position >= 0) this.#state[position] = CLOSED;
    this.start();
    if (position < 0) return;
    this.#state[position] = NOT_ASKED;
    if (this.#tally.verdict.kind === "waiting" && !this.#state.includes(ASKED)) this.#askAnother(position);
  }

  #newTally(): QuorumTally {
    const { groups, reads } = this.#needs;
    return new QuorumTally({ groups, needs: reads, standIns: this.#standIns });
  }

  #askAll(): void {
    const { selfPosition } = this.#plan;
    this.#askedMs = this.#context.health.nowMs();
    const { groups, reads } = this.#needs;
    // What a log that failed will not keep is no answer to a quorum.
    const hasSelf = selfPosition >= 0 && groups[selfPosition] !== NO_GROUP && !this.#context.replica.isDoubtful;
    for (let group = 0; group < reads.length; group++) {
      let missing = reads[group]!;
      if (hasSelf && groups[selfPosition] === group) {
        this.#askSelf();
        missing--;
      }
      for (; missing > 0; missing--) if (!this.#askNext(group)) break;
      // Who is not linked may have a stand-in; with none of that the read fails, but not within this call.
      for (; missing > 0; missing--) this.#standInNext(group);
    }
    // Nothing that was asked may call back: then the verdict is looked at by itself.
    if (this.#tally.verdict.kind !== "waiting") this.#context.turn.add(new Soon(() => this.#settle(this.#tally.verdict)));
  }

  // Request.

  hedge(isLate: Lateness): boolean {
    if (this.#isOwnAwaited) return isLate(this.#context.selfId, 0) && this.#goOnWithoutOwn();
    if (this.#isCompleting) return false;
    const { health } = this.#context;
    const { owners } = this.#plan;
    const agoMs = health.nowMs() - this.#askedMs;
    // Found before anybody is asked: those that are asked in this step are not late yet.
    const late = [...this.#state.keys()].filter((at) => this.#state[at] === ASKED && isLate(owners[at]!, agoMs));
    let isHedged = false;
    for (const position of late) isHedged = this.#askAnother(position) || isHedged;
    return isHedged;
  }

  expire(): void {
    this.#fail(this.#quorumError());
  }

  // Asking.

  #askSelf(): void {
    const position = this.#plan.selfPosition;
    this.#usesOwn = true;
    this.#state[position] = CLOSED;
    this.#own ??= new OwnCopy(this.#context.replica, this.#dataKey);
    this.#tally.answered(position);
  }

  /** Asks the nearest owner of the group that was not asked: prompt ones before quiet ones. False when none is linked. */
  #askNext(group: number): boolean {
    const { owners } = this.#plan;
    const { health } = this.#context;
    let quiet = -1;
    for (let position = 0; position < owners.length; position++) {
      if (this.#state[position] !== NOT_ASKED || this.#needs.groups[position] !== group) continue;
      const owner = owners[position]!;
      const link = owner === this.#context.selfId ? null : health.linkOf(owner);
      if (link === null || !link.isUsable) continue;
      if (!health.isQuietNow(link)) {
        this.#ask(position, owner, "owner");
        return true;
      }
      if (quiet < 0) quiet = position;
    }
    if (quiet < 0) return false;
    this.#ask(quiet, owners[quiet]!, "owner");
    return true;
  }

  /** Has a stand-in asked for the nearest owner of the group that was not asked; gives that position up where there is none. */
  #standInNext(group: number): void {
    for (let position = 0; position < this.#state.length; position++) {
      if (this.#state[position] !== NOT_ASKED || this.#needs.groups[position] !== group) continue;
      this.#state[position] = CLOSED;
      if (!this.#askStandIn(position)) this.#tally.gaveUp(position);
      else return;
    }
  }

  #askStandIn(position: number): boolean {
    if (this.#standIns === "strict") return false;
    const slot = slotOfDataKey(this.#dataKey);
    const centre = this.#plan.centreOf(position);
    const elsewhere = this.#needs.counts === "all" ? "too" : "not";
    const standIn = standInFor(this.#context, this.#plan, { slot, centre, used: this.#used, elsewhere, self: "too" });
    if (standIn === null) return false;
    this.#used ??= new Set();
    this.#used.add(standIn);
    if (standIn === this.#context.selfId) background(this.#readOwnHints(position));
    else this.#ask(position, standIn, "stand-in");
    return true;
  }

  /** This node may have been the stand-in itself. */
  async #readOwnHints(position: number): Promise<void> {
    const { hints, selfId } = this.#context;
    const { round } = this;
    let bytes: Buffer | null = null;
    let isRead = true;
    try {
      bytes = await hints.read(this.#dataKey, this.#plan.owners);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      isRead = false;
    }
    if (this.isSettled || this.#isCompleting || round !== this.round) return;
    if (isRead) {
      this.#answers.push({ position, from: selfId, isStandIn: true, bytes });
      this.#settle(this.#tally.stoodIn(position));
    } else if (!this.#askAnother(position)) this.#settle(this.#tally.gaveUp(position));
  }

  /** Asks somebody else besides, or instead of, the owner at `position`. */
  #askAnother(position: number): boolean {
    const group = this.#needs.groups[position]!;
    return this.#askNext(group) || this.#askStandIn(position);
  }

  #ask(position: number, to: MemberId, role: "owner" | "stand-in"): void {
    const { remote, health } = this.#context;
    if (role === "owner") this.#state[position] = ASKED;
    this.hedgeAtMs = Math.min(this.hedgeAtMs, health.nowMs() + health.hedgeAfterMs(to));
    const call = new ReadCall(this, { to, position, isStandIn: role === "stand-in" });
    remote.readSoon(call, this.#head());
  }

  onAlone(call: ReadCall): void {
    if (!this.isSettled && !this.#isCompleting && call.round === this.round) this.#context.remote.read(call, this.#head());
  }

  #head(): ReadHead {
    const from = this.#standIns === "sloppy" ? "hints too" : "records";
    return { ringVersion: this.#plan.ring.document.version, dataKey: this.#dataKey, from };
  }

  // Answers.

  onAnswer(call: ReadCall, payload: Buffer): void {
    if (this.isSettled || this.#isCompleting || call.round !== this.round) return;
    if (payload[0] === AnswerStatus.staleRing) return this.#onStaleRing(call.to);
    if (payload[0] !== AnswerStatus.ok) return this.onFailed(call);
    try {
      this.#takeAnswer(call, payload);
    } catch (error) {
      this.#failWith(error);
    }
  }

  #takeAnswer(call: ReadCall, payload: Buffer): void {
    const { position, isStandIn } = call;
    if (!isStandIn) this.#state[position] = CLOSED;
    if (this.#isAgreedByTwo(position, isStandIn, payload)) return;
    const borrowed = payload.length > 1 ? payload.subarray(1) : null;
    const verdict = isStandIn ? this.#tally.stoodIn(position) : this.#tally.answered(position);
    const isLast = verdict.kind === "ready";
    const bytes = borrowed === null || isLast ? borrowed : Buffer.from(borrowed);
    this.#answers.push({ position, from: call.to, isStandIn, bytes });
    this.#settle(verdict);
  }

  /**
   * By far most reads: this node and one other are asked, and hold the same bytes.
   */
  #isAgreedByTwo(position: number, isStandIn: boolean, payload: Buffer): boolean {
    if (!this.#usesOwn || isStandIn || !this.#isPair(position, this.#plan.selfPosition)) return false;
    const own = this.#ownRecord();
    if (!(own instanceof Buffer) || payload.length - 1 !== own.length || payload.compare(own, 0, own.length, 1) !== 0)
      return false;
    this.#deliver(own);
    return true;
  }

  /** The answers of these two are all that is needed. */
  #isPair(one: number, other: number): boolean {
    const { groups, reads } = this.#needs;
    return reads.length === 1 && reads[0] === 2 && groups[one] === 0 && groups[other] === 0;
  }

  /** The slot has other owners by now: asks those. */
  #onStaleRing(from: MemberId): void {
    if (this.#isRingAwaited) return;
    this.#isRingAwaited = true;
    background(this.#goOnWithRing(from));
  }

  async #goOnWithRing(from: MemberId): Promise<void> {
    await this.#context.fetchRing(from);
    this.#isRingAwaited = false;
    if (this.isSettled || this.#isCompleting) return;
    if (++this.round > ROUNDS_MAX) return this.#fail(this.#quorumError());
    this.#plan = this.#context.plans.of(slotOfDataKey(this.#dataKey));
    this.#needs = this.#needsIn(this.#plan);
    this.#tally = this.#newTally();
    this.#state = unasked(this.#plan.owners.length);
    this.#answers = [];
    this.#usesOwn = false;
    this.#isOwnAwaited = false;
    this.#used = null;
    this.isHedged = false;
    this.hedgeAtMs = this.deadlineMs;
    this.#askAll();
  }

  onFailed(call: ReadCall): void {
    if (this.isSettled || this.#isCompleting || call.round !== this.round) return;
    const { position, isStandIn } = call;
    if (!isStandIn) this.#state[position] = CLOSED;
    if (!this.#askAnother(position)) this.#settle(this.#tally.gaveUp(position));
  }

  #settle(verdict: TallyVerdict): void {
    if (this.isSettled || this.#isCompleting || verdict.kind === "waiting") return;
    const open = this.#state.filter((state) => state === ASKED).length;
    if (verdict.kind === "unavailable") return this.#fail(this.#quorumError(open));
    // A stand-in that was asked besides a late owner, and keeps nothing, does not answer for it.
    if (open > 0 && this.#knowsNothing) return;
    this.#isCompleting = true;
    this.#finish(() => this.#complete());
  }

  /** A record that cannot be read, here or in an answer, fails this read and nothing else. */
  #finish(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#failWith(error);
    }
  }

  #failWith(error: unknown): void {
    if (!(error instanceof OperatingError)) throw error;
    this.#fail(error);
  }

  /** Stand-ins that keep nothing for the owners know nothing of the key: that is no answer. */
  get #knowsNothing(): boolean {
    return !this.#usesOwn && this.#answers.every(({ isStandIn, bytes }) => isStandIn && bytes === null);
  }

  /** Enough have answered. Compares what they hold. */
  #complete(): void {
    const own = this.#ownRecord();
    if (own === "unread") {
      for (const [at, answer] of this.#answers.entries()) {
        if (answer.bytes !== null) this.#answers[at] = { ...answer, bytes: Buffer.from(answer.bytes) };
      }
      background(this.#completeWithDisk());
      return;
    }
    if (own === undefined && this.#knowsNothing) {
      return this.#fail(new OperatingError("QUORUM", "read reached none of the nodes that keep the key"));
    }
    const first = own === undefined ? this.#answers[0]!.bytes : own;
    const isAgreed = this.#answers.every(({ bytes }) => isSame(bytes, first));
    if (isAgreed) this.#deliver(first);
    else this.#reconcile(own);
  }

  async #completeWithDisk(): Promise<void> {
    const { clock } = this.#context;
    const { round } = this;
    const { selfPosition } = this.#plan;
    this.#isOwnAwaited = true;
    this.isHedged = false;
    this.hedgeAtMs = clock.monotonicMs() + OWN_DISK_MS;
    try {
      await this.#own!.read();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      if (this.isSettled || round !== this.round) return;
      if (!this.#isOwnAwaited || !this.#goOnWithoutOwn()) this.#settle(this.#tally.gaveUp(selfPosition));
      return;
    }
    if (this.isSettled || round !== this.round) return;
    if (this.#isOwnAwaited) {
      this.#isOwnAwaited = false;
      this.#finish(() => this.#complete());
    } else if (!this.#isCompleting) {
      this.#usesOwn = true;
      this.#settle(this.#tally.answered(selfPosition));
    }
  }

  /** This node cannot read its own copy, or not yet: somebody else is asked instead. False when there is nobody. */
  #goOnWithoutOwn(): boolean {
    this.#isOwnAwaited = false;
    this.#usesOwn = false;
    this.#isCompleting = false;
    this.#tally = this.#newTally();
    for (const { position, isStandIn } of this.#answers) {
      if (isStandIn) this.#tally.stoodIn(position);
      else this.#tally.answered(position);
    }
    return this.#askAnother(this.#plan.selfPosition);
  }

  /** This node's own record: undefined where it was not asked, null where there is none. */
  #ownRecord(): Buffer | null | undefined | "unread" {
    return this.#usesOwn ? this.#own!.bytes : undefined;
  }

  /** They differ: merges, and repairs. */
  #reconcile(own: Buffer | null | undefined): void {
    const records = this.#answers.map(({ bytes }) => decoded(bytes));
    const ownRecord = own === undefined ? undefined : decoded(own);
    let merged: Record | null = ownRecord ?? null;
    for (const record of records) if (record !== null) merged = merged === null ? record : merge(merged, record);
    if (merged === null) return this.#deliver(null);
    const bytes = encodeRecord(merged);
    const isOwnStale = ownRecord !== undefined && !isSameKnowledge(ownRecord, merged);
    const stale = this.#answers.filter((_, at) => !isSameKnowledge(records[at]!, merged));
    if (!isOwnStale && stale.length === 0) return this.#deliver(bytes);
    const repair = new ReadRepair(this.#context, {
      plan: this.#plan,
      dataKey: this.#dataKey,
      bytes,
      deadlineMs: this.deadlineMs,
      stale: stale.map(({ from, isStandIn, position }) => ({ to: from, isStandIn, position })),
      others: this.#othersOf(stale),
      isOwnStale,
      onDone: () => this.#finish(() => this.#deliver(bytes)),
      onFailure: (error) => this.#fail(error),
      onStaleRing: (from) => {
        this.#isCompleting = false;
        this.round++;
        this.#onStaleRing(from);
      },
    });
    repair.start();
  }

  /** Owners of the groups of these answers that hold no answer: they may be brought up to date instead. */
  #othersOf(stale: readonly Answer[]): readonly number[] {
    const { groups } = this.#needs;
    const wanted = new Set(stale.map(({ position }) => groups[position]));
    const answered = new Set(this.#answers.map(({ position }) => position));
    const { selfPosition } = this.#plan;
    return [...groups.keys()].filter((at) => at !== selfPosition && wanted.has(groups[at]) && !answered.has(at));
  }

  #deliver(bytes: Buffer | null): void {
    if (this.isSettled) return;
    const { replica } = this.#context;
    // Who answered may not have heard of a flush yet.
    const left = bytes === null ? null : replica.flushes.leftOf(this.#dataKey, bytes);
    const view = replica.view(left);
    this.isSettled = true;
    this.#sink.onRecord(view);
  }

  #fail(error: OperatingError): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.#sink.onFailure(error);
  }

  /** `asked`: those who can be reached and have yet to answer. */
  #quorumError(asked = 0): OperatingError {
    const { progress, lacking } = this.#tally;
    return readReached(progress.reached + asked, progress.needed, tooFewIn(this.#needs, lacking));
  }
}
