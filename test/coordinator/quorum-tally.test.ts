import { expect } from "chai";
import fc from "fast-check";
import type { Quorum } from "../../lib/coordinator/consistency.js";
import { NO_GROUP, type QuorumNeeds, quorumNeeds, tooFewIn } from "../../lib/coordinator/quorum-needs.js";
import { QuorumTally } from "../../lib/coordinator/quorum-tally.js";

const level = (name: "ONE" | "QUORUM" | "ALL" | "LOCAL_ONE" | "LOCAL_QUORUM" | "EACH_QUORUM"): Quorum => {
  return { kind: "level", level: name };
};

describe("what a consistency level needs", () => {
  const cases: readonly [title: string, quorum: Quorum, centres: string, needs: QuorumNeeds][] = [
    ["ONE of three", level("ONE"), "a a a", { groups: [0, 0, 0], counts: "all", centres: [], reads: [1], writes: [1] }],
    ["QUORUM of three", level("QUORUM"), "a a a", { groups: [0, 0, 0], counts: "all", centres: [], reads: [2], writes: [2] }],
    ["QUORUM of two", level("QUORUM"), "a a", { groups: [0, 0], counts: "all", centres: [], reads: [2], writes: [2] }],
    ["ALL over two centres", level("ALL"), "a a b", { groups: [0, 0, 0], counts: "all", centres: [], reads: [3], writes: [3] }],
    [
      "LOCAL_ONE",
      level("LOCAL_ONE"),
      "b a b",
      { groups: [NO_GROUP, 0, NO_GROUP], counts: "local", centres: ["a"], reads: [1], writes: [1] },
    ],
    [
      "LOCAL_QUORUM",
      level("LOCAL_QUORUM"),
      "b a a a b",
      { groups: [-1, 0, 0, 0, -1], counts: "local", centres: ["a"], reads: [2], writes: [2] },
    ],
    [
      "LOCAL_QUORUM without a local copy",
      level("LOCAL_QUORUM"),
      "b b b",
      { groups: [0, 0, 0], counts: "all", centres: [], reads: [2], writes: [2] },
    ],
    [
      "EACH_QUORUM",
      level("EACH_QUORUM"),
      "b a b a b",
      { groups: [0, 1, 0, 1, 0], counts: "each", centres: ["b", "a"], reads: [2, 2], writes: [2, 2] },
    ],
    [
      "numbers above N",
      { kind: "numbers", read: 1, write: 5 },
      "a a a",
      { groups: [0, 0, 0], counts: "all", centres: [], reads: [1], writes: [3] },
    ],
  ];
  for (const [title, quorum, centres, needs] of cases) {
    it(`is counted right: ${title}`, () => {
      expect(quorumNeeds(quorum, centres.split(" "), "a")).to.deep.equal(needs);
    });
  }
});

describe("the text of an error", () => {
  const needs = quorumNeeds(level("EACH_QUORUM"), "a a a b b b c c c".split(" "), "a");
  const tallyOf = (): QuorumTally => new QuorumTally({ groups: needs.groups, needs: needs.reads, standIns: "strict" });

  it("names the data centre that cannot answer, and where all still can, those that have not", () => {
    const tally = tallyOf();
    tally.answered(0);
    tally.answered(1);
    expect(tooFewIn(needs, tally.lacking)).to.equal(" (too few in b, c)");
    tally.gaveUp(6);
    expect(tooFewIn(needs, tally.lacking)).to.equal(" (too few in b, c)");
    tally.gaveUp(8);
    expect(tooFewIn(needs, tally.lacking)).to.equal(" (too few in c)");
  });

  it("names none where all copies count alike, or are in one data centre", () => {
    expect(tooFewIn(quorumNeeds(level("QUORUM"), ["a", "b", "b"], "a"), [0])).to.equal("");
    expect(tooFewIn(quorumNeeds(level("EACH_QUORUM"), ["a", "a", "a"], "a"), [0])).to.equal("");
    expect(tooFewIn(quorumNeeds(level("LOCAL_QUORUM"), ["a", "a", "a"], "a"), [0])).to.equal("");
  });
});

describe("the tally of a quorum", () => {
  const ofThree = (standIns: "strict" | "sloppy", needed: number): QuorumTally =>
    new QuorumTally({ groups: [0, 0, 0], needs: [needed], standIns });

  it("is ready when enough positions have answered, each counted once", () => {
    const tally = ofThree("sloppy", 2);
    expect(tally.answered(0).kind).to.equal("waiting");
    expect(tally.answered(0).kind).to.equal("waiting");
    expect(tally.stoodIn(0).kind).to.equal("waiting");
    expect(tally.answered(2).kind).to.equal("ready");
  });

  it("counts a stand-in in place of its replica, unless the request is strict", () => {
    const sloppy = ofThree("sloppy", 2);
    sloppy.answered(0);
    expect(sloppy.stoodIn(1).kind).to.equal("ready");
    const strict = ofThree("strict", 2);
    strict.answered(0);
    expect(strict.stoodIn(1).kind).to.equal("waiting");
    strict.gaveUp(1);
    expect(strict.gaveUp(2)).to.deep.equal({ kind: "unavailable", reached: 1, needed: 2 });
  });

  it("counts a pair of owners when both have answered, or stand-ins for them", () => {
    const pair = (): QuorumTally => {
      const tally = new QuorumTally({ groups: [0, 0], needs: [2], standIns: "sloppy", pairs: new Set([1]) });
      tally.answered(0);
      return tally;
    };
    for (const way of ["answered", "stoodIn"] as const) {
      for (const other of ["answered", "stoodIn"] as const) {
        const tally = pair();
        expect(tally[way](1, "owner").kind).to.equal("waiting");
        expect(tally[other](1, "owner").kind).to.equal("waiting");
        expect(tally[other](1, "partner").kind).to.equal("ready");
      }
    }
    const written = pair();
    expect(written.answered(1, "partner").kind).to.equal("waiting");
    expect(written.gaveUp(1).kind).to.equal("unavailable");
  });

  it("needs its majority in every data centre", () => {
    const tally = new QuorumTally({ groups: [0, 0, 0, 1, 1, 1], needs: [2, 2], standIns: "strict" });
    for (const position of [0, 1, 2, 3]) expect(tally.answered(position).kind).to.equal("waiting");
    expect(tally.answered(5).kind).to.equal("ready");
  });

  it("agrees with a plain count, whatever comes in which order, and a verdict stays", () => {
    const event = fc.record({
      kind: fc.constantFrom<"answered" | "stoodIn" | "gaveUp">("answered", "stoodIn", "gaveUp"),
      position: fc.integer({ min: 0, max: 4 }),
    });
    const groups = fc.array(fc.constantFrom(NO_GROUP, 0, 1), { minLength: 5, maxLength: 5 });
    fc.assert(
      fc.property(groups, fc.array(event, { maxLength: 30 }), fc.constantFrom<"strict" | "sloppy">("strict", "sloppy"), run),
    );
  });

  function run(
    groups: readonly number[],
    events: readonly { kind: "answered" | "stoodIn" | "gaveUp"; position: number }[],
    standIns: "strict" | "sloppy",
  ): void {
    const sizes = [0, 1].map((group) => groups.filter((of) => of === group).length);
    fc.pre(sizes.every((size) => size > 0));
    const needs = sizes.map((size) => Math.floor(size / 2) + 1);
    const tally = new QuorumTally({ groups, needs, standIns });
    const counted = new Set<number>();
    const lost = new Set<number>();
    let expected = "waiting";
    for (const { kind, position } of events) {
      if (kind === "answered" || (kind === "stoodIn" && standIns === "sloppy")) {
        counted.add(position);
        lost.delete(position);
      } else if (kind === "gaveUp" && !counted.has(position)) lost.add(position);
      const verdict = tally[kind](position);
      const inGroup = (positions: Set<number>, group: number) => [...positions].filter((at) => groups[at] === group).length;
      if (expected === "waiting") {
        if (needs.every((needed, group) => inGroup(counted, group) >= needed)) expected = "ready";
        else if (needs.some((needed, group) => sizes[group]! - inGroup(lost, group) < needed)) expected = "unavailable";
      }
      expect(verdict.kind).to.equal(expected);
    }
  }
});
