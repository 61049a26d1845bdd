/**
 * This node's hash tree as one other member sees it: over the slots that they compare. Root and groups are sums of the leaves below
 * them (slot-digests.ts), added up when they are asked for, which takes microseconds.
 *
 * Members of one data centre compare all slots that both own. Of two data centres only the first owners of a slot in each compare
 * it, the second ones, and so on: within each the others learn of it from those. Of these pairs the first that can repairs; the
 * others are there for when one of it is gone. So what differs crosses the link between the two about once.
 */
import { SLOTS } from "../bytes/slot.js";
import { DIGEST_SPAN } from "../causality/record-digest.js";
import type { MemberId } from "../cluster/member.js";
import type { Ring } from "../cluster/ring.js";
import type { SlotDigests } from "./slot-digests.js";
import { GROUPS, SLOTS_PER_GROUP } from "./tree-messages.js";

export class HashTrees {
  readonly #digests: SlotDigests;
  readonly #selfId: MemberId;
  /** Of the ring as it is: 1 for slots that both compare. */
  readonly #shared = new Map<MemberId, Uint8Array>();
  #ring: Ring;

  constructor(options: { digests: SlotDigests; selfId: MemberId; ring: Ring }) {
    this.#digests = options.digests;
    this.#selfId = options.selfId;
    this.#ring = options.ring;
  }

  update(ring: Ring): void {
    this.#ring = ring;
    this.#shared.clear();
  }

  get ringVersion(): number {
    return this.#ring.document.version;
  }

  /** Members that compare some slot with this node now. */
  partners(): MemberId[] {
    return this.#ring.document.members
      .map(({ id }) => id)
      .filter((id) => id !== this.#selfId && this.sharedWith(id).includes(1));
  }

  /** Whether this node is to begin comparisons with the member: of two in different data centres one is. */
  begins(member: MemberId): boolean {
    return !this.#isFar(member) || this.#selfId < member;
  }

  /** Whether a difference of this slot is to be repaired with the member: across data centres by the first pair that is there. */
  repairs(member: MemberId, slot: number, isUsable: (id: MemberId) => boolean): boolean {
    if (!this.#isFar(member)) return true;
    const own = ownersWith(this.#ring, slot, this.#selfId);
    const theirs = ownersWith(this.#ring, slot, member);
    const isHere = (id: MemberId): boolean => id === this.#selfId || isUsable(id);
    const first = own.findIndex((id, rank) => rank < theirs.length && isHere(id) && isHere(theirs[rank]!));
    return first >= 0 && own[first] === this.#selfId;
  }

  #isFar(member: MemberId): boolean {
    return centreOf(this.#ring, member) !== centreOf(this.#ring, this.#selfId);
  }

  /** 1 for each slot that both compare now. */
  sharedWith(member: MemberId): Uint8Array {
    let shared = this.#shared.get(member);
    if (shared === undefined) {
      shared = sharedSlots(this.#ring, this.#selfId, member);
      this.#shared.set(member, shared);
    }
    return shared;
  }

  /** 0 where the slot is not shared or its sum is not known, else twice the sum and one. */
  leaf(member: MemberId, slot: number): number {
    if (this.sharedWith(member)[slot] === 0) return 0;
    const sum = this.#digests.sumOf(slot);
    return sum === null ? 0 : 2 * sum + 1;
  }

  leavesOfGroup(member: MemberId, group: number): number[] {
    return Array.from({ length: SLOTS_PER_GROUP }, (_, at) => this.leaf(member, group * SLOTS_PER_GROUP + at));
  }

  /** Of all groups, or, for 1, of the root. */
  sums(member: MemberId, count: number): number[] {
    const shared = this.sharedWith(member);
    const sums = new Array<number>(count).fill(0);
    const slotsEach = SLOTS / count;
    for (let slot = 0; slot < SLOTS; slot++) {
      if (shared[slot] === 0) continue;
      const at = Math.floor(slot / slotsEach);
      sums[at] = (sums[at]! + (this.#digests.sumOf(slot) ?? 0)) % DIGEST_SPAN;
    }
    return sums;
  }
}

/** The owners of a slot in a member's data centre, in the order of the ring. */
function ownersWith({ current, members }: Ring, slot: number, member: MemberId): MemberId[] {
  const dc = members.find(({ id }) => id === member)?.dc;
  return [...current.replicas(slot)].flatMap((index) => (members[index]!.dc === dc ? members[index]!.id : []));
}

function centreOf(ring: Ring, member: MemberId): string | null {
  const index = ring.indexOf(member);
  return index === null ? null : ring.members[index]!.dc;
}

/** Slots whose leaves differ, ascending, of the groups that `theirs` has. What one side does not know does not differ. */
export function differingSlots(
  trees: HashTrees,
  member: MemberId,
  theirs: ReadonlyMap<number, readonly number[]>,
): { slot: number; leaf: number }[] {
  const differing: { slot: number; leaf: number }[] = [];
  for (let group = 0; group < GROUPS; group++) {
    theirs.get(group)?.forEach((leaf, at) => {
      const slot = group * SLOTS_PER_GROUP + at;
      const own = trees.leaf(member, slot);
      if (leaf !== own && leaf !== 0 && own !== 0) differing.push({ slot, leaf });
    });
  }
  return differing;
}

function sharedSlots(ring: Ring, selfId: MemberId, member: MemberId): Uint8Array {
  const shared = new Uint8Array(SLOTS);
  const self = ring.indexOf(selfId);
  const other = ring.indexOf(member);
  if (self === null || other === null) return shared;
  const { current, members } = ring;
  const [own, theirs] = [members[self]!.dc, members[other]!.dc];
  for (let slot = 0; slot < SLOTS; slot++) {
    if (!current.isReplica(slot, self) || !current.isReplica(slot, other)) continue;
    if (own !== theirs && rankOf(ring, slot, self, own) !== rankOf(ring, slot, other, theirs)) continue;
    shared[slot] = 1;
  }
  return shared;
}

/** How many owners of its data centre stand before a member. */
function rankOf({ current, members }: Ring, slot: number, member: number, dc: string): number {
  let rank = 0;
  for (let at = 0; at < current.width; at++) {
    const owner = current.replicaAt(slot, at);
    if (owner === member) break;
    if (members[owner]!.dc === dc) rank++;
  }
  return rank;
}
