/** One ring built up member by member from a seed, and how evenly it is owned on the way: `--target ownership`. */
import { assert } from "../../lib/assert.js";
import { movedShare, ownershipOf } from "../../lib/cluster/ownership.js";
import { PreferenceTable } from "../../lib/cluster/preference-table.js";
import { numbered, ringOf, THREE } from "./members.js";

const SIZES = [3, 4, 5, 6, 8, 10, 20, 30, 50, 100];
/** The sizes that are held to the bar. */
const HELD = [3, 5, 10, 30, 100];
const FULLEST_MAX = 1.05;

/** 64 vnodes, N = 3. Shows a line a size, and fails where the fullest is more than 5% above the mean. */
export async function runOwnershipSeed(
  seed: number,
  show: (line: string) => void = () => {},
): Promise<{ readonly counts: Readonly<Record<string, number>> }> {
  const all = ringOf(numbered(Math.max(...SIZES)), { seed });
  show(`seed ${seed}\n  members  tokens  fullest  emptiest  moved by the last join, of 1/n`);
  for (const size of SIZES) {
    const table = new PreferenceTable(all.slice(0, size), THREE);
    const { fullest, emptiest } = ownershipOf(table);
    const moved = movedShare(new PreferenceTable(all.slice(0, size - 1), THREE), table) * size;
    const tokens = all.slice(0, size).reduce((sum, member) => sum + member.tokens.length, 0);
    const cells = [`${size}`, `${tokens}`, percent(fullest), percent(emptiest), moved.toFixed(3)];
    show(`  ${cells.map((cell, at) => cell.padStart([7, 6, 7, 8, 6][at]!)).join("  ")}`);
    assert(!HELD.includes(size) || fullest <= FULLEST_MAX, "ownership: the fullest member is at most 5% above the mean");
  }
  return { counts: { rings: 1, members: all.length } };
}

/** Against the mean, with its sign. */
function percent(ratio: number): string {
  return `${ratio >= 1 ? "+" : ""}${((ratio - 1) * 100).toFixed(1)}%`;
}
