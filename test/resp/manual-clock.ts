/** A Clock that stands still: tests run deferred work turn by turn and move time by hand. */
import type { Clock, Timer } from "../../lib/host/clock.js";

interface Pending {
  readonly atMs: number;
  readonly fire: () => void;
}

export class ManualClock implements Clock {
  #nowMs = 0;
  #deferred: (() => void)[] = [];
  readonly #timers = new Set<Pending>();

  wallMs(): number {
    return 1_700_000_000_000 + Math.floor(this.#nowMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const pending = { atMs: this.#nowMs + delayMs, fire };
    this.#timers.add(pending);
    return { cancel: () => void this.#timers.delete(pending) };
  }

  defer(run: () => void): void {
    this.#deferred.push(run);
  }

  /** Runs what was deferred before this call; returns false when there was nothing. */
  turn(): boolean {
    const runs = this.#deferred.splice(0);
    for (const run of runs) run();
    return runs.length > 0;
  }

  /** Runs turns, and the promises they settle, until nothing more happens. */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 2; ) {
      quiet = this.turn() ? 0 : quiet + 1;
      // One pass of Node's own loop runs every microtask that is ready, however long their chain.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Moves time on, firing timers in order. */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const next = [...this.#timers].filter((timer) => timer.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.fire();
      await this.settle();
    }
    this.#nowMs = untilMs;
  }
}
