/**
 * What a consistency level asks of the replicas of one key: how many answers, and from which data centres. Pure.
 *
 * Answers are counted in groups. Levels that count over all copies have one group with every replica in it, the LOCAL
 * levels one with the replicas of the data centre that the client speaks to, EACH_QUORUM one for each data centre.
 *
 * A decision reads a majority of those that its level counts: at LOCAL levels of its own data centre, so that none needs another
 * one that is cut off; at all others of all copies.
 */
import { unreachable } from "../assert.js";
import type { Level, Quorum } from "./consistency.js";

/** The group of replicas whose answers count for nothing. */
export const NO_GROUP = -1;

export interface QuorumNeeds {
  /** For each replica, in the order given: its group, or NO_GROUP. */
  readonly groups: readonly number[];
  /** Whose answers count: all alike, those of one data centre, or those of each by themselves. */
  readonly counts: "all" | "local" | "each";
  /** For each group its data centre; none where all count alike, or are in one. */
  readonly centres: readonly string[];
  /** For each group how many of its replicas must answer to a read, and to a write: at least 1, at most its size. */
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

/**
 * The needs of a request to replicas in these data centres (one name a replica), for a client of `localCentre`. Where that
 * has no replica, the LOCAL levels count over all: its users are served from elsewhere. REQUIRES at least one replica.
 */
export function quorumNeeds(quorum: Quorum, centres: readonly string[], localCentre: string): QuorumNeeds {
  if (quorum.kind === "numbers") {
    const { length } = centres;
    const reads = [Math.min(quorum.read, length)];
    const writes = [Math.min(quorum.write, length)];
    return { groups: centres.map(() => 0), counts: "all", centres: [], reads, writes };
  }
  const level = levelAt(quorum.level, centres.includes(localCentre));
  const groups = groupsOf(level, centres, localCentre);
  const sizes: number[] = [];
  for (const group of groups) if (group !== NO_GROUP) sizes[group] = (sizes[group] ?? 0) + 1;
  const needs = sizes.map((size) => needOf(level, size));
  const counts = countsOf(level);
  const names = [...new Set(centres)];
  const counted = counts === "all" || names.length === 1 ? [] : counts === "local" ? [localCentre] : names;
  return { groups, counts, centres: counted, reads: needs, writes: needs };
}

/** For the text of an error: where too few answered, of these groups. Empty where that need not be said. */
export function tooFewIn({ centres }: QuorumNeeds, groups: readonly number[]): string {
  if (centres.length === 0 || groups.length === 0) return "";
  return ` (too few in ${groups.map((group) => centres[group]!).join(", ")})`;
}

/** What a decision at this quorum reads at least. */
export function majorityFor(quorum: Quorum): Quorum {
  const isLocal = quorum.kind === "level" && isLocalLevel(quorum.level);
  return { kind: "level", level: isLocal ? "LOCAL_QUORUM" : "QUORUM" };
}

/** True of the levels that count in one data centre only. */
export function isLocalLevel(level: Level): boolean {
  return level === "LOCAL_ONE" || level === "LOCAL_QUORUM";
}

/** The level that it comes to where the client's data centre has copies, or has none: then its users are served from elsewhere. */
export function levelAt(level: Level, hasLocalCopies: boolean): Level {
  if (hasLocalCopies || !isLocalLevel(level)) return level;
  return level === "LOCAL_ONE" ? "ONE" : "QUORUM";
}

function countsOf(level: Level): QuorumNeeds["counts"] {
  if (isLocalLevel(level)) return "local";
  return level === "EACH_QUORUM" ? "each" : "all";
}

function groupsOf(level: Level, centres: readonly string[], localCentre: string): readonly number[] {
  switch (level) {
    case "ONE":
    case "QUORUM":
    case "ALL":
      return centres.map(() => 0);
    case "LOCAL_ONE":
    case "LOCAL_QUORUM":
      return centres.map((centre) => (centre === localCentre ? 0 : NO_GROUP));
    case "EACH_QUORUM": {
      const names = [...new Set(centres)];
      return centres.map((centre) => names.indexOf(centre));
    }
    default:
      return unreachable(level);
  }
}

function needOf(level: Level, size: number): number {
  switch (level) {
    case "ONE":
    case "LOCAL_ONE":
      return 1;
    case "ALL":
      return size;
    case "QUORUM":
    case "LOCAL_QUORUM":
    case "EACH_QUORUM":
      return Math.floor(size / 2) + 1;
    default:
      return unreachable(level);
  }
}
