/** Two data centres at small scale: `npm run data-centres` is the same for longer. */
import { expect } from "chai";
import { runDataCentres } from "./data-centres-run.js";
import { serversOfTest } from "./server-process.js";

/** Of the machine that tests run on not too much is expected; `npm run data-centres` is held to 500. */
const LONGEST_MS_MAX = 1_000;

describe("two data centres", function () {
  this.timeout(180_000);
  const servers = serversOfTest();

  it("serve their own users while the link between them is cut, send each write across once, and converge", async () => {
    const options = { linkMs: 25, warmUpSeconds: 6, cutSeconds: 6, rate: 100, keys: 200, timed: 50, namespaces: null };
    const report = await runDataCentres(servers, { ...options, settings: { "anti-entropy-interval": "2" } });
    expect(report.examples).to.deep.equal([]);
    for (const { level, command, p50Ms } of report.times) {
      if (level === "LOCAL_QUORUM") expect(p50Ms, `${command} ${level}`).to.be.below(25);
      else expect(p50Ms, `${command} ${level}`).to.be.at.least(49);
    }
    expect(report.bytesRatio).to.be.within(0.9, 1.3);
    for (const { failures, staleReads, longestMs, longest, laterMs } of report.sides) {
      expect({ failures, staleReads }).to.deep.equal({ failures: {}, staleReads: 0 });
      expect(longestMs, longest).to.be.below(LONGEST_MS_MAX);
      expect(laterMs, "when it was back").to.be.below(LONGEST_MS_MAX);
    }
    expect(report.lost).to.equal(0);
    expect(report.convergedMs).not.to.equal(null);
    expect(report.writtenOnBoth).to.be.above(10);
    expect(report.siblings).to.equal(report.writtenOnBoth);
  });
});
