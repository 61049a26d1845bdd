/**
 * What a replica holds for one key: a dotted version vector set (Preguiça, Baquero, Almeida, Fonte, Gonçalves 2012,
 * "Dotted version vectors"). One context says what was ever seen of the key; the versions are the writes that nothing seen
 * supersedes. Invariants: the context covers every version's dot; dots differ; versions stand newest first.
 *
 * Two records of a key hold the same dot only as the same write, so `merge` commutes, associates and is idempotent, down
 * to the encoded bytes. Policy (how many siblings may be, who may mint) is the coordinator's.
 */
import { assert, unreachable } from "../assert.js";
import { hash32 } from "../bytes/hash.js";
import { writeLatin1 } from "../bytes/latin1.js";
import { varintLength, writeVarint } from "../bytes/varint.js";
import { ACTOR_BYTES, type Dot } from "./actor.js";
import { corruptRecord } from "./record-format.js";
import { VersionVector } from "./version-vector.js";

export interface Version {
  readonly dot: Dot;
  /** Hybrid clock stamp. */
  readonly stamp: number;
  /** Unix time in milliseconds at which it becomes a tombstone; 0 when it does not. */
  readonly expiryMs: number;
  /** An expired string becomes a tombstone, with its expiry, when the reaper has seen to it. */
  readonly type: "string" | "tombstone";
  /** Null for a tombstone, and where compaction dropped the value of an expired version. */
  readonly value: Uint8Array | null;
  /** Latin1, not empty: the id of the forwarded request that wrote it, or null. */
  readonly writeId: string | null;
  /** Fields of later formats, kept verbatim; tags ascend. */
  readonly fields: readonly Field[];
}

export interface Field {
  /** 0 to 2^53 - 1. */
  readonly tag: number;
  readonly bytes: Uint8Array;
}

export interface Record {
  readonly context: VersionVector;
  /** Newest first by (stamp, actor, sequence); at least one. */
  readonly versions: readonly Version[];
}

/** 64 bits as two unsigned integers. */
export interface RecordHash {
  readonly high: number;
  readonly low: number;
}

/** What a new version supersedes. */
export type Covered =
  /** A plain write: all that the record holds, and all that was shown to the client (`seen`, a context of this key). */
  | { readonly kind: "all"; readonly seen: VersionVector }
  /** A write with a context of this key: what that context covers. */
  | { readonly kind: "context"; readonly context: VersionVector }
  /** A read-modify-write: the one version that it was computed from. */
  | { readonly kind: "version"; readonly dot: Dot };

/** A plain write of a client that was shown nothing. */
export const COVERS_ALL: Covered = { kind: "all", seen: VersionVector.EMPTY };

export const NO_FIELDS: readonly Field[] = [];

/** Seeds of `hashOf`; part of what replicas compare, so they never change. */
const HASH_SEED_HIGH = 0x6b696e64;
const HASH_SEED_LOW = 0x72656421;

/**
 * What both sides know together: a version survives when both hold it, or when the side that lacks it has never seen it.
 * Returns `a` itself (else `b` itself) where that side had it all already. Throws CORRUPT for two that no writes bring about.
 */
export function merge(a: Record, b: Record): Record {
  const context = a.context.join(b.context);
  const versions: Version[] = [];
  let left = 0;
  let right = 0;
  // Both lists have the same order and a dot has one stamp, so one pass meets equal dots together.
  while (left < a.versions.length || right < b.versions.length) {
    const mine = a.versions[left];
    const theirs = b.versions[right];
    const order = mine === undefined ? 1 : theirs === undefined ? -1 : newestFirst(mine, theirs);
    if (order < 0) {
      if (!b.context.covers(mine!.dot)) versions.push(mine!);
      left++;
    } else if (order > 0) {
      if (!a.context.covers(theirs!.dot)) versions.push(theirs!);
      right++;
    } else {
      versions.push(fuller(mine!, theirs!));
      left++;
      right++;
    }
  }
  if (versions.length === 0) throw corruptRecord("it and another of its key supersede each other: a dot was given twice");
  if (context === a.context && isSameList(versions, a.versions)) return a;
  if (b.context.dominates(context) && isSameList(versions, b.versions)) return b;
  return { context, versions };
}

/**
 * The record after a write: what `covered` names goes, the rest stays as siblings of the new version. Copies of one
 * forwarded write go together. Contexts join: each is a read of this key, so what it claims of the key stays true.
 * REQUIRES a dot that nothing joined here covers: sequences are never reused (`record` null: the key has none).
 */
export function supersede(record: Record | null, covered: Covered, version: Version): Record {
  const held = record === null ? VersionVector.EMPTY : record.context;
  const seen = covered.kind === "all" ? covered.seen : covered.kind === "context" ? covered.context : VersionVector.EMPTY;
  const before = held.join(seen);
  assert(!before.covers(version.dot), "record: a new version's dot was never seen");
  const siblings = record === null ? [] : remaining(record.versions, covered);
  return { context: before.with(version.dot), versions: [...siblings, version].sort(newestFirst) };
}

/** The version that GET answers: the highest by (stamp, actor, sequence), the same on every node. May be a tombstone. */
export function newest(record: Record): Version {
  return record.versions[0]!;
}

/** True from the millisecond `expiryMs` on. The answering node alone judges, once, by its own wall clock. */
export function isExpired(version: Version, nowMs: number): boolean {
  return version.expiryMs !== 0 && version.expiryMs <= nowMs;
}

/** True when the version has a value to show; an expired one is a tombstone. */
export function isLive(version: Version, nowMs: number): boolean {
  return version.value !== null && !isExpired(version, nowMs);
}

/** The record with its expired versions as the tombstones that they are, values dropped; the record itself where there are none. */
export function buryExpired(record: Record, nowMs: number): Record {
  const isDue = (version: Version): boolean => version.type !== "tombstone" && isExpired(version, nowMs);
  if (!record.versions.some(isDue)) return record;
  const versions = record.versions.map(
    (version): Version => (isDue(version) ? { ...version, type: "tombstone", value: null } : version),
  );
  return { context: record.context, versions };
}

/** The newest stamp of the versions that `context` has not seen; 0 when it has seen them all. */
export function uncoveredStamp(record: Record, context: VersionVector): number {
  return record.versions.find(({ dot }) => !context.covers(dot))?.stamp ?? 0;
}

/** The versions as they are shown and counted, newest first: of the copies of one forwarded write only the newest. */
export function distinctVersions(record: Record): readonly Version[] {
  if (record.versions.length === 1) return record.versions;
  const ids = new Set<string>();
  return record.versions.filter((version) => {
    if (version.writeId === null) return true;
    const isFirst = !ids.has(version.writeId);
    ids.add(version.writeId);
    return isFirst;
  });
}

/**
 * What one version had seen, itself included, for people to read. A record keeps one context for all its versions, so with
 * siblings this is an estimate: of its own actor up to itself, of a sibling's actor up to just before that sibling, of
 * others all. It lacks only what the version saw of an actor past a sibling of that actor: no vector can say that.
 */
export function clockOf(record: Record, version: Version): VersionVector {
  const entries: Dot[] = [];
  for (const { actor, sequence } of record.context.entries) {
    let last = actor === version.dot.actor ? version.dot.sequence : sequence;
    for (const { dot } of record.versions) {
      if (dot.actor === actor && dot.actor !== version.dot.actor) last = Math.min(last, dot.sequence - 1);
    }
    if (last > 0) entries.push({ actor, sequence: last });
  }
  return VersionVector.ofSorted(entries);
}

/**
 * Equal on replicas that have seen the same: over the context and the dots of the versions. Never over values or expiry,
 * which may differ (a dropped value) without anything to repair.
 */
export function hashOf(record: Record): RecordHash {
  const dots = record.versions.map((version) => version.dot).sort(byActor);
  const entries = [...record.context.entries, ...dots];
  let length = varintLength(dots.length);
  for (const { sequence } of entries) length += ACTOR_BYTES + varintLength(sequence);
  const bytes = Buffer.allocUnsafe(length);
  let at = writeVarint(bytes, 0, dots.length);
  for (const { actor, sequence } of entries) at = writeVarint(bytes, writeLatin1(bytes, at, actor), sequence);
  assert(at === length, "record: hashed bytes as measured");
  return { high: hash32(bytes, 0, length, HASH_SEED_HIGH), low: hash32(bytes, 0, length, HASH_SEED_LOW) };
}

/** The one order of versions: by stamp, actor and sequence, all falling. Negative when `a` stands before `b`. */
export function newestFirst(a: Version, b: Version): number {
  if (a.stamp !== b.stamp) return b.stamp - a.stamp;
  return -byActor(a.dot, b.dot);
}

function byActor(a: Dot, b: Dot): number {
  if (a.actor !== b.actor) return a.actor < b.actor ? -1 : 1;
  return a.sequence - b.sequence;
}

/**
 * Copies of one write differ only where the value of an expired one was dropped: by compaction, or by the reaper, which makes a
 * tombstone of it. Keeping the value wins, so that no fast clock destroys it; after that the reaper's word does.
 */
function fuller(a: Version, b: Version): Version {
  return fullnessOf(b) > fullnessOf(a) ? b : a;
}

function fullnessOf(version: Version): number {
  return version.value !== null ? 2 : version.type === "tombstone" ? 1 : 0;
}

function isSameList(a: readonly Version[], b: readonly Version[]): boolean {
  return a.length === b.length && a.every((version, at) => version === b[at]);
}

function remaining(versions: readonly Version[], covered: Covered): readonly Version[] {
  if (covered.kind === "all") return [];
  const isNamed = (version: Version): boolean => {
    switch (covered.kind) {
      case "context":
        return covered.context.covers(version.dot);
      case "version":
        return covered.dot.actor === version.dot.actor && covered.dot.sequence === version.dot.sequence;
      default:
        return unreachable(covered);
    }
  };
  const ids = new Set(versions.filter(isNamed).map((version) => version.writeId));
  return versions.filter((version) => !isNamed(version) && (version.writeId === null || !ids.has(version.writeId)));
}
