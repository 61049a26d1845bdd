import { expect } from "chai";
import { RecentWrites } from "../../lib/replica/recent-writes.js";

describe("recent writes", () => {
  it("know at least the last 32,768 ids, and at most twice as many", () => {
    const recent = new RecentWrites();
    for (let id = 0; id < 100_000; id++) recent.note(`${id}`);
    for (let id = 100_000 - 32_768; id < 100_000; id++) expect(recent.has(`${id}`)).to.equal(true);
    expect(recent.has("0")).to.equal(false);
    expect(recent.has(`${100_000 - 65_537}`)).to.equal(false);
  });
});
