/**
 * How long a peer usually takes to answer: a moving mean and a moving mean deviation, as TCP estimates its retransmission
 * time (Jacobson, "Congestion avoidance and control", 1988; RFC 6298).
 */
const MEAN_GAIN = 1 / 8;
const DEVIATION_GAIN = 1 / 4;
/** Mean plus so many deviations: exceeded by few answers in a hundred. */
const USUAL_DEVIATIONS = 4;

export class Latency {
  #meanMs = -1;
  #deviationMs = 0;

  sample(tookMs: number): void {
    if (this.#meanMs < 0) {
      this.#meanMs = tookMs;
      this.#deviationMs = tookMs / 2;
      return;
    }
    const errorMs = tookMs - this.#meanMs;
    this.#meanMs += MEAN_GAIN * errorMs;
    this.#deviationMs += DEVIATION_GAIN * (Math.abs(errorMs) - this.#deviationMs);
  }

  /** Milliseconds; -1 before the first sample. */
  get meanMs(): number {
    return this.#meanMs;
  }

  get deviationMs(): number {
    return this.#deviationMs;
  }

  /** What an answer rarely exceeds, for hedging; -1 before the first sample. */
  get usualMsMax(): number {
    return this.#meanMs < 0 ? -1 : this.#meanMs + USUAL_DEVIATIONS * this.#deviationMs;
  }
}
