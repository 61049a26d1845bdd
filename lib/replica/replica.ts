/**
 * This node's copies: records by data key in the engine, with what must change together with a record in the same atomic
 * batch: the live count of its slot, the index of expiries. It mints (gives new versions their dot and stamp) and stores;
 * which quorum that takes is the coordinator's business.
 *
 * Invariants: whoever reads a record, decides and stores does so in one synchronous step or inside the key's queue; the
 * expiry index holds exactly one entry for each distinct expiry of a record. Nothing is committed inside a step: what one
 * step changes is in one batch.
 *
 * On a ring of one a tombstone has nobody to tell: a record without a live version is removed at once.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import type { Actor } from "../causality/actor.js";
import type { HybridClock } from "../causality/hybrid-clock.js";
import { type Covered, distinctVersions, isLive, newest, type Record, supersede, type Version } from "../causality/record.js";
import { decodeRecord, encodeRecord } from "../causality/record-encoding.js";
import { RecordView } from "../causality/record-view.js";
import { RecordWriter } from "../causality/record-writer.js";
import type { VersionVector } from "../causality/version-vector.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Backlog, Lsm, ScanPage } from "../lsm/lsm.js";
import { Peek } from "../lsm/peek.js";
import { DATABASES, DataKeys, databaseOfDataKey, expiryKey, slotOfDataKey } from "./data-key.js";
import type { KeyQueues } from "./key-queues.js";
import type { MetaStore } from "./meta-store.js";
import type { StoreIdentity } from "./store-identity.js";

/** Slots of the ring times databases: the live counts; then one count of expiring keys a database. */
const LIVE_COUNTS = SLOTS * DATABASES;
/** Counters that the engine must be opened with. */
export const REPLICA_COUNTERS = LIVE_COUNTS + DATABASES;

/** Expiries from here on (the year 10889) are kept in the record only: nothing will come to collect them. */
const EXPIRY_INDEXED_MAX = 2 ** 48;

export type { Backlog, ScanPage };

/** What memory tells of a record: where it says `unread`, only the disk can tell. */
export type Look = "found" | "absent" | "unread";

/** Encoded records by data key; null where there is none. */
export type Records = Map<string, Buffer | null>;

/** What a new version holds: a value, or null for a tombstone; `expiryMs` 0 for never. */
export interface NewValue {
  readonly value: Uint8Array | null;
  readonly expiryMs: number;
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

export class Replica {
  /** The record found by the last `peek` or opened by the last `view`; valid until the next of either or the next await. */
  readonly record = new RecordView();
  readonly keys = new DataKeys();
  readonly queues: KeyQueues;
  readonly #lsm: Lsm;
  readonly #meta: MetaStore;
  readonly #clock: Clock;
  readonly #hybridClock: HybridClock;
  readonly #identity: StoreIdentity;
  readonly #settings: ReplicaSettings;
  readonly #writer = new RecordWriter();
  readonly #mint = { actor: "", sequence: 0, stamp: 0 };
  readonly #appearances = new Uint32Array(SLOTS);
  /** Where `record` starts in its bytes. */
  #recordStart = 0;

  constructor(options: ReplicaOptions) {
    this.#lsm = options.lsm;
    this.#meta = options.meta;
    this.#clock = options.clock;
    this.#hybridClock = options.hybridClock;
    this.#identity = options.identity;
    this.queues = options.queues;
    this.#settings = options.settings;
  }

  /** The actor that mints now. */
  get actor(): Actor {
    return this.#identity.actor;
  }

  /** Looks in memory. Where it is found, `record` shows it. */
  peek(dataKey: string): Look {
    const peeked = this.#lsm.peek(dataKey);
    if (peeked !== Peek.FOUND) return peeked === Peek.ABSENT ? "absent" : "unread";
    const { buffer, start, end } = this.#lsm.found;
    this.record.read(buffer, start, end);
    this.#recordStart = start;
    return "found";
  }

  /** The encoded record as of the call, or null. */
  read(dataKey: string): Promise<Buffer | null> {
    return this.#lsm.read(dataKey);
  }

  /** Reads those of the keys into `fetched` that memory says nothing of. REQUIRES the keys' turns. */
  async fetch(dataKeys: readonly string[], fetched: Records): Promise<void> {
    const unread = dataKeys.filter((dataKey) => !fetched.has(dataKey) && this.peek(dataKey) === "unread");
    await Promise.all(unread.map(async (dataKey) => fetched.set(dataKey, await this.#lsm.read(dataKey))));
  }

  /**
   * Copies of all these records at one instant, or null when some are neither in memory nor fetched: what was in memory may
   * have left it while others were fetched, so whoever fetches tries again. Valid for the synchronous step that follows.
   */
  gather(dataKeys: readonly string[], fetched: Records): Records | null {
    const gathered: Records = new Map();
    for (const dataKey of dataKeys) {
      const look = this.peek(dataKey);
      const fromDisk = fetched.get(dataKey);
      if (look === "unread" && fromDisk === undefined) return null;
      const bytes = look === "found" ? this.#copyAtHand() : look === "absent" ? null : fromDisk!;
      gathered.set(dataKey, bytes);
    }
    return gathered;
  }
  /** The gathered record of a key, or what an earlier change of this same step has made of it. */
  at(dataKey: string, gathered: Records): RecordView | null {
    switch (this.peek(dataKey)) {
      case "found":
        return this.record;
      case "absent":
        return null;
      default: {
        // A look-up of another key may have pushed it out of the cache, but then this step has not changed it.
        const bytes = gathered.get(dataKey);
        assert(bytes !== undefined, "replica: gathered before it is looked at");
        return this.view(bytes);
      }
    }
  }

  /** Shows bytes that `read` returned through `record`. */
  view(bytes: Buffer | null): RecordView | null {
    if (bytes === null) return null;
    this.record.read(bytes, 0, bytes.length);
    this.#recordStart = 0;
    return this.record;
  }

  /** May writes go on at once, a little later, or not before `room` resolves? */
  backlog(): Backlog {
    return this.#lsm.backlog();
  }

  /** Resolves when all changes so far are in the log. Rejects with IO when they were refused and taken back. */
  committed(): Promise<void> {
    return this.#lsm.committed();
  }

  room(): Promise<void> {
    return this.#lsm.room();
  }

  /**
   * Makes sure that the next `mints` versions have their sequences. Comes before the step that mints, because it may have
   * to commit what this turn has done so far. Throws IO.
   */
  reserve(mints: number): void {
    this.#identity.reserve(mints);
  }

  /**
   * Mints and stores a version that supersedes all of `old`: the record that was just peeked or viewed, or null where
   * there is none. REQUIRES `reserve`.
   */
  mintPlain(dataKey: string, old: RecordView | null, value: Uint8Array | string, expiryMs: number): void {
    assert(old === null || old === this.record, "replica: the old record is the one at hand");
    const mint = this.#mint;
    mint.sequence = this.#identity.nextSequence();
    mint.actor = this.#identity.actor;
    mint.stamp = this.#hybridClock.next(this.#clock.wallMs());
    const oldBytes = old === null ? null : old.bytes;
    const oldEnd = old === null ? 0 : old.end;
    const writer = this.#writer;
    if (typeof value === "string") writer.putString(mint, value, expiryMs, oldBytes, this.#recordStart, oldEnd);
    else writer.putBytes(mint, value, expiryMs, oldBytes, this.#recordStart, oldEnd);
    if (expiryMs !== 0 || (old !== null && (old.expiryMs !== 0 || old.versionCount > 1))) {
      this.#reindex(dataKey, old === null ? [] : this.#expiriesAtHand(), expiryMs === 0 ? [] : [expiryMs]);
    }
    if (old === null) this.#lsm.count(liveCount(dataKey), 1);
    if (old === null || (old.expiryMs !== 0 && !old.isLive(this.#clock.wallMs()))) this.#noteAppearance(dataKey);
    this.#lsm.put(dataKey, writer.bytes, 0, writer.end);
  }

  /**
   * Mints and stores a version that supersedes what `covered` says of `old` (as for `mintPlain`); the rest stays as
   * siblings. Throws ARGUMENT when that would make more siblings than `siblings-max`; nothing is stored then. REQUIRES
   * `reserve`, and `goBeyond` for a context that came from outside.
   */
  mint(dataKey: string, old: RecordView | null, covered: Covered, fresh: NewValue): void {
    const before = old === null ? null : decodeRecord(old.bytes, this.#recordStart, old.end);
    const stamp = this.#hybridClock.next(this.#clock.wallMs());
    const version: Version = {
      dot: { actor: this.#identity.actor, sequence: this.#identity.nextSequence() },
      // The clock starts anew with the process and the wall clock may have gone back: a later version is still the newest.
      stamp: before === null ? stamp : Math.max(stamp, newest(before).stamp + 1),
      expiryMs: fresh.expiryMs,
      type: fresh.value === null ? "tombstone" : "string",
      value: fresh.value,
      writeId: null,
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
    this.#store(dataKey, before, after);
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

  /** Removes the record at hand for good, with its count and index entries. */
  remove(dataKey: string): void {
    this.#reindex(dataKey, this.#expiriesAtHand(), []);
    this.#lsm.count(liveCount(dataKey), -1);
    this.#lsm.remove(dataKey);
  }

  /** Removes the record at hand when it is nothing but tombstones and expired versions. Returns whether it was. */
  removeIfDead(dataKey: string): boolean {
    const { record } = this;
    const nowMs = this.#clock.wallMs();
    if (record.isLive(nowMs)) return false;
    if (record.versionCount > 1) {
      const { versions } = decodeRecord(record.bytes, this.#recordStart, record.end);
      if (versions.some((version) => isLive(version, nowMs))) return false;
    }
    this.remove(dataKey);
    return true;
  }

  /** Removes an index entry whose record is no longer there or expires at another time. */
  dropIndexEntry(key: string): void {
    this.#lsm.remove(key);
  }

  scan(range: { from: string; to: string | null; limit: number; values: "with" | "without" }): Promise<ScanPage> {
    return this.#lsm.scan(range);
  }

  /** Removes all records at once. */
  clear(): void {
    this.#meta.clearOthers();
  }

  /** How often a key of this one's slot that could not be read came to be, since the start: whether this one did meanwhile. */
  appearances(dataKey: string): number {
    return this.#appearances[slotOfDataKey(dataKey)]!;
  }

  /** Keys of one database whose record is stored, expired ones that are not yet collected included. */
  size(database: number): number {
    let keys = 0;
    for (let index = database; index < LIVE_COUNTS; index += DATABASES) keys += this.#lsm.counter(index);
    return keys;
  }

  sizeOfSlot(database: number, slot: number): number {
    return this.#lsm.counter(slot * DATABASES + database);
  }

  expiringSize(database: number): number {
    return this.#lsm.counter(LIVE_COUNTS + database);
  }

  /** True when some record in some database expires. */
  hasExpiring(): boolean {
    for (let database = 0; database < DATABASES; database++) if (this.expiringSize(database) > 0) return true;
    return false;
  }

  #store(dataKey: string, before: Record | null, after: Record): void {
    const nowMs = this.#clock.wallMs();
    if (!after.versions.some((version) => isLive(version, nowMs))) {
      if (before !== null) {
        this.#reindex(dataKey, distinctExpiries(before), []);
        this.#lsm.count(liveCount(dataKey), -1);
        this.#lsm.remove(dataKey);
      }
      return;
    }
    const bytes = encodeRecord(after);
    this.#reindex(dataKey, before === null ? [] : distinctExpiries(before), distinctExpiries(after));
    if (before === null) this.#lsm.count(liveCount(dataKey), 1);
    if (before === null || !before.versions.some((version) => isLive(version, nowMs))) this.#noteAppearance(dataKey);
    this.#lsm.put(dataKey, bytes, 0, bytes.length);
  }

  #noteAppearance(dataKey: string): void {
    this.#appearances[slotOfDataKey(dataKey)]!++;
  }

  #copyAtHand(): Buffer {
    return Buffer.from(this.record.bytes.subarray(this.#recordStart, this.record.end));
  }

  #expiriesAtHand(): readonly number[] {
    const { record } = this;
    if (record.versionCount === 1) return record.expiryMs === 0 ? [] : [record.expiryMs];
    return distinctExpiries(decodeRecord(record.bytes, this.#recordStart, record.end));
  }

  #reindex(dataKey: string, before: readonly number[], after: readonly number[]): void {
    for (const expiryMs of before) {
      if (expiryMs < EXPIRY_INDEXED_MAX && !after.includes(expiryMs)) this.#lsm.remove(expiryKey(expiryMs, dataKey));
    }
    for (const expiryMs of after) {
      if (expiryMs < EXPIRY_INDEXED_MAX && !before.includes(expiryMs))
        this.#lsm.put(expiryKey(expiryMs, dataKey), NOTHING, 0, 0);
    }
    const change = Math.sign(after.length) - Math.sign(before.length);
    if (change !== 0) this.#lsm.count(LIVE_COUNTS + databaseOfDataKey(dataKey), change);
  }
}

const NOTHING = new Uint8Array(0);

function liveCount(dataKey: string): number {
  return slotOfDataKey(dataKey) * DATABASES + databaseOfDataKey(dataKey);
}

function distinctExpiries(record: Record): readonly number[] {
  const expiries = new Set(record.versions.map((version) => version.expiryMs));
  expiries.delete(0);
  return [...expiries];
}
