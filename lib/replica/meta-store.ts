/**
 * The node's own small records (who the store is, the ring document): read once at the start, kept in memory, put into the
 * engine beside the data. They survive `clear`, which empties the engine in the same batch that puts them back.
 */
import type { Lsm } from "../lsm/lsm.js";
import { META_END, META_START, metaKey } from "./data-key.js";

/** More than any node has; they are all held in memory. */
const RECORDS_MAX = 1_000;

export class MetaStore {
  readonly #lsm: Lsm;
  /** By engine key. */
  readonly #records = new Map<string, Buffer>();

  private constructor(lsm: Lsm) {
    this.#lsm = lsm;
  }

  static async open(lsm: Lsm): Promise<MetaStore> {
    const store = new MetaStore(lsm);
    const page = await lsm.scan({ from: META_START, to: META_END, limit: RECORDS_MAX, values: "with" });
    for (const { key, value } of page.entries) store.#records.set(key, value!);
    return store;
  }

  /** The record of this name, or null. */
  get(name: string): Buffer | null {
    return this.#records.get(metaKey(name)) ?? null;
  }

  /**
   * Stores a record; it is on the disk when this returns, and so is what this turn has done so far. `bytes` must not change
   * afterwards. Throws IO: the record is then the old one for the rest of the run, and one of the two after it.
   */
  putNow(name: string, bytes: Buffer): void {
    this.#lsm.put(metaKey(name), bytes, 0, bytes.length);
    this.#lsm.commit();
    this.#lsm.syncNow();
    this.#records.set(metaKey(name), bytes);
  }

  /** Stores a record with this turn's batch, for what may be lost with the tail of the log. `bytes` must not change afterwards. */
  put(name: string, bytes: Buffer): void {
    this.#lsm.put(metaKey(name), bytes, 0, bytes.length);
    this.#records.set(metaKey(name), bytes);
  }

  /** Removes a record with this turn's batch; a missing one is fine. */
  remove(name: string): void {
    if (this.#records.delete(metaKey(name))) this.#lsm.remove(metaKey(name));
  }

  /** Empties the engine but for these records. */
  clearOthers(): void {
    this.#lsm.clear();
    for (const [key, bytes] of this.#records) this.#lsm.put(key, bytes, 0, bytes.length);
  }
}
