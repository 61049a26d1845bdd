/**
 * A keyspace in a Map, for tests of commands. It keeps what the contract says and nothing more: in the mode `elsewhere`
 * nothing is ever in memory, every operation takes effect a turn after it was asked for, and borrowed bytes that were
 * not copied are found out.
 */
import { assert } from "../../lib/assert.js";
import { hash32OfString } from "../../lib/bytes/hash.js";
import { latin1Of } from "../../lib/bytes/latin1.js";
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
}

export class FakeKeyspace implements Keyspace {
  /** Larger values are refused. */
  valueBytesMax = 2 ** 29;
  /** A full disk refuses every change when it comes to it. */
  disk: "well" | "full" = "well";
  /** What `putWithContext` was given, in order. */
  readonly contexts: string[] = [];
  readonly #mode: Mode;
  readonly #clock: Clock;
  readonly #databases = Array.from({ length: 16 }, () => new Map<string, Stored>());
  #pending = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(options: { mode: Mode; clock: Clock }) {
    this.#mode = options.mode;
    this.#clock = options.clock;
  }

  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY {
    return this.#isInMemory() ? this.#live(scope.database, latin1Of(key)) : NOT_IN_MEMORY;
  }

  read(scope: Scope, key: Uint8Array): Promise<Entry | null> {
    return this.#later(() => this.#live(scope.database, latin1Of(key)));
  }

  checkPair(_key: Uint8Array, value: Uint8Array): void {
    this.#checkValue(value);
  }

  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): boolean {
    if (!this.#isInMemory()) return false;
    this.#apply(scope.database, latin1Of(key), { kind: "put", value, expiryMs });
    return true;
  }

  put(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): Promise<void> {
    return this.#later(() => this.#apply(scope.database, latin1Of(key), { kind: "put", value, expiryMs }));
  }

  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean {
    if (!this.#isInMemory()) return false;
    const name = latin1Of(key);
    this.#apply(scope.database, name, decide(this.#live(scope.database, name)));
    return true;
  }

  update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void> {
    return this.#later(() => {
      const name = latin1Of(key);
      this.#apply(scope.database, name, decide(this.#live(scope.database, name)));
    });
  }

  tryRemove(scope: Scope, key: Uint8Array): boolean | typeof NOT_IN_MEMORY {
    if (!this.#isInMemory()) return NOT_IN_MEMORY;
    return this.#remove(scope, latin1Of(key));
  }

  remove(scope: Scope, key: Uint8Array): Promise<boolean> {
    return this.#later(() => this.#remove(scope, latin1Of(key)));
  }

  updateMany(
    scopes: readonly Scope[],
    keys: readonly Uint8Array[],
    decide: (entries: readonly (Entry | null)[]) => readonly Effect[],
  ): Promise<void> {
    assert(scopes.length === keys.length, "a scope for each key");
    return this.#later(() => {
      const targets = keys.map((key, at) => ({ database: scopes[at]!.database, name: latin1Of(key) }));
      assert(new Set(targets.map(({ database, name }) => `${database} ${name}`)).size === keys.length, "keys differ");
      const effects = decide(targets.map(({ database, name }) => this.#live(database, name)));
      assert(effects.length === keys.length, "an effect for each key");
      for (const [at, { database, name }] of targets.entries()) this.#apply(database, name, effects[at]!);
    });
  }

  siblings(scope: Scope, key: Uint8Array): Promise<Siblings | null> {
    return this.#later(() => {
      const entry = this.#live(scope.database, latin1Of(key));
      if (entry === null) return null;
      const version = { value: entry.value, clock: "node-a:1", stampMs: entry.stampMs, dot: "node-a:1" };
      return { context: "context", versions: [version] };
    });
  }

  putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number, context: string): Promise<void> {
    return this.#later(() => {
      if (context === "of-another-key") throw new OperatingError("ARGUMENT", "context is not of this key");
      this.contexts.push(context);
      this.#apply(scope.database, latin1Of(key), { kind: "put", value, expiryMs });
    });
  }

  fingerprint(scope: Scope, key: Uint8Array): Promise<string> {
    return this.#later(() => this.#live(scope.database, latin1Of(key))?.value ?? "");
  }

  async hold(): Promise<Hold> {
    return { dataKeys: new Set(), release() {} };
  }

  scan(scope: Scope, cursor: bigint, count: number): Promise<KeyPage> {
    return this.#later(() => {
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
    return this.#later(() => [...this.#databases[scope.database]!.keys()][0] ?? null);
  }

  size(database: number): number {
    return this.#databases[database]!.size;
  }

  expiringSize(database: number): number {
    return [...this.#databases[database]!.values()].filter(({ expiryMs }) => expiryMs !== 0).length;
  }

  countKeysInSlot(): number {
    return 0;
  }

  async keysInSlot(): Promise<readonly string[]> {
    return [];
  }

  flush(scope: Scope, what: "database" | "all"): Promise<void> {
    return this.#later(() => {
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
  async #later<T>(work: () => T): Promise<T> {
    this.#pending++;
    const result = this.#last.then(work).finally(() => this.#pending--);
    this.#last = result.then(
      () => {},
      () => {},
    );
    return result;
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
    else entries.set(name, { value, expiryMs: effect.expiryMs, stampMs: nowMs });
  }

  #checkValue(value: { readonly length: number }): void {
    if (value.length > this.valueBytesMax) throw new OperatingError("ARGUMENT", "value too large");
  }
}
