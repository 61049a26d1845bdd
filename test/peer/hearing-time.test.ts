import { expect } from "chai";
import { HearingTime } from "../../lib/peer/hearing-time.js";
import { ManualClock } from "../resp/manual-clock.js";

describe("the time in which peers could be heard", () => {
  it("is all of it while this node looks, and a moment where it was busy or stopped", async () => {
    const clock = new ManualClock();
    const hearing = new HearingTime(clock, () => true);
    hearing.begin();
    const before = hearing.looks;
    await clock.advance(300);
    expect(hearing.heardOf(300, before)).to.equal(300);
    // Stopped for ten seconds: one look.
    expect(hearing.heardOf(10_000, hearing.looks - 1)).to.equal(15);
    expect(hearing.heardOf(10_000, hearing.looks)).to.equal(0);
  });

  it("is not looked after while nobody is asked anything", async () => {
    const clock = new ManualClock();
    let isNeeded = true;
    const hearing = new HearingTime(clock, () => isNeeded);
    await clock.advance(100);
    expect(hearing.looks).to.equal(0);
    hearing.begin();
    hearing.begin();
    await clock.advance(20);
    expect(hearing.looks).to.equal(4);
    isNeeded = false;
    await clock.advance(100);
    expect(hearing.looks).to.equal(5);
    isNeeded = true;
    hearing.begin();
    await clock.advance(10);
    expect(hearing.looks).to.equal(7);
  });
});
