/**
 * Writes on their way to the other owners. They are begun in the step that stores them: what is decided next on the key leaves
 * behind them, and does not overtake them.
 */
export class Sent {
  readonly #writes: Promise<void>[] = [];

  add(write: Promise<void>): void {
    // Told by `all`, unless the change itself has failed by then, which says the same.
    write.catch(() => undefined);
    this.#writes.push(write);
  }

  async all(): Promise<void> {
    await Promise.all(this.#writes);
  }
}
