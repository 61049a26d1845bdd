import { expect } from "chai";
import { ReadPolicy } from "../../lib/lsm/read-policy.js";

/** Lets a probe fail `times` times, each as soon as it is allowed; returns the pauses between them. */
function pausesAfterSlowReads(policy: ReadPolicy, times: number): number[] {
  const pauses: number[] = [];
  let nowMs = 0;
  for (let time = 0; time < times; time++) {
    policy.observe(5, nowMs);
    const slowMs = nowMs;
    while (!policy.mayBlock(nowMs)) nowMs++;
    pauses.push(nowMs - slowMs);
  }
  return pauses;
}

describe("lsm read policy", () => {
  it("lets reads block as long as they return fast", () => {
    const policy = new ReadPolicy();
    for (let nowMs = 0; nowMs < 1_000; nowMs++) {
      expect(policy.mayBlock(nowMs)).to.equal(true);
      policy.observe(0.01, nowMs);
    }
  });

  it("stops blocking after one read over a millisecond, for a while", () => {
    const policy = new ReadPolicy();
    policy.observe(1.1, 100);
    expect(policy.mayBlock(100)).to.equal(false);
    expect(policy.mayBlock(104)).to.equal(false);
    expect(policy.mayBlock(105)).to.equal(true);
  });

  it("waits longer each time that the probe is slow again, up to a bound", () => {
    const pauses = pausesAfterSlowReads(new ReadPolicy(), 12);
    expect(pauses.slice(0, 4)).to.deep.equal([5, 10, 20, 40]);
    expect(pauses.at(-1)).to.equal(1_280);
  });

  it("trusts the disk again after many fast reads", () => {
    const policy = new ReadPolicy();
    pausesAfterSlowReads(policy, 8);
    for (let read = 0; read < 65; read++) policy.observe(0.01, 100_000);
    policy.observe(5, 200_000);
    expect(policy.mayBlock(200_005)).to.equal(true);
  });

  it("times every read until the disk is trusted, then one in four", () => {
    const policy = new ReadPolicy();
    const timed = (reads: number): number => {
      let count = 0;
      for (let read = 0; read < reads; read++) {
        if (!policy.wantsTiming()) continue;
        count++;
        policy.observe(0.01, 0);
      }
      return count;
    };
    expect(timed(64)).to.equal(64);
    expect(timed(100)).to.equal(25);
    policy.observe(5, 0);
    expect(policy.isPaused).to.equal(true);
    expect(timed(64)).to.equal(64);
    expect(policy.isPaused).to.equal(false);
  });

  it("stops blocking when reads take a tenth of a millisecond on average", () => {
    const policy = new ReadPolicy();
    let reads = 0;
    for (; policy.mayBlock(50) && reads < 100; reads++) policy.observe(0.2, 50);
    expect(reads).to.be.within(5, 20);
  });
});
