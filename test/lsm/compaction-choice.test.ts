import { readFileSync } from "node:fs";
import { expect } from "chai";
import { type Compaction, type CompactionLimits, chooseCompaction } from "../../lib/lsm/compaction-choice.js";
import type { TableMeta } from "../../lib/lsm/table-format.js";

const CASES = new URL("../../../test/lsm/data/compaction-choice.txt", import.meta.url);
const MEGABYTE = 1_000_000;

interface Case {
  readonly title: string;
  readonly levels: TableMeta[][];
  readonly limits: CompactionLimits;
  readonly expected: string;
}

function tableOf(text: string): TableMeta {
  const [number, range, megabytes, ...options] = text.split(":");
  const [first, last] = range!.split("-");
  const tombstones = options.find((option) => option.startsWith("t"));
  const expiring = options.filter((option) => option.startsWith("x")).map((option) => option.slice(1).split("@"));
  return {
    number: Number(number),
    bytes: Number(megabytes) * MEGABYTE,
    entries: 1_000,
    tombstones: tombstones ? 100 : 0,
    tombstoneBytes: Number(tombstones?.slice(1) ?? 0) * MEGABYTE,
    first: first!,
    last: last!,
    expiring: expiring.map(([bytes, byMs]) => ({ bytes: Number(bytes) * MEGABYTE, byMs: Number(byMs) })),
  };
}

function caseOf(text: string): Case {
  const [title, ...lines] = text.split("\n");
  const levels: TableMeta[][] = [];
  const cursors: string[] = [];
  let nowMs = 0;
  let expected = "";
  for (const line of lines) {
    const [word, ...rest] = line.split(" ");
    if (word === "=>") expected = rest.join(" ");
    else if (word === "now") nowMs = Number(rest[0]);
    else if (word === "cursor") cursors[Number(rest[0])] = rest[1]!;
    else levels[Number(word!.slice(1, -1))] = rest.map(tableOf);
  }
  const limits = {
    levelZeroTables: 4,
    levelBytesBase: 100 * MEGABYTE,
    levelBytesFactor: 10,
    tableBytesMax: 10 * MEGABYTE,
    droppableShare: 0.5,
    cursors,
    nowMs,
  };
  return { title: title!, levels, limits, expected };
}

function textOf(choice: Compaction | null): string {
  if (choice === null) return "none";
  const runs = choice.inputs.map((run) => run.map(({ number }) => number).join(",")).join(" | ");
  const move = choice.isMove ? " move" : "";
  const older = choice.older.map(({ first, last }) => ` ${first}-${last}`).join("");
  return `${choice.level}->${choice.outputLevel} ${runs}${move}${older === "" ? "" : ` older${older}`}`;
}

describe("lsm compaction choice", () => {
  const text = readFileSync(CASES, "utf8").replace(/^#.*\n/gm, "");
  const cases = text.trim().split(/\n\n+/).map(caseOf);

  for (const { title, levels, limits, expected } of cases) {
    it(title, () => {
      expect(textOf(chooseCompaction(levels, limits))).to.equal(expected);
    });
  }

  it("reserves numbers for all outputs, and remembers where a level's round stands", () => {
    const { levels, limits } = cases.find(({ title }) => title.startsWith("a level over its target"))!;
    const choice = chooseCompaction(levels, limits)!;
    expect(choice.inputBytes).to.equal(80 * MEGABYTE);
    expect(choice.outputNumbers).to.equal(18);
    expect(choice.cursor).to.equal("f");
  });
});
