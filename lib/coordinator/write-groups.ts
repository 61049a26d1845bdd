/**
 * Plain writes of one turn that go to the same members, as one: while all goes well, hundreds of them are encoded once, sent
 * once a member, acknowledged by one answer a member, and told together. As soon as anything is not as usual (a member is late
 * or fails, holds something newer, has to look at its disk, the ring has changed) the writes that it concerns go on one by
 * one, as `QuorumWrite`, which sends them anew: a merge may come twice.
 *
 * INVARIANT: each write is told once; it is told only when it is stored by as many owners as its quorum asks for; and what an
 * owner did not acknowledge becomes a `QuorumWrite`, which leaves a hint for it.
 */
import { SLOTS } from "../bytes/slot.js";
import type { MemberId } from "../cluster/member.js";
import type { OperatingError } from "../errors.js";
import { answerLength, BATCH_CALLS_MAX, BATCHED_BYTES_MAX, BatchBytes } from "../replica/call-batch.js";
import { slotOfDataKey } from "../replica/data-key.js";
import type { MemberCall } from "../replica/remote-replicas.js";
import { AnswerStatus, ReplicaKind, storeBytesMax, writeStore } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { Lateness, Request } from "./in-flight.js";
import { NOBODY, type Scope, type Sink } from "./keyspace.js";
import { type QuorumContext, standInFor } from "./quorum-context.js";
import type { QuorumNeeds } from "./quorum-needs.js";
import { QuorumWrite } from "./quorum-write.js";
import type { WriteSoFar } from "./quorum-write-options.js";
import { relayFirst } from "./relay-choice.js";
import type { Company, SlotPlan } from "./slot-plan.js";
import { Soon } from "./soon.js";
import { UncoveredSeen, writeReached } from "./write-calls.js";

/** Several groups of a turn with fewer writes each are not worth it: what goes to one member is one request all the same. */
const SIZE_MIN = 4;
const NONE: ReadonlySet<MemberId> = new Set();

/** The groups of this turn. */
export class WriteGroups {
  readonly #context: QuorumContext;
  readonly #open = new Map<Company, WriteGroup>();
  /** Groups of this turn, those that were full or closed among them. */
  #count = 0;
  /** Those of them that have not been told that the turn has ended. */
  #toClose = 0;
  /** A number that the turn has, and, by slot, that of the last turn in which one of its keys was written. */
  #turn = 1;
  readonly #writtenIn = new Uint32Array(SLOTS);
  /** Something written in this turn was read, and may have been written again since: groups are sent as they were then. */
  #wasRead = false;
  /** Requests that are not being filled. */
  readonly #spare: BatchBytes[] = [];

  constructor(context: QuorumContext) {
    this.#context = context;
  }

  /**
   * Takes on a write that was just minted: the record at hand. False when it is not one of the usual; nothing was done then.
   * `deadlineMs` is asked for the first write of a group.
   */
  tryAdd(plan: SlotPlan, scope: Scope, dataKey: string, sink: Sink<void>, deadlineMs: (scope: Scope) => number): boolean {
    const { company } = plan;
    if (company === null || scope.forwarded !== undefined) return false;
    const { quorum, standIns } = scope.consistency;
    const { counts, writes } = plan.needs(quorum);
    if (writes.length !== 1) return false;
    const needed = writes[0]!;
    const { replica } = this.#context;
    const record = replica.encodedAtHand();
    const bytesMax = storeBytesMax(dataKey, record.end - record.start);
    if (bytesMax > BATCHED_BYTES_MAX) return false;
    let group = this.#open.get(company);
    if (group === undefined || !group.hasRoom(bytesMax)) {
      if (!this.#arePrompt(company)) return false;
      const request = this.#spare.pop() ?? new BatchBytes();
      group = new WriteGroup(this.#context, {
        groups: this,
        plan,
        company,
        scope,
        needed,
        counts,
        request,
        deadlineMs: deadlineMs(scope),
      });
      this.#open.set(company, group);
      this.#count++;
      this.#toClose++;
      this.#context.turn.add(group);
      this.#context.inFlight.add(group);
    } else if (!group.isFor(needed, counts, standIns)) return false;
    const start = group.request.begin(bytesMax);
    const head = { ringVersion: plan.ring.document.version, hintFor: null, dataKey };
    group.request.end(ReplicaKind.store, writeStore(group.request.bytes, start, head, record));
    group.add(dataKey, sink);
    this.#writtenIn[slotOfDataKey(dataKey)] = this.#turn;
    return true;
  }

  /** A read of this key has come: what is written from now on is written behind it. */
  endAll(dataKey: string): void {
    if (this.#toClose === 0) return;
    this.#open.clear();
    if (this.#writtenIn[slotOfDataKey(dataKey)] === this.#turn) this.#wasRead = true;
  }

  /** A member that may have stopped needs a stand-in at once. */
  #arePrompt({ others }: Company): boolean {
    const { health } = this.#context;
    return others.every((id) => health.isPrompt(id));
  }

  /**
   * The turn has ended: says whether a group of this size is to be sent as one. Sent one by one, writes bring what is stored here
   * by then, with what was written behind a read in it.
   */
  close(company: Company, group: WriteGroup): boolean {
    const isOne = this.#wasRead || this.#count === 1 || group.size >= SIZE_MIN;
    if (this.#open.get(company) === group) this.#open.delete(company);
    if (--this.#toClose > 0) return isOne;
    this.#count = 0;
    this.#wasRead = false;
    this.#turn = (this.#turn + 1) >>> 0;
    return isOne;
  }

  takeBack(request: BatchBytes): void {
    request.clear();
    this.#spare.push(request);
  }
}

interface GroupOptions {
  readonly groups: WriteGroups;
  readonly plan: SlotPlan;
  readonly company: Company;
  readonly scope: Scope;
  readonly needed: number;
  readonly counts: QuorumNeeds["counts"];
  readonly request: BatchBytes;
  readonly deadlineMs: number;
}

class WriteGroup implements TurnWork, Request {
  readonly request: BatchBytes;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  readonly #context: QuorumContext;
  readonly #options: GroupOptions;
  readonly #dataKeys: string[] = [];
  readonly #sequences: number[] = [];
  readonly #stamps: number[] = [];
  /** Null for a write that goes on by itself. */
  readonly #sinks: (Sink<void> | null)[] = [];
  /** Writes that went on by themselves before the disk has told, which they learn of by this. */
  readonly #alone: QuorumWrite[] = [];
  #isDurable = false;
  /** Who has not answered, and who has stored all that are left. */
  readonly #waiting = new Set<MemberId>();
  readonly #storedBy = new Set<MemberId>();
  /** Of the latter those that count. */
  #counted = 0;
  #sentMs = 0;
  #isLaunched = false;
  #isTold = false;
  #isOver = false;

  constructor(context: QuorumContext, options: GroupOptions) {
    this.#context = context;
    this.#options = options;
    this.request = options.request;
    this.deadlineMs = options.deadlineMs;
    this.hedgeAtMs = options.deadlineMs;
  }

  get size(): number {
    return this.#dataKeys.length;
  }

  isFor(needed: number, counts: QuorumNeeds["counts"], standIns: "strict" | "sloppy"): boolean {
    const own = this.#options;
    return own.needed === needed && own.counts === counts && own.scope.consistency.standIns === standIns;
  }

  hasRoom(bytesMax: number): boolean {
    return this.#dataKeys.length < BATCH_CALLS_MAX && this.request.hasRoom(bytesMax);
  }

  add(dataKey: string, sink: Sink<void>): void {
    const { sequence, stamp } = this.#context.replica.minted();
    this.#dataKeys.push(dataKey);
    this.#sequences.push(sequence);
    this.#stamps.push(stamp);
    this.#sinks.push(sink);
    // The group itself is one of them.
    if (this.#dataKeys.length > 1) this.#context.inFlight.grouped++;
  }

  // TurnWork.

  committed(): void {
    const { groups, company, plan } = this.#options;
    const isOne = groups.close(company, this);
    if (isOne && this.#context.plans.ring === plan.ring) this.#launch(company);
    else this.#separate();
    groups.takeBack(this.request);
  }

  durable(): void {
    this.#isDurable = true;
    for (const write of this.#alone) write.onDurable(0);
    this.#settle();
  }

  lost(error: OperatingError): void {
    for (const write of this.#alone) write.onLost(0, error);
    if (this.#isOver) return;
    if (this.#isLaunched) return this.#dissolve(error);
    this.#options.groups.close(this.#options.company, this);
    this.#fail(error);
    this.#end();
  }

  #launch({ near, far }: Company): void {
    const { health, remote } = this.#context;
    const payload = this.request.view();
    this.#isLaunched = true;
    this.#sentMs = health.nowMs();
    this.hedgeAtMs = this.#sentMs;
    for (const to of near) {
      this.#expect(to);
      remote.send(new GroupCall(this, { of: to, to, kind: ReplicaKind.batch }), payload);
    }
    for (const owners of far) this.#launchFar(owners, payload);
  }

  /** One copy for the owners of another data centre: one of them passes it on to the others. */
  #launchFar(owners: readonly MemberId[], payload: Buffer): void {
    const { health, remote } = this.#context;
    const targets = relayFirst(
      owners.map((to) => ({ to })),
      health,
      this.#options.plan.relayShift,
    ).map(({ to }) => to);
    const relay = targets[0]!;
    for (const owner of owners) this.#expect(owner);
    if (owners.length === 1)
      return remote.send(new GroupCall(this, { of: relay, to: relay, kind: ReplicaKind.batch }), payload);
    const calls = targets.map((of) => {
      return new GroupCall(this, { of, to: relay, kind: of === relay ? ReplicaKind.relay : ReplicaKind.relayed });
    });
    remote.relay(calls, targets.slice(1), payload);
  }

  #expect(owner: MemberId): void {
    const { health } = this.#context;
    if (this.#isCounting(owner)) this.hedgeAtMs = Math.max(this.hedgeAtMs, this.#sentMs + health.hedgeAfterMs(owner));
    this.#waiting.add(owner);
  }

  /** At a LOCAL level who is of another data centre counts for nothing. */
  #isCounting(owner: MemberId): boolean {
    const { counts, company } = this.#options;
    return counts !== "local" || company.near.includes(owner);
  }

  /** Nothing was sent: each write goes its own way from here. */
  #separate(): void {
    for (let at = 0; at < this.#dataKeys.length; at++) {
      const write = this.#writeOf(at, this.#sinks[at]!);
      this.#alone.push(write);
      this.#context.inFlight.add(write);
      write.launch(0);
    }
    this.#end();
  }

  // Request.

  get isSettled(): boolean {
    return this.#isOver;
  }

  hedge(isLate: Lateness): boolean {
    const agoMs = this.#context.health.nowMs() - this.#sentMs;
    const late = [...this.#waiting].filter((id) => this.#isCounting(id) && isLate(id, agoMs));
    if (late.length === 0) return false;
    // Where nobody can stand in, a hedge helps nobody; but who was to pass the writes on can be done without.
    const slot = slotOfDataKey(this.#dataKeys[0]!);
    const { plan, counts, company } = this.#options;
    const elsewhere = counts === "all" ? "too" : "not";
    const arePassedOn = late.some((id) => !company.near.includes(id));
    if (!arePassedOn && standInFor(this.#context, plan, { slot, centre: plan.centreOf(0), used: null, elsewhere }) === null) {
      this.hedgeAtMs = this.deadlineMs;
      return false;
    }
    this.#dissolve();
    return true;
  }

  expire(): void {
    this.#fail(writeReached(this.#stored, this.#options.needed));
  }

  /** Owners that count and have stored all that are left, this node among them. */
  get #stored(): number {
    return this.#counted + (this.#isDurable ? 1 : 0);
  }

  // Answers.

  onAnswer(from: MemberId, payload: Buffer): void {
    if (this.#isOver) return;
    const count = this.#dataKeys.length;
    const cursor = { at: 0 };
    for (let at = 0; at < count; at++) {
      const start = cursor.at;
      if (payload[start] === 1 && payload[start + 1] === AnswerStatus.ok) {
        cursor.at = start + 2;
        continue;
      }
      const length = answerLength(payload, cursor) ?? 0;
      const answer = payload.subarray(cursor.at, cursor.at + length);
      cursor.at += length;
      this.#onUnusual(at, from, answer);
    }
    this.#waiting.delete(from);
    this.#storedBy.add(from);
    if (this.#isCounting(from)) this.#counted++;
    this.#settle();
  }

  /** An answer other than `ok`; empty where the write is to be sent alone, or nothing can be read. */
  #onUnusual(at: number, from: MemberId, answer: Buffer): void {
    const uncovered = new UncoveredSeen();
    const isStored = answer[0] === AnswerStatus.uncovered && uncovered.note(answer);
    if (!isStored) return this.#goAlone(at, { storedBy: this.#storedBy, late: NONE, uncovered: null });
    // The client was told: what is newer there is no matter of this write any more.
    if (!this.#isTold) this.#goAlone(at, { storedBy: new Set([...this.#storedBy, from]), late: NONE, uncovered });
  }

  onFailure(): void {
    if (this.#context.health.nowMs() >= this.deadlineMs) this.expire();
    this.#dissolve();
  }

  /** One more owner has stored all that are left. */
  #settle(): void {
    if (this.#isOver) return;
    if (!this.#isTold && this.#stored >= this.#options.needed) {
      this.#isTold = true;
      for (const sink of this.#sinks) sink?.onResult();
    }
    if (this.#isTold && this.#waiting.size === 0) this.#end();
  }

  #fail(error: OperatingError): void {
    if (this.#isTold) return;
    this.#isTold = true;
    for (const sink of this.#sinks) sink?.onFailure(error);
  }

  /** `lost`: with this the disk told of what this node stored. */
  #dissolve(lost: OperatingError | null = null): void {
    if (this.#isOver) return;
    const { health } = this.#context;
    const agoMs = health.nowMs() - this.#sentMs;
    const late = new Set([...this.#waiting].filter((id) => health.isLate(id, agoMs)));
    for (let at = 0; at < this.#dataKeys.length; at++)
      this.#goAlone(at, { storedBy: this.#storedBy, late, uncovered: null }, lost);
    this.#end();
  }

  /** At the end of this turn: what was stored meanwhile is not committed before. */
  #goAlone(at: number, soFar: WriteSoFar, lost: OperatingError | null = null): void {
    const sink = this.#sinks[at]!;
    if (sink === null) return;
    this.#sinks[at] = null;
    const write = this.#writeOf(at, this.#isTold ? NOBODY : sink, { ...soFar, storedBy: new Set(soFar.storedBy) });
    const isKnown = this.#isDurable || lost !== null;
    if (!isKnown) this.#alone.push(write);
    const launch = (): void => {
      write.launch(0);
      if (lost !== null) write.onLost(0, lost);
      else if (isKnown) write.onDurable(0);
    };
    this.#context.inFlight.add(write);
    this.#context.turn.add(new Soon(launch));
  }

  #writeOf(at: number, sink: Sink<void>, resume?: WriteSoFar): QuorumWrite {
    const { quorum, standIns } = this.#options.scope.consistency;
    const plain = { sequence: this.#sequences[at]!, stamp: this.#stamps[at]! };
    const { deadlineMs } = this;
    const options = { dataKey: this.#dataKeys[at]!, quorum, standIns, deadlineMs, plain, sink };
    return new QuorumWrite(this.#context, resume === undefined ? options : { ...options, resume });
  }

  #end(): void {
    this.#isOver = true;
    this.#context.inFlight.grouped -= this.#dataKeys.length - 1;
  }
}

/** The request of a group to one member, or the question after one that another passes it on to. */
class GroupCall implements MemberCall {
  readonly to: MemberId;
  readonly kind: number;
  readonly deadlineMs: number;
  readonly #group: WriteGroup;
  readonly #of: MemberId;

  constructor(group: WriteGroup, { of, to, kind }: { of: MemberId; to: MemberId; kind: number }) {
    this.#group = group;
    this.#of = of;
    this.to = to;
    this.kind = kind;
    this.deadlineMs = group.deadlineMs;
  }

  onAnswer(payload: Buffer): void {
    this.#group.onAnswer(this.#of, payload);
  }

  onFailure(): void {
    this.#group.onFailure();
  }
}
