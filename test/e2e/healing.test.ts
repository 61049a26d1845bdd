/** A lost disk and keys that differ on real processes, at small scale: `npm run healing` does it with more keys. */
import { expect } from "chai";
import { runHealing } from "./healing-run.js";
import { serversOfTest } from "./server-process.js";

const KEYS = 3_000;

describe("a member whose disk is lost, and keys that one of three lacks", function () {
  this.timeout(120_000);
  const servers = serversOfTest();

  it("are restored by a replacement and by comparing trees; then nothing is repaired any more", async () => {
    const report = await runHealing(servers, { keys: KEYS, differences: [30], quietMs: 3_000 });
    expect(report.replacement.copies).to.equal(KEYS);
    // A comparison sends what differs and its way in the tree, not all keys.
    expect(report.convergences[0]!.bytes)
      .to.be.greaterThan(0)
      .and.below(KEYS * 100);
    expect(report.quietRepairs).to.equal(0);
  });
});
