/**
 * A keyspace in a Map, for tests of commands. It keeps what the contract says and nothing more: in the mode `elsewhere`
 * nothing is ever in memory, every operation takes effect a turn after it was asked for, and borrowed bytes that were
 * not copied are found out. It notes what it was asked, and fails when told to.
 */
import { assert } from "../../lib/assert.js";
import { hash32OfString } from "../../lib/bytes/hash.js";
import { latin1Of } from "../../lib/bytes/latin1.js";
import { slotOf } from "../../lib/bytes/slot.js";
import type { Consistency } from "../../lib/coordinator/consistency.js";
import {
  type Effect,
  type Entry,
  type Hold,
  type KeyPage,
  type Keyspace,
  NOT_IN_MEMORY,
  type Scope,
  type Siblings,
} from "../../lib/coordinator/keyspace.js";
import { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";

export type Mode = "memory" | "elsewhere";
export const MODES: readonly Mode[] = ["memory", "elsewhere"];

interface Stored extends Entry {
  readonly stampMs: number;
  /** Ascending over all keys. */
  readonly version: number;
}

export class FakeKeyspace implements Keyspace {
  prefetch(): void {}

  /** Larger values are refused. */
  valueBytesMax = 2 ** 29;
  /** A full disk refuses every change when it comes to it. */
  disk: "well" | "full" = "well";
  /** Why what the `try...` forms stored is refused when its turn ends. */
  commitFailure: Error | null = null;
  /** Keys that are not in memory, whatever the mode. */
  readonly coldKeys = new Set<string>();
  /** Thrown by the next operation. */
  failure: Error | null = null;
  /** What `siblings` answers instead of the one version that there is. */
  siblingsOf: Siblings | null = null;
  /** What `putWithContext` was given, in order. */
  readonly contexts: string[] = [];
  /** What operations ran with, in order. */
  readonly consistencies: Consistency[] = [];
  /** What was ever held, as database:key, and whether it is. */
  readonly heldKeys: string[] = [];
  isHeld = false;
  readonly #mode: Mode;
  readonly #clock: Clock;
  readonly #databases = Array.from({ length: 16 }, () => new Map<string, Stored>());
  #version = 0;
  #pending = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(options: { mode: Mode; clock: Clock }) {
    this.#mode = options.mode;
    this.#clock = options.clock;
  }

  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    if (!this.#isInMemory()) return NOT_IN_MEMORY;
    this.#note(scope);
    return this.#live(scope.database, latin1Of(key));
  }

  read(scope: Scope, key: Uint8Array): Promise<Entry | null> {
    return this.#later(scope, () => this.#live(scope.database, latin1Of(key)));
  }

  checkPair(_key: Uint8Array, value: Uint8Array): void {
    this.#checkValue(value);
  }

  startRead(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    return this.peek(scope, key);
  }

  startPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): "done" | "later" {
    return this.tryPut(scope, key, value, expiryMs) ? "done" : "later";
  }

  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): boolean {
    if (!this.#isInMemory() || this.coldKeys.has(latin1Of(key))) return false;
    this.#note(scope);
    this.#apply(scope.database, latin1Of(key), { kind: "put", value, expiryMs });
    return true;
  }

  put(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): Promise<void> {
    // Refused at once, as the coordinator does, and not by a rejection.
    this.#checkValue(value);
    return this.#later(scope, () => this.#apply(scope.database, latin1Of(key), { kind: "put", value, expiryMs }));
  }

  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean {
    if (!this.#isInMemory()) return false;
    this.#note(scope);
    const name = latin1Of(key);
    this.#apply(scope.database, name, decide(this.#live(scope.database, name)));
    return true;
  }

  update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void> {
    return this.#later(scope, () => {
      const name = latin1Of(key);
      this.#apply(scope.database, name, decide(this.#live(scope.database, name)));
    });
  }

  tryRemove(scope: Scope, key: Uint8Array): boolean | typeof NOT_IN_MEMORY {
    if (!this.#isInMemory() || this.coldKeys.has(latin1Of(key))) return NOT_IN_MEMORY;
    return this.#remove(scope, latin1Of(key));
  }

  remove(scope: Scope, key: Uint8Array): Promise<boolean> {
    return this.#later(scope, () => this.#remove(scope, latin1Of(key)));
  }

  updateMany(
    scopes: readonly Scope[],
    keys: readonly Uint8Array[],
    decide: (entries: readonly (Entry | null)[]) => readonly Effect[],
  ): Promise<void> {
    assert(scopes.length === keys.length, "a scope for each key");
    return this.#later(scopes[0]!, () => {
      const targets = keys.map((key, at) => ({ database: scopes[at]!.database, name: latin1Of(key) }));
      assert(new Set(targets.map(({ database, name }) => `${database} ${name}`)).size === keys.length, "keys differ");
      const effects = decide(targets.map(({ database, name }) => this.#live(database, name)));
      assert(effects.length === keys.length, "an effect for each key");
      for (const [at, { database, name }] of targets.entries()) this.#apply(database, name, effects[at]!);
    });
  }

  siblings(scope: Scope, key: Uint8Array): Promise<Siblings | null> {
    return this.#later(scope, () => {
      if (this.siblingsOf !== null) return this.siblingsOf;
      const entry = this.#live(scope.database, latin1Of(key));
      if (entry === null) return null;
      const version = { value: entry.value, clock: "node-a:1", stampMs: entry.stampMs, dot: "node-a:1" };
      return { context: "context", versions: [version] };
    });
  }

  putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number, context: string): Promise<void> {
    return this.#later(scope, () => {
      if (context === "of-another-key") throw new OperatingError("ARGUMENT", "context is not of this key");
      this.contexts.push(context);
      this.#apply(scope.database, latin1Of(key), { kind: "put", value, expiryMs });
    });
  }

  fingerprint(scope: Scope, key: Uint8Array): Promise<string> {
    return this.#later(scope, () => String(this.#live(scope.database, latin1Of(key))?.version ?? "none"));
  }

  async hold(scopes: readonly Scope[], keys: readonly Uint8Array[]): Promise<Hold> {
    for (const scope of scopes) this.#note(scope);
    const dataKeys = keys.map((key, at) => `${scopes[at]!.database}:${latin1Of(key)}`);
    await Promise.resolve();
    this.heldKeys.push(...new Set(dataKeys));
    this.isHeld = true;
    return { dataKeys: new Set(dataKeys), release: () => void (this.isHeld = false) };
  }

  scan(scope: Scope, cursor: bigint, count: number): Promise<KeyPage> {
    return this.#later(scope, () => {
      const ordered = [...this.#databases[scope.database]!.keys()]
        .filter((name) => this.#live(scope.database, name) !== null)
        .map((name) => ({ name, place: BigInt(hash32OfString(name)) + 1n }))
        .sort((a, b) => Number(a.place - b.place))
        .filter(({ place }) => place >= cursor);
      const next = ordered[count]?.place ?? 0n;
      const page = next === 0n ? ordered : ordered.filter(({ place }) => place < next);
      return { keys: page.map(({ name }) => name), cursor: next };
    });
  }

  randomKey(scope: Scope): Promise<string | null> {
    return this.#later(scope, () => [...this.#databases[scope.database]!.keys()][0] ?? null);
  }

  size(database: number): number {
    return this.#databases[database]!.size;
  }

  expiringSize(database: number): number {
    return [...this.#databases[database]!.values()].filter(({ expiryMs }) => expiryMs !== 0).length;
  }

  peekTotal(scope: Scope): number | typeof NOT_IN_MEMORY {
    return this.#isInMemory() ? this.size(scope.database) : NOT_IN_MEMORY;
  }

  readTotal(scope: Scope): Promise<number> {
    return this.#later(scope, () => this.size(scope.database));
  }

  countKeysInSlot(scope: Scope, slot: number): Promise<number> {
    return this.#later(scope, () => this.#inSlot(scope.database, slot).length);
  }

  async keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]> {
    return this.#inSlot(scope.database, slot).slice(0, count);
  }

  async committed(): Promise<void> {
    if (this.commitFailure !== null) throw this.commitFailure;
  }

  flush(scope: Scope, what: "database" | "all"): Promise<void> {
    return this.#later(null, () => {
      for (const [at, entries] of this.#databases.entries()) if (what === "all" || scope.database === at) entries.clear();
    });
  }

  #remove(scope: Scope, name: string): boolean {
    const wasLive = this.#live(scope.database, name) !== null;
    if (wasLive) this.#apply(scope.database, name, { kind: "remove" });
    return wasLive;
  }

  #isInMemory(): boolean {
    return this.#mode === "memory" && this.#pending === 0;
  }

  /** Runs `work` behind everything that was asked for before, and never within this call. The promise is the caller's alone to hear. */
  async #later<T>(scope: Scope | null, work: () => T): Promise<T> {
    this.#pending++;
    const noted = (): T => {
      if (scope !== null) this.#note(scope);
      return work();
    };
    const result = this.#last.then(noted).finally(() => this.#pending--);
    this.#last = result.then(
      () => {},
      () => {},
    );
    return result;
  }

  #note(scope: Scope): void {
    this.consistencies.push(scope.consistency);
    const { failure } = this;
    this.failure = null;
    if (failure !== null) throw failure;
  }

  #inSlot(database: number, slot: number): string[] {
    return [...this.#databases[database]!.keys()].filter((name) => slotOf(Buffer.from(name, "latin1")) === slot);
  }

  #live(database: number, name: string): Stored | null {
    const stored = this.#databases[database]!.get(name);
    if (stored === undefined) return null;
    return stored.expiryMs !== 0 && stored.expiryMs <= this.#clock.wallMs() ? null : stored;
  }

  #apply(database: number, name: string, effect: Effect): void {
    const entries = this.#databases[database]!;
    if (effect.kind !== "keep" && this.disk === "full") throw new OperatingError("IO", "no room");
    if (effect.kind === "remove") entries.delete(name);
    if (effect.kind !== "put") return;
    const value = typeof effect.value === "string" ? effect.value : latin1Of(effect.value);
    this.#checkValue(value);
    assert(Number.isSafeInteger(effect.expiryMs) && effect.expiryMs >= 0, "an expiry is a time");
    const nowMs = this.#clock.wallMs();
    if (effect.expiryMs !== 0 && effect.expiryMs <= nowMs) entries.delete(name);
    else entries.set(name, { value, expiryMs: effect.expiryMs, stampMs: nowMs, version: ++this.#version });
  }

  #checkValue(value: { readonly length: number }): void {
    if (value.length > this.valueBytesMax) throw new OperatingError("ARGUMENT", "value too large");
  }
}
