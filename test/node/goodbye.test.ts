/** When a member that is none of its cluster any more may stop. */
import { expect } from "chai";
import { sayGoodbye } from "../../lib/node/goodbye.js";
import { SimClock } from "../sim/sim-clock.js";

describe("the goodbye of a member", () => {
  async function goneAfter(how: "left" | "removed", knownMs: number): Promise<number> {
    const clock = new SimClock();
    let goneMs = Number.POSITIVE_INFINITY;
    const gone = sayGoodbye({ clock, how, spread: async () => clock.monotonicMs() >= knownMs }).then(() => {
      goneMs = clock.monotonicMs();
    });
    await clock.advance(60_000);
    await gone;
    return goneMs;
  }

  it("takes a second, in which who asked for it is answered", async () => {
    expect(await goneAfter("left", 0)).to.equal(1_000);
    expect(await goneAfter("removed", Number.POSITIVE_INFINITY)).to.equal(1_000);
  });

  it("waits until another knows that it has left, but not for ever", async () => {
    expect(await goneAfter("left", 9_900)).to.be.within(9_900, 10_500);
    expect(await goneAfter("left", Number.POSITIVE_INFINITY)).to.be.within(31_000, 32_000);
  });
});
