/**
 * Cursors over sorted entries, and the merge of several. A step answers at once; when it needs bytes that are not in
 * memory it answers UNREAD and `load` finishes it. Cursors of memory tables and those of jobs never answer UNREAD.
 */
import { assert } from "../assert.js";
import type { EntryKind } from "./entry.js";
import { TOMBSTONE } from "./entry.js";

/** How a step ended. */
export const Step = {
  /** There is no further entry. */
  END: 0,
  /** The cursor stands at an entry. */
  ENTRY: 1,
  /** The step waits for `load`. */
  UNREAD: 2,
} as const;
export type Step = (typeof Step)[keyof typeof Step];

export interface Cursor {
  /** The entry at which the cursor stands, after a step that ended with ENTRY; borrowed until the next call. */
  readonly key: string;
  readonly kind: EntryKind;
  /** The value is `buffer[start, end)`; empty for a tombstone. */
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  /** Goes to the first entry whose key is at least `key`. */
  seek(key: string): Step;
  /** Goes to the next entry. REQUIRES that the last step ended with ENTRY. */
  next(): Step;
  /** Finishes the step that answered UNREAD: resolves to ENTRY or END, or rejects with `IO` or `CORRUPT`. */
  load(): Promise<Step>;
}

const EMPTY = Buffer.alloc(0);

/**
 * Several cursors as one: each key once, from the newest cursor that has it. Tombstones are entries like others: they
 * hide older values, and the user decides what they mean.
 */
export class MergeCursor implements Cursor {
  key = "";
  kind: EntryKind = TOMBSTONE;
  buffer: Buffer = EMPTY;
  start = 0;
  end = 0;
  /** Newest first. */
  readonly #sources: readonly Cursor[];
  /** Sources that stand at an entry, by (key, age): the first holds the current entry. */
  readonly #order: number[] = [];
  /** Sources whose step waits for `load`. */
  readonly #unread: number[] = [];

  /** `sources` newest first. */
  constructor(sources: readonly Cursor[]) {
    this.#sources = sources;
  }

  seek(key: string): Step {
    this.#order.length = 0;
    this.#unread.length = 0;
    for (let source = 0; source < this.#sources.length; source++) this.#place(source, this.#sources[source]!.seek(key));
    return this.#settle();
  }

  next(): Step {
    assert(this.#unread.length === 0 && this.#order.length > 0, "merge: stands at an entry");
    const { key } = this;
    // Older entries of the same key stand right behind the newest; all of them move on.
    do {
      const source = this.#order.shift()!;
      this.#place(source, this.#sources[source]!.next());
    } while (this.#order.length > 0 && this.#sources[this.#order[0]!]!.key === key);
    return this.#settle();
  }

  async load(): Promise<Step> {
    const unread = this.#unread.splice(0);
    const steps = await Promise.all(unread.map((source) => this.#sources[source]!.load()));
    unread.forEach((source, index) => {
      this.#place(source, steps[index]!);
    });
    return this.#settle();
  }

  #place(source: number, step: Step): void {
    if (step === Step.END) return;
    if (step === Step.UNREAD) {
      this.#unread.push(source);
      return;
    }
    const order = this.#order;
    const { key } = this.#sources[source]!;
    let at = order.length;
    while (at > 0) {
      const other = order[at - 1]!;
      const otherKey = this.#sources[other]!.key;
      if (otherKey < key || (otherKey === key && other < source)) break;
      at--;
    }
    order.splice(at, 0, source);
  }

  #settle(): Step {
    if (this.#unread.length > 0) return Step.UNREAD;
    if (this.#order.length === 0) return Step.END;
    const source = this.#sources[this.#order[0]!]!;
    this.key = source.key;
    this.kind = source.kind;
    this.buffer = source.buffer;
    this.start = source.start;
    this.end = source.end;
    return Step.ENTRY;
  }
}
