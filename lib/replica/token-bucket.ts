/**
 * Bounds a rate of bytes. Pure: it is told the time. Who is let through may take more than is there, and the debt is waited
 * for by the next, so that one large record passes at any rate.
 */

/** What may be taken at once after a pause: so many milliseconds' worth. */
const BURST_MS = 100;

export class TokenBucket {
  #tokens = 0;
  #atMs = Number.NEGATIVE_INFINITY;

  /** Milliseconds to wait until something may be taken; 0: now. `bytesPerSecond` above 0. */
  waitMs(nowMs: number, bytesPerSecond: number): number {
    const perMs = bytesPerSecond / 1_000;
    this.#tokens = Math.min(BURST_MS * perMs, this.#tokens + (nowMs - this.#atMs) * perMs);
    this.#atMs = nowMs;
    return this.#tokens > 0 ? 0 : (1 - this.#tokens) / perMs;
  }

  take(bytes: number): void {
    this.#tokens -= bytes;
  }
}
