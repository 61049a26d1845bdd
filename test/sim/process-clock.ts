/**
 * A process's view of the clock: its own start and wall clock, and no timer fires while it is stopped (SIGSTOP). Its monotonic
 * clock goes on meanwhile; that of a paused virtual machine stands still (`pauseOf`).
 */
import type { Clock, Timer } from "../../lib/host/clock.js";
import type { SimClock } from "./sim-clock.js";

export class ProcessClock implements Clock {
  readonly #clock: SimClock;
  #aheadMs: number;
  /** How far its wall clock is ahead of the world's. */
  wallAheadMs = 0;
  #isStopped = false;
  #waiting: (() => void)[] = [];

  /** `aheadMs`: how far its monotonic clock is ahead of the world's. */
  constructor(clock: SimClock, aheadMs: number) {
    this.#clock = clock;
    this.#aheadMs = aheadMs;
  }

  wallMs(): number {
    return this.#clock.wallMs() + this.wallAheadMs;
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs() + this.#aheadMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    let isCancelled = false;
    const run = (): void => {
      if (isCancelled) return;
      if (this.#isStopped) this.#waiting.push(run);
      else fire();
    };
    this.#clock.after(delayMs, run);
    return {
      cancel: () => {
        isCancelled = true;
      },
    };
  }

  defer(run: () => void): void {
    this.after(0, run);
  }

  /** The machine was paused for so long without noticing. */
  pauseOf(ms: number): void {
    this.#aheadMs -= ms;
  }

  stop(): void {
    this.#isStopped = true;
  }

  goOn(): void {
    this.#isStopped = false;
    for (const run of this.#waiting.splice(0)) this.#clock.defer(run);
  }
}
