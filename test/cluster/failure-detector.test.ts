import { expect } from "chai";
import { FailureDetector, suspectAfterMs } from "../../lib/cluster/failure-detector.js";
import { idOf } from "./gossip-world.js";

const AFTER_MS = 5_000;

/** Members by number; 0 is ourselves. `moved` is when their counters last moved. */
function observed(moved: readonly number[], suspects: Readonly<Record<number, readonly number[]>> = {}) {
  return moved.map((movedAtMs, member) => ({
    id: idOf(member),
    movedAtMs,
    firstSeenMs: 0,
    contents: { suspects: (suspects[member] ?? []).map(idOf) },
  }));
}

function statuses(detector: FailureDetector, members: ReturnType<typeof observed>): string {
  return members.map((member) => detector.statusOf(member).status).join(" ");
}

describe("failure detector", () => {
  const cases: readonly { what: string; moved: number[]; suspects?: Record<number, number[]>; expected: string }[] = [
    { what: "a counter that moves", moved: [9, 9_000, 9_000], expected: "up up up" },
    { what: "one witness of two unsuspected members", moved: [9, 9_000, 1_000], expected: "up up suspect" },
    { what: "two witnesses", moved: [9, 9_000, 1_000], suspects: { 1: [2] }, expected: "up up down" },
    { what: "alone of two, one is enough", moved: [9, 1_000], expected: "up down" },
    { what: "alone of four", moved: [9, 1, 1, 1], expected: "up down down down" },
    {
      what: "what a suspect says does not count",
      moved: [9, 9_000, 1, 1],
      suspects: { 2: [3] },
      expected: "up up suspect suspect",
    },
    {
      what: "others say so, but its counter moves here",
      moved: [9, 9_000, 9_000, 9_000],
      suspects: { 1: [3], 2: [3] },
      expected: "up up up up",
    },
  ];
  for (const { what, moved, suspects, expected } of cases) {
    it(`${what}: ${expected}`, () => {
      const detector = new FailureDetector(idOf(0));
      const members = observed(moved, suspects);
      detector.evaluate(members, 10_000, AFTER_MS);
      expect(statuses(detector, members)).to.equal(expected);
    });
  }

  it("a move ends a suspicion, and says since when it is up", () => {
    const detector = new FailureDetector(idOf(0));
    detector.evaluate(observed([0, 0]), 6_000, AFTER_MS);
    expect(detector.suspects()).to.deep.equal([idOf(1)]);
    const back = observed([0, 6_500]);
    expect(detector.evaluate(back, 7_000, AFTER_MS)).to.deep.equal([{ id: idOf(1), from: "down", to: "up" }]);
    expect(detector.statusOf(back[1]!)).to.deep.equal({ status: "up", sinceMs: 7_000 });
  });

  it("who did not run suspects nobody anew, and keeps whom it suspected", () => {
    const detector = new FailureDetector(idOf(0));
    const members = observed([0, 0, 4_000, 4_000]);
    detector.evaluate(members, 6_000, AFTER_MS);
    detector.resume(60_000);
    detector.evaluate(members, 60_000, AFTER_MS);
    expect(statuses(detector, members)).to.equal("up suspect up up");
    detector.evaluate(members, 66_000, AFTER_MS);
    expect(statuses(detector, members)).to.equal("up down down down");
  });

  it("more suspects than an entry holds are each named by many members", () => {
    const named = new Map<string, number>();
    for (let self = 0; self < 200; self++) {
      const detector = new FailureDetector(idOf(self));
      detector.evaluate(observed([...Array(200).fill(9_000), ...Array(300).fill(0)]), 10_000, AFTER_MS);
      expect(detector.suspects()).to.have.length(128);
      for (const id of detector.suspects()) named.set(id, (named.get(id) ?? 0) + 1);
    }
    expect(named.size).to.equal(300);
    expect(Math.min(...named.values())).to.be.above(1);
  });

  it("the time a counter may stand still grows with the number of members, to a minute", () => {
    const allowedMs = (members: number, pages = 1) => suspectAfterMs({ members, pages, heartbeatMs: 1_000, fanout: 3 });
    expect(allowedMs(1)).to.equal(5_000);
    expect(Math.round(allowedMs(500) / 1_000)).to.equal(13);
    expect(allowedMs(4_096, 6)).to.equal(28_000);
    expect(allowedMs(2 ** 60)).to.equal(60_000);
  });
});
