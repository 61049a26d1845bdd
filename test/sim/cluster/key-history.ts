/**
 * What is known of the writes of one key, and the relations between them that all checkers share. Pure.
 *
 * A *place* is what keeps a record of the key: a node's own copy, or a hint that a node keeps for another.
 */
import type { Dot } from "../../../lib/causality/actor.js";
import { hashOf, merge, type Record } from "../../../lib/causality/record.js";
import { decodeRecord } from "../../../lib/causality/record-encoding.js";
import type { MemberId } from "../../../lib/cluster/member.js";
import { DATA_PREFIX, databaseOfDataKey } from "../../../lib/replica/data-key.js";
import type { Moment } from "./history.js";
import type { FoundHint } from "./store-watch.js";

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
  /** Nodes whose disks have lost it with what was not synced: they answer, and do not know of it. */
  readonly lostAt: Set<number>;
  /** Nodes that knew of it and are gone for good, until others have made up for them. */
  readonly goneWith: Set<number>;
  /** By node: since when it has known of it. */
  readonly reached: Map<number, number>;
  /** By member: since when somebody has known of it in its place. */
  readonly stoodIn: Map<MemberId, number>;
  /** The last place that knew of it has lost it so. */
  isGone: boolean;
}

export interface KeyHistory {
  readonly key: string;
  readonly writes: Write[];
  readonly byDot: Map<string, Write>;
  /** What each node's store holds. */
  readonly records: (Record | null)[];
  /** What each node keeps for others, by the others' ids. */
  readonly hints: Map<MemberId, Record>[];
  /** What each node has removed for good: the removals. */
  readonly buried: Set<Write>[];
  /** What has left records, or their contexts, because all agreed that nothing of it is anywhere. */
  readonly settled: Set<Write>;
}

/** A start found `after` where the node had held `before`. */
export function noteLosses(history: KeyHistory, node: number, before: NodeContents, after: NodeContents): void {
  for (const write of history.writes) {
    if (isKnownTo(before, write) && !isKnownTo(after, write)) write.lostAt.add(node);
    if (write.dot !== null || write.node !== node || after.record === null) continue;
    // A removal is lost when something of what it removed is back; what came after that, and was removed too, is gone.
    if (!after.record.versions.some(({ dot }) => hasSeen(write, writeOf(history, dot)!))) continue;
    write.lostAt.add(node);
    history.buried[node]!.delete(write);
    for (const one of write.past) if (!covers(after.record, one)) one.lostAt.add(node);
  }
}

/** Notes which of the writes that nodes have lost are known nowhere any more: those that are `gone` do not count. */
export function noteGone(history: KeyHistory, gone: ReadonlySet<number>): void {
  for (const write of history.writes) {
    if (write.lostAt.size + write.goneWith.size === 0 || write.isGone) continue;
    write.isGone = !history.records.some((_, at) => !gone.has(at) && knows(history, at, write));
  }
}

/** The node holds it, keeps it for others, or has removed it. */
export function knows(history: KeyHistory, node: number, write: Write): boolean {
  return isBuried(history, node, write) || isKnownTo(contentsOf(history, node), write);
}

/** All that is noted of one node is from now on of another number: that one had another disk. */
export function renameNode(history: KeyHistory, from: number, to: number): void {
  for (const { reached, lostAt, goneWith } of history.writes) {
    for (const set of [lostAt, goneWith]) if (set.delete(from)) set.add(to);
    const order = reached.get(from);
    if (order === undefined) continue;
    reached.delete(from);
    reached.set(to, order);
  }
}

/** What a node has of one key: its own copy, and what it keeps for others. */
export interface NodeContents {
  readonly record: Record | null;
  readonly hints: ReadonlyMap<MemberId, Record>;
}

export function contentsOf(history: KeyHistory, node: number): NodeContents {
  return { record: history.records[node] ?? null, hints: history.hints[node]! };
}

/** All that the node keeps for others, side by side: what it keeps for one may have superseded what it keeps for another. */
export function hintedBy(history: KeyHistory, node: number): Record | null {
  const all = [...history.hints[node]!.values()];
  const [first, ...more] = all;
  if (first === undefined) return null;
  return { ...more.reduce(merge, first), versions: all.flatMap(({ versions }) => versions) };
}

function isKnownTo({ record, hints }: NodeContents, write: Write): boolean {
  return covers(record, write) || [...hints.values()].some((hint) => covers(hint, write));
}

export function covers(record: Record | null, { dot }: Write): boolean {
  return dot !== null && record?.context.covers(dot) === true;
}

/** What the record covers and does not hold, and no other write that it covers has superseded; newest first. */
export function unexplained(history: KeyHistory, record: Record): Write[] {
  const known = covered(history, record).reverse();
  const isExplained = (one: Write): boolean => history.settled.has(one) || known.some((other) => hasSeen(other, one));
  return known.filter((one) => !holds(record, one.dot!) && !isExplained(one));
}

export function covered(history: KeyHistory, record: Record): Write[] {
  return history.writes.filter(({ dot }) => dot !== null && record.context.covers(dot));
}

/** What a new write comes after. */
export interface Seen {
  readonly past: Set<Write>;
  readonly removals: Set<Write>;
}

export function addTo(seen: Seen, write: Write): void {
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
  if (history.settled.has(write)) return true;
  const removals = history.buried[node]!;
  return removals.has(write) || [...removals].some(({ past }) => past.has(write));
}

export function holds(record: Record, dot: Dot): boolean {
  return record.versions.some((version) => version.dot.sequence === dot.sequence && version.dot.actor === dot.actor);
}

export function writeOf(history: KeyHistory, dot: Dot): Write | null {
  return history.byDot.get(dotKey(dot)) ?? null;
}

export function dotKey(dot: Dot): string {
  return `${dot.actor}${dot.sequence}`;
}

export function digestOf(record: Record | null): string {
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

/** By target, of each key. */
export function hintsByKey(hints: readonly FoundHint[]): Map<string, Map<MemberId, Record>> {
  const byKey = new Map<string, Map<MemberId, Record>>();
  for (const { target, dataKey, record } of hints) {
    if (record === null) continue;
    const key = keyOf(dataKey);
    const ofKey = byKey.get(key) ?? new Map<MemberId, Record>();
    ofKey.set(target, decodeRecord(record));
    byKey.set(key, ofKey);
  }
  return byKey;
}
