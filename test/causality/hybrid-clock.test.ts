import { expect } from "chai";
import fc from "fast-check";
import { HybridClock, stampAt, stampMs } from "../../lib/causality/hybrid-clock.js";

const START_MS = 1_750_000_000_000;
const SKEW_MS = 60_000;

describe("hybrid clock", () => {
  it("gives rising stamps however the wall clock jumps, above all that it accepted", () => {
    const event = fc.record({
      wallMs: fc.oneof(fc.integer({ min: START_MS - 10, max: START_MS + 10 }), fc.nat({ max: 2 * START_MS })),
      observed: fc.option(fc.integer({ min: START_MS - SKEW_MS, max: START_MS + 3 * SKEW_MS }), { nil: null }),
    });
    fc.assert(
      fc.property(fc.array(event), (events) => {
        const clock = new HybridClock({ maxClockSkewMs: SKEW_MS, last: 0 });
        let highest = 0;
        for (const { wallMs, observed } of events) {
          if (observed !== null && clock.observe(stampAt(observed) + 5, wallMs)) {
            highest = Math.max(highest, stampAt(observed) + 5);
          }
          const stamp = clock.next(wallMs);
          expect(stamp).to.be.greaterThan(highest);
          expect(stamp).to.be.at.least(stampAt(wallMs));
          highest = stamp;
          expect(clock.last).to.equal(highest);
        }
      }),
    );
  });

  it("follows the wall clock again once that is ahead", () => {
    const clock = new HybridClock({ maxClockSkewMs: SKEW_MS, last: 0 });
    expect(clock.next(START_MS)).to.equal(stampAt(START_MS));
    expect(clock.next(START_MS - 5_000)).to.equal(stampAt(START_MS) + 1);
    expect(clock.next(START_MS + 1)).to.equal(stampAt(START_MS + 1));
  });

  it("carries a counter that overflows into the milliseconds", () => {
    const clock = new HybridClock({ maxClockSkewMs: SKEW_MS, last: 0 });
    for (let count = 0; count < 4_096; count++) expect(stampMs(clock.next(START_MS))).to.equal(START_MS);
    expect(stampMs(clock.next(START_MS))).to.equal(START_MS + 1);
  });

  it("is not moved by a stamp further ahead than the allowed skew", () => {
    const clock = new HybridClock({ maxClockSkewMs: SKEW_MS, last: 0 });
    expect(clock.observe(stampAt(START_MS + SKEW_MS), START_MS)).to.equal(true);
    expect(clock.last).to.equal(stampAt(START_MS + SKEW_MS));
    expect(clock.observe(stampAt(START_MS + SKEW_MS) + 1, START_MS)).to.equal(false);
    expect(clock.observe(Number.MAX_SAFE_INTEGER, START_MS)).to.equal(false);
    expect(clock.last).to.equal(stampAt(START_MS + SKEW_MS));
  });

  it("goes on above the last stamp of a life before", () => {
    const clock = new HybridClock({ maxClockSkewMs: SKEW_MS, last: stampAt(START_MS) + 9 });
    expect(clock.next(START_MS - 1_000)).to.equal(stampAt(START_MS) + 10);
  });

  it("starts at 0 where the wall clock says a time before 2020", () => {
    expect(new HybridClock({ maxClockSkewMs: SKEW_MS, last: 0 }).next(0)).to.equal(1);
    expect(stampMs(0)).to.equal(Date.UTC(2020, 0, 1));
  });
});
