/**
 * A hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva, Leone 2014, section 3): stamps follow the wall clock and
 * still never stand still or go back. Invariant: every stamp given is greater than every stamp given or observed before.
 *
 * A stamp is one safe integer, (milliseconds since 2020-01-01 UTC) * 4096 + counter, so that stamps compare as numbers. A
 * counter that overflows carries into the milliseconds. Stamps last until 2089. Time is passed in: this file reads none.
 */
import { assert } from "../assert.js";

/** 2020-01-01T00:00:00Z in milliseconds since the Unix epoch. */
const ORIGIN_MS = 1_577_836_800_000;
const TICKS_PER_MS = 4_096;

/** The Unix time in milliseconds of a stamp, its counter cut off. */
export function stampMs(stamp: number): number {
  return Math.floor(stamp / TICKS_PER_MS) + ORIGIN_MS;
}

/** The first stamp of a millisecond of Unix time; 0 for any time before 2020. */
export function stampAt(wallMs: number): number {
  return Math.max(0, Math.floor(wallMs) - ORIGIN_MS) * TICKS_PER_MS;
}

export class HybridClock {
  readonly #skewMax: number;
  #last: number;

  /**
   * `maxClockSkewMs` (setting `max-clock-skew`, >= 0) bounds how far an observed stamp may pull this clock ahead of the
   * wall clock. `last` is the highest stamp known from before, 0 when there is none.
   */
  constructor(options: { maxClockSkewMs: number; last: number }) {
    assert(options.maxClockSkewMs >= 0, "clock: the skew is not negative");
    assert(Number.isSafeInteger(options.last) && options.last >= 0, "clock: the last stamp is a stamp");
    this.#skewMax = options.maxClockSkewMs * TICKS_PER_MS;
    this.#last = options.last;
  }

  /** The highest stamp given or accepted so far. */
  get last(): number {
    return this.#last;
  }

  /** A stamp above all before it, whatever the wall clock did. */
  next(wallMs: number): number {
    const stamp = Math.max(this.#last + 1, stampAt(wallMs));
    assert(Number.isSafeInteger(stamp), "clock: stamps end in 2089");
    this.#last = stamp;
    return stamp;
  }

  /**
   * Takes notice of a stamp from elsewhere: later stamps of ours are above it. Returns false, and leaves the clock where it
   * is, when the stamp is further ahead of the wall clock than the allowed skew; the record that carries it is kept as it is.
   */
  observe(stamp: number, wallMs: number): boolean {
    if (stamp <= this.#last) return true;
    if (stamp - stampAt(wallMs) > this.#skewMax) return false;
    this.#last = stamp;
    return true;
  }
}
