/**
 * Who is to have what a hint keeps, by the ring as it is now. A hint stands for its target's place among the owners of a slot:
 * while that place is being taken over, whoever takes it over is to have the record too, for it may have read the target's copy
 * before the hint came there; once the target is no owner any more, those who are.
 *
 * INVARIANT: a hint goes when all these have its record, or when a hint for them is kept here.
 */
import type { MemberId } from "../cluster/member.js";
import { slotOfDataKey } from "./data-key.js";
import type { Hint, Hints } from "./hints.js";

/** Who keeps which slot, by the newest ring that is known here. */
export interface RingSight {
  readonly version: () => number;
  /** The version in which the owners of a slot last became others, whichever slot. */
  readonly changedAt: () => number;
  /** Who owns the slot, old and new owners, this node included. */
  readonly ownersOf: (slot: number) => readonly MemberId[];
  /** Who is to have what this old owner of the slot has: who takes its place, and who comes in addition. */
  readonly comingFor: (slot: number, owner: MemberId) => readonly MemberId[];
}

export interface ReaddressingOptions {
  readonly hints: Pick<Hints, "keep" | "keepRead" | "mark" | "remove" | "inPlaceOfOther">;
  readonly self: MemberId;
  readonly ring: RingSight;
  /** Merges a record into this node's own copy, and resolves when that is stored. */
  readonly store: (dataKey: string, bytes: Uint8Array, start: number, end: number) => Promise<void>;
}

/** `full`: there was no room for the hints that take its place. `left`: it has changed meanwhile, or the ring has. */
export type Moved = "moved" | "full" | "left";

export class Readdressing {
  /** Hints that went to other owners than their target, since the start. */
  readdressed = 0;
  readonly #options: ReaddressingOptions;

  constructor(options: ReaddressingOptions) {
    this.#options = options;
  }

  isForOwner({ target, dataKey }: Hint): boolean {
    return this.#options.ring.ownersOf(slotOfDataKey(dataKey)).includes(target);
  }

  /** Addresses a hint whose target is no owner any more to those who are. Rejects with IO or CORRUPT. */
  async sendOn(hint: Hint): Promise<Moved> {
    const owners = this.#options.ring.ownersOf(slotOfDataKey(hint.dataKey));
    if (owners.length === 0 || owners.includes(hint.target)) return "left";
    const moved = await this.#moveTo(owners, hint);
    if (moved === "moved") this.readdressed++;
    return moved;
  }

  /** Removes a hint that its target took, unless it is to go to others still. Rejects with IO or CORRUPT. */
  delivered(hint: Hint): Promise<Moved> {
    const { ring } = this.#options;
    if (!this.isForOwner(hint)) return this.sendOn(hint);
    return this.#moveTo(ring.comingFor(slotOfDataKey(hint.dataKey), hint.target), hint);
  }

  #moveTo(members: readonly MemberId[], hint: Hint): Promise<Moved> {
    return this.#options.hints.inPlaceOfOther(() => this.#move(members, hint));
  }

  async #move(members: readonly MemberId[], hint: Hint): Promise<Moved> {
    const { hints, self, ring, store } = this.#options;
    const { dataKey, record } = hint;
    if (record !== null && members.includes(self)) {
      const version = ring.version();
      await store(dataKey, record, 0, record.length);
      // Who reads this copy to take it over may have passed the key before the record was there.
      if (ring.version() !== version) return "left";
    }
    for (const member of members) {
      if (member === self) continue;
      if (record === null) {
        if (hints.mark(member, dataKey) === 0) return "full";
        continue;
      }
      let kept = hints.keep(member, dataKey, record, 0, record.length);
      if (kept === "unread") kept = await hints.keepRead(member, dataKey, record, 0, record.length);
      if (kept === "full") return "full";
    }
    return (await hints.remove(hint)) ? "moved" : "left";
  }
}
