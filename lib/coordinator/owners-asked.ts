/**
 * Asks the owners of many slots the same thing: of each slot as many as a quorum needs, each member once about all of its
 * slots together. Where one does not answer, others are asked about its slots instead.
 *
 * Who is asked about a slot is chosen so that few members are asked at all: this node first, then those that answer promptly,
 * of this data centre before others, in the order of the ring from this node on, so that nodes do not all turn to the same one.
 */
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { pause } from "../host/clock.js";
import { addSlot, type SlotSpan, slotsOf } from "../replica/slot-spans.js";
import { Deadline } from "./deadline.js";
import type { QuorumContext } from "./quorum-context.js";
import { NO_GROUP, type QuorumNeeds } from "./quorum-needs.js";
import type { SlotPlan } from "./slot-plan.js";

/** What a member has answered about some slots. */
export interface OwnerAnswer<Answer> {
  readonly from: MemberId;
  readonly spans: readonly SlotSpan[];
  readonly answer: Answer;
}

export interface OwnersAskedOptions<Answer> {
  /** How many owners of a slot have to answer. */
  readonly needsIn: (plan: SlotPlan) => QuorumNeeds;
  /** What answers are counted for: "scan", "count". */
  readonly what: string;
  /** Monotonic: nothing is waited for any longer. */
  readonly deadlineMs: number;
  /** When members failed last, monotonic; kept from request to request. */
  readonly failures: Map<MemberId, number>;
  /** Null: the member knows a newer ring. Rejects with an `OperatingError`; BUSY where it may be asked again. */
  readonly ask: (member: MemberId, spans: readonly SlotSpan[], deadlineMs: number) => Promise<Answer | null>;
}

/** A member that others could answer for is waited for so long. */
const PATIENCE_MS = 300;
const BUSY_PAUSE_MS = 20;
/** So long after it failed a member is asked after all others. */
const SHUNNED_MS = 2_000;

/** A member knows a newer ring than this node, which has to be fetched first. */
export class RingIsOlder extends Error {
  readonly from: MemberId;

  constructor(from: MemberId) {
    super("a member knows a newer ring");
    this.from = from;
  }
}

/** A call that is to be made: to whom, about what, and whether others could answer instead. */
interface Call {
  readonly spans: { first: number; end: number }[];
  /** The plans of those slots. */
  readonly plans: SlotPlan[];
  hasSpare: boolean;
}

export class OwnersAsked<Answer> {
  readonly #context: QuorumContext;
  readonly #options: OwnersAskedOptions<Answer>;
  /** Those that did not answer; they are given one more chance when nobody else is left. */
  readonly #failed = new Set<MemberId>();
  #isSecondTry = false;

  constructor(context: QuorumContext, options: OwnersAskedOptions<Answer>) {
    this.#context = context;
    this.#options = options;
  }

  /** Whom it would ask about slots of this plan first. Throws QUORUM when those are too few. */
  choose(plan: SlotPlan): readonly MemberId[] {
    return this.#missingOf(plan, new Set());
  }

  /** Answers about all these slots, from as many owners of each as are needed. Throws QUORUM, BUSY, or `RingIsOlder`. */
  async ask(spans: readonly SlotSpan[]): Promise<readonly OwnerAnswer<Answer>[]> {
    const { plans } = this.#context;
    const answers: OwnerAnswer<Answer>[] = [];
    // The ring may change meanwhile: owners that are others by then refuse.
    const planOf = new Map<number, SlotPlan>();
    /** Who has been asked about the slots of a plan, and did not fail. */
    const asked = new Map<SlotPlan, Set<MemberId>>();
    for (const slot of slotsOf(spans)) {
      const plan = plans.of(slot);
      planOf.set(slot, plan);
      if (!asked.has(plan)) asked.set(plan, new Set());
    }
    for (;;) {
      const calls = this.#callsFor(planOf, asked);
      if (calls.size === 0) return answers;
      const outcomes = await Promise.allSettled([...calls].map(([member, call]) => this.#call(member, call)));
      for (const [at, [member, call]] of [...calls].entries()) {
        const outcome = outcomes[at]!;
        if (outcome.status === "fulfilled") {
          answers.push({ from: member, spans: call.spans, answer: outcome.value });
          continue;
        }
        if (!(outcome.reason instanceof OperatingError) || outcome.reason.code === "BUSY") throw outcome.reason;
        this.#failed.add(member);
        this.#options.failures.set(member, this.#context.clock.monotonicMs());
        for (const plan of call.plans) asked.get(plan)!.delete(member);
      }
    }
  }

  /** Who is still to be asked about what, and is noted as asked. */
  #callsFor(planOf: ReadonlyMap<number, SlotPlan>, asked: ReadonlyMap<SlotPlan, Set<MemberId>>): Map<MemberId, Call> {
    const calls = new Map<MemberId, Call>();
    const membersOf = new Map<SlotPlan, Call[]>();
    for (const [plan, askedOf] of asked) {
      const missing = this.#missingOf(plan, askedOf);
      const hasSpare = this.#candidatesOf(plan).length > askedOf.size + missing.length;
      for (const member of missing) {
        let call = calls.get(member);
        if (call === undefined) calls.set(member, (call = { spans: [], plans: [], hasSpare: true }));
        call.plans.push(plan);
        call.hasSpare &&= hasSpare;
        askedOf.add(member);
        const ofPlan = membersOf.get(plan);
        if (ofPlan === undefined) membersOf.set(plan, [call]);
        else ofPlan.push(call);
      }
    }
    if (calls.size === 0) return calls;
    for (const [slot, plan] of planOf) for (const call of membersOf.get(plan) ?? []) addSlot(call.spans, slot);
    return calls;
  }

  /** Whom to ask besides those that were asked. Throws QUORUM when there are too few. */
  #missingOf(plan: SlotPlan, asked: ReadonlySet<MemberId>): readonly MemberId[] {
    const { groups, reads } = this.#options.needsIn(plan);
    const isOf = (id: MemberId, group: number): boolean => groups[plan.owners.indexOf(id)] === group;
    const missing: MemberId[] = [];
    for (const [group, needed] of reads.entries()) {
      let count = 0;
      for (const id of asked) if (isOf(id, group)) count++;
      if (count >= needed) continue;
      const others = this.#candidatesOf(plan).filter((id) => isOf(id, group) && !asked.has(id));
      if (count + others.length < needed) throw this.#tooFew(count + others.length, needed);
      missing.push(...others.slice(0, needed - count));
    }
    return missing;
  }

  async #call(member: MemberId, { spans, hasSpare }: Call): Promise<Answer> {
    const { clock, selfId } = this.#context;
    const { ask, deadlineMs } = this.#options;
    for (;;) {
      const nowMs = clock.monotonicMs();
      const patienceMs = hasSpare ? Math.min(deadlineMs, nowMs + PATIENCE_MS) : deadlineMs;
      try {
        const asked = ask(member, spans, patienceMs);
        // The links keep the deadlines of the others; this node's disk, should it hang, knows none.
        const isOwn = member === selfId;
        const answer = await (isOwn ? new Deadline(clock, patienceMs - nowMs).bound(asked) : asked);
        if (answer === null) throw new RingIsOlder(member);
        return answer;
      } catch (error) {
        const isBusy = error instanceof OperatingError && error.code === "BUSY";
        if (!isBusy || clock.monotonicMs() + BUSY_PAUSE_MS >= deadlineMs) throw error;
        await pause(clock, BUSY_PAUSE_MS);
      }
    }
  }

  /** Owners that may be asked, in the order in which they are. */
  #candidatesOf(plan: SlotPlan): readonly MemberId[] {
    const { selfId, health, clock } = this.#context;
    const { groups } = this.#options.needsIn(plan);
    const counting = plan.owners.filter((_, position) => groups[position] !== NO_GROUP);
    const usable = counting.filter((id) => id === selfId || health.isUsable(id));
    let candidates = usable.filter((id) => !this.#failed.has(id));
    const needed = this.#options.needsIn(plan).reads.reduce((sum, reads) => sum + reads, 0);
    if (candidates.length < needed && !this.#isSecondTry && usable.length >= needed) {
      this.#isSecondTry = true;
      this.#failed.clear();
      candidates = usable;
    }
    const costOf = (id: MemberId): number => {
      const members = plan.ring.members.length;
      const steps = (plan.ring.indexOf(id)! - (plan.ring.indexOf(selfId) ?? 0) + members) % members;
      const failedMs = this.#options.failures.get(id);
      const isShunned = failedMs !== undefined && clock.monotonicMs() - failedMs < SHUNNED_MS;
      if (isShunned || health.isQuiet(id)) return 2 * members + steps;
      if (plan.owners.indexOf(id) >= plan.nearCount) return members + steps;
      return id === selfId ? -1 : steps;
    };
    return [...candidates].sort((a, b) => costOf(a) - costOf(b));
  }

  #tooFew(reached: number, needed: number): OperatingError {
    return new OperatingError("QUORUM", `${this.#options.what} reached ${reached} of ${needed} replicas of some keys`);
  }
}
