/**
 * The ring of one document: who keeps which slot now, and who is to keep it once the pending change is done. Immutable;
 * made anew for each document. Of several pending changes the first is under way and the others wait for it, so that a slot
 * has one old list and at most one new one.
 */
import { SLOTS } from "../bytes/slot.js";
import type { Member, MemberId } from "./member.js";
import { PreferenceTable } from "./preference-table.js";
import { comingMember, membersAfter, type PendingChange, type RingDocument } from "./ring-document.js";

/** The owners of a slot: indexes into `Ring.members`; views, not to be written to. */
export interface SlotOwners {
  readonly old: Uint16Array;
  /** The same as `old` where nothing moves. */
  readonly new: Uint16Array;
}

export class Ring {
  readonly document: RingDocument;
  /** What indexes refer to: the document's members and who is joining, sorted by id. Stays the same within one document only. */
  readonly members: readonly Member[];
  /** Who owns the slots now. */
  readonly current: PreferenceTable;
  /** Who owns them after the pending change; null when none is pending. */
  readonly next: PreferenceTable | null;
  readonly change: PendingChange | null;
  readonly #indexes = new Map<MemberId, number>();

  constructor(document: RingDocument) {
    this.document = document;
    this.change = document.pending[0] ?? null;
    const coming = this.change === null ? null : comingMember(this.change);
    const joining = coming === null ? [] : [coming];
    this.members = [...document.members, ...joining].sort((a, b) => (a.id < b.id ? -1 : 1));
    for (const [index, member] of this.members.entries()) this.#indexes.set(member.id, index);
    const now = joining.length === 0 ? this.members : withTokensOf(this.members, document.members);
    this.current = new PreferenceTable(now, document.replicas);
    this.next =
      this.change === null
        ? null
        : new PreferenceTable(withTokensOf(this.members, membersAfter(document.members, this.change)), document.replicas);
  }

  /** The member's index, or null for one that is neither a member nor joining. */
  indexOf(memberId: MemberId): number | null {
    return this.#indexes.get(memberId) ?? null;
  }

  owners(slot: number): SlotOwners {
    const old = this.current.replicas(slot);
    return { old, new: this.isChanging(slot) ? this.next!.replicas(slot) : old };
  }

  /** True when the pending change gives the slot other owners, not only another order of the same. */
  isChanging(slot: number): boolean {
    const { current, next } = this;
    if (next === null) return false;
    if (next.width !== current.width) return true;
    for (let rank = 0; rank < next.width; rank++) if (!current.isReplica(slot, next.replicaAt(slot, rank))) return true;
    return false;
  }

  /** Indexes of the members that the pending change makes owners of slots that they do not own now, ascending. */
  gainers(): number[] {
    const gaining = new Set<number>();
    for (const slot of this.changingSlots()) {
      const { old, new: next } = this.owners(slot);
      for (const member of next) if (!old.includes(member)) gaining.add(member);
    }
    return [...gaining].sort((a, b) => a - b);
  }

  /** The slots that the pending change gives other owners, ascending. */
  *changingSlots(): Generator<number, void, undefined> {
    if (this.next === null) return;
    for (let slot = 0; slot < SLOTS; slot++) if (this.isChanging(slot)) yield slot;
  }
}

/** `all`, each with the tokens it has among `owners`; none where it is not among them. */
function withTokensOf(all: readonly Member[], owners: readonly Member[]): Member[] {
  const tokens = new Map(owners.map((member) => [member.id, member.tokens]));
  return all.map((member) => ({ ...member, tokens: tokens.get(member.id) ?? [] }));
}
