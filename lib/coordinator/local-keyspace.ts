/**
 * The keyspace of this node's own copies: puts operations on one key in order, reads, decides, mints and stores. For a ring of
 * one that is all there is to coordinate, and each level is R=W=1; in a larger ring `Coordinator` does this part here and
 * asks the other replicas besides.
 *
 * What can be answered from memory is answered within the call. What cannot takes its key's queue, so that all operations
 * on a key take effect in the order in which they were called; nobody reads, decides and stores outside that order.
 */
import { assert, unreachable } from "../assert.js";
import type { StoreNames } from "../causality/actor.js";
import type { ContextTokens } from "../causality/context-token.js";
import { COVERS_ALL, type Covered, distinctVersions } from "../causality/record.js";
import { decodeRecord } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import { KeyLister } from "../replica/key-lister.js";
import type { KeyQueues } from "../replica/key-queues.js";
import type { Reaper } from "../replica/reaper.js";
import type { Records, Replica } from "../replica/replica.js";
import { Deadline } from "./deadline.js";
import { fingerprintOf } from "./fingerprint.js";
import { HoldGate, KeyHold, takeHold } from "./key-hold.js";
import { KeyWalk } from "./key-walk.js";
import {
  type Effect,
  type Entry,
  type Forwarded,
  type Hold,
  type KeyPage,
  type LocalOperations,
  NOT_IN_MEMORY,
  type Scope,
  type Siblings,
} from "./keyspace.js";
import { LocalFlush } from "./local-flush.js";
import { checkPairBytes } from "./pair-limit.js";
import { SiblingsView } from "./siblings-view.js";
import { type ChangeInTurn, TurnChanges } from "./turn-changes.js";

/** May change while the node runs. */
export interface CoordinatorSettings {
  readonly maxPairBytes: number;
  readonly requestTimeoutMs: number;
}

export interface LocalKeyspaceOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly tokens: ContextTokens;
  /** Names of stores for readable clocks. */
  readonly names: StoreNames;
  readonly settings: CoordinatorSettings;
  /** Is told what reads found expired; without one it waits for the reaper's next pass. */
  readonly reaper?: Pick<Reaper, "collectSoon">;
}

export class LocalKeyspace implements LocalOperations {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #tokens: ContextTokens;
  readonly #siblings: SiblingsView;
  readonly #settings: CoordinatorSettings;
  readonly #reaper: Pick<Reaper, "collectSoon"> | null;
  /** Lists this node's own copies. */
  readonly lister: KeyLister;
  readonly #walk: KeyWalk;
  readonly #flush: LocalFlush;
  readonly #holdGate = new HoldGate();
  readonly #changes: TurnChanges;
  /** Reads that found a live value, and that did not: INFO's keyspace_hits and keyspace_misses. */
  hits = 0;
  misses = 0;

  constructor(options: LocalKeyspaceOptions) {
    this.#replica = options.replica;
    this.#clock = options.clock;
    this.#tokens = options.tokens;
    this.#siblings = new SiblingsView(options);
    this.#settings = options.settings;
    this.#reaper = options.reaper ?? null;
    const { replica, clock, random } = options;
    this.lister = new KeyLister({ records: replica, clock });
    this.#walk = new KeyWalk({ replica, lister: this.lister, clock, random });
    this.#changes = new TurnChanges({
      replica,
      clock,
      deadline: (scope) => this.deadline(scope),
      queuesOf: (scope, dataKey) => this.queuesOf(scope, dataKey),
    });
    this.#flush = new LocalFlush({
      replica,
      walk: this.#walk,
      gate: this.#holdGate,
      deadline: () => this.deadline(),
      queuesOf: (scope, dataKey) => this.queuesOf(scope, dataKey),
    });
  }

  prefetch({ database }: Scope, keys: readonly Uint8Array[]): void {
    this.#replica.prefetchAhead(database, keys);
  }

  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    return this.peekAt(scope, this.#replica.keys.of(scope.database, key));
  }

  peekAt(scope: Scope, dataKey: string): Entry | null | typeof NOT_IN_MEMORY {
    const replica = this.#replica;
    if (this.isTaken(scope, dataKey)) return NOT_IN_MEMORY;
    switch (replica.peek(dataKey)) {
      case "unread":
        return NOT_IN_MEMORY;
      case "absent":
        this.misses++;
        return null;
      default:
        return this.answer(scope, dataKey, replica.record);
    }
  }

  read(scope: Scope, key: Uint8Array): Promise<Entry | null> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    return this.readAt(scope, dataKey, (view) => this.answer(scope, dataKey, view));
  }

  checkPair(key: Uint8Array, value: { readonly length: number }): void {
    this.checkPairBytes(key.length, value.length);
  }

  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): boolean {
    this.checkPair(key, value);
    return this.tryPutAt(scope, this.#replica.keys.of(scope.database, key), value, expiryMs);
  }

  /** `tryPut` of a pair whose size was checked. */
  tryPutAt(scope: Scope, dataKey: string, value: Uint8Array, expiryMs: number): boolean {
    const replica = this.#replica;
    if (this.isTaken(scope, dataKey) || replica.backlog() !== "open") return false;
    replica.reserve(1);
    const peeked = replica.peek(dataKey);
    if (peeked === "unread") return false;
    replica.mintPlain(dataKey, peeked === "found" ? replica.record : null, value, expiryMs);
    return true;
  }

  async put(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): Promise<void> {
    this.checkPair(key, value);
    const dataKey = this.#replica.keys.of(scope.database, key);
    await this.#change(scope, dataKey, (old) => this.#replica.mintPlain(dataKey, old, value, expiryMs));
  }

  tryRemove(scope: Scope, key: Uint8Array): boolean | typeof NOT_IN_MEMORY {
    return this.tryRemoveAt(scope, this.#replica.keys.of(scope.database, key));
  }

  tryRemoveAt(scope: Scope, dataKey: string): boolean | typeof NOT_IN_MEMORY {
    const replica = this.#replica;
    if (this.isTaken(scope, dataKey) || replica.backlog() !== "open") return NOT_IN_MEMORY;
    replica.reserve(1);
    const peeked = replica.peek(dataKey);
    if (peeked === "unread") return NOT_IN_MEMORY;
    return this.removeAtHand(dataKey, peeked === "found" ? replica.record : null);
  }

  async remove(scope: Scope, key: Uint8Array): Promise<boolean> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    let wasLive = false;
    await this.#change(scope, dataKey, (old) => {
      wasLive = this.removeAtHand(dataKey, old);
    });
    return wasLive;
  }

  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean {
    const replica = this.#replica;
    const dataKey = replica.keys.of(scope.database, key);
    if (this.isTaken(scope, dataKey) || replica.backlog() !== "open") return false;
    replica.reserve(1);
    const peeked = replica.peek(dataKey);
    if (peeked === "unread") return false;
    const old = peeked === "found" ? replica.record : null;
    this.apply(scope, dataKey, key.length, old, decide(this.entryOf(scope, old)));
    return true;
  }

  async update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    const { length } = key;
    await this.#change(scope, dataKey, (old) => this.apply(scope, dataKey, length, old, decide(this.entryOf(scope, old))));
  }

  async updateMany(
    scopes: readonly Scope[],
    keys: readonly Uint8Array[],
    decide: (entries: readonly (Entry | null)[]) => readonly Effect[],
  ): Promise<void> {
    assert(scopes.length === keys.length && keys.length > 0, "coordinator: a scope for each key");
    const replica = this.#replica;
    const lengths = keys.map((key) => key.length);
    const dataKeys = keys.map((key, at) => replica.keys.of(scopes[at]!.database, key));
    const step = (records: Records): void => {
      const effects = decide(dataKeys.map((dataKey, at) => this.entryOf(scopes[at]!, replica.at(dataKey, records))));
      assert(effects.length === keys.length, "coordinator: an effect for each key");
      for (const [at, effect] of effects.entries()) {
        if (effect.kind === "put") this.checkPairBytes(lengths[at]!, effect.value.length);
      }
      // Looked up anew for each effect: an earlier one may have been on this very key.
      for (const [at, effect] of effects.entries()) {
        this.apply(scopes[at]!, dataKeys[at]!, lengths[at]!, replica.at(dataKeys[at]!, records), effect);
      }
    };
    await this.changeTogether(scopes, dataKeys, { step });
  }

  siblings(scope: Scope, key: Uint8Array): Promise<Siblings | null> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    return this.readAt(scope, dataKey, (view) => this.siblingsOf(dataKey, view));
  }

  /** What SIBLINGS shows of a record. */
  siblingsOf(dataKey: string, view: RecordView | null): Siblings | null {
    return this.#siblings.of(dataKey, view);
  }

  async putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number, context: string): Promise<void> {
    this.checkPair(key, value);
    const replica = this.#replica;
    const covered = { kind: "context", context: this.#tokens.open(scope.database, key, context) } as const;
    const dataKey = replica.keys.of(scope.database, key);
    replica.goBeyond(covered.context);
    await this.#change(scope, dataKey, (old) => replica.mint(dataKey, old, covered, { value, expiryMs }));
  }

  fingerprint(scope: Scope, key: Uint8Array): Promise<string> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    return this.readAt(scope, dataKey, (view) => {
      // A key that came and went between two looks was changed; so a neighbour in its slot that came looks like a change, too.
      return fingerprintOf(view, this.#clock.wallMs(), { dead: () => `absent.${this.#replica.appearances(dataKey)}` });
    });
  }

  hold(scopes: readonly Scope[], keys: readonly Uint8Array[]): Promise<Hold> {
    assert(scopes.length === keys.length, "coordinator: a scope for each key");
    const { queues, keys: dataKeysOf } = this.#replica;
    const hold = new KeyHold(queues.waitingMax);
    const take = (): void => {
      for (const [at, key] of keys.entries()) {
        const dataKey = dataKeysOf.of(scopes[at]!.database, key);
        hold.turns.take(this.queuesOf(scopes[at]!, dataKey), dataKey);
      }
    };
    return takeHold(hold, { take, gate: this.#holdGate, deadline: this.deadline(scopes[0]) });
  }

  scan(scope: Scope, cursor: bigint, count: number): Promise<KeyPage> {
    return this.deadline(scope).bound(this.#walk.page(scope.database, cursor, count));
  }

  randomKey(scope: Scope): Promise<string | null> {
    return this.deadline(scope).bound(this.#walk.randomKey(scope.database));
  }

  size(database: number): number {
    return this.#replica.size(database);
  }

  expiringSize(database: number): number {
    return this.#replica.expiringSize(database);
  }

  peekTotal(scope: Scope): number {
    return this.#replica.size(scope.database);
  }

  async readTotal(scope: Scope): Promise<number> {
    return this.#replica.size(scope.database);
  }

  async countKeysInSlot(scope: Scope, slot: number): Promise<number> {
    return this.#replica.sizeOfSlot(scope.database, slot);
  }

  keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]> {
    return this.deadline(scope).bound(this.#walk.keysInSlot(scope.database, slot, count));
  }

  committed(): Promise<void> {
    return this.#replica.committed();
  }

  flush(scope: Scope, what: "database" | "all"): Promise<void> {
    return this.#flush.flush(scope, what);
  }

  /** See `LocalFlush.betweenHolds`. */
  betweenHolds<Result>(scope: Scope, deadline: Deadline, work: () => Promise<Result>): Promise<Result> {
    return this.#flush.betweenHolds(scope, deadline, work);
  }

  /** The live value that `view` shows, counted as a hit or a miss. Throws CONFLICT where the scope asks for it. */
  answer(scope: Scope, dataKey: string, view: RecordView | null): Entry | null {
    const entry = this.entryOf(scope, view);
    if (entry !== null) {
      this.hits++;
      return entry;
    }
    this.misses++;
    if (view !== null) this.#reaper?.collectSoon(dataKey);
    return null;
  }

  entryOf(scope: Scope, view: RecordView | null): Entry | null {
    if (view === null) return null;
    if (view.versionCount > 1 && scope.consistency.conflicts === "error") {
      const { length } = distinctVersions(decodeRecord(view.bytes, view.start, view.end));
      if (length > 1) throw new OperatingError("CONFLICT", `${length} siblings; read them with SIBLINGS`);
    }
    if (view.isTombstone || (view.expiryMs !== 0 && view.expiryMs <= this.#clock.wallMs())) return null;
    return { value: view.value(), expiryMs: view.expiryMs };
  }

  /** Stores what a read-modify-write decided. It supersedes the version that it was computed from, no other. */
  apply(scope: Scope, dataKey: string, keyBytes: number, old: RecordView | null, effect: Effect): void {
    const replica = this.#replica;
    if (effect.kind === "keep") return;
    if (effect.kind === "put") this.checkPairBytes(keyBytes, effect.value.length);
    if (scope.forwarded !== undefined) return this.#applyForwarded(scope.forwarded, dataKey, old, effect);
    switch (effect.kind) {
      case "put":
        if (old === null || old.versionCount === 1) replica.mintPlain(dataKey, old, effect.value, effect.expiryMs);
        else replica.mintOverNewest(dataKey, effect.value, effect.expiryMs);
        return;
      case "remove":
        if (old === null) return;
        if (old.versionCount === 1) replica.mintRemoval(dataKey, old);
        else replica.mintOverNewest(dataKey, null, 0);
        return;
      default:
        unreachable(effect);
    }
  }

  /** The same for a request that another node passed on: its version keeps the request's id. */
  #applyForwarded(
    forwarded: Forwarded,
    dataKey: string,
    old: RecordView | null,
    effect: Exclude<Effect, { kind: "keep" }>,
  ): void {
    if (effect.kind === "remove" && old === null) return;
    const covered: Covered =
      old === null ? COVERS_ALL : { kind: "version", dot: { actor: old.newestActor(), sequence: old.newestSequence() } };
    const value = effect.kind === "remove" ? null : effect.value;
    const bytes = typeof value === "string" ? Buffer.from(value, "latin1") : value;
    const expiryMs = effect.kind === "remove" ? 0 : effect.expiryMs;
    const { writeId, stamp } = forwarded;
    this.#replica.mint(dataKey, old, covered, { value: bytes, expiryMs, writeId, stamp });
  }

  /** Removes all of the record at hand, and says whether a read would have found a value. */
  removeAtHand(dataKey: string, old: RecordView | null): boolean {
    if (old === null) return false;
    const wasLive = old.isLive(this.#clock.wallMs());
    this.#replica.mintRemoval(dataKey, old);
    return wasLive;
  }

  /** The queues in which an operation of this scope takes its turn for the key. */
  queuesOf(scope: Scope, dataKey: string): KeyQueues {
    const { hold } = scope;
    if (hold === null || !hold.dataKeys.has(dataKey)) return this.#replica.queues;
    assert(hold instanceof KeyHold, "coordinator: a hold that it gave");
    return hold.queues;
  }

  /** True when the key's turn belongs to somebody else. */
  isTaken(scope: Scope, dataKey: string): boolean {
    const queues = scope.hold === null ? this.#replica.queues : this.queuesOf(scope, dataKey);
    return queues.isTaken(dataKey);
  }

  /** Reads the record after the changes that were called before, and shows it to `show`. */
  readAt<Result>(scope: Scope, dataKey: string, show: (view: RecordView | null) => Result): Promise<Result> {
    const replica = this.#replica;
    const work = async (): Promise<Result> => show(replica.view(await replica.read(dataKey)));
    const queues = this.queuesOf(scope, dataKey);
    return this.deadline().bound(queues.isTaken(dataKey) ? queues.run(dataKey, work) : work());
  }

  /** Lets `store` change the record in its key's turn, unless the deadline has passed by then. */
  #change(scope: Scope, dataKey: string, store: (old: RecordView | null) => void): Promise<void> {
    return this.changeAt(scope, [dataKey], { step: (records) => store(this.#replica.at(dataKey, records)) });
  }

  /** Runs one synchronous step in the turn of all these keys, with their records at hand. */
  changeAt(scope: Scope, dataKeys: readonly string[], change: ChangeInTurn): Promise<void> {
    return this.changeTogether(
      dataKeys.map(() => scope),
      dataKeys,
      change,
    );
  }

  /** The same for keys of several scopes. */
  changeTogether(scopes: readonly Scope[], dataKeys: readonly string[], change: ChangeInTurn): Promise<void> {
    return this.#changes.change(scopes, dataKeys, change);
  }

  /**
   * Runs `work` when it is the turn of all these keys, which they keep until it settles. In the scope that `work` is given,
   * operations on them do not wait for itself.
   */
  async inTurnOf<Result>(scope: Scope, dataKeys: readonly string[], work: (held: Scope) => Promise<Result>): Promise<Result> {
    const hold = new KeyHold(this.#replica.queues.waitingMax);
    try {
      for (const dataKey of dataKeys) hold.turns.take(this.queuesOf(scope, dataKey), dataKey);
      await hold.turns.ready();
      return await work({ ...scope, hold });
    } finally {
      hold.release();
    }
  }

  /** Until when an operation that begins now may take, on the monotonic clock. */
  deadlineMs(scope: Scope): number {
    return scope.forwarded?.deadlineMs ?? this.#clock.monotonicMs() + this.#settings.requestTimeoutMs;
  }

  /** `request-timeout` from now, or what whoever passed the operation on has left. */
  deadline(scope: Scope | null = null): Deadline {
    const forwarded = scope?.forwarded;
    const { requestTimeoutMs } = this.#settings;
    if (forwarded === undefined) return new Deadline(this.#clock, requestTimeoutMs);
    return new Deadline(this.#clock, Math.max(0, forwarded.deadlineMs - this.#clock.monotonicMs()), requestTimeoutMs);
  }

  checkPairBytes(keyBytes: number, valueBytes: number): void {
    checkPairBytes(keyBytes, valueBytes, this.#settings.maxPairBytes);
  }
}
