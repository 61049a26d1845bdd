/**
 * What a member does before it leaves although some who are to take over from it are down: all that it holds of the slots that those
 * gain it gives to their other new owners. So whatever any quorum had is on each of these, and they are a majority; anti-entropy
 * brings it to the others when they are back.
 */
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import { OperatingError } from "../errors.js";
import { TokenBucket } from "./token-bucket.js";
import { type ExchangeNode, TreeExchange } from "./tree-exchange.js";

export interface SlotGiving {
  /** With the change under way by which it leaves. */
  readonly ring: Ring;
  readonly selfId: MemberId;
  /** New owners that cannot be given anything. */
  readonly missing: ReadonlySet<MemberId>;
}

const SLOTS_AT_ONCE = 8;

/** Rejects with UNAVAILABLE where an owner did not take all of a slot. */
export async function giveSlots(node: ExchangeNode, { ring, selfId, missing }: SlotGiving): Promise<void> {
  const bucket = new TokenBucket();
  const waiting = slotsToGive(node, { ring, selfId, missing });
  const work = async (): Promise<void> => {
    for (let slot = waiting.pop(); slot !== undefined; slot = waiting.pop()) {
      for (const index of ring.owners(slot).new) {
        const { id, name } = ring.members[index]!;
        if (missing.has(id)) continue;
        const exchange = new TreeExchange(node, id, { bucket, isWanted: () => true });
        if (await exchange.give(slot)) continue;
        waiting.length = 0;
        const why = exchange.result.complaint || "it does not answer, or knows another ring";
        throw new OperatingError("UNAVAILABLE", `slot ${slot} could not be given to ${name}: ${why}`);
      }
    }
  };
  await Promise.all(Array.from({ length: SLOTS_AT_ONCE }, work));
}

/** Slots of this member of which a new owner is missing; those known to be empty need no giving. */
function slotsToGive({ replica }: ExchangeNode, { ring, selfId, missing }: SlotGiving): number[] {
  const self = ring.indexOf(selfId);
  return [...ring.changingSlots()].filter((slot) => {
    const { old, new: next } = ring.owners(slot);
    const isMissed = [...next].some((index) => missing.has(ring.members[index]!.id));
    return self !== null && old.includes(self) && isMissed && replica.digests.sumOf(slot) !== 0;
  });
}
