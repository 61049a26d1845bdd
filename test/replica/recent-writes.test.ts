import { expect } from "chai";
import { RecentWrites } from "../../lib/replica/recent-writes.js";

describe("the ids of recent writes", () => {
  it("are known at once, and for the next tens of thousands of others; then they are forgotten", () => {
    const lsm = { commitsTried: 0, commitsRefused: 0 };
    const recent = new RecentWrites(lsm);
    recent.note("first");
    expect(recent.has("first")).to.equal(true);
    for (let at = 0; at < 100_000; at++) {
      lsm.commitsTried++;
      recent.note(`other ${at}`);
      if (at === 32_000) expect(recent.has("first")).to.equal(true);
    }
    expect(recent.has("first")).to.equal(false);
    expect(recent.has("other 99999")).to.equal(true);
    expect(recent.has("other 70000")).to.equal(true);
  });

  it("are forgotten with the batch that the disk refuses", () => {
    const lsm = { commitsTried: 7, commitsRefused: 2 };
    const recent = new RecentWrites(lsm);
    recent.note("kept");
    lsm.commitsTried++;
    recent.note("refused");
    expect([recent.has("kept"), recent.has("refused")]).to.deep.equal([true, true]);
    lsm.commitsTried++;
    lsm.commitsRefused++;
    expect([recent.has("kept"), recent.has("refused")]).to.deep.equal([true, false]);
  });
});
