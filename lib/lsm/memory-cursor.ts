/** A cursor over a memory table. It finds its place again at each step, so that writes in between do not disturb it. */
import { type Cursor, Step } from "./cursor.js";
import { type EntryKind, PUT, TOMBSTONE } from "./entry.js";
import type { MemoryTable } from "./memory-table.js";
import type { Found } from "./peek.js";

export class MemoryCursor implements Cursor {
  key = "";
  kind: EntryKind = TOMBSTONE;
  readonly #table: MemoryTable;
  readonly #found: Found = { buffer: Buffer.alloc(0), start: 0, end: 0 };

  constructor(table: MemoryTable) {
    this.#table = table;
  }

  get buffer(): Buffer {
    return this.#found.buffer;
  }

  get start(): number {
    return this.#found.start;
  }

  get end(): number {
    return this.#found.end;
  }

  seek(key: string): Step {
    const next = this.#table.ceiling(key);
    if (next === null) return Step.END;
    this.key = next;
    const place = this.#table.find(next);
    if (place > 0) {
      this.kind = PUT;
      this.#table.view(place, this.#found);
    } else {
      this.kind = TOMBSTONE;
      this.#found.start = this.#found.end = 0;
    }
    return Step.ENTRY;
  }

  next(): Step {
    // No key lies between a key and the key with a zero byte behind it.
    return this.seek(`${this.key}\0`);
  }

  load(): Promise<Step> {
    throw new Error("a memory cursor never waits");
  }
}
