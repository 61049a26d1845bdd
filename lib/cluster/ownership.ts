/** How evenly a ring is owned, and how much of it a change moves: figures for people, tests and `--target ownership`. Pure. */
import { SLOTS } from "../bytes/slot.js";
import type { Member } from "./member.js";
import { dcsOf, type PreferenceTable } from "./preference-table.js";
import { fairShares } from "./token-choice.js";

export interface OwnershipRow {
  readonly member: Member;
  /** Slots that it keeps a copy of. */
  readonly slots: number;
  /** Against what its weight gives it among the members of its data centre: 1 is exactly that. */
  readonly ofFair: number;
}

export interface Ownership {
  /** Members with tokens, in the table's order. */
  readonly rows: readonly OwnershipRow[];
  /** The highest and the lowest `ofFair`. */
  readonly fullest: number;
  readonly emptiest: number;
}

export function ownershipOf(table: PreferenceTable): Ownership {
  const owned = table.ownedSlots();
  const rows: OwnershipRow[] = [];
  for (const dc of dcsOf(table.members)) {
    const members = table.members.flatMap((member, index) =>
      member.dc === dc && member.tokens.length > 0 ? { member, slots: owned[index]! } : [],
    );
    const total = members.reduce((sum, row) => sum + row.slots, 0);
    const weights = members.map((row) => row.member.weight);
    const fair = fairShares(weights, { total, max: SLOTS });
    for (const [at, row] of members.entries()) rows.push({ ...row, ofFair: total === 0 ? 1 : row.slots / fair[at]! });
  }
  const ratios = rows.map((row) => row.ofFair);
  return { rows, fullest: Math.max(...ratios), emptiest: Math.min(...ratios) };
}

/** The part of all copies, 0 to 1, that `after` keeps on members (by id) that did not keep them in `before`. */
export function movedShare(before: PreferenceTable, after: PreferenceTable): number {
  const place = new Map(before.members.map((member, index) => [member.id, index]));
  let moved = 0;
  for (let slot = 0; slot < SLOTS; slot++) {
    for (const member of after.replicas(slot)) {
      const old = place.get(after.members[member]!.id);
      if (old === undefined || !before.isReplica(slot, old)) moved++;
    }
  }
  return moved / (SLOTS * after.width);
}
