/**
 * FLUSHDB and FLUSHALL in a ring with others. What every store has given out so far is asked of all members, then a majority
 * agrees that it is dead (the flush contexts of the ring document): everywhere, on whatever copy it lies or arrives later. What
 * was written meanwhile and was not seen stays. Of a store that does not answer all that it may have given out is taken, by the
 * lease that gossip knows: what it writes before it hears of the flush is dead too, and it writes above that afterwards.
 *
 * On this node it does not come between the commands of an EXEC. When it is answered, all members that can be reached know
 * of it. When no majority can be reached nothing happens.
 */
import type { ChangeOutcome, RingChange } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import type { FlushContext, RingDocument } from "../cluster/ring-document.js";
import { OperatingError } from "../errors.js";
import { DATABASES } from "../replica/data-key.js";
import { decodeFlushPoint, encodeFlushRequest, type FlushPoint, type StorePoint } from "../replica/flush-messages.js";
import { AnswerStatus, ReplicaKind } from "../replica/replica-messages.js";
import type { Scope } from "./keyspace.js";
import type { LocalKeyspace } from "./local-keyspace.js";
import type { QuorumContext } from "./quorum-context.js";

/** The members, as far as it takes them to agree. */
export interface Agreement {
  /** Changes the ring document, `change` being idempotent: see `Cluster.change`. */
  change(change: RingChange, deadlineMs: number): Promise<ChangeOutcome>;
  /** Of other stores the end of the sequences that they have leased, as gossip has it. */
  leases(): readonly StorePoint[];
}

/** A member that is silent for so long is done without. */
const PATIENCE_MS = 400;

export class RingFlush {
  readonly #context: QuorumContext;
  readonly #local: LocalKeyspace;
  readonly #agreement: Agreement;

  constructor(options: { context: QuorumContext; local: LocalKeyspace; agreement: Agreement }) {
    this.#context = options.context;
    this.#local = options.local;
    this.#agreement = options.agreement;
  }

  async flush(scope: Scope, what: "database" | "all"): Promise<void> {
    const databases = what === "all" ? Array.from({ length: DATABASES }, (_, at) => at) : [scope.database];
    const deadline = this.#local.deadline(scope);
    const version = await this.#local.betweenHolds(scope, deadline, () => this.#agree(databases, deadline.atMs));
    // Those that cannot be reached learn of it by gossip, before they take or give anything that is stamped with this version.
    await this.#ask(version, deadline.atMs);
  }

  /** Has the members agree; returns the version of the document that says so. */
  async #agree(databases: readonly number[], deadlineMs: number): Promise<number> {
    const { plans, selfId, replica } = this.#context;
    const { document } = plans.ring;
    const answers = await this.#ask(0, deadlineMs);
    const reached = document.members.filter(({ id }) => id === selfId || answers.has(id)).length;
    const needed = Math.floor(document.members.length / 2) + 1;
    if (reached < needed) throw tooFew(reached, needed, "nothing was removed");
    // In the turn in which all is known: what is minted here from now on stays.
    const found = [...answers.values()];
    const own = [replica.lastSequence, ...found.map((point) => point.own)];
    const leases = [...this.#agreement.leases(), ...found.flatMap((point) => point.leases)];
    const points = highestPoints(own, leases);
    const outcome = await this.#agreement.change((base) => flushed(base, databases, points), deadlineMs);
    switch (outcome.kind) {
      case "made":
        return outcome.document.version;
      case "refused":
        throw new OperatingError("QUORUM", `nothing was removed: ${outcome.reason}`);
      case "no-majority":
        throw tooFew(
          outcome.reached,
          outcome.needed,
          outcome.mayTakeEffect ? "it may still take effect" : "nothing was removed",
        );
    }
  }

  /** What the other members answer that know the ring of this version, or fetch it. */
  async #ask(version: number, deadlineMs: number): Promise<ReadonlyMap<MemberId, FlushPoint>> {
    const { plans, selfId, remote, health, clock } = this.#context;
    const untilMs = Math.min(deadlineMs, clock.monotonicMs() + PATIENCE_MS);
    const points = new Map<MemberId, FlushPoint>();
    const others = plans.ring.members.filter(({ id }) => id !== selfId && health.isUsable(id));
    const asked = others.map(async ({ id }) => {
      const answer = await remote.ask(id, ReplicaKind.flushPoint, encodeFlushRequest(version), untilMs);
      if (answer[0] === AnswerStatus.ok) points.set(id, decodeFlushPoint(answer));
    });
    for (const outcome of await Promise.allSettled(asked)) {
      if (outcome.status === "rejected" && !(outcome.reason instanceof OperatingError)) throw outcome.reason;
    }
    return points;
  }
}

/** By store: what it says itself, else the last of the highest lease that anybody knows of it. */
function highestPoints(own: readonly StorePoint[], leases: readonly StorePoint[]): ReadonlyMap<string, number> {
  const points = new Map<string, number>();
  for (const { storeId, sequence } of leases) points.set(storeId, Math.max(points.get(storeId) ?? 0, sequence - 1));
  for (const { storeId, sequence } of own) points.set(storeId, sequence);
  return points;
}

/** The document in which these are dead in these databases; `base` itself where they are already. */
function flushed(base: RingDocument, databases: readonly number[], points: ReadonlyMap<string, number>): RingDocument {
  const contexts = new Map(base.flushContexts.map((context) => [context.database, context]));
  let isChanged = false;
  for (const database of databases) {
    const entries = new Map(contexts.get(database)?.entries.map(({ storeId, sequence }) => [storeId, sequence]));
    let isMore = false;
    for (const [storeId, sequence] of points) {
      if (sequence <= (entries.get(storeId) ?? 0)) continue;
      entries.set(storeId, sequence);
      isMore = true;
    }
    if (!isMore) continue;
    isChanged = true;
    contexts.set(database, { database, entries: sortedEntries(entries) });
  }
  if (!isChanged) return base;
  return { ...base, flushContexts: [...contexts.values()].sort((a, b) => a.database - b.database) };
}

function sortedEntries(entries: ReadonlyMap<string, number>): FlushContext["entries"] {
  return [...entries].map(([storeId, sequence]) => ({ storeId, sequence })).sort((a, b) => (a.storeId < b.storeId ? -1 : 1));
}

function tooFew(reached: number, needed: number, tail: string): OperatingError {
  return new OperatingError("QUORUM", `flush reached ${reached} of ${needed} members; ${tail}`);
}
