import type { Clock, Timer } from "../../lib/host/clock.js";

/** Time that moves only by `advance`. */
export class FakeClock implements Clock {
  nowMs = 1_700_000_000_000;
  /** Added to the monotonic clock at each look: makes calls take time. */
  stepMs = 0;
  #timers: { atMs: number; fire: () => void }[] = [];

  wallMs(): number {
    return Math.floor(this.nowMs);
  }

  monotonicMs(): number {
    this.nowMs += this.stepMs;
    return this.nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const timer = { atMs: this.nowMs + delayMs, fire };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  defer(run: () => void): void {
    setImmediate(run);
  }

  advance(byMs: number): void {
    this.nowMs += byMs;
    const due = this.#timers.filter((timer) => timer.atMs <= this.nowMs);
    this.#timers = this.#timers.filter((timer) => timer.atMs > this.nowMs);
    for (const timer of due) timer.fire();
  }
}
