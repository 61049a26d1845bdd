import { expect } from "chai";
import fc from "fast-check";
import { type CommonRun, lcsLength, lcsRuns, textOfRuns } from "../../lib/commands/lcs.js";

const text = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "b", "c", "\xff"), maxLength });

describe("longest common subsequence", () => {
  it("takes the same runs as walking back through a table of lengths", () => {
    fc.assert(
      fc.property(text(80), text(80), (a, b) => {
        const runs = lcsRuns(a, b);
        expect(runs).to.deep.equal(runsByTable(a, b));
        expect(lcsLength(a, b)).to.equal(textOfRuns(a, runs).length);
      }),
      { numRuns: 500 },
    );
  });

  it("its runs are equal bytes of both texts, in order", () => {
    fc.assert(
      fc.property(text(200), text(200), (a, b) => {
        let endA = a.length;
        let endB = b.length;
        for (const { startA, startB, length } of lcsRuns(a, b)) {
          expect(a.slice(startA, startA + length)).to.equal(b.slice(startB, startB + length));
          expect(startA + length).to.be.at.most(endA);
          expect(startB + length).to.be.at.most(endB);
          endA = startA;
          endB = startB;
        }
      }),
    );
  });

  it("two values of 10 KB are compared in memory of a bit a cell", () => {
    const a = "ab".repeat(5_120);
    const b = "ba".repeat(5_120);
    expect(lcsLength(a, b)).to.equal(10_239);
    expect(textOfRuns(a, lcsRuns(a, b))).to.have.lengthOf(10_239);
  });

  it("an empty text has nothing in common with any", () => {
    expect(lcsLength("", "abc")).to.equal(0);
    expect(lcsRuns("abc", "")).to.deep.equal([]);
    expect(textOfRuns("abc", [])).to.equal("");
  });
});

/** The textbook's way: a table of lengths, walked back upwards only where that is strictly longer. */
function runsByTable(a: string, b: string): CommonRun[] {
  const table = [new Array<number>(b.length + 1).fill(0)];
  for (let i = 1; i <= a.length; i++) {
    const row = [0];
    for (let j = 1; j <= b.length; j++) {
      const above = table[i - 1]!;
      row.push(a[i - 1] === b[j - 1] ? above[j - 1]! + 1 : Math.max(above[j]!, row[j - 1]!));
    }
    table.push(row);
  }
  const runs: CommonRun[] = [];
  let i = a.length;
  let j = b.length;
  let isRunning = false;
  while (i > 0 && j > 0) {
    if (a[i - 1] === b[j - 1]) {
      i--;
      j--;
      const last = runs.at(-1);
      if (isRunning && last !== undefined) runs[runs.length - 1] = { startA: i, startB: j, length: last.length + 1 };
      else runs.push({ startA: i, startB: j, length: 1 });
      isRunning = true;
    } else {
      isRunning = false;
      if (table[i - 1]![j]! > table[i]![j - 1]!) i--;
      else j--;
    }
  }
  return runs;
}
