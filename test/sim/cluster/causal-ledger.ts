/**
 * The full causal history of every key, kept beside the nodes: which write superseded which, as exact sets instead of the
 * vectors that the nodes keep. It sees every record that any store writes, when it writes it, and holds each against the
 * history (the reference of "siblings are exactly the concurrent writes"):
 *
 * - what a record's context covers is among its versions, or was superseded by a write that the context covers too;
 * - no version of a record was superseded by such a write;
 * - a SET .. CONTEXT supersedes what its client was shown, no more and no less; a plain SET all that its coordinator holds;
 * - a store claims no dot of its own that it does not hold or has not superseded (the kv679 family);
 * - a dot names one version of one key;
 * - one client's write is not there twice as siblings; a live record is removed only for somebody who asked, and where
 *   others may hold copies none is removed at all;
 * - a hint is a record like any other, and goes only once its target has what it holds.
 *
 * A broken rule throws a `Violation` at the very step that breaks it.
 */
import { type Dot, storeIdOf } from "../../../lib/causality/actor.js";
import type { Record, Version } from "../../../lib/causality/record.js";
import { decodeRecord } from "../../../lib/causality/record-encoding.js";
import type { VersionVector } from "../../../lib/causality/version-vector.js";
import type { MemberId } from "../../../lib/cluster/member.js";
import type { History, Operation, OperationName } from "./history.js";
import {
  addTo,
  contentsOf,
  covered,
  covers,
  describeWrite,
  digestOf,
  dotKey,
  hintedBy,
  hintsByKey,
  holds,
  isBuried,
  type KeyHistory,
  keyOf,
  knows,
  noteGone,
  noteLosses,
  renameNode,
  type Seen,
  supersedes,
  unexplained,
  Violation,
  type Write,
  wasRemovedAndLost,
  writeOf,
} from "./key-history.js";
import { howItWent, isLasting, settle } from "./settled-writes.js";
import type { StoreContents } from "./store-watch.js";

export interface LedgerOptions {
  readonly nodes: number;
  readonly history: History;
  readonly wallOf: (node: number) => number;
  /** Are all nodes one ring? Then tombstones stay. */
  readonly isCluster?: boolean;
  /** Of each key. */
  readonly copies?: number;
  /** When the deadline of a write that is passed on has passed for certain: virtual milliseconds. */
  readonly mustBeMadeBy?: (operation: Operation) => number;
}

const REMOVERS: ReadonlySet<OperationName> = new Set<OperationName>(["del", "expire"]);

export class CausalLedger {
  readonly #options: LedgerOptions;
  readonly #keys = new Map<string, KeyHistory>();
  /** Members come or go in this world. */
  mayMove = false;
  /** Nodes that are no members any more, or never come back as the members that they were. */
  readonly gone = new Set<number>();
  /** Nodes that were restored from a copy: they forget what was reaped since. */
  readonly restored = new Set<number>();
  /** A number for each disk that a node had before the one it has. */
  /** Members whose deaths are not made up for. */
  readonly #deaths = new Set<number>();
  #formerNodes = 0;
  /** A dot is given once, for all keys. */
  readonly #keyOfDot = new Map<string, string>();
  /** Which node mints for a store. */
  readonly #nodeOfStore = new Map<string, number>();
  /** What the client of each token had been shown. */
  readonly #shown = new Map<string, ReadonlySet<Write>>();
  /** Which node a member is; what it is not told of is not checked. */
  readonly nodeOfMember = new Map<MemberId, number>();
  /** What each node has marked: that a member lacks its record of a key. */
  readonly #marks: Set<string>[];
  /** Records held against the history, hints among them; hints alone; and writes seen. */
  records = 0;
  hints = 0;
  writes = 0;
  /** Tombstones that left a store because all agreed. */
  reaped = 0;
  /** FLUSHDB and FLUSHALL may take any version away: what is left of records is not held against the history. */
  mayFlush = false;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#marks = Array.from({ length: options.nodes }, () => new Set<string>());
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
        hints: Array.from({ length: nodes }, () => new Map<MemberId, Record>()),
        buried: Array.from({ length: nodes }, () => new Set<Write>()),
        settled: new Set(),
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
    // Merging never makes a context smaller.
    if (before !== null && !record.context.dominates(before.context)) {
      settle(history, node, { writes: covered(history, before).filter((one) => !covers(record, one)), gone: this.gone });
    }
    this.#take(history, node, record, before);
    const { order } = this.#options.history.moment();
    for (const write of covered(history, record)) noteFirst(write.reached, node, order);
  }

  /** A node's store keeps this record for a member; borrowed. */
  hinted(node: number, { dataKey, target }: HintPlace, bytes: Uint8Array): void {
    const history = this.ofKey(keyOf(dataKey));
    const record = decodeRecord(Buffer.from(bytes));
    const before = hintedBy(history, node);
    history.hints[node]!.set(target, record);
    this.hints++;
    this.#take(history, node, record, before);
    const { order } = this.#options.history.moment();
    for (const write of covered(history, record)) noteFirst(write.stoodIn, target, order);
  }

  /** A node's store keeps nothing for the member any more. */
  unhinted(node: number, { dataKey, target }: HintPlace): void {
    const history = this.ofKey(keyOf(dataKey));
    const record = history.hints[node]!.get(target);
    if (record === undefined) return;
    history.hints[node]!.delete(target);
    noteGone(history, this.gone);
    const home = this.nodeOfMember.get(target);
    if (home === undefined || this.mayFlush) return;
    if (this.gone.has(home)) return this.#requireElsewhere(history, node, record);
    const missing = covered(history, record).find(
      (one) => !covers(history.records[home] ?? null, one) && !one.lostAt.has(home) && !this.#isElsewhere(history, home, one),
    );
    if (missing !== undefined)
      throw new Violation(history.key, `node ${node} dropped its hint of ${describeWrite(missing)}, which node ${home} lacks`);
  }

  /** What was kept for one that is no member any more goes to others before it goes here. */
  #requireElsewhere(history: KeyHistory, node: number, record: Record): void {
    const missing = covered(history, record).find(
      (one) => !one.isGone && !history.records.some((_, at) => !this.gone.has(at) && knows(history, at, one)),
    );
    if (missing === undefined) return;
    throw new Violation(history.key, `node ${node} dropped its hint of ${describeWrite(missing)}, which nobody else knows of`);
  }

  /** Where slots change owners, what was kept for one that owns it no longer goes to those who do, or is kept for them. */
  #isElsewhere(history: KeyHistory, home: number, write: Write): boolean {
    if (!this.mayMove) return false;
    return history.records.some((_, at) => at !== home && !this.gone.has(at) && knows(history, at, write));
  }

  /** A node notes that a member lacks its record, or no longer. */
  marked(node: number, { dataKey, target }: HintPlace, isMarked: boolean): void {
    const marks = this.#marks[node]!;
    if (isMarked) marks.add(`${target} ${dataKey}`);
    else marks.delete(`${target} ${dataKey}`);
  }

  /** A node that keeps something for others, or null; with the key where it is a record. */
  get waitingHint(): { readonly node: number; readonly key: string | null } | null {
    for (const { key, hints } of this.#keys.values()) {
      const node = hints.findIndex(({ size }, at) => size > 0 && !this.gone.has(at));
      if (node >= 0) return { node, key };
    }
    const node = this.#marks.findIndex(({ size }, at) => size > 0 && !this.gone.has(at));
    return node < 0 ? null : { node, key: null };
  }

  #take(history: KeyHistory, node: number, record: Record, before: Record | null): void {
    this.records++;
    // Oldest first: a write minted twice in one step is known when the second one is looked at.
    for (const version of [...record.versions].reverse()) {
      const known = writeOf(history, version.dot);
      if (known === null) this.#born({ history, node, record, before, version });
      else if (known.stamp !== version.stamp)
        throw new Violation(history.key, `${describeWrite(known)} has the dot of another version`);
    }
    if (!this.mayFlush) this.#check(history, record);
  }

  /** A node's store has removed the record of a key. */
  removed(node: number, dataKey: string): void {
    const history = this.ofKey(keyOf(dataKey));
    const record = history.records[node] ?? null;
    if (record === null) return;
    history.records[node] = null;
    if (this.restored.has(node)) return this.#forgotten(history, node, record);
    const wallMs = this.#options.wallOf(node);
    const isDead = record.versions.every(({ value, expiryMs }) => value === null || (expiryMs !== 0 && expiryMs <= wallMs));
    if (this.#options.isCluster === true && !this.mayFlush) {
      // One that has died may have been asked before.
      const copies = Math.max(1, (this.#options.copies ?? 1) - this.#deaths.size);
      if (howItWent(history, node, record, { gone: this.gone, copies }) === "released") return;
      this.reaped++;
    }
    if (!isDead && !this.mayFlush && !this.#isRemovalAsked(history.key))
      throw new Violation(history.key, `node ${node} removed a live record that nobody asked it to remove`);
    const seen: Seen = { past: new Set(), removals: new Set(history.buried[node]) };
    for (const one of covered(history, record)) addTo(seen, one);
    this.#bury(history, node, seen);
  }

  /** A restored store forgets all that it holds of slots that others have reaped since it was copied: it has the rest of them again. */
  #forgotten(history: KeyHistory, node: number, record: Record): void {
    const isKept = (one: Write): boolean =>
      history.settled.has(one) || history.records.some((_, at) => at !== node && !this.gone.has(at) && knows(history, at, one));
    const lost = covered(history, record).find((one) => !one.isGone && one.lostAt.size === 0 && !isKept(one));
    if (lost !== undefined)
      throw new Violation(history.key, `node ${node} forgot ${describeWrite(lost)}, which nobody else has`);
  }

  #bury(history: KeyHistory, node: number, seen: Seen): void {
    const stamp = Number.POSITIVE_INFINITY;
    history.buried[node]!.add(this.#add(history, { dot: null, node, stamp, value: null, expiryMs: 0, ...seen }));
  }

  /** A node never comes back as the member that it was: nobody may count on what it knew. */
  died(node: number): void {
    this.gone.add(node);
    this.#deaths.add(node);
    for (const history of this.#keys.values()) {
      for (const write of history.writes) if (knows(history, node, write)) write.goneWith.add(node);
      noteGone(history, this.gone);
    }
  }

  /** The others have made up for a node that died: what none of them has lost has its copies again. */
  madeUpFor(node: number): void {
    this.#deaths.delete(node);
    for (const { writes } of this.#keys.values()) {
      for (const { isGone, lostAt, goneWith } of writes) if (!isGone && lostAt.size === 0) goneWith.delete(node);
    }
  }

  /** A node that is gone has an empty disk, and will be another member. */
  reborn(node: number): void {
    const former = -++this.#formerNodes;
    this.cleared(node);
    for (const history of this.#keys.values()) renameNode(history, node, former);
    for (const [member, home] of this.nodeOfMember) if (home === node) this.nodeOfMember.set(member, former);
    this.gone.delete(node);
    this.gone.add(former);
  }

  /** A node's store has dropped everything. */
  cleared(node: number): void {
    for (const history of this.#keys.values()) {
      history.records[node] = null;
      history.hints[node]!.clear();
    }
    this.#marks[node]!.clear();
  }

  /** What a node's store holds at a start: what it held and does not hold now is lost there. */
  restarted(node: number, contents: StoreContents): void {
    const found = new Map([...contents.records].map(([dataKey, bytes]) => [keyOf(dataKey), decodeRecord(bytes)]));
    const hinted = hintsByKey(contents.hints);
    for (const key of new Set([...this.#keys.keys(), ...found.keys(), ...hinted.keys()])) {
      const history = this.ofKey(key);
      const record = found.get(key) ?? null;
      const hints = hinted.get(key) ?? new Map<MemberId, Record>();
      const before = contentsOf(history, node);
      // What becomes of the disk of one that is gone is no loss: nobody counts on it.
      if (!this.gone.has(node)) noteLosses(history, node, before, { record, hints });
      history.records[node] = record;
      history.hints[node] = hints;
      noteGone(history, this.gone);
      for (const each of [record, ...hints.values()]) if (each !== null) this.#recheck(history, node, each);
    }
    this.#marks[node]!.clear();
    for (const { target, dataKey, record } of contents.hints)
      if (record === null) this.#marks[node]!.add(`${target} ${dataKey}`);
  }

  #recheck(history: KeyHistory, node: number, record: Record): void {
    for (const { dot } of record.versions) {
      if (writeOf(history, dot) === null)
        throw new Violation(history.key, `node ${node} starts with a version that nobody wrote`);
    }
    // What all have let go of may be in an old copy: it is forgotten before anybody hears of it.
    if (!this.restored.has(node)) this.#check(history, record);
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
    for (const [key, history] of this.#keys) {
      // What all have agreed to let go of leaves one after the other.
      const isGoing = (record: Record): boolean =>
        record.versions.every(({ dot }) => history.settled.has(writeOf(history, dot)!));
      const hashes = new Set(
        ownersOf(key).map((node) => {
          const record = history.records[node] ?? null;
          return digestOf(record === null || isGoing(record) ? null : record);
        }),
      );
      if (hashes.size > 1) return key;
    }
    return null;
  }

  /** The first key that one of these nodes holds though it does not own it; null when there is none. */
  foreign(nodes: readonly number[], ownersOf: (key: string) => readonly number[]): string | null {
    for (const [key, { records }] of this.#keys) {
      const owners = ownersOf(key);
      if (nodes.some((node) => !owners.includes(node) && (records[node] ?? null) !== null)) return key;
    }
    return null;
  }

  /** The first key of which these are not the records that the node was seen to store; null when all are. */
  differenceFrom(node: number, { records }: StoreContents): string | null {
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
    if (isHome && writer !== null && version.writeId !== null) this.#requireInTime(history, writer);
    const seen: Seen = { past: new Set(), removals: new Set() };
    if (writer?.name === "set context" && isFirst) {
      const shown = this.#shown.get(writer.token!);
      if (shown === undefined) throw new Violation(history.key, `#${writer.id} used a context that nobody was shown`);
      // A vector also names what was removed before its record began anew: that is the removal's doing.
      const isRemoved = (one: Write): boolean =>
        [...shown].some(({ removals }) => [...removals].some(({ past }) => past.has(one)));
      for (const write of shown) if (!isRemoved(write)) addTo(seen, write);
      for (const twin of unexplained(history, record)) if (isTwinOf(twin, shown)) addTo(seen, twin);
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

  /** Nobody makes a write that was passed on once its client was told that it took too long. */
  #requireInTime({ key }: KeyHistory, writer: Operation): void {
    // EXPIRE writes the value of another request again.
    if (this.#options.history.ofKey(key).some(({ name }) => name === "expire")) return;
    const byMs = this.#options.mustBeMadeBy?.(writer) ?? Number.POSITIVE_INFINITY;
    const { ms } = this.#options.history.moment();
    if (ms > byMs) throw new Violation(key, `#${writer.id} was passed on, and made after its deadline, at ${ms.toFixed(1)}`);
  }

  #add(
    history: KeyHistory,
    write: Omit<Write, "index" | "at" | "lostAt" | "goneWith" | "isGone" | "writeId" | "reached" | "stoodIn"> & {
      writeId?: string | null;
    },
  ): Write {
    const at = this.#options.history.moment();
    const added: Write = {
      writeId: null,
      ...write,
      index: history.writes.length,
      at,
      lostAt: new Set(),
      goneWith: new Set(),
      isGone: false,
      reached: new Map(),
      stoodIn: new Map(),
    };
    history.writes.push(added);
    if (added.dot !== null) this.#noteDot(history, added.dot, added);
    this.writes++;
    return added;
  }

  #noteDot({ key, byDot }: KeyHistory, dot: Dot, write: Write): void {
    const other = this.#keyOfDot.get(dotKey(dot));
    if (other !== undefined) throw new Violation(key, `${describeWrite(write)} has the dot of a version of ${other}`);
    this.#keyOfDot.set(dotKey(dot), key);
    byDot.set(dotKey(dot), write);
  }

  /** Holds a record against the history of its key. */
  #check(history: KeyHistory, record: Record): void {
    const { key } = history;
    const gone = unexplained(history, record)[0];
    if (gone !== undefined) throw new Violation(key, `${describeWrite(gone)} is gone, and nothing superseded it`);
    if (record.versions.length === 1 && history.writes.length === 1) return;
    const writes = record.versions.map(({ dot }) => writeOf(history, dot)!);
    const known = covered(history, record);
    const back = writes.find((one) => isLasting(one) && history.settled.has(one));
    if (back !== undefined) throw new Violation(key, `${describeWrite(back)} is back, though all had let go of it`);
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

/** Whose record of which key a hint is. */
export interface HintPlace {
  readonly dataKey: string;
  readonly target: MemberId;
}

/** Copies of one request are superseded as one: whoever was shown one of them has seen them all. */
function isTwinOf({ writeId, dot }: Write, shown: ReadonlySet<Write>): boolean {
  return writeId !== null && dot !== null && [...shown].some((write) => write.writeId === writeId);
}

function noteFirst<Place>(reached: Map<Place, number>, place: Place, order: number): void {
  if (!reached.has(place)) reached.set(place, order);
}
