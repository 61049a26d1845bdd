/**
 * How many hints may be under way to one target (additive increase, multiplicative decrease). Pure: it is told the time.
 * The window halves when the target does not keep up, at most once for all that was sent before, and grows by one for each
 * window of acknowledgements.
 */

/** A target that refused work is left alone for so long. */
const REST_MS = 100;

export class HandoffWindow {
  inFlight = 0;
  #size: number;
  #acknowledged = 0;
  #halvedMs = Number.NEGATIVE_INFINITY;
  #restUntilMs = Number.NEGATIVE_INFINITY;

  /** `sizeMax`: 1 or more. `sizeAtFirst`: with how many it begins, if that is less. */
  constructor(sizeMax: number, sizeAtFirst = sizeMax) {
    this.#size = Math.min(sizeMax, sizeAtFirst);
  }

  get size(): number {
    return this.#size;
  }

  isOpen(nowMs: number): boolean {
    return this.inFlight < this.#size && nowMs >= this.#restUntilMs;
  }

  /** Milliseconds for which nothing may be sent, whatever comes back. */
  restMs(nowMs: number): number {
    return Math.max(0, this.#restUntilMs - nowMs);
  }

  sent(): void {
    this.inFlight++;
  }

  acknowledged(sizeMax: number): void {
    this.inFlight--;
    this.#size = Math.min(this.#size, sizeMax);
    if (++this.#acknowledged < this.#size) return;
    this.#acknowledged = 0;
    this.#size = Math.min(this.#size + 1, sizeMax);
  }

  failed(): void {
    this.inFlight--;
  }

  /** `slow`: no answer in time. `refused`: it has too much to do. `sentMs` is of the call that failed so. */
  troubled(what: "slow" | "refused", { sentMs, nowMs }: { readonly sentMs: number; readonly nowMs: number }): void {
    this.inFlight--;
    if (what === "refused") this.#restUntilMs = nowMs + REST_MS;
    if (sentMs < this.#halvedMs) return;
    this.#size = Math.max(1, Math.floor(this.#size / 2));
    this.#acknowledged = 0;
    this.#halvedMs = nowMs;
  }
}
