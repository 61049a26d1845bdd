/** One ring built up member by member from a seed, and how evenly it is owned on the way: `--target ownership`. */
import { assert } from "../../lib/assert.js";
import type { Member } from "../../lib/cluster/member.js";
import { movedShare, ownershipOf } from "../../lib/cluster/ownership.js";
import { PreferenceTable } from "../../lib/cluster/preference-table.js";
import { memberOf, numbered, ringOf, THREE } from "./members.js";

const SIZES = [3, 4, 5, 6, 8, 10, 20, 30, 50, 100];
/** The sizes that are held to the bar. */
const HELD = [3, 5, 10, 30, 100];
const FULLEST_MAX = 1.05;

/** Weights of members in turn, and sizes of rings of such, which are held to the bar, too. */
const WEIGHTS = [1, 2, 4];
const WEIGHTED_SIZES = [12, 20, 30];

/** 64 vnodes, N = 3. Shows a line a size, and fails where the fullest is more than 5% above its share. */
export async function runOwnershipSeed(
  seed: number,
  show: (line: string) => void = () => {},
): Promise<{ readonly counts: Readonly<Record<string, number>> }> {
  const alike = ringOf(numbered(Math.max(...SIZES)), { seed });
  show(`seed ${seed}\n  members  tokens  fullest  emptiest  moved by the last join, of its share`);
  for (const size of SIZES) showSize(alike, size, HELD.includes(size), show);
  const weighted = ringOf(
    numbered(Math.max(...WEIGHTED_SIZES), (number) => memberOf(number, { weight: WEIGHTS[(number - 1) % WEIGHTS.length]! })),
    { seed },
  );
  show(`  of weights ${WEIGHTS.join(", ")} in turn, against the share by weight`);
  for (const size of WEIGHTED_SIZES) showSize(weighted, size, true, show);
  return { counts: { rings: 2, members: alike.length + weighted.length } };
}

function showSize(all: readonly Member[], size: number, isHeld: boolean, show: (line: string) => void): void {
  const members = all.slice(0, size);
  const table = new PreferenceTable(members, THREE);
  const { fullest, emptiest } = ownershipOf(table);
  const share = members.at(-1)!.weight / members.reduce((sum, { weight }) => sum + weight, 0);
  const moved = movedShare(new PreferenceTable(all.slice(0, size - 1), THREE), table) / share;
  const tokens = members.reduce((sum, member) => sum + member.tokens.length, 0);
  const cells = [`${size}`, `${tokens}`, percent(fullest), percent(emptiest), moved.toFixed(3)];
  show(`  ${cells.map((cell, at) => cell.padStart([7, 6, 7, 8, 6][at]!)).join("  ")}`);
  assert(!isHeld || fullest <= FULLEST_MAX, "ownership: the fullest member is at most 5% above its share");
}

/** Against the mean, with its sign. */
function percent(ratio: number): string {
  return `${ratio >= 1 ? "+" : ""}${((ratio - 1) * 100).toFixed(1)}%`;
}
