/**
 * Bounds a wait: no request waits longer than `request-timeout`. What is told TIMEOUT has not taken effect and never will:
 * whoever works on looks at `isPast` in the same step in which it would change something.
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";

export class Deadline {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #atMs: number;
  /** Timers may fire a little before the clock says so. */
  #hasFired = false;

  /** `timeoutMs` from now. */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#atMs = clock.monotonicMs() + timeoutMs;
  }

  get isPast(): boolean {
    return this.#hasFired || this.#clock.monotonicMs() >= this.#atMs;
  }

  error(): OperatingError {
    return new OperatingError("TIMEOUT", `no answer within ${this.#timeoutMs} ms (request-timeout); nothing was changed`);
  }

  /** Settles as `work` does, or rejects with TIMEOUT at the deadline. `work` itself goes on. */
  bound<Result>(work: Promise<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.after(this.#timeoutMs, () => {
        this.#hasFired = true;
        reject(this.error());
      });
      const settle = (): void => timer.cancel();
      work.then(settle, settle);
      work.then(resolve, reject);
    });
  }
}
