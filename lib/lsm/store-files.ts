/**
 * Which files of a store may go, and when.
 *
 * Invariants: a table's file goes when nobody uses it and the durable manifest does not name it; a segment's when the durable
 * manifest does not need it. While a checkpoint holds the segments, none of them goes.
 */
import { assert } from "../assert.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";
import { segmentFileName } from "./log-format.js";
import { tableFileName } from "./table-format.js";

export interface StoreFilesOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly log: Log;
  /** Tables that the manifest on disk names. */
  readonly named: ReadonlySet<number>;
  /** Log segments that exist. */
  readonly segments: readonly number[];
}

export class StoreFiles {
  readonly #options: StoreFilesOptions;
  /** Tables that the manifest on disk names, or may name. */
  #named: ReadonlySet<number>;
  /** Files of tables that nobody uses, but the manifest on disk may name. */
  #unused: number[] = [];
  #segments: number[];
  #holds = 0;
  /** Not needed any more, but held. */
  #held: number[] = [];

  constructor(options: StoreFilesOptions) {
    this.#options = options;
    this.#named = options.named;
    this.#segments = [...options.segments];
  }

  /** Segments that the manifest may need. */
  get segments(): readonly number[] {
    return this.#segments;
  }

  addSegments(ids: readonly number[]): void {
    this.#segments.push(...ids);
  }

  /** A manifest that names these tables is about to be written: it may be in place from now on. */
  naming(numbers: ReadonlySet<number>): void {
    this.#named = new Set([...this.#named, ...numbers]);
  }

  /** The durable manifest names these tables, and needs no segment below `oldestSegment`. */
  named(numbers: ReadonlySet<number>, oldestSegment: number): void {
    this.#named = numbers;
    const done = this.#segments.filter((id) => id < oldestSegment);
    this.#segments = this.#segments.filter((id) => id >= oldestSegment);
    if (this.#holds > 0) this.#held.push(...done);
    else this.#removeSegments(done);
    const unused = this.#unused;
    this.#unused = [];
    for (const number of unused) this.tableUnused(number);
  }

  /** Nobody uses the table any more. */
  tableUnused(number: number): void {
    if (this.#named.has(number)) this.#unused.push(number);
    else this.#remove(tableFileName(number));
  }

  /** Tables that no manifest ever named. */
  discard(numbers: readonly number[]): void {
    for (const number of numbers) this.#remove(tableFileName(number));
  }

  /** No segment goes until each `hold` was followed by a `release`. */
  hold(): void {
    this.#holds++;
  }

  release(): void {
    assert(this.#holds > 0, "store files: what is released was held");
    if (--this.#holds > 0) return;
    this.#removeSegments(this.#held);
    this.#held = [];
  }

  #removeSegments(ids: readonly number[]): void {
    for (const id of ids) this.#remove(segmentFileName(id));
  }

  /** A file that cannot be removed is found and removed by the next start. */
  #remove(name: string): void {
    try {
      this.#options.disk.remove(`${this.#options.directory}/${name}`);
    } catch (error) {
      this.#options.log.warn({ err: error, name }, "a file that is not needed could not be removed");
    }
  }
}
