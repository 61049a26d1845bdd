/**
 * What is left of a record when all versions of its database up to some point were removed at once (FLUSHDB, FLUSHALL): of
 * each store those up to a sequence. Pure.
 *
 * A record of which nothing lives on goes altogether only where all that it has ever seen was removed: then no copy anywhere
 * can bring back what it superseded. Else its versions become tombstones with the same dots, as expired ones do.
 */
import type { Dot } from "./actor.js";
import type { Record, Version } from "./record.js";

/** The record without what `isFlushed`, the record itself where that is nothing; null where nothing has to be kept. */
export function withoutFlushed(record: Record, isFlushed: (dot: Dot) => boolean): Record | null {
  const { context, versions } = record;
  const left = versions.filter(({ dot }) => !isFlushed(dot));
  if (left.length === versions.length) return record;
  // The context keeps the dots of those that go: a copy that still has them does not bring them back.
  if (left.length > 0) return { context, versions: left };
  if (context.entries.every(isFlushed)) return null;
  if (versions.every(({ type }) => type === "tombstone")) return record;
  return {
    context,
    versions: versions.map((version): Version => ({ ...version, type: "tombstone", value: null, expiryMs: 0 })),
  };
}
