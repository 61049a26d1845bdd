/**
 * What may leave a record once all that hold it agree: all of it where it has nothing but tombstones, else the entries of its
 * context that no store counts on with any more. Never part of a merge: a copy that still had an entry would bring it back, and
 * one that had lost it would take a superseded version for a new one. Pure.
 */
import { type Actor, epochOf, storeIdOf } from "./actor.js";
import type { Record } from "./record.js";
import { VersionVector } from "./version-vector.js";

/** Records whose contexts have more entries than this are looked at for what may leave them. */
export const CONTEXT_ENTRIES_MAX = 12;

/** The epoch of each store that is a member's, by its id. */
export type LiveStores = ReadonlyMap<string, number>;

/** True where nothing of the record is a value, not even one that has expired. */
export function isDead(record: Record): boolean {
  return record.versions.every(({ type }) => type === "tombstone");
}

/**
 * The record without the entries of stores that are none any more, and of earlier epochs of those that are; an entry stays
 * while a version is of its actor. The record itself where nothing leaves.
 */
export function pruned(record: Record, live: LiveStores): Record {
  const actors = new Set(record.versions.map(({ dot }) => dot.actor));
  const { entries } = record.context;
  const left = entries.filter(({ actor }) => actors.has(actor) || mayMint(actor, live));
  return left.length === entries.length ? record : { ...record, context: VersionVector.ofSorted(left) };
}

/** True where this actor may mint versions still. */
function mayMint(actor: Actor, live: LiveStores): boolean {
  const epoch = live.get(storeIdOf(actor));
  return epoch !== undefined && epochOf(actor) >= epoch;
}
