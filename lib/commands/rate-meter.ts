/** How fast a counter grows: sampled on a timer, averaged over the last seconds. */
import type { Clock, Timer } from "../host/clock.js";

const PERIOD_MS = 500;
/** Samples kept: the average spans the time between the first and the last. */
const SAMPLES = 5;

export class RateMeter {
  readonly #clock: Clock;
  readonly #count: () => number;
  #samples: { atMs: number; count: number }[] = [];
  #timer: Timer | null = null;

  constructor(options: { clock: Clock; count: () => number }) {
    this.#clock = options.clock;
    this.#count = options.count;
  }

  start(): void {
    this.#sample();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Whole events a second; 0 until there are two samples, or after the counter was set back. */
  perSecond(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
    return Math.max(0, Math.round(((last.count - first.count) * 1_000) / (last.atMs - first.atMs)));
  }

  #sample(): void {
    this.#samples.push({ atMs: this.#clock.monotonicMs(), count: this.#count() });
    if (this.#samples.length > SAMPLES) this.#samples.shift();
    this.#timer = this.#clock.after(PERIOD_MS, () => this.#sample());
  }
}
