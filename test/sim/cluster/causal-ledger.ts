/**
 * The full causal history of every key, kept beside the nodes: which write superseded which, as exact sets instead of the
 * vectors that the nodes keep. It sees every record that any store writes, when it writes it, and holds each against the
 * history (the reference of "siblings are exactly the concurrent writes"):
 *
 * - what a record's context covers is among its versions, or was superseded by a write that the context covers too;
 * - no version of a record was superseded by such a write;
 * - a SET .. CONTEXT supersedes what its client was shown, no more and no less; a plain SET all that its coordinator holds;
 * - a store claims no dot of its own that it does not hold or has not superseded (the kv679 family);
 * - one client's write is not there twice as siblings; a live record is removed only for somebody who asked.
 *
 * A broken rule throws a `Violation` at the very step that breaks it.
 */
import type { Dot } from "../../../lib/causality/actor.js";
import { storeIdOf } from "../../../lib/causality/actor.js";
import { hashOf, type Record, type Version } from "../../../lib/causality/record.js";
import { decodeRecord } from "../../../lib/causality/record-encoding.js";
import type { VersionVector } from "../../../lib/causality/version-vector.js";
import { DATA_PREFIX, databaseOfDataKey } from "../../../lib/replica/data-key.js";
import type { History, Moment, OperationName } from "./history.js";

/** A promise was broken. */
export class Violation extends Error {
  override readonly name = "Violation";
  /** The key that it is about, or null. */
  readonly key: string | null;

  constructor(key: string | null, message: string) {
    super(key === null ? message : `${key}: ${message}`);
    this.key = key;
  }
}

/** One version that some store minted, or the removal of a record where nothing stays of it. */
export interface Write {
  readonly index: number;
  /** Null for a removal. */
  readonly dot: Dot | null;
  /** The store that had it first. */
  readonly node: number;
  readonly at: Moment;
  readonly stamp: number;
  /** Latin1; null for tombstones and removals. */
  readonly value: string | null;
  readonly expiryMs: number;
  readonly writeId: string | null;
  /** The versions that it supersedes. */
  readonly past: Set<Write>;
  /** The removals that it comes after: each stands for what it removed, as long as no disk has lost it. */
  readonly removals: Set<Write>;
  /** Nodes whose disks have lost it with what was not synced. */
  readonly lostAt: Set<number>;
}

export interface KeyHistory {
  readonly key: string;
  readonly writes: Write[];
  readonly byDot: Map<string, Write>;
  /** What each node's store holds. */
  readonly records: (Record | null)[];
  /** What each node has removed for good: the removals. */
  readonly buried: Set<Write>[];
}

export interface LedgerOptions {
  readonly nodes: number;
  readonly history: History;
  readonly wallOf: (node: number) => number;
}

const REMOVERS: ReadonlySet<OperationName> = new Set<OperationName>(["del", "expire"]);

export class CausalLedger {
  readonly #options: LedgerOptions;
  readonly #keys = new Map<string, KeyHistory>();
  /** Which node mints for a store. */
  readonly #nodeOfStore = new Map<string, number>();
  /** What the client of each token had been shown. */
  readonly #shown = new Map<string, ReadonlySet<Write>>();
  /** Records held against the history, and writes seen. */
  records = 0;
  writes = 0;
  /** FLUSHDB and FLUSHALL may take any version away: what is left of records is not held against the history. */
  mayFlush = false;

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  get keys(): readonly string[] {
    return [...this.#keys.keys()];
  }

  ofKey(key: string): KeyHistory {
    let found = this.#keys.get(key);
    if (found === undefined) {
      const { nodes } = this.#options;
      found = {
        key,
        writes: [],
        byDot: new Map(),
        records: new Array<Record | null>(nodes).fill(null),
        buried: Array.from({ length: nodes }, () => new Set<Write>()),
      };
      this.#keys.set(key, found);
    }
    return found;
  }

  /** A node's store has written this record; borrowed. */
  stored(node: number, dataKey: string, bytes: Uint8Array): void {
    const history = this.ofKey(keyOf(dataKey));
    const record = decodeRecord(Buffer.from(bytes));
    const before = history.records[node] ?? null;
    history.records[node] = record;
    this.records++;
    // Oldest first: a write minted twice in one step is known when the second one is looked at.
    for (const version of [...record.versions].reverse()) {
      if (writeOf(history, version.dot) === null) this.#born({ history, node, record, before, version });
    }
    if (!this.mayFlush) this.#check(history, record);
  }

  /** A node's store has removed the record of a key. */
  removed(node: number, dataKey: string): void {
    const history = this.ofKey(keyOf(dataKey));
    const record = history.records[node] ?? null;
    if (record === null) return;
    history.records[node] = null;
    const wallMs = this.#options.wallOf(node);
    const isDead = record.versions.every(({ value, expiryMs }) => value === null || (expiryMs !== 0 && expiryMs <= wallMs));
    if (!isDead && !this.mayFlush && !this.#isRemovalAsked(history.key))
      throw new Violation(history.key, `node ${node} removed a live record that nobody asked it to remove`);
    const seen: Seen = { past: new Set(), removals: new Set(history.buried[node]) };
    for (const one of covered(history, record)) addTo(seen, one);
    const stamp = Number.POSITIVE_INFINITY;
    history.buried[node]!.add(this.#add(history, { dot: null, node, stamp, value: null, expiryMs: 0, ...seen }));
  }

  /** A node's store has dropped everything. */
  cleared(node: number): void {
    for (const history of this.#keys.values()) history.records[node] = null;
  }

  /** What a node's store holds at a start: what it held and does not hold now is lost there. */
  restarted(node: number, records: ReadonlyMap<string, Buffer>): void {
    const found = new Map([...records].map(([dataKey, bytes]) => [keyOf(dataKey), decodeRecord(bytes)]));
    for (const key of new Set([...this.#keys.keys(), ...found.keys()])) {
      const history = this.ofKey(key);
      const before = history.records[node] ?? null;
      const after = found.get(key) ?? null;
      noteLosses(history, node, before, after);
      history.records[node] = after;
      if (after === null) continue;
      for (const { dot } of after.versions)
        if (writeOf(history, dot) === null) throw new Violation(key, `node ${node} starts with a version that nobody wrote`);
      this.#check(history, after);
    }
  }

  /** A client was shown this context: it may hand it back. Returns the writes that it had seen. */
  show(key: string, token: string, context: VersionVector): ReadonlySet<Write> {
    const seen = new Set(this.ofKey(key).writes.filter(({ dot }) => dot !== null && context.covers(dot)));
    if (!this.#shown.has(token)) this.#shown.set(token, seen);
    return seen;
  }

  /** The versions minted for an operation's value: more than one where it was minted again. */
  writesOfValue(key: string, value: string): readonly Write[] {
    return this.ofKey(key).writes.filter((write) => write.value === value);
  }

  /** The first key of which its owners do not hold the same, or null. */
  differing(ownersOf: (key: string) => readonly number[]): string | null {
    for (const [key, { records }] of this.#keys) {
      const hashes = new Set(ownersOf(key).map((node) => digestOf(records[node] ?? null)));
      if (hashes.size > 1) return key;
    }
    return null;
  }

  /** The first key of which these records, by data key, are not what the node was seen to store; null when all are. */
  differenceFrom(node: number, records: ReadonlyMap<string, Buffer>): string | null {
    const found = new Map([...records].map(([dataKey, bytes]) => [keyOf(dataKey), decodeRecord(bytes)]));
    const keys = new Set([...this.#keys.keys(), ...found.keys()]);
    const isSame = (key: string): boolean =>
      digestOf(found.get(key) ?? null) === digestOf(this.#keys.get(key)?.records[node] ?? null);
    return [...keys].find((key) => !isSame(key)) ?? null;
  }

  #born(birth: Birth): void {
    const { history, node, record, before, version } = birth;
    const storeId = storeIdOf(version.dot.actor);
    const home = this.#nodeOfStore.get(storeId) ?? node;
    this.#nodeOfStore.set(storeId, home);
    const value = version.value === null ? null : Buffer.from(version.value).toString("latin1");
    const isFirst = value === null || this.writesOfValue(history.key, value).length === 0;
    const writer = value === null ? null : this.#options.history.writerOf(value);
    if (writer !== null && writer.key !== history.key)
      throw new Violation(history.key, `node ${node} stored ${value}, which was written to ${writer.key}`);
    const isHome = home === node;
    const seen: Seen = { past: new Set(), removals: new Set() };
    if (writer?.name === "set context" && isFirst) {
      const shown = this.#shown.get(writer.token!);
      if (shown === undefined) throw new Violation(history.key, `#${writer.id} used a context that nobody was shown`);
      // A vector also names what was removed before its record began anew: that is the removal's doing.
      const isRemoved = (one: Write): boolean =>
        [...shown].some(({ removals }) => [...removals].some(({ past }) => past.has(one)));
      for (const write of shown) if (!isRemoved(write)) addTo(seen, write);
      const kept = before?.versions.find(({ dot }) => holds(record, dot) && shown.has(writeOf(history, dot)!));
      if (kept !== undefined) throw new Violation(history.key, `#${writer.id} left a version that its context covers`);
    } else {
      for (const one of unexplained(history, record)) {
        // It comes after that, but as the removal is what took it away, not this.
        if (isHome && isBuried(history, node, one)) continue;
        if (isHome && one.dot!.actor === version.dot.actor && !(before !== null && holds(before, one.dot!))) {
          const text = `node ${node} claims its own earlier write ${describeWrite(one)}, which it does not hold`;
          throw new Violation(history.key, text);
        }
        addTo(seen, one);
      }
      if (writer?.name === "set" && isFirst && isHome && record.versions.length > 1)
        throw new Violation(history.key, `the plain SET #${writer.id} left siblings that its coordinator held`);
    }
    // Where a record was removed, the store's next version comes after all that was in it.
    if (isHome) for (const one of history.buried[node]!) addTo(seen, one);
    const { dot, stamp, expiryMs, writeId } = version;
    this.#add(history, { dot, node, stamp, value, expiryMs, writeId, ...seen });
  }

  #add(history: KeyHistory, write: Omit<Write, "index" | "at" | "lostAt" | "writeId"> & { writeId?: string | null }): Write {
    const at = this.#options.history.moment();
    const added: Write = { writeId: null, ...write, index: history.writes.length, at, lostAt: new Set() };
    history.writes.push(added);
    if (added.dot !== null) history.byDot.set(dotKey(added.dot), added);
    this.writes++;
    return added;
  }

  /** Holds a record against the history of its key. */
  #check(history: KeyHistory, record: Record): void {
    const { key } = history;
    const gone = unexplained(history, record)[0];
    if (gone !== undefined) throw new Violation(key, `${describeWrite(gone)} is gone, and nothing superseded it`);
    if (record.versions.length === 1 && history.writes.length === 1) return;
    const writes = record.versions.map(({ dot }) => writeOf(history, dot)!);
    const known = covered(history, record);
    for (const one of writes) {
      if (known.some((other) => supersedes(other, one) && !wasRemovedAndLost(history, other)))
        throw new Violation(key, `${describeWrite(one)} is there, though it was superseded`);
      const twin = writes.find((other) => other.index < one.index && this.#isSameWrite(one, other));
      if (twin !== undefined)
        throw new Violation(key, `${describeWrite(one)} and ${describeWrite(twin)} are one write, applied twice`);
    }
  }

  #isSameWrite(one: Write, other: Write): boolean {
    if (one.value === null || one.value !== other.value || one.expiryMs !== other.expiryMs) return false;
    // Copies that name one forwarded request are known to be one, and are shown as one.
    if (one.writeId !== null && one.writeId === other.writeId) return false;
    return this.#options.history.writerOf(one.value) !== null;
  }

  #isRemovalAsked(key: string): boolean {
    return this.#options.history
      .ofKey(key)
      .some(({ name, outcome }) => REMOVERS.has(name) && (outcome.kind === "pending" || outcome.kind === "unknown"));
  }
}

interface Birth {
  readonly history: KeyHistory;
  readonly node: number;
  readonly record: Record;
  readonly before: Record | null;
  readonly version: Version;
}

/** A start found `after` where the node had held `before`. */
function noteLosses(history: KeyHistory, node: number, before: Record | null, after: Record | null): void {
  const covers = (record: Record | null, { dot }: Write): boolean => dot !== null && record?.context.covers(dot) === true;
  for (const write of history.writes) {
    if (covers(before, write) && !covers(after, write)) write.lostAt.add(node);
    if (write.dot !== null || write.node !== node || after === null) continue;
    // A removal is lost when something of what it removed is back; what came after that, and was removed too, is gone.
    if (!after.versions.some(({ dot }) => hasSeen(write, writeOf(history, dot)!))) continue;
    write.lostAt.add(node);
    history.buried[node]!.delete(write);
    for (const one of write.past) if (!covers(after, one)) one.lostAt.add(node);
  }
}

/** What the record covers and does not hold, and no other write that it covers has superseded; newest first. */
function unexplained(history: KeyHistory, record: Record): Write[] {
  const known = covered(history, record).reverse();
  return known.filter((one) => !holds(record, one.dot!) && !known.some((other) => hasSeen(other, one)));
}

function covered(history: KeyHistory, record: Record): Write[] {
  return history.writes.filter(({ dot }) => dot !== null && record.context.covers(dot));
}

/** What a new write comes after. */
interface Seen {
  readonly past: Set<Write>;
  readonly removals: Set<Write>;
}

function addTo(seen: Seen, write: Write): void {
  (write.dot === null ? seen.removals : seen.past).add(write);
  for (const one of write.removals) seen.removals.add(one);
  // What a removal removed is superseded only as long as the removal is not lost.
  if (write.dot !== null) for (const one of write.past) seen.past.add(one);
}

/** Did `write` come after `other`, when it was minted? */
export function hasSeen(write: Write, other: Write): boolean {
  if (write.past.has(other) || write.removals.has(other)) return true;
  for (const removal of write.removals) if (removal.past.has(other)) return true;
  return false;
}

/** Must `other` be gone where `write` is known? What a removal took away may come back with a disk that lost the removal. */
export function supersedes(write: Write, other: Write): boolean {
  if (write.past.has(other)) return true;
  for (const removal of write.removals) {
    if (removal.lostAt.size === 0 && (removal === other || removal.past.has(other))) return true;
  }
  return false;
}

/**
 * A removal takes the context away with the record, so the next one begins without it. When a disk then loses the removal and
 * brings old versions back, contexts from after the removal do not name them, even where they name what had superseded
 * them: they stay, as siblings.
 */
export function wasRemovedAndLost(history: KeyHistory, write: Write): boolean {
  return history.writes.some(({ dot, past, lostAt }) => dot === null && lostAt.size > 0 && past.has(write));
}

/** Has a node removed this write, or is it a removal of the node? */
export function isBuried(history: KeyHistory, node: number, write: Write): boolean {
  const removals = history.buried[node]!;
  return removals.has(write) || [...removals].some(({ past }) => past.has(write));
}

function holds(record: Record, dot: Dot): boolean {
  return record.versions.some((version) => version.dot.sequence === dot.sequence && version.dot.actor === dot.actor);
}

function writeOf(history: KeyHistory, dot: Dot): Write | null {
  return history.byDot.get(dotKey(dot)) ?? null;
}

function dotKey(dot: Dot): string {
  return `${dot.actor}${dot.sequence}`;
}

function digestOf(record: Record | null): string {
  if (record === null) return "none";
  const { high, low } = hashOf(record);
  return `${high}.${low}`;
}

/** Data keys of database 0 are shown as clients know them. */
export function keyOf(dataKey: string): string {
  const database = databaseOfDataKey(dataKey);
  return `${database === 0 ? "" : `${database}/`}${dataKey.slice(DATA_PREFIX)}`;
}

export function describeWrite({ index, dot, node, at, value, writeId }: Write): string {
  const what = dot === null ? "a removal" : value === null ? "a tombstone" : value;
  const request = writeId === null ? "" : `, request ${Buffer.from(writeId, "latin1").toString("hex")}`;
  const sequence = dot === null ? "" : ` ${Buffer.from(dot.actor, "latin1").toString("hex").slice(0, 24)}:${dot.sequence}`;
  return `[${index}: ${what}${sequence}, node ${node} at ${at.ms.toFixed(1)}${request}]`;
}
