/**
 * Until when a request that was passed on may be begun by the member that it was given to. After that another may have been
 * given it, and what its client did next may be done: begun now, an old request would take effect over a newer one.
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";

export class BeginLimit {
  readonly #clock: Clock;
  readonly #byMs: number;
  readonly #leasedUntilMs: () => number;
  readonly #isAbandoned: () => boolean;
  #isMissed = false;

  /** `byMs` on the monotonic clock, or later where it is leased more time; `isAbandoned`: nobody waits for the answer any more, and others may have been asked. */
  constructor(options: { clock: Clock; byMs: number; leasedUntilMs: () => number; isAbandoned: () => boolean }) {
    this.#clock = options.clock;
    this.#byMs = options.byMs;
    this.#leasedUntilMs = options.leasedUntilMs;
    this.#isAbandoned = options.isAbandoned;
  }

  /** It came too late: nothing of it was done, nor will be. */
  get isMissed(): boolean {
    return this.#isMissed;
  }

  /** From now on nothing more may be minted for it. */
  get isPast(): boolean {
    const nowMs = this.#clock.monotonicMs();
    return (nowMs >= this.#byMs && nowMs >= this.#leasedUntilMs()) || this.#isAbandoned();
  }

  /** Throws TIMEOUT when it is too late. Comes in the very step that stores. */
  require(): void {
    if (!this.isPast) return;
    this.#isMissed = true;
    throw this.error();
  }

  error(): OperatingError {
    return new OperatingError("TIMEOUT", "it was passed on too late to be begun");
  }
}
