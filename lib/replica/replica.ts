/**
 * This node's copies: records by data key in the engine (stored-records.ts), and all that changes them. It mints (gives new
 * versions their dot and stamp), merges what comes from elsewhere, and stores; which quorum that takes is the coordinator's
 * business.
 *
 * Invariants: whoever reads a record, decides and mints does so in one synchronous step or inside the key's queue; a merge is
 * one synchronous step and takes no turn. Nothing is committed inside a step: what one step changes is in one batch.
 *
 * On a ring of one a tombstone has nobody to tell: a record without a live version is removed at once. From the first other
 * member on tombstones stay, and an expired version becomes one, with the same dot.
 */
import { assert } from "../assert.js";
import type { Actor } from "../causality/actor.js";
import type { HybridClock } from "../causality/hybrid-clock.js";
import {
  buryExpired,
  type Covered,
  distinctVersions,
  isLive,
  merge,
  newest,
  type Record,
  supersede,
  uncoveredStamp,
  type Version,
} from "../causality/record.js";
import { RecordComparison } from "../causality/record-compare.js";
import { decodeRecord, encodeRecord, LONG_CONTEXT_BYTES, writeIdOf } from "../causality/record-encoding.js";
import { isDead, type LiveStores, pruned } from "../causality/record-pruning.js";
import { RecordView } from "../causality/record-view.js";
import { RecordWriter } from "../causality/record-writer.js";
import type { VersionVector } from "../causality/version-vector.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Backlog, Lsm, ScanPage } from "../lsm/lsm.js";
import { type EncodedRecord, encodedRecordOf } from "./encoded-record.js";
import { Fence } from "./fence.js";
import type { Records } from "./fetch-watch.js";
import type { FlushContext } from "./flushes.js";
import type { KeyQueues } from "./key-queues.js";
import type { MetaStore } from "./meta-store.js";
import { RecentWrites } from "./recent-writes.js";
import {
  DEAD,
  type Footprint,
  footprintOf,
  footprintOfValue,
  footprintOfView,
  NO_FOOTPRINT,
  REPLICA_COUNTERS,
} from "./record-index.js";
import type { Uncovered } from "./replica-messages.js";
import type { StoreIdentity } from "./store-identity.js";
import { type Look, StoredRecords } from "./stored-records.js";

export { type Backlog, type EncodedRecord, type Look, REPLICA_COUNTERS, type Records, type ScanPage };

/** A version that was minted here. */
export interface MintedDot {
  readonly sequence: number;
  readonly stamp: number;
}

/** What a new version holds: a value, or null for a tombstone; `expiryMs` 0 for never. */
export interface NewValue {
  readonly value: Uint8Array | null;
  readonly expiryMs: number;
  /** Latin1, not empty: the id of the forwarded request that writes it. */
  readonly writeId?: string | null;
  /** Of whoever passed it on; default: of this node's clock. */
  readonly stamp?: number;
}

/** What became of a record from elsewhere. */
export interface MergeResult {
  readonly kind: "unchanged" | "stored";
  /** The newest stamp of the versions here that it has not seen; 0 when it has seen them all. */
  readonly uncoveredStamp: number;
}

/** The same for those who had to wait; `uncovered` null where what came has seen all that there is. */
export interface MergeReadResult {
  readonly kind: "unchanged" | "stored";
  readonly uncovered: Uncovered | null;
}

/** Until when a change may still be made. */
export interface Limit {
  readonly isPast: boolean;
  error(): OperatingError;
}

/** May change while the node runs. */
export interface ReplicaSettings {
  readonly siblingsMax: number;
}

export interface ReplicaOptions {
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly clock: Clock;
  readonly hybridClock: HybridClock;
  readonly identity: StoreIdentity;
  readonly queues: KeyQueues;
  readonly settings: ReplicaSettings;
}

export class Replica extends StoredRecords {
  readonly queues: KeyQueues;
  readonly #meta: MetaStore;
  readonly #clock: Clock;
  readonly #hybridClock: HybridClock;
  readonly #identity: StoreIdentity;
  readonly #settings: ReplicaSettings;
  readonly #writer = new RecordWriter();
  readonly #recent: RecentWrites;
  readonly #mint = { actor: "", sequence: 0, stamp: 0 };
  readonly #incoming = new RecordView();
  readonly #comparison: RecordComparison;
  readonly #merged = { kind: "unchanged" as MergeResult["kind"], uncoveredStamp: 0 };
  #keepsTombstones = false;
  /** Records from elsewhere that wait here for the disk, to be merged. */
  readonly merging = new Fence();
  /** Work that carries records from one member to another for no client: handover, comparison, transfer. */
  readonly carrying = new Fence();

  constructor(options: ReplicaOptions) {
    super(options.lsm);
    this.#meta = options.meta;
    this.#recent = new RecentWrites(options.lsm);
    this.#clock = options.clock;
    this.#hybridClock = options.hybridClock;
    this.#identity = options.identity;
    this.#comparison = new RecordComparison(options.identity.storeId);
    this.queues = options.queues;
    this.#settings = options.settings;
  }

  /** The actor that mints now. */
  get actor(): Actor {
    return this.#identity.actor;
  }

  /** True where what is removed leaves a tombstone: the ring has, or had, other members. */
  get keepsTombstones(): boolean {
    return this.#keepsTombstones;
  }

  /** From now on, and as long as the node runs, removals leave tombstones: somebody else may hold what they remove. */
  keepTombstones(): void {
    this.#keepsTombstones = true;
  }

  /**
   * Makes sure that the next `mints` versions have their sequences. Comes before the step that mints, because it may have
   * to commit what this turn has done so far. Throws IO.
   */
  reserve(mints: number): void {
    this.#identity.reserve(mints);
  }

  /** Goes on as a new actor: this store may not have seen all its own dots of some key. Blocks on one sync. Throws IO. */
  beginEpoch(): void {
    this.#identity.beginEpoch();
  }

  /** A stamp for something that another node is to mint. */
  nextStamp(): number {
    return this.#hybridClock.next(this.#clock.wallMs());
  }

  /** Takes notice of a stamp from elsewhere: what is minted from now on is newer, unless it is too far ahead. */
  observe(stamp: number): void {
    this.#hybridClock.observe(stamp, this.#clock.wallMs());
  }

  /**
   * Mints and stores a version that supersedes all of `old`: the record that was just peeked or viewed, or null where
   * there is none. REQUIRES `reserve`.
   */
  mintPlain(dataKey: string, old: RecordView | null, value: Uint8Array | string, expiryMs: number): void {
    assert(old === null || old === this.record, "replica: the old record is the one at hand");
    const nowMs = this.#clock.wallMs();
    const before = footprintOfView(old);
    const mint = this.#nextMint(nowMs);
    const oldBytes = old === null ? null : old.bytes;
    const oldStart = old === null ? 0 : old.start;
    const oldEnd = old === null ? 0 : old.end;
    const oldBodyBytes = old === null ? 0 : old.valueStart - old.bodyStart;
    const writer = this.#writer;
    if (typeof value === "string") writer.putString(mint, value, expiryMs, oldBytes, oldStart, oldEnd);
    else writer.putBytes(mint, value, expiryMs, oldBytes, oldStart, oldEnd);
    if (old === null || !old.isLive(nowMs)) this.noteAppearance(dataKey);
    const record = writer.view();
    // Its context has an entry more than the old one at most.
    const mayBeLong = old !== null && oldBodyBytes >= LONG_CONTEXT_BYTES;
    const after = mayBeLong ? this.#footprintOf(record) : footprintOfValue(expiryMs);
    this.put(dataKey, old, record, 0, record.length, before, after);
  }

  /**
   * Removes all of `old` (as for `mintPlain`) as DEL does: by a tombstone over it, or, where nobody else has it, for good.
   * Nothing is stored where there is no record. REQUIRES `reserve`.
   */
  mintRemoval(dataKey: string, old: RecordView | null): void {
    if (old === null) return;
    assert(old === this.record, "replica: the old record is the one at hand");
    if (!this.#keepsTombstones) return this.remove(dataKey);
    const before = footprintOfView(old);
    this.#writer.remove(this.#nextMint(this.#clock.wallMs()), old.bytes, old.start, old.end);
    const record = this.#writer.view();
    this.put(dataKey, old, record, 0, record.length, before, DEAD);
  }

  #footprintOf(record: Uint8Array): Footprint {
    this.#incoming.read(record, 0, record.length);
    return footprintOfView(this.#incoming);
  }

  /**
   * Mints and stores a version that supersedes what `covered` says of `old` (as for `mintPlain`); the rest stays as
   * siblings. A plain write of a client that was shown more than is held here covers `all`, with that as `seen`. Throws
   * ARGUMENT when that would make more siblings than `siblings-max`; nothing is stored then. REQUIRES `reserve`, and
   * `goBeyond` for a context that came from outside.
   */
  mint(dataKey: string, old: RecordView | null, covered: Covered, fresh: NewValue): void {
    const before = old === null ? null : decodeRecord(old.bytes, old.start, old.end);
    const nowMs = this.#clock.wallMs();
    this.#store(dataKey, old, before, this.#mintOver(before, covered, fresh, nowMs), nowMs);
  }

  /**
   * The same for a key that this node keeps no copy of: the record that results from `before`, not stored anywhere. REQUIRES
   * `reserve`, and an epoch in which this store has seen all its dots that `before` does not hold.
   */
  mintApart(before: Record | null, covered: Covered, fresh: NewValue): Record {
    return this.#mintOver(before, covered, fresh, this.#clock.wallMs());
  }

  #mintOver(before: Record | null, covered: Covered, fresh: NewValue, nowMs: number): Record {
    if (fresh.stamp !== undefined) this.#hybridClock.observe(fresh.stamp, nowMs);
    const { actor, sequence, stamp } = this.#nextMint(nowMs);
    this.#mint.stamp = fresh.stamp ?? stamp;
    // The clock starts anew with the process and the wall clock may have gone back: a later version is still the newest.
    if (before !== null) this.#mint.stamp = Math.max(this.#mint.stamp, newest(before).stamp + 1);
    const version: Version = {
      dot: { actor, sequence },
      stamp: this.#mint.stamp,
      expiryMs: fresh.expiryMs,
      type: fresh.value === null ? "tombstone" : "string",
      value: fresh.value,
      writeId: fresh.writeId ?? null,
      fields: [],
    };
    const after = supersede(before, covered, version);
    const siblings = distinctVersions(after).length;
    if (before !== null && siblings > this.#settings.siblingsMax && siblings > distinctVersions(before).length) {
      throw new OperatingError(
        "ARGUMENT",
        `the key has ${siblings - 1} siblings already; resolve them with SIBLINGS key RESOLVE context value (siblings-max ${this.#settings.siblingsMax})`,
      );
    }
    if (version.writeId !== null) this.#recent.note(version.writeId);
    return after;
  }

  /** The version that was minted last. */
  minted(): MintedDot {
    const { sequence, stamp } = this.#mint;
    return { sequence, stamp };
  }

  /**
   * Mints the version with this sequence once more, above what `seen` covers besides: others hold something newer that it did
   * not see. `records` has the key's record, gathered in this step. False when it is no longer among the versions here: a later
   * write sees to the rest. Throws IO.
   */
  mintAgain(dataKey: string, records: Records, sequence: number, seen: VersionVector): boolean {
    const { actor } = this.#identity;
    this.#identity.reserve(1);
    this.#identity.goBeyond(seen);
    const record = this.at(dataKey, records);
    if (record === null) return false;
    const before = decodeRecord(record.bytes, record.start, record.end);
    const version = before.versions.find(({ dot }) => dot.actor === actor && dot.sequence === sequence);
    if (version === undefined) return false;
    const { value, expiryMs, writeId } = version;
    this.mint(dataKey, record, { kind: "all", seen }, { value: value === null ? null : Buffer.from(value), expiryMs, writeId });
    return true;
  }

  /** True when this store has, or had lately, a version of this forwarded request; `old` is the record of its key. */
  hasWrite(writeId: string, old: RecordView | null): boolean {
    return this.standingOf(writeId, old) !== "unknown";
  }

  /** Whether the key's record `old` has a version of this forwarded request, or had one lately. */
  standingOf(writeId: string, old: RecordView | null): "held" | "superseded" | "unknown" {
    const versions = old === null ? [] : decodeRecord(old.bytes, old.start, old.end).versions;
    if (versions.some((version) => version.writeId === writeId)) return "held";
    return this.#recent.has(writeId) ? "superseded" : "unknown";
  }

  /**
   * Begins a new epoch when a client was shown dots of this store that it does not know to have given: it went back in
   * time. Comes before the step that mints, as `reserve` does, and throws IO like it.
   */
  goBeyond(context: VersionVector): void {
    this.#identity.goBeyond(context);
  }

  /** Mints and stores a version (a tombstone for null) over the newest of the record at hand, which has siblings. */
  mintOverNewest(dataKey: string, value: Uint8Array | string | null, expiryMs: number): void {
    const { record } = this;
    const dot = { actor: record.newestActor(), sequence: record.newestSequence() };
    const bytes = typeof value === "string" ? Buffer.from(value, "latin1") : value;
    this.mint(dataKey, record, { kind: "version", dot }, { value: bytes, expiryMs });
  }

  /**
   * Merges a record that comes from elsewhere (a local area in it is left out; the bytes are not the engine's) into `old` (as for
   * `mintPlain`), out of any turn; `nowMs` is the wall clock's. What the two came to is then at hand; the result is reused.
   *
   * Where what came has seen dots of this store that it does not know to have given, a new epoch begins first. Throws CORRUPT
   * (nothing is stored), or IO when the disk refuses the epoch (nothing is stored, and the next one tries again).
   */
  merge(dataKey: string, old: RecordView | null, record: EncodedRecord, nowMs: number): MergeResult {
    assert(old === null || old === this.record, "replica: the old record is the one at hand");
    // A record from elsewhere proves that there are others.
    this.#keepsTombstones = true;
    const incoming = this.#incoming;
    const { bytes, start, end } = record;
    incoming.read(bytes, start, end);
    if (this.flushes.mayConcern(dataKey, incoming)) {
      const whole = decodeRecord(bytes, start, end);
      const left = this.flushes.left(dataKey, whole);
      if (left === null) return this.#mergeNothing(old);
      if (left !== whole) return this.#mergeDecoded(dataKey, old, left, nowMs);
    }
    const standing = incoming.isExpired(nowMs) ? "apart" : this.#comparison.compare(old, incoming);
    if (standing === "apart") return this.#mergeDecoded(dataKey, old, decodeRecord(bytes, start, end), nowMs);
    const stamp = incoming.newestStamp();
    const { ownEpoch, ownSequence } = this.#comparison;
    if (ownEpoch > 0 && !this.#identity.hasGiven(ownEpoch, ownSequence)) {
      this.#ownRecord(old);
      this.#identity.beginEpoch(ownEpoch);
    }
    this.#hybridClock.observe(stamp, nowMs);
    const merged = this.#merged;
    merged.kind = standing === "ahead" ? "stored" : "unchanged";
    merged.uncoveredStamp = standing === "behind" && !this.#comparison.isSameVersion ? old!.newestStamp() : 0;
    if (standing !== "ahead") return merged;
    if (incoming.isLive(nowMs) && (old === null || !old.isLive(nowMs))) this.noteAppearance(dataKey);
    const writeId = writeIdOf(incoming);
    if (writeId !== null) this.#recent.note(writeId);
    this.putEncoded(dataKey, old, record, footprintOfView(old), footprintOfView(incoming));
    return merged;
  }

  /**
   * The same where memory says nothing of the record: reads it first. `bytes` may change when this has returned. Rejects with
   * what `limit` says once that is past (nothing was stored), with BUSY when as many wait already as may, with what `merge`
   * throws, and with IO or CORRUPT of the read. It waits for the disk as long as that takes: whoever must not wraps it.
   */
  async mergeRead(dataKey: string, bytes: Uint8Array, start: number, end: number, limit: Limit): Promise<MergeReadResult> {
    const { count } = this.merging;
    if (count >= this.queues.waitingMax) {
      throw new OperatingError("BUSY", `${count} records wait to be merged; try again (requests-queued-max)`);
    }
    const own = Buffer.from(bytes.subarray(start, end));
    return this.merging.during(() => this.#mergeFetched(dataKey, own, limit));
  }

  async #mergeFetched(dataKey: string, own: Buffer, limit: Limit): Promise<MergeReadResult> {
    const fetched: Records = new Map();
    let records: Records | null;
    while ((records = this.gather([dataKey], fetched)) === null) await this.fetch([dataKey], fetched);
    if (limit.isPast) throw limit.error();
    const old = this.at(dataKey, records);
    const { kind, uncoveredStamp: stamp } = this.merge(dataKey, old, encodedRecordOf(own), this.#clock.wallMs());
    return { kind, uncovered: stamp === 0 ? null : { stamp, context: this.contextAtHand() } };
  }

  /**
   * Makes tombstones of the expired versions of the record at hand; where nobody else has it, removes it when nothing else is
   * left of it. Returns whether a key has gone that counted until now.
   */
  reap(dataKey: string): boolean {
    const { record } = this;
    const nowMs = this.#clock.wallMs();
    if (record.versionCount === 1 && record.isLive(nowMs)) return false;
    const before = decodeRecord(record.bytes, record.start, record.end);
    if (this.#keepsTombstones) {
      const after = buryExpired(before, nowMs);
      if (after === before) return false;
      this.#store(dataKey, record, before, after, nowMs);
      return newest(after) !== newest(before);
    }
    if (before.versions.some((version) => isLive(version, nowMs))) return false;
    this.remove(dataKey);
    return true;
  }

  /**
   * Removes the record at hand, nothing but tombstones, or takes out of its context what no store counts on: for when all who
   * may know of anything older agree (agreed-reaping.ts).
   */
  reapAgreed(dataKey: string, live: LiveStores): "removed" | "pruned" | "kept" {
    const { record } = this;
    const before = decodeRecord(record.bytes, record.start, record.end);
    if (isDead(before)) {
      this.remove(dataKey);
      return "removed";
    }
    const after = pruned(before, live);
    if (after === before) return "kept";
    this.#store(dataKey, record, before, after, this.#clock.wallMs());
    return "pruned";
  }

  /**
   * Takes over what the members agree was flushed: it is dead from now on. Comes before anything more is minted: what this store
   * mints from now on was not flushed. Returns the databases in which there is more of it than before.
   */
  learnFlushes(contexts: readonly FlushContext[]): readonly number[] {
    const databases = this.flushes.learn(contexts);
    this.#identity.goAbove(this.flushes.highestOf(this.#identity.storeId));
    return databases;
  }

  /** The store, and the highest sequence that it has given out: 0 for none. */
  get lastSequence(): { readonly storeId: string; readonly sequence: number } {
    return { storeId: this.#identity.storeId, sequence: this.#identity.lastSequence };
  }

  /** True when nothing of the record in `bytes[start, end)` would be merged because all of it was flushed. Throws CORRUPT. */
  isFlushed(dataKey: string, bytes: Uint8Array, start: number, end: number): boolean {
    this.#incoming.read(bytes, start, end);
    if (!this.flushes.mayConcern(dataKey, this.#incoming)) return false;
    return this.flushes.left(dataKey, decodeRecord(bytes, start, end)) === null;
  }

  /** Removes all records at once. */
  clear(): void {
    this.#meta.clearOthers();
    this.digests.forgetAll();
    this.watch.noteChangeOfAll();
  }

  /** All of what came was flushed. */
  #mergeNothing(old: RecordView | null): MergeResult {
    const merged = this.#merged;
    merged.kind = "unchanged";
    merged.uncoveredStamp = old?.newestStamp() ?? 0;
    return merged;
  }

  #mergeDecoded(dataKey: string, old: RecordView | null, incoming: Record, nowMs: number): MergeResult {
    for (const { writeId } of incoming.versions) if (writeId !== null) this.#recent.note(writeId);
    this.#ownRecord(old);
    this.#identity.goBeyond(incoming.context);
    this.#hybridClock.observe(newest(incoming).stamp, nowMs);
    const before = old === null ? null : decodeRecord(old.bytes, old.start, old.end);
    // An expired version comes as what it is: its value would go with the reaper's next pass, and come back with the next merge.
    const fresh = buryExpired(incoming, nowMs);
    const after = before === null ? fresh : merge(before, fresh);
    const merged = this.#merged;
    merged.kind = after === before ? "unchanged" : "stored";
    merged.uncoveredStamp = uncoveredStamp(after, incoming.context);
    if (after !== before) this.#store(dataKey, old, before, after, nowMs);
    return merged;
  }

  /** Stores what `before`, which `old` shows (null: there was none), has become. */
  #store(dataKey: string, old: RecordView | null, before: Record | null, after: Record, nowMs: number): void {
    if (!this.#keepsTombstones && !after.versions.some((version) => isLive(version, nowMs))) {
      if (before !== null) this.remove(dataKey);
      return;
    }
    const bytes = encodeRecord(after);
    if (isLive(newest(after), nowMs) && (before === null || !isLive(newest(before), nowMs))) this.noteAppearance(dataKey);
    const left = before === null ? NO_FOOTPRINT : footprintOf(before);
    this.put(dataKey, old, bytes, 0, bytes.length, left, footprintOf(after));
  }

  #nextMint(nowMs: number): { actor: Actor; sequence: number; stamp: number } {
    const mint = this.#mint;
    mint.sequence = this.#identity.nextSequence();
    mint.actor = this.#identity.actor;
    mint.stamp = this.#hybridClock.next(nowMs);
    return mint;
  }

  /** Before something that may commit and with that give away the engine's buffers: `old` shows a copy from now on. */
  #ownRecord(old: RecordView | null): void {
    if (old !== null) this.view(this.copyAtHand());
  }
}
