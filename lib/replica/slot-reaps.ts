/**
 * When each slot was reaped last: a stamp that rises with every time that something left the slot for good. What a copy from before
 * that holds of the slot may be what was removed since, and nothing says so any more. Stored format: id u56, big-endian.
 */
import { readU56, U56_BYTES, writeU56 } from "../bytes/u56.js";
import type { Lsm } from "../lsm/lsm.js";
import { slotReapKey } from "./data-key.js";

export class SlotReaps {
  readonly #lsm: Pick<Lsm, "read" | "put">;

  constructor(lsm: Pick<Lsm, "read" | "put">) {
    this.#lsm = lsm;
  }

  /** 0 where the slot never was. Rejects with IO or CORRUPT. */
  async last(slot: number): Promise<number> {
    const bytes = await this.#lsm.read(slotReapKey(slot));
    return bytes === null ? 0 : readU56(bytes, 0);
  }

  /** The slot is reaped, by this id or, where that is not above the last one, the next. Rejects with IO or CORRUPT. */
  async note(slot: number, id: number): Promise<void> {
    const bytes = Buffer.allocUnsafe(U56_BYTES);
    writeU56(bytes, 0, Math.max(id, (await this.last(slot)) + 1));
    this.#lsm.put(slotReapKey(slot), bytes, 0, U56_BYTES);
  }
}
