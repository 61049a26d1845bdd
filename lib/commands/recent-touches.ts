/**
 * When TOUCH last named a key, for OBJECT IDLETIME. A bounded memory of this process: records hold when they were written,
 * not when they were read, and the oldest touch is forgotten when there are too many.
 *
 * A touch says nothing of whether the key exists: of a key written after it, the write is the later of the two.
 */
import { latin1Of } from "../bytes/latin1.js";

const TOUCHES_MAX = 1_024;
/** Of longer keys touches are not remembered, so that the memory is bounded in bytes too. */
const KEY_BYTES_MAX = 1_024;

export class RecentTouches {
  /** Wall clock in milliseconds by database and key, the oldest first. */
  readonly #atMs = new Map<string, number>();

  note(database: number, key: Uint8Array, nowMs: number): void {
    if (key.length > KEY_BYTES_MAX) return;
    const name = nameOf(database, key);
    this.#atMs.delete(name);
    this.#atMs.set(name, nowMs);
    if (this.#atMs.size > TOUCHES_MAX) this.#atMs.delete(this.#atMs.keys().next().value!);
  }

  /** When the key was last touched: Unix time in milliseconds, 0 when that is not known. */
  of(database: number, key: Uint8Array): number {
    return this.#atMs.get(nameOf(database, key)) ?? 0;
  }
}

function nameOf(database: number, key: Uint8Array): string {
  return `${database}:${latin1Of(key)}`;
}
