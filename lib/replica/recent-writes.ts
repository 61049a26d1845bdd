/**
 * Ids of requests that other nodes passed on and whose versions came to this store lately, by whichever way: one that comes a
 * second time is known by it, even after a later write has superseded its version. Bounded: the older half is forgotten when
 * the younger is full. A request is given to a second node within `request-timeout`, so lately is long enough.
 */
const HALF_MAX = 32_768;

export class RecentWrites {
  #young = new Set<string>();
  #old = new Set<string>();

  note(writeId: string): void {
    if (this.#young.size >= HALF_MAX) {
      this.#old = this.#young;
      this.#young = new Set();
    }
    this.#young.add(writeId);
  }

  has(writeId: string): boolean {
    return this.#young.has(writeId) || this.#old.has(writeId);
  }
}
