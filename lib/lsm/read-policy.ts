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
/** So many fast reads after a pause, and the disk is trusted again: the next pause is a short one. */
const FAST_READS_TO_TRUST = 64;
/** Of a trusted disk one read in so many is timed: looking at the clock twice costs a twentieth of a read. */
const READS_PER_TIMED = 4;
/** The weight of a read in the average. */
const WEIGHT = 1 / 16;

export class ReadPolicy {
  #pauseMs = PAUSE_MIN_MS;
  #isPaused = false;
  #pausedUntilMs = 0;
  #averageMs = 0;
  #fastReads = 0;
  #untimedReads = 0;

  /** Whether `mayBlock` has to be asked: else reads may block whatever the time is. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Whether a read that begins at `nowMs` (monotonic) may block. */
  mayBlock(nowMs: number): boolean {
    return !this.#isPaused || nowMs >= this.#pausedUntilMs;
  }

  /** Asked once before each blocking read: whether it is to be timed, and `observe` called with it. */
  wantsTiming(): boolean {
    if (this.#isPaused || this.#fastReads < FAST_READS_TO_TRUST || ++this.#untimedReads === READS_PER_TIMED) {
      this.#untimedReads = 0;
      return true;
    }
    return false;
  }

  /** A blocking read took `tookMs` and ended at `nowMs`. */
  observe(tookMs: number, nowMs: number): void {
    this.#averageMs += (tookMs - this.#averageMs) * WEIGHT;
    if (tookMs <= SLOW_READ_MS && this.#averageMs <= SLOW_AVERAGE_MS) {
      this.#isPaused = false;
      if (this.#fastReads < FAST_READS_TO_TRUST) this.#fastReads++;
      else this.#pauseMs = PAUSE_MIN_MS;
      return;
    }
    this.#isPaused = true;
    this.#pausedUntilMs = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(PAUSE_MAX_MS, 2 * this.#pauseMs);
    this.#fastReads = 0;
    // The probe after the pause is judged by itself, not by what was before.
    this.#averageMs = 0;
  }
}
