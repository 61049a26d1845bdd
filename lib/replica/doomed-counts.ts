/**
 * What the counters of records still count although a flush has removed it: all that was counted when the flush became known,
 * less what has been dropped since. So a flushed database counts no keys at once. Keys that were written before the flush was
 * known here and that it did not see count again as the sweep passes them.
 */
import { SLOTS } from "../bytes/slot.js";

export class DoomedCounts {
  /** By database, by slot. */
  readonly #bySlot = new Map<number, Uint32Array>();
  readonly #totals = new Map<number, number>();
  /** Slots before this one are swept. */
  #sweptTo = 0;

  /** All that is counted in the database now is flushed, as far as is known. */
  doom(database: number, countOf: (slot: number) => number): void {
    const counts = new Uint32Array(SLOTS);
    let total = 0;
    for (let slot = 0; slot < SLOTS; slot++) total += counts[slot] = countOf(slot);
    this.#bySlot.set(database, counts);
    this.#totals.set(database, total);
    this.#sweptTo = 0;
  }

  of(database: number, slot: number): number {
    return this.#bySlot.get(database)?.[slot] ?? 0;
  }

  total(database: number): number {
    return this.#totals.get(database) ?? 0;
  }

  /** A record that was counted has gone. */
  dropped(database: number, slot: number): void {
    const counts = this.#bySlot.get(database);
    if (counts === undefined || counts[slot] === 0) return;
    counts[slot]!--;
    this.#totals.set(database, this.total(database) - 1);
  }

  /** What is counted in slots before this one is there. */
  sweptTo(slot: number): void {
    for (; this.#sweptTo < slot; this.#sweptTo++) {
      for (const [database, counts] of this.#bySlot) {
        this.#totals.set(database, this.total(database) - counts[this.#sweptTo]!);
        counts[this.#sweptTo] = 0;
      }
    }
  }

  clear(): void {
    this.#bySlot.clear();
    this.#totals.clear();
    this.#sweptTo = 0;
  }
}
