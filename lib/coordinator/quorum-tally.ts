/**
 * Counts the answers to one request and says when the client may be told. Pure; for reads and writes alike.
 *
 * A position is one intended replica of the key. It and its stand-in count once between them, and a stand-in counts at all
 * only where the request is sloppy. While a replica is being replaced by a new owner, its position is a pair and counts when
 * both have answered.
 *
 * INVARIANT: a verdict other than `waiting` is final, whatever is told afterwards.
 */
import { assert } from "../assert.js";
import { NO_GROUP } from "./quorum-needs.js";
import { listsOf } from "./small-lists.js";

export type TallyVerdict =
  | { readonly kind: "waiting" }
  | { readonly kind: "ready" }
  /** So many answered of so many needed, and no more can. */
  | { readonly kind: "unavailable"; readonly reached: number; readonly needed: number };

export interface QuorumTallyOptions {
  /** For each position its group, or NO_GROUP. */
  readonly groups: readonly number[];
  /** For each group how many positions must answer. */
  readonly needs: readonly number[];
  readonly standIns: "strict" | "sloppy";
  /** Positions that are pairs of an old and a new owner. */
  readonly pairs?: ReadonlySet<number> | undefined;
}

const WAITING: TallyVerdict = { kind: "waiting" };
const READY: TallyVerdict = { kind: "ready" };

/** Of a position its replica, or the new owner that takes it over. */
export type Side = "owner" | "partner";

/** What a position may lack: an answer for its owner, and for the partner of a pair. */
const OWNER = 1;
const PARTNER = 2;
const LACKS_MASK = OWNER | PARTNER;
/** Added to what a position lacks when nothing more can come from it. */
const GIVEN_UP = 4;

const zeros = listsOf(0);
const owners = listsOf(OWNER);

export class QuorumTally {
  readonly #groups: readonly number[];
  readonly #needs: readonly number[];
  readonly #standIns: "strict" | "sloppy";
  /** For each position whose answers it lacks, 0 when it counts; with GIVEN_UP where none will come. */
  readonly #positions: number[];
  /** For each group how many positions count. */
  readonly #counted: number[];
  /** Groups that lack answers. */
  #unmet: number;
  #verdict: TallyVerdict = WAITING;

  constructor({ groups, needs, standIns, pairs }: QuorumTallyOptions) {
    this.#groups = groups;
    this.#needs = needs;
    this.#standIns = standIns;
    this.#unmet = needs.length;
    this.#counted = zeros(needs.length);
    this.#positions = owners(groups.length);
    if (pairs !== undefined) for (const position of pairs) this.#positions[position] = OWNER | PARTNER;
    for (let group = 0; group < needs.length; group++) {
      const needed = needs[group]!;
      assert(needed >= 1 && needed <= this.#possible(group), "tally: a group can reach what it needs");
    }
  }

  /** The owner of this position answered, or the partner of a pair. */
  answered(position: number, side: Side = "owner"): TallyVerdict {
    const lacks = this.#positions[position]! & LACKS_MASK;
    const rest = lacks & ~(side === "owner" ? OWNER : PARTNER);
    return lacks === rest ? this.#verdict : this.#count(position, rest);
  }

  /** A stand-in answered for it: that counts as its answer. */
  stoodIn(position: number, side: Side = "owner"): TallyVerdict {
    return this.#standIns === "strict" ? this.#verdict : this.answered(position, side);
  }

  /** Neither the replica of this position nor a stand-in for it will answer. */
  gaveUp(position: number): TallyVerdict {
    const group = this.#groups[position]!;
    const lacks = this.#positions[position]!;
    if (lacks === 0 || lacks >= GIVEN_UP || group === NO_GROUP) return this.#verdict;
    this.#positions[position] = lacks + GIVEN_UP;
    if (this.#verdict !== WAITING || this.#possible(group) >= this.#needs[group]!) return this.#verdict;
    this.#verdict = { kind: "unavailable", ...this.progress };
    return this.#verdict;
  }

  get verdict(): TallyVerdict {
    return this.#verdict;
  }

  /** Answers that count so far, and that are needed, over all groups: for the text of an error. */
  get progress(): { readonly reached: number; readonly needed: number } {
    const reached = this.#counted.reduce((sum, counted, group) => sum + Math.min(counted, this.#needs[group]!), 0);
    return { reached, needed: this.#needs.reduce((sum, need) => sum + need, 0) };
  }

  /** Groups that cannot reach what they need; while all still can, those that have not yet: for the text of an error. */
  get lacking(): number[] {
    const groups = [...this.#needs.keys()];
    const lost = groups.filter((group) => this.#possible(group) < this.#needs[group]!);
    return lost.length > 0 ? lost : groups.filter((group) => this.#counted[group]! < this.#needs[group]!);
  }

  /** How many positions of a group count, or may yet. */
  #possible(group: number): number {
    let possible = 0;
    for (let position = 0; position < this.#groups.length; position++) {
      if (this.#groups[position] === group && this.#positions[position]! < GIVEN_UP) possible++;
    }
    return possible;
  }

  #count(position: number, lacking: number): TallyVerdict {
    const group = this.#groups[position]!;
    const before = this.#positions[position]!;
    this.#positions[position] = lacking === 0 ? 0 : lacking | (before & GIVEN_UP);
    if (lacking > 0 || group === NO_GROUP) return this.#verdict;
    // One that was written off too early counts all the same, unless the client was told already.
    if (++this.#counted[group]! === this.#needs[group]) this.#unmet--;
    if (this.#verdict === WAITING && this.#unmet === 0) this.#verdict = READY;
    return this.#verdict;
  }
}
