/**
 * The clock of one machine over the virtual time of the world: its wall clock is off, drifts and jumps; its timers reach only
 * the process that set them, and not while that one is stopped.
 */
import type { Clock, Timer } from "../../../lib/host/clock.js";
import type { SimClock } from "../sim-clock.js";
import type { ProcessGate } from "./process-gate.js";

export class MachineClock implements Clock {
  readonly #clock: SimClock;
  readonly #gate: ProcessGate;
  #offsetMs = 0;
  #latestMs = Number.NEGATIVE_INFINITY;
  /** How much faster than the world's the wall clock goes: 0.0002 is 200 parts in a million. */
  readonly #drift: number;

  constructor(options: { clock: SimClock; gate: ProcessGate; offsetMs: number; drift: number }) {
    this.#clock = options.clock;
    this.#gate = options.gate;
    this.#offsetMs = options.offsetMs;
    this.#drift = options.drift;
  }

  wallMs(): number {
    const wallMs = Math.floor(this.#clock.wallMs() + this.#offsetMs + this.#drift * this.#clock.monotonicMs());
    this.#latestMs = Math.max(this.#latestMs, wallMs);
    return wallMs;
  }

  /** The latest time that anybody was told. */
  get latestMs(): number {
    return this.#latestMs;
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  after(delayMs: number, fire: () => void): Timer {
    const { process } = this.#gate;
    let isCancelled = false;
    // One that became due while the process was stopped may still be cancelled by what runs before it.
    const run = (): void => {
      if (!isCancelled) fire();
    };
    const timer = this.#clock.after(delayMs, () => this.#gate.pass(process, run));
    return {
      cancel: () => {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  defer(run: () => void): void {
    const { process } = this.#gate;
    this.#clock.after(0, () => this.#gate.pass(process, run));
  }

  jump(byMs: number): void {
    this.#offsetMs += byMs;
  }

  /** The process goes on after a stop: what became due meanwhile happens now, one thing after the other. */
  goOn(): void {
    for (const run of this.#gate.goOn()) this.#clock.after(0, run);
  }
}
