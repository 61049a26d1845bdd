/**
 * Runs the reads and writes of clients on the ring. This node is a ring of one: it is the only replica of every key, each
 * level is R=W=1, and coordinating is to put operations on one key in order, to read, decide and mint.
 *
 * What can be answered from memory is answered within the call. What cannot takes its key's queue, so that all operations
 * on a key take effect in the order in which they were called; nobody reads, decides and stores outside that order.
 */
import { assert, unreachable } from "../assert.js";
import type { StoreNames } from "../causality/actor.js";
import { readableDot } from "../causality/actor.js";
import type { ContextTokens } from "../causality/context-token.js";
import { stampMs } from "../causality/hybrid-clock.js";
import { clockOf, distinctVersions, hashOf, isLive } from "../causality/record.js";
import { decodeRecord } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Replica } from "../replica/replica.js";
import { withDeadline } from "./deadline.js";
import { KeyWalk } from "./key-walk.js";
import {
  type Effect,
  type Entry,
  type Hold,
  type KeyPage,
  type Keyspace,
  NOT_IN_MEMORY,
  type Scope,
  type Sibling,
  type Siblings,
} from "./keyspace.js";

/** May change while the node runs. */
export interface CoordinatorSettings {
  readonly maxPairBytes: number;
  readonly requestTimeoutMs: number;
}

export interface CoordinatorOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly random: Random;
  readonly tokens: ContextTokens;
  /** Names of stores for readable clocks. */
  readonly names: StoreNames;
  readonly settings: CoordinatorSettings;
}

/** While writers outrun the disk each waiting write waits this much longer. */
const SLOWED_MS = 1;

export class Coordinator implements Keyspace {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #tokens: ContextTokens;
  readonly #names: StoreNames;
  readonly #settings: CoordinatorSettings;
  readonly #walk: KeyWalk;
  /** Reads that found a live value, and that did not: INFO's keyspace_hits and keyspace_misses. */
  hits = 0;
  misses = 0;

  constructor(options: CoordinatorOptions) {
    this.#replica = options.replica;
    this.#clock = options.clock;
    this.#tokens = options.tokens;
    this.#names = options.names;
    this.#settings = options.settings;
    this.#walk = new KeyWalk({ replica: options.replica, clock: options.clock, random: options.random });
  }

  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    const replica = this.#replica;
    const dataKey = replica.keys.of(scope.database, key);
    if (this.#isTaken(scope, dataKey)) return NOT_IN_MEMORY;
    switch (replica.peek(dataKey)) {
      case "unread":
        return NOT_IN_MEMORY;
      case "absent":
        this.misses++;
        return null;
      default:
        return this.#answer(scope, replica.record);
    }
  }

  read(scope: Scope, key: Uint8Array): Promise<Entry | null> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    return this.#readInOrder(scope, dataKey, (view) => {
      if (view !== null) return this.#answer(scope, view);
      this.misses++;
      return null;
    });
  }

  checkPair(key: Uint8Array, value: { readonly length: number }): void {
    this.#checkPairBytes(key.length + value.length);
  }

  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): boolean {
    this.checkPair(key, value);
    const replica = this.#replica;
    const dataKey = replica.keys.of(scope.database, key);
    if (this.#isTaken(scope, dataKey) || replica.backlog() !== "open") return false;
    const peeked = replica.peek(dataKey);
    if (peeked === "unread") return false;
    replica.mintPlain(dataKey, peeked === "found" ? replica.record : null, value, expiryMs);
    return true;
  }

  put(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): Promise<void> {
    this.checkPair(key, value);
    const dataKey = this.#replica.keys.of(scope.database, key);
    return this.#change(scope, dataKey, (old) => this.#replica.mintPlain(dataKey, old, value, expiryMs));
  }

  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean {
    const replica = this.#replica;
    const dataKey = replica.keys.of(scope.database, key);
    if (this.#isTaken(scope, dataKey) || replica.backlog() !== "open") return false;
    const peeked = replica.peek(dataKey);
    if (peeked === "unread") return false;
    const old = peeked === "found" ? replica.record : null;
    this.#apply(dataKey, key.length, old, decide(this.#entryOf(scope, old)));
    return true;
  }

  update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    const { length } = key;
    return this.#change(scope, dataKey, (old) => this.#apply(dataKey, length, old, decide(this.#entryOf(scope, old))));
  }

  async updateMany(
    scopes: readonly Scope[],
    keys: readonly Uint8Array[],
    decide: (entries: readonly (Entry | null)[]) => readonly Effect[],
  ): Promise<void> {
    assert(scopes.length === keys.length && keys.length > 0, "coordinator: a scope for each key");
    const replica = this.#replica;
    const first = scopes[0]!;
    const dataKeys = keys.map((key, at) => replica.keys.of(scopes[at]!.database, key));
    const hold = first.hold === null ? this.#takeAll(dataKeys) : null;
    const deadlineMs = this.#deadline();
    const work = async (): Promise<void> => {
      await hold?.ready;
      await this.#waitForRoom();
      const records = await Promise.all(dataKeys.map((dataKey) => replica.read(dataKey)));
      if (this.#clock.monotonicMs() > deadlineMs) throw this.#timeout();
      const entries = records.map((bytes, at) => this.#entryOf(scopes[at]!, replica.view(bytes)));
      const effects = decide(entries);
      assert(effects.length === keys.length, "coordinator: an effect for each key");
      for (const [at, effect] of effects.entries()) {
        if (effect.kind === "put") this.checkPair(keys[at]!, effect.value);
      }
      for (const [at, effect] of effects.entries()) {
        const dataKey = dataKeys[at]!;
        // An earlier effect may have been on this very key: what is in memory is newer than what was read.
        const peeked = replica.peek(dataKey);
        const old = peeked === "found" ? replica.record : peeked === "absent" ? null : replica.view(records[at]!);
        this.#apply(dataKey, keys[at]!.length, old, effect);
      }
    };
    await this.#bounded(work().finally(() => hold?.release()));
  }

  siblings(scope: Scope, key: Uint8Array): Promise<Siblings | null> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    const ownKey = Buffer.from(key);
    return this.#readInOrder(scope, dataKey, (view, bytes) => {
      if (view === null || bytes === null) return null;
      const record = decodeRecord(bytes, 0, bytes.length);
      const nowMs = this.#clock.wallMs();
      const versions = distinctVersions(record).map(
        (version): Sibling => ({
          value: isLive(version, nowMs) ? Buffer.from(version.value!).toString("latin1") : null,
          clock: clockOf(record, version).readable(this.#names),
          stampMs: stampMs(version.stamp),
          dot: readableDot(version.dot, this.#names),
        }),
      );
      return { context: this.#tokens.mint(scope.database, ownKey, record.context), versions };
    });
  }

  putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number, context: string): Promise<void> {
    this.checkPair(key, value);
    const replica = this.#replica;
    const covered = { kind: "context", context: this.#tokens.open(scope.database, key, context) } as const;
    const dataKey = replica.keys.of(scope.database, key);
    const ownValue = Buffer.from(value);
    return this.#change(scope, dataKey, (_old, bytes) => {
      replica.mint(dataKey, bytes, covered, { value: ownValue, expiryMs });
    });
  }

  fingerprint(scope: Scope, key: Uint8Array): Promise<string> {
    const dataKey = this.#replica.keys.of(scope.database, key);
    return this.#readInOrder(scope, dataKey, (view, bytes) => {
      if (view === null || bytes === null) return "absent";
      const { high, low } = hashOf(decodeRecord(bytes, 0, bytes.length));
      return view.isLive(this.#clock.wallMs()) ? `${high}.${low}` : "absent";
    });
  }

  async hold(scope: Scope, keys: readonly Uint8Array[]): Promise<Hold> {
    const taken = this.#takeAll(keys.map((key) => this.#replica.keys.of(scope.database, key)));
    try {
      await this.#bounded(taken.ready);
    } catch (error) {
      taken.release();
      throw error;
    }
    return taken;
  }

  scan(scope: Scope, cursor: bigint, count: number): Promise<KeyPage> {
    return this.#walk.page(scope.database, cursor, count);
  }

  randomKey(scope: Scope): Promise<string | null> {
    return this.#walk.randomKey(scope.database);
  }

  size(database: number): number {
    return this.#replica.size(database);
  }

  expiringSize(database: number): number {
    return this.#replica.expiringSize(database);
  }

  countKeysInSlot(database: number, slot: number): number {
    return this.#replica.sizeOfSlot(database, slot);
  }

  keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]> {
    return this.#walk.keysInSlot(scope.database, slot, count);
  }

  async flush(database: number | "all"): Promise<void> {
    if (database === "all") this.#replica.clear();
    else await this.#walk.removeAll(database);
  }

  /** The live value that `view` shows, counted as a hit or a miss. Throws CONFLICT where the scope asks for it. */
  #answer(scope: Scope, view: RecordView): Entry | null {
    const entry = this.#entryOf(scope, view);
    if (entry === null) this.misses++;
    else this.hits++;
    return entry;
  }

  #entryOf(scope: Scope, view: RecordView | null): Entry | null {
    if (view === null) return null;
    if (view.versionCount > 1 && scope.consistency.conflicts === "error") {
      throw new OperatingError("CONFLICT", `${view.versionCount} siblings; read them with SIBLINGS`);
    }
    if (view.isTombstone || (view.expiryMs !== 0 && view.expiryMs <= this.#clock.wallMs())) return null;
    return { value: view.value(), expiryMs: view.expiryMs };
  }

  /** Stores what a read-modify-write decided. It supersedes the version that it was computed from, no other. */
  #apply(dataKey: string, keyBytes: number, old: RecordView | null, effect: Effect): void {
    const replica = this.#replica;
    switch (effect.kind) {
      case "keep":
        return;
      case "put":
        this.#checkPairBytes(keyBytes + effect.value.length);
        if (old === null || old.versionCount === 1) replica.mintPlain(dataKey, old, effect.value, effect.expiryMs);
        else replica.mintOverNewest(dataKey, effect.value, effect.expiryMs);
        return;
      case "remove":
        if (old !== null) replica.remove(dataKey);
        return;
      default:
        unreachable(effect);
    }
  }

  /** True when the key's turn belongs to somebody else. */
  #isTaken(scope: Scope, dataKey: string): boolean {
    return this.#replica.queues.isTaken(dataKey) && !scope.hold?.dataKeys.has(dataKey);
  }

  /** Reads the record after the changes that were called before, and shows it to `show` (bytes owned). */
  #readInOrder<Result>(
    scope: Scope,
    dataKey: string,
    show: (view: RecordView | null, bytes: Buffer | null) => Result,
  ): Promise<Result> {
    const replica = this.#replica;
    const work = async (): Promise<Result> => {
      const bytes = await replica.read(dataKey);
      return show(replica.view(bytes), bytes);
    };
    return this.#bounded(this.#isTaken(scope, dataKey) ? replica.queues.run(dataKey, work) : work());
  }

  /** Reads the record in its key's turn and lets `store` change it, unless the deadline has passed by then. */
  #change(scope: Scope, dataKey: string, store: (old: RecordView | null, bytes: Buffer | null) => void): Promise<void> {
    const replica = this.#replica;
    const deadlineMs = this.#deadline();
    const work = async (): Promise<void> => {
      await this.#waitForRoom();
      const bytes = await replica.read(dataKey);
      // The client has been told by now that nobody knows: a late write must not take effect as if it were new.
      if (this.#clock.monotonicMs() > deadlineMs) throw this.#timeout();
      store(replica.view(bytes), bytes);
    };
    return this.#bounded(scope.hold?.dataKeys.has(dataKey) ? work() : replica.queues.run(dataKey, work));
  }

  async #waitForRoom(): Promise<void> {
    const backlog = this.#replica.backlog();
    if (backlog === "slow") await pause(this.#clock, SLOWED_MS);
    else if (backlog === "stopped") await this.#replica.room();
  }

  /** Takes the turns of all keys at one instant, so that two that want the same keys never wait for each other. */
  #takeAll(dataKeys: readonly string[]): Hold & { readonly ready: Promise<void> } {
    const distinct = new Set(dataKeys);
    const turns: { readonly ready: Promise<void>; readonly release: () => void }[] = [];
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      for (const turn of turns) turn.release();
    };
    try {
      for (const dataKey of distinct) turns.push(this.#replica.queues.take(dataKey));
    } catch (error) {
      release();
      throw error;
    }
    const ready = Promise.all(turns.map((turn) => turn.ready)).then(() => undefined);
    return { dataKeys: distinct, release, ready };
  }

  #deadline(): number {
    return this.#clock.monotonicMs() + this.#settings.requestTimeoutMs;
  }

  #bounded<Result>(work: Promise<Result>): Promise<Result> {
    const { requestTimeoutMs } = this.#settings;
    return withDeadline(this.#clock, requestTimeoutMs, work, this.#timeout().message);
  }

  #timeout(): OperatingError {
    return new OperatingError(
      "TIMEOUT",
      `no answer within ${this.#settings.requestTimeoutMs} ms (request-timeout); a write may still take effect`,
    );
  }

  #checkPairBytes(length: number): void {
    const { maxPairBytes } = this.#settings;
    if (length > maxPairBytes) {
      throw new OperatingError(
        "ARGUMENT",
        `key and value take ${length} bytes together; the limit is ${maxPairBytes} (max-pair-bytes)`,
      );
    }
  }
}
