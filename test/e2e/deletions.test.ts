/** Tombstones on real processes, at small scale: `npm run deletions` does it with more keys. */
import { expect } from "chai";
import { runDeletions } from "./deletions-run.js";
import { serversOfTest } from "./server-process.js";

const KEYS = 3_000;

describe("keys that were deleted while a member was away for longer than anything is kept for it", function () {
  this.timeout(120_000);
  const servers = serversOfTest();

  it("stay deleted when it is back, and their tombstones leave all members, and not before", async () => {
    // Nothing is kept for it at all, so that nobody has to wait until that has gone.
    const settings = { "request-timeout": "1000", "hints-max-bytes": "0" };
    const report = await runDeletions(servers, { keys: KEYS, kept: 500, settings });
    expect(report).to.include({ resurrected: 0, missing: 0, reapedBefore: 0 });
    expect(report.heldUpBy).to.equal("node-c is away: nothing leaves before it is back or removed");
    expect(report.reaped).to.be.at.least(3 * KEYS);
  });
});
