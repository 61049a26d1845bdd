/**
 * Keeps what was fetched from the disk honest. Records from elsewhere are merged out of turn, so whoever waits for the disk in
 * a key's turn may come back to another record than the one read.
 *
 * Invariant: what a `fetched` map holds of a key is what is stored under it now: a change takes it out, and what is still
 * being read by then never gets in. A fetch is watched from when it begins until it is used or fails.
 */

/** Encoded records by data key; null where there is none. */
export type Records = Map<string, Buffer | null>;

export class FetchWatch {
  /** By data key: the fetches that read it, or have read it and are not used yet. */
  readonly #fetches = new Map<string, Set<Records>>();

  /** Keys being watched. */
  get size(): number {
    return this.#fetches.size;
  }

  /** From now on changes of the key's record are noticed. */
  begin(dataKey: string, fetched: Records): void {
    const fetches = this.#fetches.get(dataKey);
    if (fetches === undefined) this.#fetches.set(dataKey, new Set([fetched]));
    else fetches.add(fetched);
  }

  /** Adds what was read of a key since `begin`, unless its record has changed since. */
  add(dataKey: string, fetched: Records, bytes: Buffer | null): void {
    if (this.#fetches.get(dataKey)?.has(fetched)) fetched.set(dataKey, bytes);
  }

  /** The key's record has changed. Costs nothing while nobody fetches. */
  noteChange(dataKey: string): void {
    if (this.#fetches.size === 0) return;
    const fetches = this.#fetches.get(dataKey);
    if (fetches === undefined) return;
    for (const fetched of fetches) fetched.delete(dataKey);
    this.#fetches.delete(dataKey);
  }

  /** All records have changed. */
  noteChangeOfAll(): void {
    for (const [dataKey, fetches] of this.#fetches) for (const fetched of fetches) fetched.delete(dataKey);
    this.#fetches.clear();
  }

  /** These keys of a fetch are not watched any longer. */
  end(dataKeys: Iterable<string>, fetched: Records): void {
    if (this.#fetches.size === 0) return;
    for (const dataKey of dataKeys) {
      const fetches = this.#fetches.get(dataKey);
      if (fetches?.delete(fetched) && fetches.size === 0) this.#fetches.delete(dataKey);
    }
  }
}
