/**
 * Which versions FLUSHDB and FLUSHALL have removed, as the members agree on it (the flush contexts of the ring document): in a
 * database, of each store, those up to a sequence. A store has one counter of sequences for all its epochs, so store id and
 * sequence say which dots those are. They are dead everywhere from the moment at which the document is known.
 */
import { hash32OfString } from "../bytes/hash.js";
import { type Dot, storeIdOf } from "../causality/actor.js";
import type { Record } from "../causality/record.js";
import { decodeRecord, encodeRecord } from "../causality/record-encoding.js";
import { withoutFlushed } from "../causality/record-flush.js";
import { RecordView } from "../causality/record-view.js";
import type { FlushContext } from "../cluster/ring-document.js";
import { DATABASES, databaseOfDataKey } from "./data-key.js";

export type { FlushContext };

type Points = ReadonlyMap<string, number>;

export class Flushes {
  /** By database, by store id: up to which sequence; null where nothing was flushed. */
  readonly #points: (Points | null)[] = new Array<Points | null>(DATABASES).fill(null);
  /** By database, whether a dot is one of those. */
  readonly #isFlushed: readonly ((dot: Dot) => boolean)[];
  readonly #view = new RecordView();
  #contexts: readonly FlushContext[] = [];

  constructor() {
    this.#isFlushed = this.#points.map((_, database) => ({ actor, sequence }) => {
      const upTo = this.#points[database]?.get(storeIdOf(actor));
      return upTo !== undefined && sequence <= upTo;
    });
  }

  /** Takes over what the members agree on by now. Returns the databases in which more is flushed than before. */
  learn(contexts: readonly FlushContext[]): readonly number[] {
    const changed: number[] = [];
    for (const { database, entries } of contexts) {
      if (database >= DATABASES) continue;
      const before = this.#points[database] ?? null;
      const isMore = entries.some(({ storeId, sequence }) => sequence > (before?.get(storeId) ?? 0));
      if (!isMore) continue;
      this.#points[database] = new Map(entries.map(({ storeId, sequence }) => [storeId, sequence]));
      changed.push(database);
    }
    if (changed.length > 0) this.#contexts = contexts;
    return changed;
  }

  /** The highest sequence of a store that was flushed in any database; 0 for none. */
  highestOf(storeId: string): number {
    return Math.max(0, ...this.#points.map((points) => points?.get(storeId) ?? 0));
  }

  /** 8 bytes that say what was flushed so far. */
  digest(): Buffer {
    const text = JSON.stringify(this.#contexts);
    const bytes = Buffer.alloc(8);
    bytes.writeUInt32BE(hash32OfString(text, 1), 0);
    bytes.writeUInt32BE(hash32OfString(text, 2), 4);
    return bytes;
  }

  /** False: nothing of the record was flushed. True: perhaps; `left` tells. */
  mayConcern(dataKey: string, view: RecordView): boolean {
    const database = databaseOfDataKey(dataKey);
    const points = this.#points[database]!;
    if (points === null) return false;
    if (view.versionCount > 1) return true;
    const upTo = points.get(storeIdOf(view.newestActor()));
    return upTo !== undefined && view.newestSequence() <= upTo;
  }

  /** See `withoutFlushed`. */
  left(dataKey: string, record: Record): Record | null {
    return withoutFlushed(record, this.#isFlushed[databaseOfDataKey(dataKey)]!);
  }

  /** What is left of an encoded record: the bytes themselves where all is, null where nothing has to be kept. Throws CORRUPT. */
  leftOf(dataKey: string, bytes: Buffer): Buffer | null {
    if (this.#points[databaseOfDataKey(dataKey)] === null) return bytes;
    this.#view.read(bytes, 0, bytes.length);
    if (!this.mayConcern(dataKey, this.#view)) return bytes;
    const record = decodeRecord(bytes);
    const left = this.left(dataKey, record);
    return left === record ? bytes : left === null ? null : encodeRecord(left);
  }
}
