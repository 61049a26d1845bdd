/** The Clock seam: the only source of time and of timers. */

export interface Clock {
  /** Milliseconds since the Unix epoch, an integer. May jump in both directions. */
  wallMs(): number;
  /** Milliseconds since an arbitrary start, fractional. Never goes back. */
  monotonicMs(): number;
  /** Calls `fire` once after at least `delayMs` (>= 0) unless cancelled. Does not keep the process alive. */
  after(delayMs: number, fire: () => void): Timer;
  /** Calls `run` once, at the end of this turn: after the input that is ready was handled, or a good deal of it. */
  defer(run: () => void): void;
}

export interface Timer {
  /** Idempotent; harmless after the timer fired. */
  cancel(): void;
}

/** Resolves after `delayMs`. */
export function pause(clock: Clock, delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(delayMs, resolve);
  });
}
