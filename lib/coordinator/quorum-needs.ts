/**
 * What a consistency level asks of the replicas of one key: how many answers, and from which data centres. Pure.
 *
 * Answers are counted in groups. Levels that count over all copies have one group with every replica in it, the LOCAL
 * levels one with the replicas of the data centre that the client speaks to, EACH_QUORUM one for each data centre.
 */
import { unreachable } from "../assert.js";
import type { Level, Quorum } from "./consistency.js";

/** The group of replicas whose answers count for nothing. */
export const NO_GROUP = -1;

export interface QuorumNeeds {
  /** For each replica, in the order given: its group, or NO_GROUP. */
  readonly groups: readonly number[];
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
    return { groups: centres.map(() => 0), reads: [Math.min(quorum.read, length)], writes: [Math.min(quorum.write, length)] };
  }
  const groups = groupsOf(quorum.level, centres, localCentre);
  const sizes: number[] = [];
  for (const group of groups) if (group !== NO_GROUP) sizes[group] = (sizes[group] ?? 0) + 1;
  const needs = sizes.map((size) => needOf(quorum.level, size));
  return { groups, reads: needs, writes: needs };
}

function groupsOf(level: Level, centres: readonly string[], localCentre: string): readonly number[] {
  switch (level) {
    case "ONE":
    case "QUORUM":
    case "ALL":
      return centres.map(() => 0);
    case "LOCAL_ONE":
    case "LOCAL_QUORUM":
      if (!centres.includes(localCentre)) return centres.map(() => 0);
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
