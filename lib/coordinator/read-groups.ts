/**
 * Plain reads of one turn that ask this node and the same other member, as one: while all goes well, hundreds of them are one
 * request and one answer, and each is told when what that member holds is what is held here, byte for byte. As soon as
 * anything is not as usual (the member is late or fails, holds something else, has to look at its disk, knows a newer ring)
 * the reads that it concerns go on one by one, as `QuorumRead`.
 *
 * INVARIANT: each read is told once; it is told a record only when two owners hold that record.
 */
import type { MemberId } from "../cluster/member.js";
import { answerLength, BATCH_CALLS_MAX, BATCHED_BYTES_MAX, BatchBytes } from "../replica/call-batch.js";
import { slotOfDataKey } from "../replica/data-key.js";
import type { MemberCall } from "../replica/remote-replicas.js";
import { AnswerStatus, ReplicaKind, readBytesMax, writeRead } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { Consistency, Quorum } from "./consistency.js";
import type { Request } from "./in-flight.js";
import type { Scope } from "./keyspace.js";
import type { QuorumContext } from "./quorum-context.js";
import { QuorumRead, type RecordSink } from "./quorum-read.js";
import { readReached } from "./read-answers.js";
import type { SlotPlan } from "./slot-plan.js";

/** The groups of this turn, by the member that is asked. */
export class ReadGroups {
  readonly #context: QuorumContext;
  readonly #open = new Map<MemberId, ReadGroup>();
  /** Requests that are not being filled. */
  readonly #spare: BatchBytes[] = [];

  constructor(context: QuorumContext) {
    this.#context = context;
  }

  /** Takes on a read; false when it is not one of the usual. `deadlineMs` is asked for the first read of a group. */
  tryAdd(plan: SlotPlan, scope: Scope, dataKey: string, sink: RecordSink, deadlineMs: (scope: Scope) => number): boolean {
    const { consistency } = scope;
    if (plan.company === null || scope.forwarded !== undefined || !plan.readsTwoOfAll(consistency.quorum)) return false;
    const bytesMax = readBytesMax(dataKey);
    if (bytesMax > BATCHED_BYTES_MAX || this.#context.replica.isDoubtful) return false;
    const to = this.#nearest(plan);
    if (to === null) return false;
    let group = this.#open.get(to);
    if (group === undefined || !group.hasRoom(bytesMax)) group = this.#begin(to, consistency, deadlineMs(scope));
    else if (group.standIns !== consistency.standIns) return false;
    const { request } = group;
    const start = request.begin(bytesMax);
    const from = consistency.standIns === "sloppy" ? "hints too" : "records";
    const ringVersion = plan.ring.document.version;
    request.end(ReplicaKind.read, writeRead(request.bytes, start, { ringVersion, dataKey, from }));
    group.add(dataKey, consistency.quorum, sink);
    return true;
  }

  /** The first other owner that answers promptly. */
  #nearest({ owners }: SlotPlan): MemberId | null {
    const { selfId, health } = this.#context;
    for (const id of owners) if (id !== selfId && (this.#open.has(id) || health.isPrompt(id))) return id;
    return null;
  }

  #begin(to: MemberId, { standIns }: Consistency, deadlineMs: number): ReadGroup {
    const request = this.#spare.pop() ?? new BatchBytes();
    const group = new ReadGroup(this.#context, { groups: this, to, standIns, request, deadlineMs });
    this.#open.set(to, group);
    this.#context.turn.add(group);
    this.#context.inFlight.add(group);
    return group;
  }

  /** The turn has ended. */
  close(group: ReadGroup): void {
    if (this.#open.get(group.to) === group) this.#open.delete(group.to);
  }

  takeBack(request: BatchBytes): void {
    request.clear();
    this.#spare.push(request);
  }
}

interface GroupOptions {
  readonly groups: ReadGroups;
  readonly to: MemberId;
  readonly standIns: Consistency["standIns"];
  readonly request: BatchBytes;
  readonly deadlineMs: number;
}

class ReadGroup implements TurnWork, Request, MemberCall {
  readonly kind = ReplicaKind.batch;
  readonly to: MemberId;
  readonly standIns: Consistency["standIns"];
  readonly request: BatchBytes;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  isSettled = false;
  readonly #context: QuorumContext;
  readonly #groups: ReadGroups;
  readonly #dataKeys: string[] = [];
  readonly #quorums: Quorum[] = [];
  readonly #sinks: RecordSink[] = [];
  #sentMs = 0;

  constructor(context: QuorumContext, { groups, to, standIns, request, deadlineMs }: GroupOptions) {
    this.#context = context;
    this.#groups = groups;
    this.to = to;
    this.standIns = standIns;
    this.request = request;
    this.deadlineMs = deadlineMs;
    this.hedgeAtMs = deadlineMs;
  }

  hasRoom(bytesMax: number): boolean {
    return this.#dataKeys.length < BATCH_CALLS_MAX && this.request.hasRoom(bytesMax);
  }

  add(dataKey: string, quorum: Quorum, sink: RecordSink): void {
    this.#dataKeys.push(dataKey);
    this.#quorums.push(quorum);
    this.#sinks.push(sink);
    // The group itself is one of them.
    if (this.#dataKeys.length > 1) this.#context.inFlight.grouped++;
  }

  // TurnWork.

  committed(): void {
    this.#send();
  }

  durable(): void {}

  /** What others stored in this turn was refused, which is no matter of those who read. */
  lost(): void {
    this.#send();
  }

  #send(): void {
    const { request } = this;
    // A turn may be told of twice: committed, and then lost.
    if (request.length === 0) return;
    const { health, remote } = this.#context;
    this.#groups.close(this);
    this.#sentMs = health.nowMs();
    this.hedgeAtMs = this.#sentMs + health.hedgeAfterMs(this.to);
    remote.send(this, request.view());
    this.#groups.takeBack(request);
  }

  // Request.

  hedge(): boolean {
    const { health } = this.#context;
    if (!health.isLate(this.to, health.nowMs() - this.#sentMs)) return false;
    if (!this.#hasOther()) {
      this.hedgeAtMs = this.deadlineMs;
      return false;
    }
    for (const read of this.#dissolve()) read.startWithout(this.to);
    return true;
  }

  /** Where nobody else can be asked, asking once more helps nobody. */
  #hasOther(): boolean {
    const { plans, selfId, health } = this.#context;
    const { owners } = plans.of(slotOfDataKey(this.#dataKeys[0]!));
    return owners.some((id) => id !== selfId && id !== this.to && health.isPrompt(id));
  }

  expire(): void {
    const error = readReached(1, 2);
    this.#end();
    for (const sink of this.#sinks) sink.onFailure(error);
  }

  // MemberCall.

  onAnswer(payload: Buffer): void {
    if (this.isSettled) return;
    this.#end();
    const { replica } = this.#context;
    const cursor = { at: 0 };
    replica.prefetch(this.#dataKeys);
    for (let at = 0; at < this.#dataKeys.length; at++) {
      // Nothing can be read from where an answer is damaged on: those reads are begun anew.
      const length = answerLength(payload, cursor) ?? 0;
      const start = cursor.at;
      cursor.at += length;
      const dataKey = this.#dataKeys[at]!;
      const sink = this.#sinks[at]!;
      if (length > 0 && payload[start] === AnswerStatus.ok && this.#isHeldHere(dataKey, payload, start + 1, cursor.at)) {
        sink.onRecord(replica.record);
      } else this.#goOnAlone(at, length > 0 ? payload.subarray(start, cursor.at) : null);
    }
  }

  /** The same record is at hand here. */
  #isHeldHere(dataKey: string, payload: Buffer, start: number, end: number): boolean {
    const { replica } = this.#context;
    if (replica.peek(dataKey) !== "found") return false;
    const own = replica.encodedAtHand();
    return end - start === own.end - own.start && payload.compare(own.bytes, own.start, own.end, start, end) === 0;
  }

  /** `answer` null: the member has to look at its disk, and is asked by itself. */
  #goOnAlone(at: number, answer: Buffer | null): void {
    const read = this.#readOf(at);
    if (answer === null) read.start();
    else read.startWith(this.to, answer);
  }

  onFailure(): void {
    if (this.isSettled) return;
    if (this.#context.health.nowMs() >= this.deadlineMs) return this.expire();
    for (const read of this.#dissolve()) read.start();
  }

  #dissolve(): QuorumRead[] {
    this.#end();
    return this.#dataKeys.map((_, at) => this.#readOf(at));
  }

  #readOf(at: number): QuorumRead {
    const quorum = this.#quorums[at]!;
    return new QuorumRead(this.#context, {
      dataKey: this.#dataKeys[at]!,
      needsIn: (plan) => plan.needs(quorum),
      standIns: this.standIns,
      deadlineMs: this.deadlineMs,
      sink: this.#sinks[at]!,
    });
  }

  #end(): void {
    this.isSettled = true;
    this.#context.inFlight.grouped -= this.#dataKeys.length - 1;
  }
}
