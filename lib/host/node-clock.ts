/** The Clock seam on Node's timers. Timers never keep the process alive: what must run to its end is awaited. */
import type { Clock, Timer } from "./clock.js";
import { loopTurn } from "./loop-turn.js";

/** The longest delay that Node's timers take; longer ones are slept in parts. */
const PART_MS_MAX = 2 ** 31 - 1;

class NodeTimer implements Timer {
  readonly #fire: () => void;
  #handle: NodeJS.Timeout | null = null;

  constructor(delayMs: number, fire: () => void) {
    this.#fire = fire;
    this.#arm(delayMs);
  }

  #arm(delayMs: number): void {
    const partMs = Math.min(delayMs, PART_MS_MAX);
    const restMs = delayMs - partMs;
    this.#handle = setTimeout(() => {
      if (restMs > 0) return this.#arm(restMs);
      this.#handle = null;
      this.#fire();
    }, partMs);
    this.#handle.unref();
  }

  cancel(): void {
    if (this.#handle === null) return;
    clearTimeout(this.#handle);
    this.#handle = null;
  }
}

export class NodeClock implements Clock {
  wallMs(): number {
    return Date.now();
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(delayMs: number, fire: () => void): Timer {
    return new NodeTimer(delayMs, fire);
  }

  defer(run: () => void): void {
    loopTurn.defer(run);
  }
}
