import { expect } from "chai";
import type { MemberId } from "../../lib/cluster/member.js";
import { InFlight, type Request } from "../../lib/coordinator/in-flight.js";
import { ManualClock } from "../resp/manual-clock.js";

/** Members that have stopped. */
const stopped = new Set<MemberId>();
const health = { isLate: (_: MemberId, agoMs: number) => agoMs >= 1, hasStopped: (member: MemberId) => stopped.has(member) };

interface Probe extends Request {
  isSettled: boolean;
  hedges: number;
  expiries: number;
}

function request(options: { hedgeAtMs: number; deadlineMs: number; agoMs?: number; to?: MemberId }): Probe {
  const { hedgeAtMs, deadlineMs, agoMs = 1, to = "a" } = options;
  const probe: Probe = {
    isSettled: false,
    hedgeAtMs,
    deadlineMs,
    isHedged: false,
    hedges: 0,
    expiries: 0,
    hedge(isLate) {
      probe.hedges++;
      return isLate(to, agoMs);
    },
    expire() {
      probe.expiries++;
    },
  };
  return probe;
}

describe("requests in flight", () => {
  it("hedge once when it is time, and are given up at their deadline", async () => {
    const clock = new ManualClock();
    const inFlight = new InFlight({ clock, health, requestsMax: () => 10 });
    const slow = request({ hedgeAtMs: 20, deadlineMs: 100 });
    inFlight.add(slow);
    await clock.advance(15);
    expect(slow.hedges).to.equal(0);
    await clock.advance(60);
    expect(slow.hedges).to.equal(1);
    expect(slow.expiries).to.equal(0);
    await clock.advance(60);
    expect(slow.expiries).to.equal(1);
    expect(inFlight.count).to.equal(0);
  });

  it("that are settled are forgotten, and nothing is left to tick", async () => {
    const clock = new ManualClock();
    const inFlight = new InFlight({ clock, health, requestsMax: () => 10 });
    const quick = request({ hedgeAtMs: 20, deadlineMs: 100 });
    inFlight.add(quick);
    quick.isSettled = true;
    await clock.advance(200);
    expect(quick.hedges + quick.expiries).to.equal(0);
    expect(inFlight.count).to.equal(0);
  });

  it("are asked again while nobody is late, until somebody is", async () => {
    const clock = new ManualClock();
    const inFlight = new InFlight({ clock, health, requestsMax: () => 10 });
    const early = request({ hedgeAtMs: 10, deadlineMs: 1_000, agoMs: 0 });
    inFlight.add(early);
    await clock.advance(50);
    expect(early.hedges).to.be.above(3);
    expect(inFlight.hedged).to.equal(0);
    expect(early.isHedged).to.equal(false);
  });

  it("hedge within a budget: what was saved up, then a tenth of what comes", async () => {
    const clock = new ManualClock();
    const inFlight = new InFlight({ clock, health, requestsMax: () => 100_000 });
    for (let count = 0; count < 2_500; count++) inFlight.add(request({ hedgeAtMs: 1, deadlineMs: 1_000 }));
    await clock.advance(20);
    expect(inFlight.hedged).to.equal(2_000);
    expect(inFlight.spared).to.be.above(0);
    for (let count = 0; count < 100; count++) inFlight.add(request({ hedgeAtMs: 500, deadlineMs: 1_000 }));
    await clock.advance(20);
    expect(inFlight.hedged).to.be.within(2_009, 2_010);
  });

  it("turn away from a member that has stopped whatever the budget, and that costs none", async () => {
    const clock = new ManualClock();
    const inFlight = new InFlight({ clock, health, requestsMax: () => 100_000 });
    stopped.add("stopped");
    for (let count = 0; count < 3_000; count++) inFlight.add(request({ hedgeAtMs: 1, deadlineMs: 1_000, to: "stopped" }));
    for (let count = 0; count < 2_100; count++) inFlight.add(request({ hedgeAtMs: 1, deadlineMs: 1_000 }));
    await clock.advance(20);
    expect(inFlight.hedged).to.equal(5_000);
    const late = request({ hedgeAtMs: 1, deadlineMs: 1_000, to: "stopped" });
    inFlight.add(late);
    await clock.advance(20);
    stopped.clear();
    expect(late.isHedged).to.equal(true);
  });

  it("are refused with BUSY past the bound", () => {
    const inFlight = new InFlight({ clock: new ManualClock(), health, requestsMax: () => 1 });
    inFlight.requireRoom();
    inFlight.add(request({ hedgeAtMs: 1, deadlineMs: 2 }));
    expect(() => inFlight.requireRoom()).to.throw("1 requests wait for other nodes already; try again");
  });
});
