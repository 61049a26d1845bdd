/**
 * Which keys this node's own copies hold: slot by slot, in a slot by hash, as the engine orders them. A page ends only between
 * hashes, so a place is a slot and a hash, and says the same on every member.
 *
 * What is listed are records whose newest version is a value: a key that reads find is one at every copy that holds its newest
 * version. Slots without one are passed over by their counts.
 */
import { assert } from "../assert.js";
import { hash32 } from "../bytes/hash.js";
import { SLOTS } from "../bytes/slot.js";
import { RecordView } from "../causality/record-view.js";
import { type Clock, pause } from "../host/clock.js";
import type { ScanPage } from "../lsm/lsm.js";
import { dataKeyFloor, hashOfDataKey } from "./data-key.js";
import {
  type Counts,
  type CountsRequest,
  type KeysPage,
  type KeysRequest,
  type ListedKey,
  listedBytes,
} from "./key-messages.js";
import type { StoredRecords } from "./stored-records.js";

/** Records looked at in one go; between two others get their turn. */
const PART_RECORDS = 1_024;
const PART_BYTES = 1_048_576;
/** What a page has at most, but for the last part of it: records looked at, bytes, and time spent on it. */
const PAGE_RECORDS = 16_384;
const PAGE_BYTES = 262_144;
const PAGE_MS = 50;
/** Work between two turns of others. */
const SLICE_MS = 3;
/** Seeds of the fingerprints that members compare: they never change. */
const SEED_HIGH = 0x6b657973;
const SEED_LOW = 0x73796b65;

/** Hashes of a slot; as a place: behind its last key. */
export const HASHES = 2 ** 32;

/** Some keys of one slot. */
export interface SlotPart {
  readonly keys: readonly ListedKey[];
  /** Records that were looked at, those that are not listed included. */
  readonly lookedAt: number;
  /** Where the slot goes on; `HASHES` when this was its end. */
  readonly nextHash: number;
}

export class KeyLister {
  readonly #records: StoredRecords;
  readonly #clock: Clock;
  readonly #view = new RecordView();

  constructor(options: { records: StoredRecords; clock: Clock }) {
    this.#records = options.records;
    this.#clock = options.clock;
  }

  /** Rejects with IO or CORRUPT. */
  async page({ database, fromHash, count, spans }: KeysRequest): Promise<KeysPage> {
    const keys: ListedKey[] = [];
    const startedMs = this.#clock.monotonicMs();
    let sliceMs = startedMs;
    let lookedAt = 0;
    let bytes = 0;
    let hash = fromHash;
    for (const { first, end } of spans) {
      for (let slot = first; slot < end; slot++, hash = 0) {
        if (this.#records.isSlotEmpty(database, slot)) continue;
        while (hash < HASHES) {
          const nowMs = this.#clock.monotonicMs();
          const isFull = keys.length >= count || bytes >= PAGE_BYTES || lookedAt >= PAGE_RECORDS;
          if (isFull || (lookedAt > 0 && nowMs - startedMs >= PAGE_MS)) return { keys, slot, hash };
          if (nowMs - sliceMs >= SLICE_MS) {
            await pause(this.#clock, 0);
            sliceMs = this.#clock.monotonicMs();
          }
          const part = await this.part(database, slot, hash, count - keys.length);
          for (const key of part.keys) {
            keys.push(key);
            bytes += listedBytes(key);
          }
          lookedAt += part.lookedAt;
          hash = part.nextHash;
        }
      }
    }
    return { keys, slot: SLOTS, hash: 0 };
  }

  /** Looks at about `wanted` records (at least 1) of a slot from `hash` on. Rejects with IO or CORRUPT. */
  async part(database: number, slot: number, hash: number, wanted: number): Promise<SlotPart> {
    assert(wanted >= 1, "keys: a part looks at something");
    const slotEnd = dataKeyFloor(slot, database + 1, 0);
    const keys: ListedKey[] = [];
    let lookedAt = 0;
    const look = async (from: string, to: string, limit: number): Promise<ScanPage> => {
      const page = await this.#records.scan({ from, to, limit, values: "with", bytesMax: PART_BYTES });
      lookedAt += page.entries.length;
      for (const { key, value } of page.entries) this.#list(key, value!, keys);
      return page;
    };
    const page = await look(dataKeyFloor(slot, database, hash), slotEnd, Math.min(wanted, PART_RECORDS));
    const last = page.entries.at(-1);
    if (page.next === null || last === undefined) return { keys, lookedAt, nextHash: HASHES };
    // The rest of the last hash belongs to this part: nearly always nothing.
    const nextHash = hashOfDataKey(last.key) + 1;
    const to = nextHash === HASHES ? slotEnd : dataKeyFloor(slot, database, nextHash);
    for (let from: string | null = page.next; from !== null && from < to; from = (await look(from, to, PART_RECORDS)).next);
    return { keys, lookedAt, nextHash };
  }

  /** Counts, and draws one of the keys. */
  counts({ database, draw, spans }: CountsRequest): Counts {
    const records = this.#records;
    let keys = 0;
    for (const { first, end } of spans) {
      for (let slot = first; slot < end; slot++) keys += records.sizeOfSlot(database, slot);
    }
    let rank = Math.floor((draw / HASHES) * keys);
    for (const { first, end } of spans) {
      for (let slot = first; slot < end; slot++) {
        const size = records.sizeOfSlot(database, slot);
        if (rank < size) return { keys, slot, rank };
        rank -= size;
      }
    }
    return { keys, slot: 0, rank: 0 };
  }

  #list(dataKey: string, stored: Buffer, keys: ListedKey[]): void {
    const bytes = this.#records.flushes.leftOf(dataKey, stored);
    if (bytes === null) return;
    const view = this.#view;
    view.read(bytes, 0, bytes.length);
    if (view.isRemoved) return;
    // The body holds the dots and the context; copies of one state have the same, but for the values of siblings that expired.
    const high = hash32(bytes, view.bodyStart, view.valueStart, SEED_HIGH);
    const low = hash32(bytes, view.bodyStart, view.valueStart, SEED_LOW);
    keys.push({ dataKey, high, low, expiryMs: view.expiryMs });
  }
}
