/**
 * Tells when all work of a kind that had begun by some moment is over. Work is not told apart, only counted by the moments
 * between which it began.
 */
export class Fence {
  /** Work under way, by the moment after which it began. */
  readonly #open = new Map<number, number>();
  #moment = 0;
  /** Those who wait, with the moment that they wait for. */
  #waiting: { readonly moment: number; readonly resolve: () => void }[] = [];

  /** Work under way. */
  count = 0;

  /** Counts `work` until it settles; settles as it does. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    const moment = this.#moment;
    this.count++;
    this.#open.set(moment, (this.#open.get(moment) ?? 0) + 1);
    try {
      return await work();
    } finally {
      this.count--;
      const left = this.#open.get(moment)! - 1;
      if (left > 0) this.#open.set(moment, left);
      else this.#open.delete(moment);
      this.#wake();
    }
  }

  /** Resolves when all that has begun by now is over. */
  passed(): Promise<void> {
    const moment = this.#moment++;
    if (this.#isOver(moment)) return Promise.resolve();
    return new Promise((resolve) => void this.#waiting.push({ moment, resolve }));
  }

  #isOver(moment: number): boolean {
    // Moments are met in the order in which they came to be.
    for (const oldest of this.#open.keys()) if (oldest <= moment) return false;
    return true;
  }

  #wake(): void {
    const over = this.#waiting.filter(({ moment }) => this.#isOver(moment));
    if (over.length === 0) return;
    this.#waiting = this.#waiting.filter((waiter) => !over.includes(waiter));
    for (const { resolve } of over) resolve();
  }
}
