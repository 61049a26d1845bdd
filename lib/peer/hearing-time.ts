/**
 * The time in which this node could have heard its peers. What arrives while it computes, collects garbage or is stopped is
 * read afterwards, so none of that time may count as a peer's silence: a timer looks in every so often, and whatever has
 * arrived is read between two looks, so that silence lasts as many looks as there were, and no longer.
 */
import type { Clock } from "../host/clock.js";

const LOOK_MS = 5;
/** A look counts for so much at most: it may come a little late without anybody having been deaf. */
const LOOK_MS_MAX = 15;

export class HearingTime {
  readonly #clock: Clock;
  readonly #isNeeded: () => boolean;
  readonly #onLook = (): void => this.#look();
  #isRunning = false;
  /** Looks so far. */
  looks = 0;

  /** Looks go on for as long as `isNeeded`. */
  constructor(clock: Clock, isNeeded: () => boolean) {
    this.#clock = clock;
    this.#isNeeded = isNeeded;
  }

  /** Somebody was asked something. Idempotent. */
  begin(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#clock.after(LOOK_MS, this.#onLook);
  }

  /** How much of the last `ms` counts, of which `looksBefore` had happened. */
  heardOf(ms: number, looksBefore: number): number {
    return Math.min(ms, (this.looks - looksBefore) * LOOK_MS_MAX);
  }

  #look(): void {
    this.looks++;
    this.#isRunning = this.#isNeeded();
    if (this.#isRunning) this.#clock.after(LOOK_MS, this.#onLook);
  }
}
