/**
 * What an engine must hold: a plain Map and plain counters, kept batch by batch, so that the state after any prefix of the
 * committed batches can be told.
 */

/** One operation of a batch. */
export type ModelOperation =
  | { readonly kind: "put"; readonly key: string; readonly value: Buffer }
  | { readonly kind: "remove"; readonly key: string }
  | { readonly kind: "count"; readonly index: number; readonly delta: number }
  | { readonly kind: "clear" };

export class ModelState {
  readonly entries: Map<string, Buffer>;
  readonly counters: number[];

  constructor(entries: ReadonlyMap<string, Buffer>, counters: readonly number[]) {
    this.entries = new Map(entries);
    this.counters = [...counters];
  }

  static empty(counters: number): ModelState {
    return new ModelState(new Map(), new Array<number>(counters).fill(0));
  }

  copy(): ModelState {
    return new ModelState(this.entries, this.counters);
  }

  apply(operation: ModelOperation): void {
    switch (operation.kind) {
      case "put":
        this.entries.set(operation.key, operation.value);
        break;
      case "remove":
        this.entries.delete(operation.key);
        break;
      case "count":
        this.counters[operation.index]! += operation.delta;
        break;
      case "clear":
        this.entries.clear();
        this.counters.fill(0);
        break;
    }
  }
}

/** All committed batches, numbered from 1, and the state that they led to. */
export class LsmModel {
  readonly #counters: number;
  #batches: (readonly ModelOperation[])[] = [];
  #current: ModelState;

  constructor(counters: number) {
    this.#counters = counters;
    this.#current = ModelState.empty(counters);
  }

  /** The state after all committed batches. */
  get current(): ModelState {
    return this.#current;
  }

  /** The number of the last committed batch. */
  get committed(): number {
    return this.#batches.length;
  }

  commit(batch: readonly ModelOperation[]): void {
    this.#batches.push(batch);
    for (const operation of batch) this.#current.apply(operation);
  }

  /** The state after batch `number`, 0 for the empty one; null when there was no such batch. */
  stateAfter(number: number): ModelState | null {
    if (number > this.#batches.length) return null;
    const state = ModelState.empty(this.#counters);
    for (const batch of this.#batches.slice(0, number)) for (const operation of batch) state.apply(operation);
    return state;
  }

  /** Whether some batch ever put this value under the key. */
  hasHeld(key: string, value: Buffer): boolean {
    return this.#batches.some((batch) =>
      batch.some((operation) => operation.kind === "put" && operation.key === key && operation.value.equals(value)),
    );
  }

  /** A start found the state after batch `number`: later batches never happened. */
  restartAt(number: number): void {
    const state = this.stateAfter(number);
    if (state === null) throw new Error(`there is no batch ${number}`);
    this.#batches.length = number;
    this.#current = state;
  }
}
