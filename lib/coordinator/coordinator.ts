/**
 * The keyspace of a ring: any node answers any key. For each key it knows from the ring whether this node's own copy is all
 * that a request needs (then `LocalKeyspace` answers, within the call where it can), whether this node coordinates a quorum of
 * its owners, or passes the request on to one of them.
 *
 * A write is coordinated by a replica of its key: it mints, stores, sends, and answers when enough have stored. Reads go from
 * here to the owners, whoever this node is. What reads, decides and writes runs here only where this node is the first
 * reachable replica: `CommandForwarding` takes it there.
 *
 * Operations on one key take effect in the order of their calls: what waits for other nodes before it is stored here holds
 * the key's turn; what is stored here and waits for acknowledgements does not.
 */
import type { ContextTokens } from "../causality/context-token.js";
import type { Covered } from "../causality/record.js";
import type { RecordView } from "../causality/record-view.js";
import { VersionVector } from "../causality/version-vector.js";
import { OperatingError } from "../errors.js";
import type { Random } from "../host/random.js";
import { alreadyApplied } from "./already-applied.js";
import { fingerprintOf } from "./fingerprint.js";
import {
  type Effect,
  type Entry,
  type Hold,
  type KeyPage,
  type Keyspace,
  NOBODY,
  NOT_IN_MEMORY,
  type Scope,
  type Siblings,
  type Sink,
  STARTED,
} from "./keyspace.js";
import type { LocalKeyspace } from "./local-keyspace.js";
import type { QuorumContext } from "./quorum-context.js";
import { NO_GROUP, type QuorumNeeds } from "./quorum-needs.js";
import type { RecordSink } from "./quorum-read.js";
import type { QuorumRequests, WriteSpec } from "./quorum-requests.js";
import { ReadGroups } from "./read-groups.js";
import type { Refreshes } from "./refreshes.js";
import { type Agreement, RingFlush } from "./ring-flush.js";
import { RingWalk } from "./ring-walk.js";
import { Sent } from "./sent.js";
import type { SlotPlan } from "./slot-plan.js";
import { WriteGroups } from "./write-groups.js";

export interface CoordinatorOptions {
  readonly local: LocalKeyspace;
  readonly requests: QuorumRequests;
  readonly context: QuorumContext;
  readonly tokens: ContextTokens;
  readonly random: Random;
  readonly agreement: Agreement;
}

export class Coordinator implements Keyspace {
  readonly #local: LocalKeyspace;
  readonly #requests: QuorumRequests;
  readonly #context: QuorumContext;
  readonly #tokens: ContextTokens;
  readonly #walk: RingWalk;
  readonly #ringFlush: RingFlush;
  readonly #refreshes: Refreshes;
  readonly #reads: ReadGroups;
  readonly #writes: WriteGroups;
  readonly #deadlineMs: (scope: Scope) => number;

  constructor(options: CoordinatorOptions) {
    this.#local = options.local;
    this.#requests = options.requests;
    this.#context = options.context;
    this.#tokens = options.tokens;
    this.#walk = new RingWalk(options);
    this.#ringFlush = new RingFlush(options);
    this.#refreshes = options.requests.refreshes;
    this.#reads = new ReadGroups(options.context);
    this.#writes = new WriteGroups(options.context);
    this.#deadlineMs = (scope) => this.#local.deadlineMs(scope);
  }

  // Reads.

  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    return this.#isAnsweredHere(plan, scope) ? this.#local.peekAt(scope, dataKey) : NOT_IN_MEMORY;
  }

  prefetch({ database }: Scope, keys: readonly Uint8Array[]): void {
    this.#context.replica.prefetchAhead(database, keys);
  }

  startRead(scope: Scope, key: Uint8Array, sink: Sink<Entry | null>): Entry | null | typeof STARTED | typeof NOT_IN_MEMORY {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    if (this.#isAnsweredHere(plan, scope)) return this.#local.peekAt(scope, dataKey);
    if (this.#local.isTaken(scope, dataKey)) return NOT_IN_MEMORY;
    this.#context.inFlight.requireRoom();
    this.#writes.endAll(dataKey);
    const read = new EntryRead(this.#local, scope, dataKey, sink);
    if (!this.#reads.tryAdd(plan, scope, dataKey, read, this.#deadlineMs)) {
      this.#requests.startQuorumRead(plan, scope, dataKey, read);
    }
    return STARTED;
  }

  read(scope: Scope, key: Uint8Array): Promise<Entry | null> {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    if (this.#isAnsweredHere(this.#requests.planOf(dataKey), scope)) return this.#local.read(scope, key);
    return this.#requests.show(scope, dataKey, (view) => this.#local.answer(scope, dataKey, view));
  }

  siblings(scope: Scope, key: Uint8Array): Promise<Siblings | null> {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    if (this.#isAnsweredHere(this.#requests.planOf(dataKey), scope)) return this.#local.siblings(scope, key);
    return this.#requests.show(scope, dataKey, (view) => this.#local.siblingsOf(dataKey, view));
  }

  fingerprint(scope: Scope, key: Uint8Array): Promise<string> {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    if (this.#requests.planOf(dataKey).isAlone) return this.#local.fingerprint(scope, key);
    return this.#requests.show(scope, dataKey, (view) => fingerprintOf(view, this.#context.clock.wallMs()));
  }

  // Plain writes.

  checkPair(key: Uint8Array, value: { readonly length: number }): void {
    this.#local.checkPair(key, value);
  }

  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): boolean {
    this.checkPair(key, value);
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    if (plan.isAlone) return this.#local.tryPutAt(scope, dataKey, value, expiryMs);
    return this.#isWrittenHere(plan, scope) && this.#tryStore(plan, scope, dataKey, value, expiryMs, NOBODY);
  }

  startPut(
    scope: Scope,
    key: Uint8Array,
    value: Uint8Array,
    expiryMs: number,
    sink: Sink<void>,
  ): "done" | typeof STARTED | "later" {
    this.checkPair(key, value);
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    if (plan.isAlone) return this.#local.tryPutAt(scope, dataKey, value, expiryMs) ? "done" : "later";
    if (plan.selfPosition < 0) return "later";
    const isDone = this.#isWrittenHere(plan, scope);
    if (!this.#tryStore(plan, scope, dataKey, value, expiryMs, isDone ? NOBODY : sink)) return "later";
    return isDone ? "done" : STARTED;
  }

  /** Stores a plain write here and sends it on; false when that takes waiting. */
  #tryStore(plan: SlotPlan, scope: Scope, dataKey: string, value: Uint8Array, expiryMs: number, sink: Sink<void>): boolean {
    this.#context.inFlight.requireRoom();
    if (!this.#local.tryPutAt(scope, dataKey, value, expiryMs)) return false;
    this.#reads.endAll();
    if (!this.#writes.tryAdd(plan, scope, dataKey, sink, this.#deadlineMs))
      this.#requests.startQuorumWrite(scope, dataKey, this.#context.replica.minted(), sink);
    return true;
  }

  async put(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): Promise<void> {
    this.checkPair(key, value);
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    if (plan.isAlone) return this.#local.put(scope, key, value, expiryMs);
    this.#context.inFlight.requireRoom();
    if (plan.selfPosition < 0) {
      return this.#requests.forwardWrite(scope, dataKey, { covered: this.#requests.coversShown(dataKey), value, expiryMs });
    }
    const { replica } = this.#context;
    const deadline = this.#local.deadline(scope);
    const sent = new Sent();
    await this.#local.changeAt(scope, [dataKey], {
      deadline,
      step: (records) => {
        replica.mintPlain(dataKey, replica.at(dataKey, records), value, expiryMs);
        sent.add(this.#requests.replicate(scope, dataKey, replica.minted(), deadline.atMs));
      },
    });
    await sent.all();
  }

  tryRemove(scope: Scope, key: Uint8Array): boolean | typeof NOT_IN_MEMORY {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    return this.#requests.planOf(dataKey).isAlone ? this.#local.tryRemoveAt(scope, dataKey) : NOT_IN_MEMORY;
  }

  /** Looks first whether the key is there anywhere: a replica that lacks it must not keep the others from losing it. */
  async remove(scope: Scope, key: Uint8Array): Promise<boolean> {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    if (plan.isAlone) return this.#local.remove(scope, key);
    this.#context.inFlight.requireRoom();
    if (plan.selfPosition < 0) return this.#removeElsewhere(scope, dataKey);
    const { replica } = this.#context;
    const deadline = this.#local.deadline(scope);
    const refresh = this.#refreshes.ask(scope, dataKey);
    let wasLive = false;
    const sent = new Sent();
    const change = this.#local.changeAt(scope, [dataKey], {
      deadline,
      prepare: () => refresh.done(deadline),
      step: (records) => {
        const old = replica.at(dataKey, records);
        if (old === null) return;
        const before = replica.minted().sequence;
        wasLive = this.#local.removeAtHand(dataKey, old);
        const minted = replica.minted();
        if (minted.sequence !== before) sent.add(this.#requests.replicate(scope, dataKey, minted, deadline.atMs));
      },
    });
    await change.finally(() => refresh.end());
    await sent.all();
    return wasLive;
  }

  /** In the key's turn here, from the look at it on: what was called before is in what it finds, what comes behind it is not. */
  #removeElsewhere(scope: Scope, dataKey: string): Promise<boolean> {
    const deadline = this.#local.deadline(scope);
    const inTurn = this.#local.inTurnOf(scope, [dataKey], async (held) => {
      const found = await this.#requests.decisionRecord(held, dataKey, deadline, (view) => ({
        isThere: view !== null,
        isLive: this.#local.entryOf({ ...scope, consistency: { ...scope.consistency, conflicts: "newest" } }, view) !== null,
      }));
      if (!found.isThere) return false;
      if (deadline.isPast) throw deadline.error();
      deadline.meet();
      const removal = { covered: this.#requests.coversShown(dataKey), value: null, expiryMs: 0 };
      await this.#requests.forwardWrite(held, dataKey, removal, { deadline, turn: "is had" });
      return found.isLive;
    });
    return deadline.bound(inTurn);
  }

  async putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number, context: string): Promise<void> {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    const plan = this.#requests.planOf(dataKey);
    if (plan.isAlone) return this.#local.putWithContext(scope, key, value, expiryMs, context);
    this.checkPair(key, value);
    const covered: Covered = { kind: "context", context: this.#tokens.open(scope.database, key, context) };
    this.#context.inFlight.requireRoom();
    if (plan.selfPosition < 0) return this.#requests.forwardWrite(scope, dataKey, { covered, value, expiryMs });
    const deadline = this.#local.deadline(scope);
    await this.#requests.writeHere(scope, dataKey, { covered, value, expiryMs }, deadline);
  }

  // Read-modify-writes, where they are decided.

  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean {
    return this.#requests.planOf(this.#requests.dataKeyOf(scope, key)).isAlone && this.#local.tryUpdate(scope, key, decide);
  }

  async update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void> {
    const dataKey = this.#requests.dataKeyOf(scope, key);
    if (this.#requests.planOf(dataKey).isAlone) return this.#local.update(scope, key, decide);
    await this.updateMany([scope], [key], ([entry]) => [decide(entry ?? null)]);
  }

  /**
   * Keys that this node keeps are decided on in one step here; others are read first and written afterwards, still in their
   * turn here, each superseding the version that was read.
   */
  async updateMany(
    scopes: readonly Scope[],
    keys: readonly Uint8Array[],
    decide: (entries: readonly (Entry | null)[]) => readonly Effect[],
  ): Promise<void> {
    const dataKeys = keys.map((key, at) => this.#requests.dataKeyOf(scopes[at]!, key));
    if (dataKeys.every((dataKey) => this.#requests.planOf(dataKey).isAlone))
      return this.#local.updateMany(scopes, keys, decide);
    this.#context.inFlight.requireRoom();
    const { replica } = this.#context;
    const local = this.#local;
    const lengths = keys.map((key) => key.length);
    const isOwn = dataKeys.map((dataKey) => this.#requests.planOf(dataKey).selfPosition >= 0);
    const deadline = local.deadline(scopes[0]);
    const elsewhere = new Map<number, ReadElsewhere>();
    const sent = new Sent();
    const writes = new Map<string, { readonly scope: Scope; readonly spec: WriteSpec }>();
    const refreshes = dataKeys.map((dataKey, at) => (isOwn[at] ? this.#refreshes.ask(scopes[at]!, dataKey) : null));
    const change = local.changeTogether(scopes, dataKeys, {
      deadline,
      prepare: async () => {
        const reads = dataKeys.map(async (dataKey, at) => {
          const refresh = refreshes[at]!;
          if (refresh !== null) return refresh.done(deadline);
          const scope = scopes[at]!;
          const read = (view: RecordView | null): ReadElsewhere | OperatingError =>
            this.#isApplied(scope, view) ? alreadyApplied() : readElsewhere(local, scope, view);
          const found = await this.#requests.decisionRecord(scope, dataKey, deadline, read);
          if (found instanceof OperatingError) throw found;
          elsewhere.set(at, found);
        });
        await Promise.all(reads);
      },
      step: (records) => {
        const entries = dataKeys.map((dataKey, at) => {
          if (!isOwn[at]) return elsewhere.get(at)!.entry;
          if (this.#isApplied(scopes[at]!, replica.at(dataKey, records))) throw alreadyApplied();
          return local.entryOf(scopes[at]!, replica.at(dataKey, records));
        });
        const effects = decide(entries);
        for (const [at, effect] of effects.entries()) {
          if (effect.kind === "put") local.checkPairBytes(lengths[at]!, effect.value.length);
        }
        for (const [at, effect] of effects.entries()) {
          if (effect.kind === "keep") continue;
          if (isOwn[at]) {
            const dataKey = dataKeys[at]!;
            local.apply(scopes[at]!, dataKey, lengths[at]!, replica.at(dataKey, records), effect);
            sent.add(this.#requests.replicate(scopes[at]!, dataKey, null, deadline.atMs));
          } else writes.set(dataKeys[at]!, { scope: scopes[at]!, spec: specOf(effect, elsewhere.get(at)!) });
        }
      },
      ...(isOwn.includes(false) && {
        elsewhere: {
          dataKeys: new Set(dataKeys.filter((_, at) => !isOwn[at])),
          write: async (dataKey, hold) => {
            const write = writes.get(dataKey);
            if (write === undefined) return;
            await this.#requests.forwardWrite({ ...write.scope, hold }, dataKey, write.spec, { deadline, turn: "is had" });
          },
        },
      }),
    });
    await change.finally(() => {
      for (const refresh of refreshes) refresh?.end();
    });
    await sent.all();
  }

  /** A request that is run a second time finds what the first run wrote; what that answered is not known here. */
  #isApplied(scope: Scope, view: RecordView | null): boolean {
    const writeId = scope.forwarded?.writeId;
    return writeId !== undefined && this.#context.replica.hasWrite(writeId, view);
  }

  // What is not about one key.

  hold(scopes: readonly Scope[], keys: readonly Uint8Array[]): Promise<Hold> {
    return this.#local.hold(scopes, keys);
  }

  scan(scope: Scope, cursor: bigint, count: number): Promise<KeyPage> {
    return this.#isAlone ? this.#local.scan(scope, cursor, count) : this.#walk.page(scope, cursor, count);
  }

  randomKey(scope: Scope): Promise<string | null> {
    return this.#isAlone ? this.#local.randomKey(scope) : this.#walk.randomKey(scope);
  }

  peekTotal(scope: Scope): number | typeof NOT_IN_MEMORY {
    return this.#isAlone ? this.#local.peekTotal(scope) : NOT_IN_MEMORY;
  }

  readTotal(scope: Scope): Promise<number> {
    return this.#isAlone ? this.#local.readTotal(scope) : this.#walk.count(scope);
  }

  size(database: number): number {
    return this.#local.size(database);
  }

  expiringSize(database: number): number {
    return this.#local.expiringSize(database);
  }

  countKeysInSlot(scope: Scope, slot: number): Promise<number> {
    if (this.#isAlone) return this.#local.countKeysInSlot(scope, slot);
    return this.#walk.count(scope, [{ first: slot, end: slot + 1 }]);
  }

  keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]> {
    return this.#isAlone ? this.#local.keysInSlot(scope, slot, count) : this.#walk.keysInSlot(scope, slot, count);
  }

  committed(): Promise<void> {
    return this.#local.committed();
  }

  flush(scope: Scope, what: "database" | "all"): Promise<void> {
    // Nobody else holds, or ever held, a copy of anything.
    if (this.#isAlone && !this.#context.replica.keepsTombstones) return this.#local.flush(scope, what);
    return this.#ringFlush.flush(scope, what);
  }

  // Where.

  /** This node is the whole ring: its own copies are all there is. */
  get #isAlone(): boolean {
    return this.#context.plans.isAlone;
  }

  /** True when this node's own copy is all that a read needs. */
  #isAnsweredHere(plan: SlotPlan, scope: Scope): boolean {
    if (plan.isAlone) return true;
    return plan.selfPosition >= 0 && isOneOf(plan.needs(scope.consistency.quorum), "reads", plan.selfPosition);
  }

  /** True when a write is acknowledged once it is stored here. */
  #isWrittenHere(plan: SlotPlan, scope: Scope): boolean {
    if (plan.selfPosition < 0 || plan.pairs?.has(plan.selfPosition)) return false;
    return isOneOf(plan.needs(scope.consistency.quorum), "writes", plan.selfPosition);
  }
}

/** One answer is needed, and that of `position` is one that counts. */
function isOneOf(needs: QuorumNeeds, what: "reads" | "writes", position: number): boolean {
  const counts = needs[what];
  return counts.length === 1 && counts[0] === 1 && needs.groups[position] !== NO_GROUP;
}

/** What was read of a key that this node does not keep. */
interface ReadElsewhere {
  readonly entry: Entry | null;
  /** What a write that was computed from it supersedes. */
  readonly covered: Covered;
}

function readElsewhere(local: LocalKeyspace, scope: Scope, view: RecordView | null): ReadElsewhere {
  if (view === null) return { entry: null, covered: { kind: "all", seen: VersionVector.EMPTY } };
  const dot = { actor: view.newestActor(), sequence: view.newestSequence() };
  return { entry: local.entryOf(scope, view), covered: { kind: "version", dot } };
}

function specOf(effect: Exclude<Effect, { kind: "keep" }>, { covered }: ReadElsewhere): WriteSpec {
  if (effect.kind === "remove") return { covered, value: null, expiryMs: 0 };
  const value = typeof effect.value === "string" ? Buffer.from(effect.value, "latin1") : effect.value;
  return { covered, value, expiryMs: effect.expiryMs };
}

/** A GET at a quorum. */
class EntryRead implements RecordSink {
  readonly #local: LocalKeyspace;
  readonly #scope: Scope;
  readonly #dataKey: string;
  readonly #sink: Sink<Entry | null>;

  constructor(local: LocalKeyspace, scope: Scope, dataKey: string, sink: Sink<Entry | null>) {
    this.#local = local;
    this.#scope = scope;
    this.#dataKey = dataKey;
    this.#sink = sink;
  }

  onRecord(view: RecordView | null): void {
    let entry: Entry | null;
    try {
      entry = this.#local.answer(this.#scope, this.#dataKey, view);
    } catch (error) {
      return this.#sink.onFailure(error);
    }
    this.#sink.onResult(entry);
  }

  onFailure(error: unknown): void {
    this.#sink.onFailure(error);
  }
}
