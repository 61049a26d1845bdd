/**
 * The preference lists of all slots, found once when the ring changes, so that a look-up is an array read. Immutable.
 * Lists of one data centre come from `ReplicaWalk`; those of several are merged into one list by clockwise distance.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import type { Member } from "./member.js";
import { ReplicaWalk, type TokenCircle } from "./replica-walk.js";

/** How many copies each data centre keeps (design: N). */
export interface ReplicaCounts {
  /** In data centres that are not listed; from 1. */
  readonly default: number;
  /** Sorted by name, each once; 0 keeps no copies there. */
  readonly dcs: readonly { readonly dc: string; readonly replicas: number }[];
}

/** N of one data centre. */
export function replicasOfDc(counts: ReplicaCounts, dc: string): number {
  return counts.dcs.find((entry) => entry.dc === dc)?.replicas ?? counts.default;
}

export class PreferenceTable {
  /** What the indexes in lists refer to. Those without tokens are in no list. */
  readonly members: readonly Member[];
  /** Entries of every list: min(N, members that hold tokens), summed over the data centres. */
  readonly width: number;
  /** Why copies share a host, for people; null when every copy has a host of its own. */
  readonly degradedReason: string | null;
  readonly #lists: Uint16Array;
  readonly #circle: TokenCircle;
  /** Of each slot the index of the first token clockwise. */
  readonly #firstToken: Uint16Array;

  constructor(members: readonly Member[], counts: ReplicaCounts) {
    this.members = members;
    const parts = dcsOf(members).map((dc) => new DcLists(members, dc, replicasOfDc(counts, dc)));
    this.width = parts.reduce((sum, part) => sum + part.width, 0);
    const reasons = parts.flatMap((part) => part.degradedReason ?? []);
    this.degradedReason = reasons.length === 0 ? null : reasons.join("; ");
    this.#lists = mergeLists(parts, this.width);
    this.#circle = circleOf(
      members,
      members.map((_, index) => index),
    );
    this.#firstToken = firstTokens(this.#circle);
  }

  get isDegraded(): boolean {
    return this.degradedReason !== null;
  }

  /** The member (an index into `members`) at place `rank` (0 to width - 1) of the slot's list, nearest first. */
  replicaAt(slot: number, rank: number): number {
    return this.#lists[slot * this.width + rank]!;
  }

  /** The slot's whole list; a view, not to be written to. */
  replicas(slot: number): Uint16Array {
    return this.#lists.subarray(slot * this.width, (slot + 1) * this.width);
  }

  isReplica(slot: number, member: number): boolean {
    const end = (slot + 1) * this.width;
    for (let at = slot * this.width; at < end; at++) if (this.#lists[at] === member) return true;
    return false;
  }

  /**
   * Who may stand in for a replica of the slot, as far as it is healthy (the caller skips those that are not): members that
   * are no replicas, clockwise from the slot, those of data centre `dc` before all others.
   */
  *candidatesAfter(slot: number, dc: string): Generator<number, void, undefined> {
    const { count, member } = this.#circle;
    if (count === 0) return;
    const seen = new Set<number>(this.replicas(slot));
    const start = this.#firstToken[slot]!;
    for (const isLocal of [true, false]) {
      for (let step = 0; step < count && seen.size < this.members.length; step++) {
        const candidate = member[(start + step) % count]!;
        if ((this.members[candidate]!.dc === dc) !== isLocal || seen.has(candidate)) continue;
        seen.add(candidate);
        yield candidate;
      }
    }
  }

  /** Slots that each member (by index) holds a copy of, 0 to 16384. */
  ownedSlots(): Uint32Array {
    const owned = new Uint32Array(this.members.length);
    for (const member of this.#lists) owned[member]!++;
    return owned;
  }
}

/** The names of the data centres that members are in, sorted. */
export function dcsOf(members: readonly Member[]): string[] {
  return [...new Set(members.map((member) => member.dc))].sort();
}

/** The tokens of these members (indexes), ascending. No two may hold the same. */
export function circleOf(members: readonly Member[], owners: readonly number[]): TokenCircle {
  const memberOfSlot = new Int32Array(SLOTS).fill(-1);
  let count = 0;
  for (const owner of owners) {
    for (const token of members[owner]!.tokens) {
      assert(memberOfSlot[token] === -1, "ring: a token is held once");
      memberOfSlot[token] = owner;
      count++;
    }
  }
  const circle = { count, slot: new Uint16Array(count), member: new Uint16Array(count) };
  for (let slot = 0, at = 0; slot < SLOTS; slot++) {
    const owner = memberOfSlot[slot]!;
    if (owner < 0) continue;
    circle.slot[at] = slot;
    circle.member[at++] = owner;
  }
  return circle;
}

/** Of each slot the index of the first token at or after it, clockwise; all 0 for an empty circle. */
function firstTokens({ count, slot: tokens }: TokenCircle): Uint16Array {
  const first = new Uint16Array(SLOTS);
  for (let at = 0, slot = 0; at < count; at++) for (; slot <= tokens[at]!; slot++) first[slot] = at;
  return first;
}

/** The lists of one data centre, one for each of its tokens. */
class DcLists {
  readonly width: number;
  readonly degradedReason: string | null;
  readonly #circle: TokenCircle;
  readonly #firstToken: Uint16Array;
  /** `width` members a token, and the slots of the tokens they were found at. */
  readonly #members: Uint16Array;
  readonly #slots: Uint16Array;

  constructor(members: readonly Member[], dc: string, replicas: number) {
    const owners = members.flatMap((member, index) => (member.dc === dc && member.tokens.length > 0 ? index : []));
    const walk = new ReplicaWalk(members, owners, replicas);
    this.width = walk.width;
    this.degradedReason =
      walk.hosts >= walk.width
        ? null
        : `${dc} has ${walk.hosts} ${walk.hosts === 1 ? "host" : "hosts"} for ${walk.width} copies: some share a host`;
    this.#circle = circleOf(members, owners);
    this.#firstToken = firstTokens(this.#circle);
    this.#members = new Uint16Array(this.#circle.count * this.width);
    this.#slots = new Uint16Array(this.#circle.count * this.width);
    for (let start = 0; start < this.#circle.count; start++) {
      walk.walk(this.#circle, start);
      assert(walk.found === walk.width, "ring: every list is full");
      this.#members.set(walk.list, start * this.width);
      for (let rank = 0; rank < this.width; rank++) {
        this.#slots[start * this.width + rank] = this.#circle.slot[walk.foundAt[rank]!]!;
      }
    }
  }

  memberAt(slot: number, rank: number): number {
    return this.#members[this.#firstToken[slot]! * this.width + rank]!;
  }

  /** Slots from `slot` clockwise to the token that the member at `rank` was found at. */
  distanceAt(slot: number, rank: number): number {
    return (this.#slots[this.#firstToken[slot]! * this.width + rank]! - slot + SLOTS) % SLOTS;
  }
}

function mergeLists(parts: readonly DcLists[], width: number): Uint16Array {
  const lists = new Uint16Array(SLOTS * width);
  const taken = parts.map(() => 0);
  for (let slot = 0, at = 0; slot < SLOTS; slot++) {
    taken.fill(0);
    for (let rank = 0; rank < width; rank++) {
      let best = -1;
      let bestDistance = SLOTS;
      for (let index = 0; index < parts.length; index++) {
        const part = parts[index]!;
        const next = taken[index]!;
        if (next === part.width) continue;
        const distance = part.distanceAt(slot, next);
        if (distance >= bestDistance) continue;
        best = index;
        bestDistance = distance;
      }
      lists[at++] = parts[best]!.memberAt(slot, taken[best]!++);
    }
  }
  return lists;
}
