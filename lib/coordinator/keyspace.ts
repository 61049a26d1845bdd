/**
 * The keys and values as commands see them: every read and write of a client goes through this interface. The coordinator
 * implements it. Keys are raw bytes (borrowed for the call), values leave as latin1 strings: one char code is one byte.
 *
 * `peek`/`try...` answer from memory within the call or say that they cannot; then the caller uses the asynchronous form.
 * All operations on one key take effect in the order in which they were called.
 */
import type { BeginLimit } from "./begin-limit.js";
import type { Consistency } from "./consistency.js";

/** What an operation runs with: taken from the session, or from a prefix such as `CONSISTENCY ONE GET k`. */
export interface Scope {
  /** 0 to 15. */
  readonly database: number;
  readonly consistency: Consistency;
  /** Set while EXEC holds the keys' queues: operations then run at once instead of queueing behind themselves. */
  readonly hold: Hold | null;
  /** Set where another node passed the operation on to this one. */
  readonly forwarded?: Forwarded;
}

/** What comes with an operation that was passed on. */
export interface Forwarded {
  /** Kept in the version that it writes, so that a second run elsewhere is known. Latin1. */
  readonly writeId: string;
  /** On the monotonic clock of this node. */
  readonly deadlineMs: number;
  /**
   * What it writes is stamped with this, or above what it supersedes: where two members make the same write, a later one is
   * newer than both.
   */
  readonly stamp: number;
  /** Left out: it may be begun until its deadline. */
  readonly begin?: BeginLimit;
}

/** A live value: neither deleted nor expired, the newest of its siblings. */
export interface Entry {
  /** Latin1. */
  readonly value: string;
  /** Unix time in milliseconds; 0 when it does not expire. */
  readonly expiryMs: number;
}

/** What to do with a key after it was looked at. */
export type Effect =
  | { readonly kind: "keep" }
  | { readonly kind: "put"; readonly value: string | Uint8Array; readonly expiryMs: number }
  | { readonly kind: "remove" };

export const KEEP: Effect = { kind: "keep" };
export const REMOVE: Effect = { kind: "remove" };

/** `peek` cannot tell without the disk, a peer, or an operation that is still under way. */
export const NOT_IN_MEMORY: unique symbol = Symbol("not in memory");

/** The operation was begun, and its sink will be told how it ends. */
export const STARTED: unique symbol = Symbol("started");

/** Is told how an operation that was started ended: one of the two, once, in a later turn of the loop or the same, never within the call. */
export interface Sink<Result> {
  onResult(result: Result): void;
  onFailure(error: unknown): void;
}

/** For writes whose outcome nobody waits for: the client was answered, or is by what comes before. */
export const NOBODY: Sink<void> = { onResult: () => undefined, onFailure: () => undefined };

/**
 * The right to run operations on some keys while nobody else may. The holder's operations on one key keep their order; on
 * keys that the hold does not cover they take their turn like anybody's.
 */
export interface Hold {
  /** The data keys that are held. */
  readonly dataKeys: ReadonlySet<string>;
  release(): void;
}

/** A sibling as SIBLINGS shows it. */
export interface Sibling {
  /** Null for a tombstone or an expired value. Latin1. */
  readonly value: string | null;
  /** Readable context of this version, `node-a:3 node-b:1`. */
  readonly clock: string;
  readonly stampMs: number;
  /** The version's own event, `node-a:3`. */
  readonly dot: string;
}

export interface Siblings {
  /** Opaque, printable; goes back with `putWithContext`. */
  readonly context: string;
  /** Newest first, at least one. */
  readonly versions: readonly Sibling[];
}

export interface KeyPage {
  /** Latin1 keys. */
  readonly keys: readonly string[];
  /** Where the next page starts; 0n at the end. */
  readonly cursor: bigint;
}

/**
 * Errors of every method: `OperatingError` with code IO (the disk refused), BUSY (a queue is full), TIMEOUT (it has not
 * taken effect and will not), ARGUMENT (pair too large: `max-pair-bytes`; siblings-max; a context of another key), or
 * CONFLICT (siblings, where the scope asks for it: reads and read-modify-writes only). `try...` forms throw them, promises
 * reject with them. Keys may change when a call has returned; values of the asynchronous forms when it has settled.
 */
export interface Keyspace {
  /**
   * These keys are asked for next, by these objects and in this order: a hint, after which nothing is different but how long
   * memory is waited for. The keys must not change before the next call; without keys that is over.
   */
  prefetch(scope: Scope, keys: readonly Uint8Array[]): void;
  peek(scope: Scope, key: Uint8Array): Entry | null | typeof NOT_IN_MEMORY;
  /** As `peek`, but asks peers where that is what it takes, without a promise. NOT_IN_MEMORY: use `read`. */
  startRead(scope: Scope, key: Uint8Array, sink: Sink<Entry | null>): Entry | null | typeof STARTED | typeof NOT_IN_MEMORY;
  read(scope: Scope, key: Uint8Array): Promise<Entry | null>;

  /** Throws ARGUMENT when the pair is larger than may be stored: for commands that store all of their pairs or none. */
  checkPair(key: Uint8Array, value: { readonly length: number }): void;

  /** A plain SET: supersedes whatever is there. False: not done, use `put`. `expiryMs` 0 means never. */
  tryPut(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): boolean;
  /** As `tryPut`, and asks peers where that is what it takes. `later`: nothing was done, use `put`. */
  startPut(
    scope: Scope,
    key: Uint8Array,
    value: Uint8Array,
    expiryMs: number,
    sink: Sink<void>,
  ): "done" | typeof STARTED | "later";
  put(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number): Promise<void>;

  /** DEL: supersedes whatever is there. Was there a live value? `tryRemove` NOT_IN_MEMORY: not done, use `remove`. */
  tryRemove(scope: Scope, key: Uint8Array): boolean | typeof NOT_IN_MEMORY;
  remove(scope: Scope, key: Uint8Array): Promise<boolean>;

  /**
   * Read-modify-write: calls `decide` once with the live entry and applies its effect, which supersedes that entry's version
   * and leaves its siblings. False: `decide` was not called.
   */
  tryUpdate(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): boolean;
  update(scope: Scope, key: Uint8Array, decide: (entry: Entry | null) => Effect): Promise<void>;

  /** The same for several keys as one step on this node (RENAME, COPY, MSETNX); effects in the order of the keys. */
  updateMany(
    scopes: readonly Scope[],
    keys: readonly Uint8Array[],
    decide: (entries: readonly (Entry | null)[]) => readonly Effect[],
  ): Promise<void>;

  /** SIBLINGS k: null where the key never existed. */
  siblings(scope: Scope, key: Uint8Array): Promise<Siblings | null>;
  /** SET k v CONTEXT c: supersedes exactly what the context covers. */
  putWithContext(scope: Scope, key: Uint8Array, value: Uint8Array, expiryMs: number, context: string): Promise<void>;

  /** Two of a key are equal only if it did not change in between, and nearly always then: WATCH compares them. */
  fingerprint(scope: Scope, key: Uint8Array): Promise<string>;
  /**
   * Waits until nobody else works on these keys (a scope for each: they may be of several databases), then keeps others
   * waiting until released: EXEC. Whoever holds keys has no other hold: two could wait for each other.
   */
  hold(scopes: readonly Scope[], keys: readonly Uint8Array[]): Promise<Hold>;

  /** The keys among the next `count` or more records; all keys that stay throughout appear in some page. */
  scan(scope: Scope, cursor: bigint, count: number): Promise<KeyPage>;
  /** A random live key, or null when there is none. */
  randomKey(scope: Scope): Promise<string | null>;
  /** Keys of the database, of all nodes, expired ones that are not yet removed included. NOT_IN_MEMORY: use `readTotal`. */
  peekTotal(scope: Scope): number | typeof NOT_IN_MEMORY;
  readTotal(scope: Scope): Promise<number>;
  /** Keys of which this node keeps a copy, expired ones that are not yet removed included. */
  size(database: number): number;
  /** Those of them with an expiry. */
  expiringSize(database: number): number;
  /** Of all nodes, as `readTotal`. */
  countKeysInSlot(scope: Scope, slot: number): Promise<number>;
  keysInSlot(scope: Scope, slot: number, count: number): Promise<readonly string[]>;
  /**
   * Resolves when what the `try...` forms have changed so far is in the log; rejects with IO when it was refused and taken
   * back. For whoever answers in a later turn: the asynchronous forms wait for it themselves.
   */
  committed(): Promise<void>;

  /** Removes all keys of the scope's database, or of all. */
  flush(scope: Scope, what: "database" | "all"): Promise<void>;
}

/** What a keyspace does that never asks anybody else. */
export type LocalOperations = Omit<Keyspace, "startRead" | "startPut">;
