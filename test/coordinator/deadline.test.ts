import { expect } from "chai";
import { Deadline } from "../../lib/coordinator/deadline.js";
import type { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";

/** A clock whose one timer fires when the test says so. */
class OneTimer implements Clock {
  nowMs = 0;
  #fire: () => void = () => undefined;

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(_delayMs: number, fire: () => void): { cancel(): void } {
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

  it("leaves the answer to what the work was handed over to, which begins in time or not at all", async () => {
    const clock = new OneTimer();
    const deadline = new Deadline(clock, 100);
    let answerOf!: (outcome: string) => void;
    const passedOn = new Promise<string>((resolve) => {
      answerOf = resolve;
    });
    const answer = deadline.bound(deadline.handOver(() => passedOn)).catch((error: OperatingError) => error.code);
    clock.fireAt(100);
    answerOf("it may still take effect");
    expect(await answer).to.equal("it may still take effect");
    const late = deadline.handOver(() => Promise.reject(new Error("it began"))).catch((error: OperatingError) => error.code);
    expect(await late).to.equal("TIMEOUT");
  });
});
