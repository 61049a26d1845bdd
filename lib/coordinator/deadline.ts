/**
 * Bounds a wait: no request waits longer than `request-timeout`. What is told TIMEOUT has not taken effect and never will:
 * whoever works on looks at `isPast` in the same step in which it would change something.
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";

export class Deadline {
  readonly #clock: Clock;
  readonly #saidMs: number;
  /** On the monotonic clock. */
  readonly atMs: number;
  /** Timers may fire a little before the clock says so. */
  #hasFired = false;
  #isMet = false;

  /** `timeoutMs` from now; `saidMs` of which the error speaks, the setting, where some of it has passed elsewhere. */
  constructor(clock: Clock, timeoutMs: number, saidMs = timeoutMs) {
    this.#clock = clock;
    this.#saidMs = saidMs;
    this.atMs = clock.monotonicMs() + timeoutMs;
  }

  get isPast(): boolean {
    return this.#hasFired || this.#clock.monotonicMs() >= this.atMs;
  }

  /**
   * The change has been made in time: from now on only its commit, which comes with this turn, decides what is told. Told
   * TIMEOUT now, the client would take for undone what was done. REQUIRES that it is not past.
   */
  meet(): void {
    this.#isMet = true;
  }

  error(): OperatingError {
    return new OperatingError("TIMEOUT", `no answer within ${this.#saidMs} ms (request-timeout); nothing was changed`);
  }

  /** Settles as `work` does, or rejects with TIMEOUT at the deadline. `work` itself goes on. */
  bound<Result>(work: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const leftMs = Math.max(0, this.atMs - this.#clock.monotonicMs());
      const timer = this.#clock.after(leftMs, () => {
        if (this.#isMet) return;
        this.#hasFired = true;
        reject(this.error());
      });
      const settle = (): void => timer.cancel();
      work.then(settle, settle);
      work.then(resolve, reject);
    });
  }
}
