/**
 * Who keeps a slot, worked out once for each ring: slots with the same owners share one plan, so that a request looks it up
 * with an array read. A *position* is one intended replica; while the ring changes, its old owner may have a *partner* that
 * takes it over, and the position counts when both have a write. Pure.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import type { MemberId } from "../cluster/member.js";
import { dcsOf, replicasOfDc } from "../cluster/preference-table.js";
import type { Ring } from "../cluster/ring.js";
import type { RingSight } from "../replica/readdressing.js";
import { type Copies, LEVELS, type Quorum } from "./consistency.js";
import { levelAt, majorityFor, type QuorumNeeds, quorumNeeds } from "./quorum-needs.js";

/** The others that keep what this node keeps: slots with the same owners, in whatever order, have the same one. */
export interface Company {
  readonly others: readonly MemberId[];
  /** Those of this node's data centre. */
  readonly near: readonly MemberId[];
  /** Those of each of the others. */
  readonly far: readonly (readonly MemberId[])[];
}

export class SlotPlan {
  /** The ring that it is of. */
  readonly ring: Ring;
  /** By position, nearest first: those of this node's data centre, then the others, each in the order of the ring. */
  readonly owners: readonly MemberId[];
  /** The same in the order of the ring alone, which is one for all nodes: who decides for all data centres. */
  readonly ownersOfRing: readonly MemberId[];
  /** So many of the first positions are of this node's data centre: these. */
  readonly nearCount: number;
  readonly nearOwners: readonly MemberId[];
  /** The other positions, by data centre. */
  readonly far: readonly (readonly number[])[];
  /** Each node has another, so that not all turn to the same owner elsewhere to pass their writes on. */
  readonly relayShift: number;
  /** By position: who takes it over, or null. */
  readonly partners: readonly (MemberId | null)[];
  /** Owners after the change that take over no position: they are sent every write, and count for nothing yet. */
  readonly extras: readonly MemberId[];
  /** Positions with a partner; undefined where there is none. */
  readonly pairs: ReadonlySet<number> | undefined;
  /** This node's position, or -1. */
  readonly selfPosition: number;
  /** This node is the only owner, before and after. */
  readonly isAlone: boolean;
  /** Null where this node keeps no copy, or who keeps one is changing. */
  readonly company: Company | null;
  readonly #centres: readonly string[];
  readonly #localCentre: string;
  /** By level, then by numbers. */
  readonly #needsOfLevel: (QuorumNeeds | null)[] = LEVELS.map(() => null);
  readonly #needsOfNumbers = new Map<number, QuorumNeeds>();

  constructor(options: {
    ring: Ring;
    old: readonly number[];
    next: readonly number[];
    selfId: MemberId;
    localCentre: string;
    companyOf: (others: readonly MemberId[]) => Company;
  }) {
    const { ring, old, next, selfId } = options;
    const { members } = ring;
    const idOf = (index: number): MemberId => members[index]!.id;
    const centreOf = (index: number): string => members[index]!.dc;
    const near = old.filter((index) => centreOf(index) === options.localCentre);
    const positions = near.length === old.length ? old : [...near, ...old.filter((index) => !near.includes(index))];
    const arriving = next.filter((index) => !old.includes(index));
    /** Of the same data centre where there is one. */
    const partnerFor = (owner: number): MemberId | null => {
      const at = arriving.findIndex((index) => centreOf(index) === centreOf(owner));
      const [partner] = arriving.splice(Math.max(0, at), 1);
      return partner === undefined ? null : idOf(partner);
    };
    this.ring = ring;
    this.owners = positions.map(idOf);
    this.ownersOfRing = positions === old ? this.owners : old.map(idOf);
    this.partners = positions.map((index) => (next.includes(index) ? null : partnerFor(index)));
    this.extras = arriving.map(idOf);
    const paired = this.partners.flatMap((partner, position) => (partner === null ? [] : position));
    this.pairs = paired.length === 0 ? undefined : new Set(paired);
    this.selfPosition = this.owners.indexOf(selfId);
    this.isAlone = this.owners.length === 1 && this.selfPosition === 0 && paired.length === 0 && arriving.length === 0;
    const isSteady = this.selfPosition >= 0 && paired.length === 0 && arriving.length === 0;
    this.company = isSteady ? options.companyOf(this.owners.filter((id) => id !== selfId)) : null;
    this.#centres = positions.map(centreOf);
    this.#localCentre = options.localCentre;
    this.relayShift = ring.indexOf(selfId) ?? 0;
    this.nearCount = near.length;
    this.nearOwners = positions === old ? this.owners : near.map(idOf);
    const others = [...new Set(this.#centres.slice(near.length))];
    this.far = others.map((centre) => [...this.#centres.keys()].filter((position) => this.#centres[position] === centre));
  }

  /** Those who may decide at this quorum, first to last: at LOCAL levels owners of this data centre, where it has any. */
  deciders(quorum: Quorum): readonly MemberId[] {
    return this.needs(quorum).counts === "local" ? this.nearOwners : this.ownersOfRing;
  }

  /** What this quorum comes to here, in words that mean the same in another data centre. */
  quorumElsewhere(quorum: Quorum): Quorum {
    if (this.nearCount > 0 || quorum.kind !== "level") return quorum;
    return { kind: "level", level: levelAt(quorum.level, false) };
  }

  /** What a request at this quorum waits for. The same object each time. */
  needs(quorum: Quorum): QuorumNeeds {
    if (quorum.kind === "level") {
      const at = LEVELS.indexOf(quorum.level);
      const known = this.#needsOfLevel[at] ?? null;
      if (known !== null) return known;
      const needs = quorumNeeds(quorum, this.#centres, this.#localCentre);
      this.#needsOfLevel[at] = needs;
      return needs;
    }
    const key = quorum.read * 65_536 + quorum.write;
    const known = this.#needsOfNumbers.get(key);
    if (known !== undefined) return known;
    const needs = quorumNeeds(quorum, this.#centres, this.#localCentre);
    this.#needsOfNumbers.set(key, needs);
    return needs;
  }

  /** What a read-modify-write reads first: the larger of what the quorum reads and a majority of those that it counts. */
  needsOfDecision(quorum: Quorum): QuorumNeeds {
    const needs = this.needs(quorum);
    const majority = this.needs(majorityFor(quorum));
    return sum(needs.reads) >= sum(majority.reads) ? needs : majority;
  }

  /** So many of the first positions count at this quorum. */
  countingAt(quorum: Quorum): number {
    return this.countingOf(this.needs(quorum));
  }

  countingOf({ counts }: QuorumNeeds): number {
    return counts === "local" ? this.nearCount : this.owners.length;
  }

  /** Whether who stands in here for an owner counts: at LOCAL and EACH levels only in the owner's own data centre. */
  standsInHere(quorum: Quorum, position: number): boolean {
    return this.needs(quorum).counts === "all" || this.#centres[position] === this.#localCentre;
  }

  /** The data centre of a position. */
  centreOf(position: number): string {
    return this.#centres[position]!;
  }

  /** Everybody who keeps the slot before or after the change. */
  allOwners(): readonly MemberId[] {
    return [...this.owners, ...this.partners.flatMap((partner) => partner ?? []), ...this.extras];
  }

  /** Who is to have what this owner from before the change has: its partner, and who comes in addition. */
  comingFor(owner: MemberId): readonly MemberId[] {
    const position = this.owners.indexOf(owner);
    if (position < 0) return [];
    const partner = this.partners[position]!;
    return partner === null ? this.extras : [partner, ...this.extras];
  }

  /** Who keeps the slot before or after the change. */
  isOwner(id: MemberId): boolean {
    return this.owners.includes(id) || this.partners.includes(id) || this.extras.includes(id);
  }
}

/** The plans of all slots of the newest ring. */
export class SlotPlans {
  readonly #selfId: MemberId;
  /** The data centre of this node. */
  readonly #centre: string;
  #ring: Ring;
  /** By slot: which of `#plans` it has, 0 for one that was not asked for yet. Small enough to stay near the processor. */
  readonly #bySlot = new Uint16Array(SLOTS);
  #plans: (SlotPlan | null)[] = [null];
  #byOwners = new Map<string, number>();
  #companies = new Map<string, Company>();
  readonly #companyOf = (others: readonly MemberId[]): Company => {
    const key = [...others].sort().join();
    let company = this.#companies.get(key);
    if (company === undefined) this.#companies.set(key, (company = this.#newCompany(others)));
    return company;
  };
  /** By slot: the version of the ring in which its owners last became others, as far as this node saw. */
  readonly #changedAt = new Float64Array(SLOTS);
  /** The newest of these. */
  #lastChangedAt: number;

  constructor(options: { ring: Ring; selfId: MemberId; centre: string }) {
    this.#centre = options.centre;
    this.#ring = options.ring;
    this.#selfId = options.selfId;
    this.#changedAt.fill(options.ring.document.version);
    this.#lastChangedAt = options.ring.document.version;
  }

  get ring(): Ring {
    return this.#ring;
  }

  /** This node is the only member there is. */
  get isAlone(): boolean {
    return this.#ring.members.length === 1 && this.of(0).isAlone;
  }

  /** A newer ring: plans that requests hold stay what they were. */
  update(ring: Ring): void {
    const before = this.#ring;
    this.#ring = ring;
    this.#bySlot.fill(0);
    this.#plans = [null];
    this.#byOwners = new Map();
    this.#companies = new Map();
    for (let slot = 0; slot < SLOTS; slot++) {
      if (haveSameOwners(before, ring, slot)) continue;
      this.#changedAt[slot] = ring.document.version;
      this.#lastChangedAt = ring.document.version;
    }
  }

  of(slot: number): SlotPlan {
    return this.#plans[this.#bySlot[slot]!] ?? this.#make(slot);
  }

  /** How many copies there are of each key, seen from this node. */
  copies(): Copies {
    const { current, document } = this.#ring;
    const holders = current.members.filter((member) => member.tokens.length > 0);
    const counts = dcsOf(holders).map((dc) => {
      const members = holders.filter((member) => member.dc === dc).length;
      return { dc, copies: Math.min(members, replicasOfDc(document.replicas, dc)) };
    });
    const local = counts.find(({ dc }) => dc === this.#centre)?.copies ?? 0;
    const elsewhere = counts.filter(({ dc, copies }) => dc !== this.#centre && copies > 0).map(({ copies }) => copies);
    // Without copies of its own a data centre is served from the others, which then count as local ones.
    if (local > 0 || elsewhere.length === 0) return { local: Math.max(1, local), elsewhere };
    return { local: elsewhere.reduce((sum, copies) => sum + copies, 0), elsewhere: [] };
  }

  /** True when whoever holds the ring of this version takes others for the owners of the slot. */
  isStale(slot: number, version: number): boolean {
    return version < this.#changedAt[slot]!;
  }

  /** The ring as hints see it: all owners, before and after the change. */
  sight(): RingSight {
    return {
      version: () => this.#ring.document.version,
      changedAt: () => this.#lastChangedAt,
      ownersOf: (slot) => this.of(slot).allOwners(),
      comingFor: (slot, owner) => this.of(slot).comingFor(owner),
    };
  }

  #newCompany(others: readonly MemberId[]): Company {
    const { members } = this.#ring;
    const centreOf = (id: MemberId): string => members[this.#ring.indexOf(id)!]!.dc;
    const near = others.filter((id) => centreOf(id) === this.#centre);
    const centres = [...new Set(others.map(centreOf))].filter((centre) => centre !== this.#centre);
    return { others, near, far: centres.map((centre) => others.filter((id) => centreOf(id) === centre)) };
  }

  #make(slot: number): SlotPlan {
    const { old, new: next } = this.#ring.owners(slot);
    const key = `${old.join()}>${next.join()}`;
    let number = this.#byOwners.get(key);
    if (number === undefined) {
      const place = { selfId: this.#selfId, localCentre: this.#centre, companyOf: this.#companyOf };
      number = this.#plans.push(new SlotPlan({ ring: this.#ring, old: [...old], next: [...next], ...place })) - 1;
      assert(number <= SLOTS, "plans: one a slot");
      this.#byOwners.set(key, number);
    }
    this.#bySlot[slot] = number;
    return this.#plans[number]!;
  }
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

/** True when both rings send the writes of a slot to the same members. */
function haveSameOwners(one: Ring, other: Ring, slot: number): boolean {
  const a = one.owners(slot);
  const b = other.owners(slot);
  return isSameList(one, a.old, other, b.old) && isSameList(one, a.new, other, b.new);
}

function isSameList(one: Ring, a: Uint16Array, other: Ring, b: Uint16Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) if (one.members[a[at]!]!.id !== other.members[b[at]!]!.id) return false;
  return true;
}
