/**
 * Decides whether a block may be read blocking. Pure. Reads that the page cache answers take a few microseconds, a fifth of
 * what handing them to another thread costs; but one that waits for the device holds up every client. So: read blocking
 * while reads return fast; after one that did not, leave it for a while, then try a single one again.
 */

/** A single read over this holds up clients noticeably. */
const SLOW_READ_MS = 1;
/** Reads that take this long on average are cheaper off the thread, where several wait at once. */
const SLOW_AVERAGE_MS = 0.1;
const PAUSE_MIN_MS = 5;
const PAUSE_MAX_MS = 1_280;
/** So many fast reads after a pause, and the next pause is a short one again. */
const FAST_READS_TO_TRUST = 64;
/** The weight of a read in the average. */
const WEIGHT = 1 / 16;

export class ReadPolicy {
  #pauseMs = PAUSE_MIN_MS;
  #blockedUntilMs = Number.NEGATIVE_INFINITY;
  #averageMs = 0;
  #fastReads = 0;

  /** Whether a read that begins at `nowMs` (monotonic) may block. */
  mayBlock(nowMs: number): boolean {
    return nowMs >= this.#blockedUntilMs;
  }

  /** A blocking read took `tookMs` and ended at `nowMs`. */
  observe(tookMs: number, nowMs: number): void {
    this.#averageMs += (tookMs - this.#averageMs) * WEIGHT;
    if (tookMs <= SLOW_READ_MS && this.#averageMs <= SLOW_AVERAGE_MS) {
      if (++this.#fastReads >= FAST_READS_TO_TRUST) this.#pauseMs = PAUSE_MIN_MS;
      return;
    }
    this.#blockedUntilMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(PAUSE_MAX_MS, 2 * this.#pauseMs);
    this.#fastReads = 0;
    // The probe after the pause is judged by itself, not by what was before.
    this.#averageMs = 0;
  }
}
