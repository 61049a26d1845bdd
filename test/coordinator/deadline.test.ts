import { expect } from "chai";
import { Deadline } from "../../lib/coordinator/deadline.js";
import type { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";

/** A clock whose one timer fires when the test says so. */
class OneTimer implements Clock {
  nowMs = 0;
  #fire: () => void = () => undefined;
  delayMs = 0;

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, fire: () => void): { cancel(): void } {
    this.delayMs = delayMs;
    this.#fire = fire;
    return { cancel: () => undefined };
  }

  defer(): void {
    throw new Error("a deadline defers nothing");
  }

  fireAt(ms: number): void {
    this.nowMs = ms;
    this.#fire();
  }
}

describe("a deadline", () => {
  it("tells TIMEOUT when it comes before the change, and keeps it from being made", async () => {
    const clock = new OneTimer();
    const deadline = new Deadline(clock, 100);
    const answer = deadline.bound(new Promise(() => undefined)).catch((error: OperatingError) => error.code);
    clock.fireAt(100);
    expect(await answer).to.equal("TIMEOUT");
    expect(deadline.isPast).to.equal(true);
  });

  it("leaves the answer to the commit when it comes between the change and its commit", async () => {
    const clock = new OneTimer();
    const deadline = new Deadline(clock, 100);
    let commit!: (outcome: string) => void;
    const committed = new Promise<string>((resolve) => {
      commit = resolve;
    });
    const answer = deadline.bound(committed).catch((error: OperatingError) => error.code);
    deadline.meet();
    clock.fireAt(100);
    commit("stored");
    expect(await answer).to.equal("stored");
  });

  it("bounds what begins later by what is left of it", () => {
    const clock = new OneTimer();
    const deadline = new Deadline(clock, 100);
    for (const [nowMs, leftMs] of [
      [30, 70],
      [100, 0],
      [130, 0],
    ] as const) {
      clock.nowMs = nowMs;
      deadline.bound(new Promise(() => undefined)).catch(() => undefined);
      expect(clock.delayMs).to.equal(leftMs);
    }
  });
});
