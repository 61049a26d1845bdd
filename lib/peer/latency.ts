/**
 * How long a peer usually takes to answer: a moving mean and a moving mean deviation, as TCP estimates its retransmission
 * time (Jacobson, "Congestion avoidance and control", 1988; RFC 6298).
 */
const MEAN_GAIN = 1 / 8;
const DEVIATION_GAIN = 1 / 4;
/** Mean plus so many deviations: exceeded by few answers in a hundred. */
const USUAL_DEVIATIONS = 4;
/** One that just started is slow to answer for other reasons. */
const LEAST_SAMPLES = 4;

export class Latency {
  #meanMs = -1;
  #deviationMs = 0;
  #leastMs = Number.POSITIVE_INFINITY;
  #samples = 0;

  sample(tookMs: number): void {
    if (tookMs < this.#leastMs) this.#leastMs = tookMs;
    this.#samples++;
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

  /** The shortest sample: the way there and back; 0 before there are enough of them to say so. */
  get leastMs(): number {
    return this.#samples < LEAST_SAMPLES ? 0 : this.#leastMs;
  }

  /** What an answer rarely exceeds, for hedging; -1 before the first sample. */
  get usualMsMax(): number {
    return this.#meanMs < 0 ? -1 : this.#meanMs + USUAL_DEVIATIONS * this.#deviationMs;
  }
}
