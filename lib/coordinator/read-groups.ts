/**
 * Plain reads of one turn that ask this node and the same other member, as one: while all goes well, hundreds of them are one
 * request and one answer, and each is told when what that member holds is what was held here when the read came, byte for
 * byte. As soon as anything is not as usual (the member is late or fails, holds something else, has to look at its disk, knows
 * a newer ring) the reads that it concerns go on one by one, as `QuorumRead`.
 *
 * INVARIANT: each read is told once; it is told a record only when two owners hold that record. What leaves for a member leaves
 * in the order in which it was called: a group takes no more once a write has come.
 */
import { copyBytes } from "../bytes/copy.js";
import { RecordView } from "../causality/record-view.js";
import type { MemberId } from "../cluster/member.js";
import { answerLength, BATCH_CALLS_MAX, BATCHED_BYTES_MAX, BatchBytes } from "../replica/call-batch.js";
import { slotOfDataKey } from "../replica/data-key.js";
import type { EncodedRecord } from "../replica/encoded-record.js";
import type { MemberCall } from "../replica/remote-replicas.js";
import { AnswerStatus, ReplicaKind, readBytesMax, writeRead } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { Consistency, Quorum } from "./consistency.js";
import type { Lateness, Request } from "./in-flight.js";
import type { Scope } from "./keyspace.js";
import type { QuorumContext } from "./quorum-context.js";
import { QuorumRead, type RecordSink } from "./quorum-read.js";
import { readReached } from "./read-answers.js";
import type { SlotPlan } from "./slot-plan.js";

const NO_BYTES = Buffer.alloc(0);
const OWN_BYTES_MIN = 2_048;

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
    if (plan.company === null || scope.forwarded !== undefined) return false;
    const needs = plan.needs(consistency.quorum);
    // This node and another.
    if (needs.reads.length !== 1 || needs.reads[0] !== 2) return false;
    const { replica } = this.#context;
    const bytesMax = readBytesMax(dataKey);
    if (bytesMax > BATCHED_BYTES_MAX || replica.isDoubtful) return false;
    const look = replica.peek(dataKey);
    if (look === "unread") return false;
    const to = this.#nearest(plan, plan.countingOf(needs));
    if (to === null) return false;
    let group = this.#open.get(to);
    if (group === undefined || !group.hasRoom(bytesMax)) group = this.#begin(to, consistency, deadlineMs(scope));
    else if (group.standIns !== consistency.standIns) return false;
    const { request } = group;
    const start = request.begin(bytesMax);
    const from = consistency.standIns === "sloppy" ? "hints too" : "records";
    const ringVersion = plan.ring.document.version;
    request.end(ReplicaKind.read, writeRead(request.bytes, start, { ringVersion, dataKey, from }));
    group.add(dataKey, look === "absent" ? null : replica.encodedAtHand(), consistency.quorum, sink);
    return true;
  }

  /** The first other owner that counts and answers promptly. */
  #nearest({ owners }: SlotPlan, counting: number): MemberId | null {
    const { selfId, health } = this.#context;
    for (let position = 0; position < counting; position++) {
      const id = owners[position]!;
      if (id !== selfId && (this.#open.has(id) || health.isPrompt(id))) return id;
    }
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

  /** A write has come: what is read from now on is read behind it. */
  endAll(): void {
    if (this.#open.size > 0) this.#open.clear();
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
  readonly #own = new OwnRecords();
  readonly #quorums: Quorum[] = [];
  readonly #sinks: RecordSink[] = [];
  /** Commits that the disk had refused when the group began: what it saw here may have been taken back since. */
  readonly #refusals: number;
  #isSent = false;
  #sentMs = 0;

  constructor(context: QuorumContext, { groups, to, standIns, request, deadlineMs }: GroupOptions) {
    this.#context = context;
    this.#groups = groups;
    this.to = to;
    this.standIns = standIns;
    this.request = request;
    this.deadlineMs = deadlineMs;
    this.hedgeAtMs = deadlineMs;
    this.#refusals = context.replica.commitsRefused;
  }

  hasRoom(bytesMax: number): boolean {
    return this.#dataKeys.length < BATCH_CALLS_MAX && this.request.hasRoom(bytesMax);
  }

  /** `own`: the record at hand, null where there is none. */
  add(dataKey: string, own: EncodedRecord | null, quorum: Quorum, sink: RecordSink): void {
    this.#dataKeys.push(dataKey);
    this.#own.add(own);
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
    // A turn may be told of twice: committed, and then lost. By then the request's bytes are another group's.
    if (this.#isSent) return;
    this.#isSent = true;
    const { request } = this;
    const { health, remote } = this.#context;
    this.#groups.close(this);
    this.#sentMs = health.nowMs();
    this.hedgeAtMs = this.#sentMs + health.hedgeAfterMs(this.to);
    remote.send(this, request.view());
    this.#groups.takeBack(request);
  }

  // Request.

  hedge(isLate: Lateness): boolean {
    if (!isLate(this.to, this.#context.health.nowMs() - this.#sentMs)) return false;
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
    const plan = plans.of(slotOfDataKey(this.#dataKeys[0]!));
    const counting = plan.owners.slice(0, plan.countingAt(this.#quorums[0]!));
    return counting.some((id) => id !== selfId && id !== this.to && health.isPrompt(id));
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
    const own = this.#own;
    const isKept = this.#refusals === this.#context.replica.commitsRefused;
    const cursor = { at: 0 };
    for (let at = 0; at < this.#dataKeys.length; at++) {
      // Nothing can be read from where an answer is damaged on: those reads are begun anew.
      const length = answerLength(payload, cursor) ?? 0;
      const start = cursor.at;
      cursor.at += length;
      const isOk = length > 0 && payload[start] === AnswerStatus.ok;
      if (isOk && isKept && own.isSame(at, payload, start + 1, cursor.at)) this.#sinks[at]!.onRecord(own.view(at));
      else this.#goOnAlone(at, length > 0 ? payload.subarray(start, cursor.at) : null);
    }
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
      ...(this.#refusals === this.#context.replica.commitsRefused && { own: this.#own.copyOf(at) }),
    });
  }

  #end(): void {
    this.isSettled = true;
    this.#context.inFlight.grouped -= this.#dataKeys.length - 1;
  }
}

/** Copies of this node's own records, one behind the other. */
class OwnRecords {
  #bytes = NO_BYTES;
  /** Where each ends; where it ends where it begins there is none. */
  readonly #ends: number[] = [];
  readonly #view = new RecordView();

  add(record: EncodedRecord | null): void {
    const at = this.#startOf(this.#ends.length);
    if (record === null) {
      this.#ends.push(at);
      return;
    }
    const { bytes, start, end } = record;
    const needed = at + end - start;
    if (needed > this.#bytes.length) this.#grow(needed);
    this.#ends.push(copyBytes(bytes, start, end, this.#bytes, at));
  }

  /** Is that the record in `other[start, end)`, empty for none? */
  isSame(at: number, other: Buffer, start: number, end: number): boolean {
    const ownStart = this.#startOf(at);
    const ownEnd = this.#ends[at]!;
    return ownEnd - ownStart === end - start && other.compare(this.#bytes, ownStart, ownEnd, start, end) === 0;
  }

  /** Borrowed until the next call. */
  view(at: number): RecordView | null {
    const start = this.#startOf(at);
    const end = this.#ends[at]!;
    if (start === end) return null;
    this.#view.read(this.#bytes, start, end);
    return this.#view;
  }

  copyOf(at: number): Buffer | null {
    const start = this.#startOf(at);
    const end = this.#ends[at]!;
    return start === end ? null : Buffer.from(this.#bytes.subarray(start, end));
  }

  #startOf(at: number): number {
    return at === 0 ? 0 : this.#ends[at - 1]!;
  }

  #grow(length: number): void {
    const larger = Buffer.allocUnsafe(Math.max(OWN_BYTES_MIN, 2 * this.#bytes.length, length));
    this.#bytes.copy(larger);
    this.#bytes = larger;
  }
}
