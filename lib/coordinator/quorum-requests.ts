/**
 * What the coordinator does with one key and its quorum, as steps of its own: a read shown to somebody, a write sent on, a
 * write passed on to a replica, and those that other nodes pass on to this one.
 */
import { background } from "../background.js";
import { latin1Of } from "../bytes/latin1.js";
import type { Covered } from "../causality/record.js";
import { decodeRecord } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";
import { VersionVector } from "../causality/version-vector.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { Random } from "../host/random.js";
import { BATCHED_BYTES_MAX } from "../replica/call-batch.js";
import { slotOfDataKey } from "../replica/data-key.js";
import { DurableAnswer } from "../replica/durable-answer.js";
import { type EncodedRecord, encodedRecordOf, ownedBytesOf } from "../replica/encoded-record.js";
import type { MemberRequest } from "../replica/remote-replicas.js";
import type { MintedDot } from "../replica/replica.js";
import { alreadyApplied, isOfAnotherRun } from "./already-applied.js";
import type { Quorum } from "./consistency.js";
import type { Deadline } from "./deadline.js";
import { Forward, type Route } from "./forward.js";
import {
  decodeWrite,
  decodeWritten,
  encodeRefused,
  encodeWrite,
  encodeWritten,
  ForwardKind,
  STALE_RING,
  type WriteRequest,
} from "./forward-messages.js";
import { forwardedBy } from "./forwarded.js";
import type { Forwarded, Scope, Sink } from "./keyspace.js";
import type { LocalKeyspace } from "./local-keyspace.js";
import type { QuorumContext } from "./quorum-context.js";
import type { QuorumNeeds } from "./quorum-needs.js";
import { QuorumRead, type RecordSink } from "./quorum-read.js";
import { QuorumWrite } from "./quorum-write.js";
import { Refreshes } from "./refreshes.js";
import { Sent } from "./sent.js";
import { ShownContexts } from "./shown-contexts.js";
import type { SlotPlan, SlotPlans } from "./slot-plan.js";
import { StandInWrites } from "./stand-in-writes.js";

/** What to mint where this node cannot: see `WriteRequest`. */
export type WriteSpec = Pick<WriteRequest, "covered" | "value" | "expiryMs">;

/** A write on its way to who makes it. */
interface WriteToMake {
  readonly scope: Scope & { readonly forwarded: Forwarded };
  readonly dataKey: string;
  readonly spec: WriteSpec;
  /** Whether this node may stand in for the owners. */
  readonly self: "too" | "left out";
}

const INSTANCE_BYTES = 8;

export class QuorumRequests {
  /** What decisions read of others before they are made. */
  readonly refreshes = new Refreshes(this);
  readonly #local: LocalKeyspace;
  readonly #plans: SlotPlans;
  readonly #context: QuorumContext;
  readonly #shown = new ShownContexts();
  readonly #standIn: StandInWrites;
  /** Of this run: write ids begin with it. 8 latin1 characters. */
  readonly instance: string;
  #writes = 0;

  constructor(options: { local: LocalKeyspace; context: QuorumContext; random: Random }) {
    this.#local = options.local;
    this.#plans = options.context.plans;
    this.#context = options.context;
    this.#standIn = new StandInWrites(options);
    this.instance = latin1Of(options.random.bytes(INSTANCE_BYTES));
  }

  /** Begins to answer what other members pass on. */
  serve(): void {
    this.#context.remote.serve(ForwardKind.write, (request) => this.#onWrite(request));
  }

  /** Unique among all requests that are ever passed on. */
  nextWriteId(): string {
    this.#writes++;
    return this.instance + this.#writes.toString(36);
  }

  // Reads.

  /** Reads at the scope's quorum, after the operations on the key that were called before, and shows the record to `show`. */
  show<Result>(scope: Scope, dataKey: string, show: (view: RecordView | null) => Result): Promise<Result> {
    this.#context.inFlight.requireRoom();
    const read = (): Promise<Result> =>
      new Promise((resolve, reject) => {
        const onRecord = (view: RecordView | null): void => {
          try {
            resolve(show(view));
          } catch (error) {
            reject(error);
          }
        };
        this.startQuorumRead(this.planOf(dataKey), scope, dataKey, { onRecord, onFailure: reject });
      });
    const queues = this.#local.queuesOf(scope, dataKey);
    return queues.isTaken(dataKey) ? this.#local.deadline(scope).bound(queues.run(dataKey, read)) : read();
  }

  startQuorumRead(plan: SlotPlan, scope: Scope, dataKey: string, sink: RecordSink): void {
    const { quorum, standIns } = scope.consistency;
    const isReplica = plan.selfPosition >= 0;
    const read = new QuorumRead(this.#context, {
      dataKey,
      needsIn: (current) => current.needs(quorum),
      standIns,
      deadlineMs: this.#local.deadlineMs(scope),
      sink: isReplica ? sink : new NotedRead(this.#shown, this.#context, dataKey, sink),
    });
    read.start();
  }

  // Writes.

  /** Mints in the key's turn here, unless the same request did already, and sends it on; resolves at W. */
  async writeHere(scope: Scope, dataKey: string, { covered, value, expiryMs }: WriteSpec, deadline: Deadline): Promise<void> {
    const { replica } = this.#context;
    if (covered.kind !== "version") replica.goBeyond(covered.kind === "all" ? covered.seen : covered.context);
    const { writeId = null, stamp } = scope.forwarded ?? {};
    const sent = new Sent();
    await this.#local.changeAt(scope, [dataKey], {
      deadline,
      step: (records) => {
        const old = replica.at(dataKey, records);
        const standing = writeId === null ? "unknown" : replica.standingOf(writeId, old);
        if (writeId !== null && old !== null && standing !== "unknown") {
          const { versions } = decodeRecord(old.bytes, old.start, old.end);
          if (isOfAnotherRun(versions, { writeId, covered, value })) throw alreadyApplied();
        }
        // Made again over itself, a plain write is the newest though whoever made it first failed to make it so.
        const isMade = standing === "superseded" || (standing === "held" && covered.kind !== "all");
        if (!isMade) replica.mint(dataKey, old, covered, { value, expiryMs, writeId, ...(stamp !== undefined && { stamp }) });
        const plain = isMade || covered.kind !== "all" ? null : replica.minted();
        sent.add(this.replicate(scope, dataKey, plain, deadline.atMs));
      },
    });
    await sent.all();
  }

  /** Reads what a decision needs: at the larger of R and a majority of those that count, or at R where that cannot be reached; repairs what lacks it. */
  async refresh(scope: Scope, dataKey: string, deadline: Deadline): Promise<void> {
    await this.decisionRecord(scope, dataKey, deadline, () => undefined);
  }

  /** The same, and shows what was read. */
  decisionRecord<Result>(
    scope: Scope,
    dataKey: string,
    { atMs: deadlineMs }: Deadline,
    show: (view: RecordView | null) => Result,
  ): Promise<Result> {
    const plan = this.planOf(dataKey);
    const { quorum, standIns } = scope.consistency;
    const attempt = (needsIn: (current: SlotPlan) => QuorumNeeds, untilMs = deadlineMs): Promise<Result> =>
      new Promise((resolve, reject) => {
        const onRecord = (view: RecordView | null): void => {
          try {
            resolve(show(view));
          } catch (error) {
            reject(error);
          }
        };
        const told = { onRecord, onFailure: reject };
        // What is written on the strength of it supersedes it, wherever that is done.
        const sink = plan.selfPosition >= 0 ? told : new NotedRead(this.#shown, this.#context, dataKey, told);
        new QuorumRead(this.#context, { dataKey, needsIn, standIns, deadlineMs: untilMs, sink }).start();
      });
    if (plan.needsOfDecision(quorum) === plan.needs(quorum)) return attempt((current) => current.needs(quorum));
    // Who is cut off may not know it yet: half of the time is left for what can be had.
    const halfMs = (this.#context.clock.monotonicMs() + deadlineMs) / 2;
    return attempt((current) => current.needsOfDecision(quorum), halfMs).catch((error: unknown) => {
      if (!(error instanceof OperatingError) || error.code !== "QUORUM") throw error;
      return attempt((current) => current.needs(quorum));
    });
  }

  /** Sends what is stored here to the other owners; resolves at W. */
  replicate(scope: Scope, dataKey: string, plain: MintedDot | null, deadlineMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.startQuorumWrite(scope, dataKey, plain, { onResult: resolve, onFailure: reject }, deadlineMs);
    });
  }

  /** `deadlineMs`: of the operation that it ends; default: it begins now. */
  startQuorumWrite(
    scope: Scope,
    dataKey: string,
    plain: MintedDot | null,
    sink: Sink<void>,
    deadlineMs = this.#local.deadlineMs(scope),
  ): void {
    const { quorum, standIns } = scope.consistency;
    const begin = scope.forwarded?.begin;
    const record = this.#recordNow(dataKey);
    new QuorumWrite(this.#context, { dataKey, quorum, standIns, deadlineMs, plain, begin, record, sink }).start();
  }

  /** A copy of this node's record of the key; null where memory has none, or a long one: that is not worth a copy. */
  #recordNow(dataKey: string): EncodedRecord | null {
    const { replica } = this.#context;
    if (replica.peek(dataKey) !== "found") return null;
    const record = replica.encodedAtHand();
    return record.end - record.start > BATCHED_BYTES_MAX ? null : encodedRecordOf(ownedBytesOf(record));
  }

  /** Has a replica make a write; the key's turn is held meanwhile, so that what follows here finds it made. */
  async forwardWrite(
    scope: Scope,
    dataKey: string,
    spec: WriteSpec,
    options: { readonly deadline?: Deadline; readonly turn?: "is had" } = {},
  ): Promise<void> {
    const deadline = options.deadline ?? this.#local.deadline(scope);
    const forwarded = scope.forwarded ?? this.#forwardedOf(deadline);
    const send = async (held: Scope): Promise<void> => {
      const seen = await this.#sendWrite({ scope: { ...held, forwarded }, dataKey, spec, self: "too" });
      this.#shown.note(dataKey, seen);
    };
    if (options.turn === "is had") return send(scope);
    const inTurn = this.#local.inTurnOf(scope, [dataKey], async (held) => {
      if (deadline.isPast) throw deadline.error();
      // From now on it may take effect, and says so itself when nobody has answered in time.
      deadline.meet();
      await send(held);
    });
    await deadline.bound(inTurn);
  }

  #forwardedOf({ atMs: deadlineMs }: Deadline): Forwarded {
    return { writeId: this.nextWriteId(), deadlineMs, stamp: this.#context.replica.nextStamp() };
  }

  /** Resolves with what was seen of the key where it was made. */
  #sendWrite(write: WriteToMake): Promise<VersionVector> {
    return new Promise((resolve, reject) => {
      const forward = new Forward(this.#context, {
        kind: ForwardKind.write,
        route: () => this.#routeOf(write),
        deadlineMs: write.scope.forwarded.deadlineMs,
        repeats: "anywhere",
        onAnswer: (answer) => resolve(decodeWritten(answer)),
        onFailure: reject,
      });
      forward.start();
    });
  }

  #routeOf(write: WriteToMake): Route {
    const { scope, dataKey, spec, self } = write;
    const plan = this.planOf(dataKey);
    const { forwarded } = scope;
    const { selfId } = this.#context;
    const quorum = plan.quorumElsewhere(scope.consistency.quorum);
    const consistency = { ...scope.consistency, quorum };
    const owners = this.#reachableOwners(plan, quorum);
    const isForStandIn = owners.length === 0;
    const standIns = isForStandIn && consistency.standIns === "sloppy" ? this.#standInsFor(plan, quorum, dataKey) : [];
    const others = standIns.filter((id) => id !== selfId);
    const isStandIn = self === "too" && standIns.includes(selfId);
    const isFirst = isStandIn && standIns[0] === selfId;
    const candidates = isFirst ? [] : isForStandIn ? others : owners;
    if (candidates.length === 0 && !isStandIn) {
      const needed = plan.needs(consistency.quorum).writes.reduce((sum, count) => sum + count, 0);
      throw new OperatingError("QUORUM", `write reached 0 of ${needed} replicas; it was not made`);
    }
    const ringVersion = plan.ring.document.version;
    const { writeId, stamp } = forwarded;
    return {
      candidates,
      here: isStandIn ? () => this.#written(this.#standInHere(write, isFirst ? others : [])) : null,
      payloadFor: (spareMs) =>
        encodeWrite({ ringVersion, spareMs, stamp, consistency, dataKey, ...spec, writeId, isForStandIn }),
    };
  }

  /** Makes a write as a stand-in; where there is no room for it, `next` may have some. */
  async #standInHere(write: WriteToMake, next: readonly MemberId[]): Promise<VersionVector> {
    const { scope, dataKey, spec } = write;
    const { writeId, stamp } = scope.forwarded;
    try {
      return await this.#standIn.write(scope, dataKey, { ...spec, writeId, stamp });
    } catch (error) {
      if (!(error instanceof OperatingError) || next.length === 0) throw error;
      if (error.code === "BUSY") return this.#sendWrite({ ...write, self: "left out" });
      if (error.code !== "UNAVAILABLE") throw error;
      return this.#sendWrite({ ...write, self: "left out" }).catch(() => {
        // Whatever the others say, what was kept here may take effect.
        throw error;
      });
    }
  }

  /** The owners that count and can be reached, nearest first, prompt ones before quiet ones. */
  #reachableOwners(plan: SlotPlan, quorum: Quorum): MemberId[] {
    const { health, selfId } = this.#context;
    const counting = plan.owners.slice(0, plan.countingAt(quorum));
    const linked = counting.filter((owner) => owner !== selfId && health.isUsable(owner));
    const quiet = linked.filter((owner) => health.isQuiet(owner));
    return [...linked.filter((owner) => !quiet.includes(owner)), ...quiet];
  }

  /** Healthy members after the owners on the ring, this one among them; none that is about to keep a copy of its own. */
  #standInsFor(plan: SlotPlan, quorum: Quorum, dataKey: string): MemberId[] {
    const { health, selfId } = this.#context;
    const { members, current } = plan.ring;
    const centre = plan.centreOf(0);
    const after = [...current.candidatesAfter(slotOfDataKey(dataKey), centre)].map((index) => members[index]!);
    const counting = plan.needs(quorum).counts === "all" ? after : after.filter(({ dc }) => dc === centre);
    return counting.map(({ id }) => id).filter((id) => !plan.isOwner(id) && (id === selfId || health.isPrompt(id)));
  }

  /** A write that another member passes on. */
  #onWrite(request: MemberRequest): void {
    const write = decodeWrite(Buffer.from(request.payload));
    const slot = slotOfDataKey(write.dataKey);
    const isOwner = this.#plans.of(slot).selfPosition >= 0;
    // Who keeps a copy of its own never stands in.
    if (this.#plans.isStale(slot, write.ringVersion) || isOwner === write.isForStandIn) return request.answer(STALE_RING);
    const scope: Scope = {
      database: 0,
      consistency: write.consistency,
      hold: null,
      forwarded: forwardedBy(request, write, this.#context.clock),
    };
    const written = isOwner ? this.#writeForOther(scope, write) : this.#standIn.write(scope, write.dataKey, write);
    background(
      this.#written(written).then((answer) => this.#context.turn.add(new DurableAnswer(request, answer, encodeRefused))),
    );
  }

  async #writeForOther(scope: Scope, { dataKey, covered, value, expiryMs }: WriteRequest): Promise<VersionVector> {
    const deadline = this.#local.deadline(scope);
    await this.writeHere(scope, dataKey, { covered, value, expiryMs }, deadline);
    return this.#contextOf(dataKey);
  }

  async #written(work: Promise<VersionVector>): Promise<Buffer> {
    try {
      return encodeWritten(await work);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return encodeRefused(error);
    }
  }

  async #contextOf(dataKey: string): Promise<VersionVector> {
    const { replica } = this.#context;
    const view = replica.peek(dataKey) === "found" ? replica.record : replica.view(await replica.read(dataKey));
    return view === null ? VersionVector.EMPTY : replica.contextAtHand();
  }

  /** A plain write supersedes what this node has shown of the key lately. */
  coversShown(dataKey: string): Covered {
    return { kind: "all", seen: this.#shown.of(dataKey) };
  }

  // Where and until when.

  dataKeyOf(scope: Scope, key: Uint8Array): string {
    return this.#context.replica.keys.of(scope.database, key);
  }

  planOf(dataKey: string): SlotPlan {
    return this.#plans.of(slotOfDataKey(dataKey));
  }
}

/** Keeps in mind what is shown of a key that has no copy here. */
class NotedRead implements RecordSink {
  readonly #shown: ShownContexts;
  readonly #context: QuorumContext;
  readonly #dataKey: string;
  readonly #sink: RecordSink;

  constructor(shown: ShownContexts, context: QuorumContext, dataKey: string, sink: RecordSink) {
    this.#shown = shown;
    this.#context = context;
    this.#dataKey = dataKey;
    this.#sink = sink;
  }

  onRecord(view: RecordView | null): void {
    try {
      if (view !== null) this.#shown.note(this.#dataKey, this.#context.replica.contextAtHand());
    } catch (error) {
      return this.#sink.onFailure(error);
    }
    this.#sink.onRecord(view);
  }

  onFailure(error: unknown): void {
    this.#sink.onFailure(error);
  }
}
