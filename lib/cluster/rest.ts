/** A pause that its owner may end early: one at a time. */
import { assert } from "../assert.js";
import type { Clock, Timer } from "../host/clock.js";

export class Rest {
  readonly #clock: Clock;
  #timer: Timer | null = null;
  #end: (() => void) | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves after `ms`, or when it is woken. */
  take(ms: number): Promise<void> {
    assert(this.#end === null, "rest: one at a time");
    return new Promise((resolve) => {
      this.#end = resolve;
      this.#timer = this.#clock.after(ms, () => this.wake());
    });
  }

  /** Ends a rest that is being taken. */
  wake(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const end = this.#end;
    this.#end = null;
    end?.();
  }
}
