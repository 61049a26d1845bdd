/**
 * What changes with a record in the same atomic batch: the live count of its slot, the index of expiries, and the index of what
 * may leave once all owners agree (agreed-reaping.ts).
 *
 * Invariants: a record counts exactly while its newest version is no tombstone; the index of expiries holds exactly one entry for
 * each distinct expiry of its versions that are none; the other one holds an entry exactly for those records that are nothing but
 * tombstones or have a long context. All follow from the record's bytes alone, whatever compaction drops of them: an expired value
 * without its bytes still counts and stands in the index, until the reaper makes a tombstone of it.
 */
import { SLOTS } from "../bytes/slot.js";
import type { Record } from "../causality/record.js";
import { decodeRecord, hasLongContext } from "../causality/record-encoding.js";
import { CONTEXT_ENTRIES_MAX, isDead } from "../causality/record-pruning.js";
import type { RecordView } from "../causality/record-view.js";
import type { Lsm } from "../lsm/lsm.js";
import { DATABASES, databaseOfDataKey, expiryKey, reapingKey, slotOfDataKey } from "./data-key.js";

/** Slots of the ring times databases: the live counts; then, a database, counts of expiring and of hidden records. */
const LIVE_COUNTS = SLOTS * DATABASES;
const HIDDEN_COUNTS = LIVE_COUNTS + DATABASES;
/** Behind those: how many records may be reaped or pruned. */
export const REAPABLE_COUNT = HIDDEN_COUNTS + DATABASES;
/** Counters that the engine must be opened with. */
export const REPLICA_COUNTERS = REAPABLE_COUNT + 1;

/** Expiries from here on (the year 10889) are kept in the record only: nothing will come to collect them. */
const EXPIRY_INDEXED_MAX = 2 ** 48;

/** What counters and index say of one record. */
export interface Footprint {
  readonly isCounted: boolean;
  /** The newest version is a tombstone and an older sibling is not: reads find nothing, yet something is there. */
  readonly isHidden: boolean;
  readonly expiries: readonly number[];
  /** It is nothing but tombstones, or has a long context. */
  readonly isReapable: boolean;
}

/** Of no record. */
export const NO_FOOTPRINT: Footprint = { isCounted: false, isHidden: false, expiries: [], isReapable: false };
/** Of one that is nothing but tombstones. */
export const DEAD: Footprint = { ...NO_FOOTPRINT, isReapable: true };
const LASTING: Footprint = { ...NO_FOOTPRINT, isCounted: true };

/** Of a record of one version that is a value, and a context that is not long. */
export function footprintOfValue(expiryMs: number): Footprint {
  return expiryMs === 0 ? LASTING : { ...LASTING, expiries: [expiryMs] };
}

/** Decodes the record where it has siblings. Null: there is no record. */
export function footprintOfView(view: RecordView | null): Footprint {
  if (view === null) return NO_FOOTPRINT;
  if (view.versionCount > 1) return footprintOf(decodeRecord(view.bytes, view.start, view.end));
  if (view.isRemoved) return DEAD;
  const footprint = footprintOfValue(view.expiryMs);
  return hasLongContext(view) ? { ...footprint, isReapable: true } : footprint;
}

export function footprintOf(record: Record): Footprint {
  const expiries = new Set<number>();
  let isEmpty = true;
  for (const version of record.versions) {
    if (version.type === "tombstone") continue;
    isEmpty = false;
    if (version.expiryMs !== 0) expiries.add(version.expiryMs);
  }
  const isCounted = record.versions[0]!.type !== "tombstone";
  const isReapable = isDead(record) || record.context.size > CONTEXT_ENTRIES_MAX;
  return { isCounted, isHidden: !isEmpty && !isCounted, expiries: [...expiries], isReapable };
}

export class RecordIndex {
  readonly #lsm: Lsm;

  constructor(lsm: Lsm) {
    this.#lsm = lsm;
  }

  /** A record changes, comes or goes. */
  move(dataKey: string, before: Footprint, after: Footprint): void {
    if (before === after) return;
    if (before.isCounted !== after.isCounted) {
      this.#lsm.count(slotOfDataKey(dataKey) * DATABASES + databaseOfDataKey(dataKey), after.isCounted ? 1 : -1);
    }
    if (before.isHidden !== after.isHidden) {
      this.#lsm.count(HIDDEN_COUNTS + databaseOfDataKey(dataKey), after.isHidden ? 1 : -1);
    }
    if (before.isReapable !== after.isReapable) {
      this.#lsm.count(REAPABLE_COUNT, after.isReapable ? 1 : -1);
      if (after.isReapable) this.#lsm.put(reapingKey(dataKey), NOTHING, 0, 0);
      else this.#lsm.remove(reapingKey(dataKey));
    }
    if (before.expiries.length + after.expiries.length > 0) this.#moveExpiries(dataKey, before.expiries, after.expiries);
  }

  /** Keys of one database whose newest version is a value, expired ones that are not yet collected included. */
  size(database: number): number {
    let keys = 0;
    for (let index = database; index < LIVE_COUNTS; index += DATABASES) keys += this.#lsm.counter(index);
    return keys;
  }

  sizeOfSlot(database: number, slot: number): number {
    return this.#lsm.counter(slot * DATABASES + database);
  }

  /** Keys with a version that expires. */
  expiringSize(database: number): number {
    return this.#lsm.counter(LIVE_COUNTS + database);
  }

  /** Keys that read as removed though an older sibling is a value. */
  hiddenSize(database: number): number {
    return this.#lsm.counter(HIDDEN_COUNTS + database);
  }

  /** Records that may be reaped or pruned once all owners agree. */
  get reapable(): number {
    return this.#lsm.counter(REAPABLE_COUNT);
  }

  #moveExpiries(dataKey: string, before: readonly number[], after: readonly number[]): void {
    for (const expiryMs of before) {
      if (isIndexed(expiryMs) && !after.includes(expiryMs)) this.#lsm.remove(expiryKey(expiryMs, dataKey));
    }
    for (const expiryMs of after) {
      if (isIndexed(expiryMs) && !before.includes(expiryMs)) this.#lsm.put(expiryKey(expiryMs, dataKey), NOTHING, 0, 0);
    }
    const change = Math.sign(after.length) - Math.sign(before.length);
    if (change !== 0) this.#lsm.count(LIVE_COUNTS + databaseOfDataKey(dataKey), change);
  }
}

/** True when an entry of the index names this expiry. */
export function isIndexed(expiryMs: number): boolean {
  return expiryMs < EXPIRY_INDEXED_MAX;
}

const NOTHING = new Uint8Array(0);
