/**
 * The walk that finds the replicas of a slot in one data centre: clockwise from the slot, the first N members on N distinct
 * hosts, spread over racks as widely as there are any. (Virtual nodes and preference lists: DeCandia et al., "Dynamo",
 * SOSP 2007, sections 4.2 and 4.3; walking on until every rack is seen: Cassandra's NetworkTopologyStrategy.)
 *
 * Racks are given *quotas* before the walk: N hosts filled evenly into the racks, each at most as high as it has hosts, reach
 * some level L; every rack gives L - 1 hosts (or all it has), and the first few that the walk meets again give one more. So
 * a list is a greedy basis of a matroid over the hosts, which has two consequences that token choice lives on: a walk that
 * starts earlier never ends later, and a member that a walk passes over is passed over by all that start earlier.
 *
 * With fewer hosts than N, the lists take in further members of hosts that they already have.
 */
import { assert } from "../assert.js";
import type { Member } from "./member.js";

/** The tokens of one data centre, ascending by slot; `member` holds indexes into some array of members. */
export interface TokenCircle {
  readonly count: number;
  readonly slot: Uint16Array;
  readonly member: Uint16Array;
}

/** A token that is not on the circle yet, next before the `at`th (0 to count - 1) of it. */
export interface TrialToken {
  readonly at: number;
  readonly member: number;
}

/** What a walk says about a trial token: it joined the list, or no walk that starts earlier will see it either. */
export type TrialOutcome = "chosen" | "passed";

export class ReplicaWalk {
  /** Members in a list: min(N, members of the data centre that hold tokens). */
  readonly width: number;
  /** Hosts that a list may be spread over. */
  readonly hosts: number;
  readonly racks: number;
  /** The list that the last walk found, nearest first; the first `found` entries count. */
  readonly list: Uint16Array;
  /** For each entry of the list the index of the token that it was found at. */
  readonly foundAt: Uint16Array;
  found = 0;
  /** Tokens that walks have looked at so far: what they cost. */
  steps = 0;

  readonly #hostOf: Uint16Array;
  readonly #rackOf: Uint16Array;
  readonly #hostsWanted: number;
  readonly #level: number;
  readonly #extras: number;
  // Marks hold the number of the walk that set them, so that nothing is cleared between walks.
  readonly #memberSeen: Uint32Array;
  readonly #hostSeen: Uint32Array;
  readonly #rackSeen: Uint32Array;
  readonly #rackTaken: Uint16Array;
  readonly #passed: Uint16Array;
  readonly #passedAt: Uint16Array;
  #walk = 0;
  #passedCount = 0;
  #hostsFound = 0;
  #extrasTaken = 0;

  /** `owners`: the indexes of those members of the data centre that hold tokens (or are about to). `replicas` is N. */
  constructor(members: readonly Member[], owners: readonly number[], replicas: number) {
    this.#hostOf = new Uint16Array(members.length);
    this.#rackOf = new Uint16Array(members.length);
    const hosts = new Map<string, number>();
    const racks = new Map<string, number>();
    const hostsOfRack: number[] = [];
    for (const owner of owners) {
      const member = members[owner]!;
      const known = hosts.get(member.host);
      if (known !== undefined) {
        this.#hostOf[owner] = known;
        continue;
      }
      const host = hosts.size;
      hosts.set(member.host, host);
      this.#hostOf[owner] = host;
      const rack = racks.get(member.rack) ?? racks.size;
      racks.set(member.rack, rack);
      this.#rackOf[host] = rack;
      hostsOfRack[rack] = (hostsOfRack[rack] ?? 0) + 1;
    }
    this.width = Math.min(replicas, owners.length);
    this.hosts = hosts.size;
    this.racks = racks.size;
    this.#hostsWanted = Math.min(replicas, hosts.size);
    const quota = quotaOf(hostsOfRack, this.#hostsWanted);
    this.#level = quota.level;
    this.#extras = quota.extras;
    this.list = new Uint16Array(this.width);
    this.foundAt = new Uint16Array(this.width);
    this.#memberSeen = new Uint32Array(members.length);
    this.#hostSeen = new Uint32Array(hosts.size);
    this.#rackSeen = new Uint32Array(racks.size);
    this.#rackTaken = new Uint16Array(racks.size);
    this.#passed = new Uint16Array(this.width);
    this.#passedAt = new Uint16Array(this.width);
  }

  /**
   * Finds the list of the slots whose first token clockwise is the `start`th of the circle (or the trial token, where that
   * stands before it). Finds fewer than `width` only while some owner has no token on the circle.
   */
  walk(circle: TokenCircle, start: number, trial: TrialToken | null = null): TrialOutcome {
    this.#begin();
    const { count, member } = circle;
    let outcome: TrialOutcome = "passed";
    for (let step = 0, at = start; step < count; step++, at++) {
      this.steps++;
      if (at === count) at = 0;
      if (trial !== null && at === trial.at) {
        const before = this.found + this.#passedCount;
        this.#meet(trial.member, at);
        if (this.found + this.#passedCount === before) break;
        outcome = "chosen";
        if (this.#isDone()) break;
      }
      this.#meet(member[at]!, at);
      if (this.#isDone()) break;
    }
    for (let at = 0; at < this.#passedCount && this.found < this.width; at++) {
      this.list[this.found] = this.#passed[at]!;
      this.foundAt[this.found++] = this.#passedAt[at]!;
    }
    return outcome;
  }

  #begin(): void {
    this.#walk++;
    assert(this.#walk < 0xffff_ffff, "replica walk: too many walks");
    this.found = 0;
    this.#passedCount = 0;
    this.#hostsFound = 0;
    this.#extrasTaken = 0;
  }

  /** True when the list will be full: all hosts wanted are there, and of further members as many as are missing. */
  #isDone(): boolean {
    return this.#hostsFound === this.#hostsWanted && this.found + this.#passedCount >= this.width;
  }

  #meet(member: number, at: number): void {
    if (this.#memberSeen[member] === this.#walk) return;
    this.#memberSeen[member] = this.#walk;
    const host = this.#hostOf[member]!;
    if (this.#hostSeen[host] === this.#walk) {
      // Only rings with fewer hosts than N come back to these.
      if (this.#hostsWanted + this.#passedCount < this.width) {
        this.#passed[this.#passedCount] = member;
        this.#passedAt[this.#passedCount++] = at;
      }
      return;
    }
    if (this.#hostsFound === this.#hostsWanted) return;
    const rack = this.#rackOf[host]!;
    const taken = this.#rackSeen[rack] === this.#walk ? this.#rackTaken[rack]! : 0;
    if (taken >= this.#level) return;
    if (taken === this.#level - 1) {
      if (this.#extrasTaken === this.#extras) return;
      this.#extrasTaken++;
    }
    this.#rackSeen[rack] = this.#walk;
    this.#rackTaken[rack] = taken + 1;
    this.#hostSeen[host] = this.#walk;
    this.#hostsFound++;
    this.list[this.found] = member;
    this.foundAt[this.found++] = at;
  }
}

/** The level that `wanted` hosts reach when filled evenly into racks of these many hosts, and how many racks reach it. */
function quotaOf(hostsOfRack: readonly number[], wanted: number): { readonly level: number; readonly extras: number } {
  for (let level = 1; ; level++) {
    const below = hostsOfRack.reduce((sum, hosts) => sum + Math.min(hosts, level - 1), 0);
    const reached = hostsOfRack.reduce((sum, hosts) => sum + Math.min(hosts, level), 0);
    if (reached >= wanted) return { level, extras: wanted - below };
    assert(reached > below, "replica walk: more hosts wanted than there are");
  }
}
