/**
 * What this node has shown of keys that it keeps no copy of, lately: a plain SET through the same node then supersedes what
 * was read or written there before. Bounded; what is forgotten makes at most a sibling that was not needed.
 */
import { VersionVector } from "../causality/version-vector.js";

const KEYS_MAX = 16_384;

export class ShownContexts {
  /** Least lately shown first. */
  readonly #contexts = new Map<string, VersionVector>();

  note(dataKey: string, context: VersionVector): void {
    const known = this.#contexts.get(dataKey);
    if (known !== undefined) this.#contexts.delete(dataKey);
    else if (this.#contexts.size >= KEYS_MAX) this.#contexts.delete(this.#contexts.keys().next().value!);
    this.#contexts.set(dataKey, known === undefined ? context : known.join(context));
  }

  of(dataKey: string): VersionVector {
    return this.#contexts.get(dataKey) ?? VersionVector.EMPTY;
  }
}
