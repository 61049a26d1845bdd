/**
 * Which tokens a joining member takes. It looks at the ring as it is, draws candidates for one token after another, and
 * keeps the one that evens *replica* ownership best (how many slots each member holds a copy of), while its own share is
 * to grow token by token towards the share that its weight gives it. (Choosing among d random places instead of taking
 * one: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001. Replica-aware allocation of tokens:
 * Cassandra's CASSANDRA-7032, of which this is a simpler, randomized form.)
 *
 * Only the lists that a candidate changes are walked again: those of the arcs before it, back to the first whose list it
 * does not enter. Data centres do not touch each other's lists, so the others' tokens only count as taken slots.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import type { Member } from "./member.js";
import { circleOf, type ReplicaCounts, replicasOfDc } from "./preference-table.js";
import { ReplicaWalk } from "./replica-walk.js";

/** Tokens of all members together fill at most one slot in four. */
export const TOKENS_MAX = SLOTS / 4;
/** Drawn for each token that a joiner may take in an empty ring; spread over its tokens when it takes fewer. */
const CANDIDATES = 48;
/**
 * A joiner takes at most this part of the tokens that members hold in the mean (for their weight), so that their number
 * grows more slowly than the ring: 64 vnodes come to some 3,100 tokens with 100 members instead of 6,400. More slowly than
 * that, and the last ones cannot reach their share with so few tokens (measured: 0.72 leaves the fullest of 100 23% above
 * the mean).
 */
const OF_MEAN = 0.84;
/** The tokens that are shared out so; near them a joiner takes fewer, and the rest is for one token each. */
const TOKENS_SHARED_MAX = 3_190;
const LANDING = 4;
/** How much more a slot above the fair share counts than one below it: the fullest member is what has to be bought for. */
const OVER_COST = 20;
/** How much evenness of first places (who coordinates, whom smart clients ask) counts beside that of copies. */
const LEAD_COST = 0.3;
/** Some choices come out uneven: then others are tried, each among more candidates, and the best is kept. */
const ATTEMPTS_MAX = 12;
const FULLEST_AIM = 1.03;
/**
 * Tokens that one attempt may look at, some tenths of a second: a ring whose only member of a rack has to hold a copy of
 * everything is walked far for each candidate, and cannot be even. Past that the first candidate is taken.
 */
const STEPS_MAX = 20_000_000;

export interface TokenChoice {
  /** The members that hold tokens, those of pending changes included. */
  readonly members: readonly Member[];
  /** Who joins; its tokens are ignored. */
  readonly joiner: Member;
  readonly replicas: ReplicaCounts;
  /** Tokens of a member of weight 1. */
  readonly vnodes: number;
  /** Uniform in [0, 1): the Random seam's. */
  readonly fraction: () => number;
}

/** How many tokens the joiner is to take: at most `vnodes` x weight, fewer as the ring fills; 0 when it is full. */
export function tokenCount({ members, joiner, vnodes }: Omit<TokenChoice, "fraction" | "replicas">): number {
  let taken = 0;
  let weight = 0;
  for (const member of members) {
    taken += member.tokens.length;
    if (member.tokens.length > 0) weight += member.weight;
  }
  let wanted = Math.round(vnodes * joiner.weight);
  if (weight > 0) wanted = Math.min(wanted, Math.floor((OF_MEAN * taken * joiner.weight) / weight));
  wanted = Math.min(wanted, Math.floor((TOKENS_SHARED_MAX - taken) / LANDING));
  return Math.min(Math.max(1, wanted), TOKENS_MAX - taken);
}

/** The joiner's tokens, ascending. */
export function chooseTokens(choice: TokenChoice): number[] {
  let best = attempt(choice, CANDIDATES);
  for (let attempts = 1; attempts < ATTEMPTS_MAX && best.fullest > FULLEST_AIM && !best.isCostly; attempts++) {
    const other = attempt(choice, CANDIDATES * (1 + attempts));
    if (other.fullest < best.fullest) best = other;
  }
  return best.tokens.sort((a, b) => a - b);
}

/** One set of tokens, and how full the fullest member is with it, against its fair share. */
function attempt(
  choice: TokenChoice,
  candidates: number,
): { readonly tokens: number[]; readonly fullest: number; readonly isCostly: boolean } {
  const { members, joiner, replicas, fraction } = choice;
  const count = tokenCount(choice);
  const isTaken = new Uint8Array(SLOTS);
  for (const member of members) for (const token of member.tokens) isTaken[token] = 1;
  const peers = members.filter((member) => member.dc === joiner.dc && member.tokens.length > 0);
  const trial = new TrialRing(peers, joiner, { replicas: Math.max(1, replicasOfDc(replicas, joiner.dc)), count });
  const draws = candidates * Math.max(1, Math.round((choice.vnodes * joiner.weight) / count));
  const tokens: number[] = [];
  while (tokens.length < count) {
    let best = -1;
    let bestScore = Number.POSITIVE_INFINITY;
    for (let draw = 0; draw < draws; draw++) {
      let slot = Math.floor(fraction() * SLOTS);
      while (isTaken[slot] === 1) slot = (slot + 1) % SLOTS;
      const score = trial.score(slot);
      if (score >= bestScore) continue;
      best = slot;
      bestScore = score;
      if (trial.steps > STEPS_MAX) break;
    }
    trial.take(best);
    isTaken[best] = 1;
    tokens.push(best);
  }
  return { tokens, fullest: trial.fullest(), isCostly: trial.steps > STEPS_MAX };
}

/** The ring of one data centre while a member joins it: tokens, lists, and who owns how much, kept up token by token. */
class TrialRing {
  readonly slot: Uint16Array;
  readonly member: Uint16Array;
  count: number;
  readonly #walk: ReplicaWalk;
  readonly #joiner: number;
  readonly #weights: readonly number[];
  readonly #replicas: number;
  readonly #tokens: number;
  #taken = 0;
  /** The list that belongs to each token is in this row of `#lists`. */
  readonly #row: Uint16Array;
  readonly #lists: Uint16Array;
  readonly #owned: Float64Array;
  readonly #leads: Float64Array;
  #fair: Float64Array;
  #fairLeads: Float64Array;
  readonly #change: Float64Array;
  readonly #leadChange: Float64Array;
  readonly #touched: number[] = [];

  constructor(peers: readonly Member[], joiner: Member, options: { readonly replicas: number; readonly count: number }) {
    const members = [...peers, joiner];
    const owners = members.map((_, index) => index);
    this.#walk = new ReplicaWalk(members, owners, options.replicas);
    this.#joiner = peers.length;
    this.#weights = members.map((member) => member.weight);
    this.#replicas = this.#walk.width;
    this.#tokens = options.count;
    const circle = circleOf(members, owners.slice(0, -1));
    const size = circle.count + options.count;
    this.slot = new Uint16Array(size);
    this.member = new Uint16Array(size);
    this.slot.set(circle.slot);
    this.member.set(circle.member);
    this.count = circle.count;
    this.#row = new Uint16Array(size);
    for (let at = 0; at < this.count; at++) this.#row[at] = at;
    this.#lists = new Uint16Array(size * this.#replicas);
    this.#owned = new Float64Array(members.length);
    this.#leads = new Float64Array(members.length);
    this.#fair = new Float64Array(members.length);
    this.#fairLeads = new Float64Array(members.length);
    this.#change = new Float64Array(members.length);
    this.#leadChange = new Float64Array(members.length);
    this.#aim();
  }

  /** How uneven ownership is with one more token at the slot, against how it is without; lower is better. */
  score(slot: number): number {
    // Until the joiner has a first token, lists that need it are not full: then any place is as good.
    if (this.#taken === 0) return 0;
    this.#tryToken(slot);
    let score = 0;
    for (const index of this.#touched) {
      const weight = this.#weights[index]!;
      const off = this.#owned[index]! - this.#fair[index]!;
      const change = this.#change[index]!;
      score += (cost((change + off) / weight) - cost(off / weight)) * weight;
      const leadOff = this.#leads[index]! - this.#fairLeads[index]!;
      const leadChange = this.#leadChange[index]!;
      score += (LEAD_COST * leadChange * (leadChange + 2 * leadOff)) / weight;
    }
    this.#forget();
    return score;
  }

  /** What looking at it has cost so far, in tokens. */
  get steps(): number {
    return this.#walk.steps;
  }

  /** The highest of what members own against their fair shares, 1 for exactly that. */
  fullest(): number {
    let fullest = 0;
    for (const [index, owned] of this.#owned.entries()) fullest = Math.max(fullest, owned / this.#fair[index]!);
    return fullest;
  }

  /** Puts a token of the joiner at the slot for good. */
  take(slot: number): void {
    const at = this.#place(slot);
    this.slot.copyWithin(at + 1, at, this.count);
    this.member.copyWithin(at + 1, at, this.count);
    this.#row.copyWithin(at + 1, at, this.count);
    this.slot[at] = slot;
    this.member[at] = this.#joiner;
    this.#row[at] = this.count++;
    this.#taken++;
    if (this.#taken === 1) this.#countAll();
    else this.#relist(at);
    if (this.#taken < this.#tokens) this.#aim();
  }

  /** The index of the first token at or after the slot; `count` where there is none. */
  #place(slot: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.slot[middle]! < slot) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #tryToken(slot: number): void {
    const at = this.#place(slot) % this.count;
    const trial = { at, member: this.#joiner };
    let start = at;
    let slots = this.#distance(this.#before(at), slot);
    for (let step = 0; step < this.count; step++) {
      if (this.#walk.walk(this, start, trial) === "passed") return;
      this.#move(start, slots);
      start = this.#before(start);
      slots = this.#arc(start);
    }
  }

  /** Notes what `slots` slots change hands when the list of a token becomes what the walk found. */
  #move(at: number, slots: number): void {
    const from = this.#row[at]! * this.#replicas;
    const { list } = this.#walk;
    for (let rank = 0; rank < this.#replicas; rank++) {
      this.#touch(this.#lists[from + rank]!, -slots);
      this.#touch(list[rank]!, slots);
    }
    this.#leadChange[this.#lists[from]!]! -= slots;
    this.#leadChange[list[0]!]! += slots;
  }

  #touch(member: number, slots: number): void {
    if (this.#change[member] === 0 && !this.#touched.includes(member)) this.#touched.push(member);
    this.#change[member]! += slots;
  }

  #forget(): void {
    for (const index of this.#touched) {
      this.#change[index] = 0;
      this.#leadChange[index] = 0;
    }
    this.#touched.length = 0;
  }

  /** Walks again from the new token at `at`, and from those before it as long as their lists change. */
  #relist(at: number): void {
    const next = (at + 1) % this.count;
    // The slots up to the new token had the list of the token behind it.
    this.#lists.copyWithin(
      this.#row[at]! * this.#replicas,
      this.#row[next]! * this.#replicas,
      (this.#row[next]! + 1) * this.#replicas,
    );
    let start = at;
    for (let step = 0; step < this.count; step++) {
      this.#walk.walk(this, start);
      const from = this.#row[start]! * this.#replicas;
      const { list } = this.#walk;
      let isSame = true;
      for (let rank = 0; rank < this.#replicas; rank++) if (this.#lists[from + rank] !== list[rank]) isSame = false;
      if (isSame) break;
      this.#move(start, this.#arc(start));
      this.#lists.set(list, from);
      start = this.#before(start);
    }
    for (const index of this.#touched) {
      this.#owned[index]! += this.#change[index]!;
      this.#leads[index]! += this.#leadChange[index]!;
    }
    this.#forget();
  }

  #countAll(): void {
    this.#owned.fill(0);
    this.#leads.fill(0);
    for (let at = 0; at < this.count; at++) {
      this.#walk.walk(this, at);
      assert(this.#walk.found === this.#replicas, "token choice: every list is full");
      this.#lists.set(this.#walk.list, this.#row[at]! * this.#replicas);
      const slots = this.#arc(at);
      for (const member of this.#walk.list) this.#owned[member]! += slots;
      this.#leads[this.#walk.list[0]!]! += slots;
    }
  }

  /** What each is to own after the next token: the joiner its share so far, the others the rest, by weight. */
  #aim(): void {
    const ramp = (this.#taken + 1) / this.#tokens;
    const total = SLOTS * this.#replicas;
    this.#fair = fairShares(this.#weights, { total, max: SLOTS });
    this.#fairLeads = fairShares(this.#weights, { total: SLOTS, max: SLOTS });
    for (const fair of [this.#fair, this.#fairLeads]) {
      const whole = fair.reduce((sum, share) => sum + share, 0);
      const mine = fair[this.#joiner]! * ramp;
      const others = whole - fair[this.#joiner]!;
      for (let index = 0; index < this.#joiner; index++) fair[index]! *= (whole - mine) / others;
      fair[this.#joiner] = mine;
    }
  }

  #before(at: number): number {
    return at === 0 ? this.count - 1 : at - 1;
  }

  /** Slots of which the `at`th token is the first clockwise. */
  #arc(at: number): number {
    return this.count === 1 ? SLOTS : this.#distance(this.#before(at), this.slot[at]!);
  }

  #distance(from: number, slot: number): number {
    return (slot - this.slot[from]! + SLOTS) % SLOTS;
  }
}

function cost(off: number): number {
  return off > 0 ? OVER_COST * off * off : off * off;
}

/** `total` in proportion to the weights, at most `max` each: what is above that goes to the others. */
export function fairShares(weights: readonly number[], limits: { readonly total: number; readonly max: number }): Float64Array {
  const { total, max } = limits;
  const shares = new Float64Array(weights.length);
  const order = weights.map((_, index) => index).sort((a, b) => weights[b]! - weights[a]!);
  let rest = Math.min(total, max * weights.length);
  let weightLeft = weights.reduce((sum, weight) => sum + weight, 0);
  for (const index of order) {
    shares[index] = Math.min(max, (rest * weights[index]!) / weightLeft);
    rest -= shares[index]!;
    weightLeft -= weights[index]!;
  }
  return shares;
}
