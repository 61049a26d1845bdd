import { expect } from "chai";
import { MemberHealth } from "../../lib/replica/member-health.js";

const OTHER = "00000000000000a2";

/** A member that has been silent for so long, and usually answers in a millisecond. */
function silentFor(ms: number, { isUsable = true, leastMs = 0 } = {}): MemberHealth {
  const usualMsMax = 1 + leastMs;
  const link = { isUsable, silentMs: ms, lastAnswerMs: 1_000 - ms, usualMsMax, leastMs, callsInFlight: 1 };
  const peers = { turnMs: () => 1_000, state: () => link, isUsable: () => isUsable };
  return new MemberHealth({ peers: peers as never });
}

describe("the health of members", () => {
  it("others are asked before one that is silent for longer than it usually takes", () => {
    expect(silentFor(0).isPrompt(OTHER)).to.equal(true);
    expect(silentFor(39).isPrompt(OTHER)).to.equal(true);
    expect(silentFor(60).isPrompt(OTHER)).to.equal(false);
  });

  it("one that was busy for a moment still decides: nodes that disagreed about that would both decide", () => {
    expect(silentFor(60).isAnswering(OTHER)).to.equal(true);
    expect(silentFor(200).isAnswering(OTHER)).to.equal(true);
    expect(silentFor(300).isAnswering(OTHER)).to.equal(false);
    expect(silentFor(0, { isUsable: false }).isAnswering(OTHER)).to.equal(false);
  });

  it("one that is far away is given the time of the way there and back besides", () => {
    const farMs = 180;
    expect(silentFor(farMs + 30, { leastMs: farMs }).isPrompt(OTHER)).to.equal(true);
    expect(silentFor(farMs + 60, { leastMs: farMs }).isPrompt(OTHER)).to.equal(false);
    expect(silentFor(farMs + 200, { leastMs: farMs }).isAnswering(OTHER)).to.equal(true);
    expect(silentFor(farMs + 300, { leastMs: farMs }).isAnswering(OTHER)).to.equal(false);
    expect(silentFor(0, { leastMs: farMs }).hedgeAfterMs(OTHER)).to.equal(farMs + 10);
    expect(silentFor(0, { leastMs: farMs }).isLate(OTHER, farMs + 90)).to.equal(false);
    expect(silentFor(0, { leastMs: farMs }).isLate(OTHER, farMs + 110)).to.equal(true);
    // What a busy neighbour takes says nothing of the way.
    expect(silentFor(60, { leastMs: 4 }).isPrompt(OTHER)).to.equal(false);
  });
});
