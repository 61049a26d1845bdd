/**
 * How far a write is at the owners of its key: whose call is open, who of them is stood in for, and what the tally makes of the
 * answers. Decides and sends nothing.
 */
import type { MemberId } from "../cluster/member.js";
import type { Quorum } from "./consistency.js";
import { QuorumTally, type Side } from "./quorum-tally.js";
import type { SlotPlan } from "./slot-plan.js";
import { listsOf } from "./small-lists.js";
import type { Role } from "./write-calls.js";

/**
 * Bits of a place: whose call is open (OWNER, PARTNER), who of them is stood in for (the same, shifted by STOOD_IN), and above
 * that how many other calls for it are open: to stand-ins, and to the owner once more.
 */
const OWNER = 1;
const PARTNER = 2;
const STOOD_IN = 2;
const OTHER_CALL = 16;
/** Bits that say that something is open. */
const OPEN = ~((OWNER | PARTNER) << STOOD_IN);

const zeros = listsOf(0);

export interface LateTarget {
  readonly position: number;
  readonly target: MemberId;
}

export class WriteProgress {
  protected plan: SlotPlan;
  protected readonly quorum: Quorum;
  readonly #standIns: "strict" | "sloppy";
  protected tally: QuorumTally;
  /** So many of the first positions count. */
  protected counting: number;
  /** Calls without an answer. */
  protected open = 0;
  /** By position. */
  #places: number[];

  protected constructor(plan: SlotPlan, quorum: Quorum, standIns: "strict" | "sloppy") {
    this.plan = plan;
    this.quorum = quorum;
    this.#standIns = standIns;
    this.counting = plan.countingAt(quorum);
    this.#places = zeros(plan.owners.length);
    this.tally = this.#newTally();
  }

  /** It is sent anew: nothing counts so far. */
  protected beginAnew(plan: SlotPlan): void {
    this.plan = plan;
    this.counting = plan.countingAt(this.quorum);
    this.#places = zeros(plan.owners.length);
    this.tally = this.#newTally();
  }

  #newTally(): QuorumTally {
    const { groups, writes } = this.plan.needs(this.quorum);
    return new QuorumTally({ groups, needs: writes, standIns: this.#standIns, pairs: this.plan.pairs });
  }

  protected noteSent(position: number, role: Role): void {
    this.open++;
    if (role === "stand-in" || role === "again") this.noteOther(position, 1);
    else if (position >= 0) this.#places[position]! |= role === "owner" ? OWNER : PARTNER;
  }

  protected noteClosed(position: number, role: Role): void {
    if (position < 0) return;
    if (role === "stand-in" || role === "again") this.noteOther(position, -1);
    else this.#places[position]! &= ~(role === "owner" ? OWNER : PARTNER);
  }

  /** One more call for this place is, or is about to be, under way, or one less. */
  protected noteOther(position: number, change: 1 | -1): void {
    if (position >= 0) this.#places[position]! += change * OTHER_CALL;
  }

  protected noteStoodIn(position: number, target: MemberId): void {
    if (position >= 0) this.#places[position]! |= this.#bitOf(position, target) << STOOD_IN;
  }

  protected isStoodIn(position: number, target: MemberId): boolean {
    return position >= 0 && ((this.#places[position]! >> STOOD_IN) & this.#bitOf(position, target)) !== 0;
  }

  /** Nothing is expected for this place any more. */
  protected isIdle(position: number): boolean {
    return position >= 0 && (this.#places[position]! & OPEN) === 0;
  }

  protected sideOf(position: number, target: MemberId): Side {
    return this.#bitOf(position, target) === OWNER ? "owner" : "partner";
  }

  /** Places that count and have an open call. */
  protected get asked(): number {
    return this.#places.slice(0, this.counting).filter((place) => (place & (OWNER | PARTNER)) !== 0).length;
  }

  /** Who counts, is late to answer, and is not stood in for. */
  protected lateTargets(isLate: (target: MemberId) => boolean): LateTarget[] {
    const { owners, partners } = this.plan;
    const late: LateTarget[] = [];
    for (let position = 0; position < this.counting; position++) {
      const place = this.#places[position]!;
      const open = place & ~(place >> STOOD_IN);
      if ((open & OWNER) !== 0 && isLate(owners[position]!)) late.push({ position, target: owners[position]! });
      if ((open & PARTNER) !== 0 && isLate(partners[position]!)) late.push({ position, target: partners[position]! });
    }
    return late;
  }

  #bitOf(position: number, target: MemberId): number {
    return this.plan.owners[position] === target ? OWNER : PARTNER;
  }
}
