/** What a decision is made of: a look at the ring, and how much its members have to do of what they are to have. Pure. */
import type { MemberRow, PendingRow } from "../commands/cluster-view.js";

export type ObservedMember = Pick<
  MemberRow,
  | "id"
  | "name"
  | "host"
  | "dc"
  | "weight"
  | "state"
  | "requestsPerSecond"
  | "storedBytes"
  | "busyPermille"
  | "diskFreeBytes"
  | "heardAgoMs"
>;

export interface Observation {
  /** Monotonic milliseconds. */
  readonly atMs: number;
  readonly ringVersion: number;
  /** Those who are about to join among them. */
  readonly members: readonly ObservedMember[];
  /** Copies of each key that a data centre keeps: the default, and exceptions by name. */
  readonly replicas: { readonly default: number; readonly dcs: Readonly<Record<string, number>> };
  /** Changes of the ring that are under way or wait. */
  readonly pending: readonly Pick<PendingRow, "kind" | "name">[];
  /** Ids of members that the provider can take away: the first of them that may go goes. */
  readonly leavers: readonly string[];
  /** What the provider is at, for people; null: nothing. */
  readonly underWay: string | null;
}

/** How much a member is to have to do. Null: not looked at. */
export interface Targets {
  /** Share of the time, 0 to 1, for which the thread of requests is busy: the members' mean. */
  readonly busy: number | null;
  /** Requests a second for a member of weight 1: the members' mean. */
  readonly requests: number | null;
  /** Share of the room that there is for its data, 0 to 1: of the fullest member. */
  readonly disk: number | null;
}

export type Aspect = keyof Targets;

export interface Sample {
  readonly atMs: number;
  /** Load as a share of its target: 1 is just as much as there is to be. */
  readonly pressures: Readonly<Partial<Record<Aspect, number>>>;
  /** The greatest of them, and of what. */
  readonly pressure: number;
  readonly aspect: Aspect;
  /** The member with the busiest thread, where it is looked at. */
  readonly hottest: { readonly name: string; readonly pressure: number } | null;
}

/** REQUIRES a target, a member, and that `untold` has no objection. */
export function sampleOf({ atMs, members }: Pick<Observation, "atMs" | "members">, targets: Targets): Sample {
  const pressures: Partial<Record<Aspect, number>> = {};
  let hottest: Sample["hottest"] = null;
  if (targets.busy !== null) {
    pressures.busy = sum(members, busyOf) / members.length / targets.busy;
    for (const member of members) {
      const pressure = busyOf(member) / targets.busy;
      if (hottest === null || pressure > hottest.pressure) hottest = { name: member.name, pressure };
    }
  }
  if (targets.requests !== null) {
    pressures.requests = sum(members, (member) => member.requestsPerSecond ?? 0) / weightOf(members) / targets.requests;
  }
  if (targets.disk !== null) pressures.disk = Math.max(...members.map(fullnessOf)) / targets.disk;
  const [aspect, pressure] = (Object.entries(pressures) as [Aspect, number][]).reduce((a, b) => (b[1] > a[1] ? b : a));
  return { atMs, pressures, pressure, aspect, hottest };
}

/** Whose load is not known, and why, for people; null when all is known that the targets are about. */
export function untold(
  members: readonly ObservedMember[],
  targets: Targets,
  { staleMs }: { readonly staleMs: number },
): string | null {
  for (const member of members) {
    const { name, heardAgoMs, busyPermille, requestsPerSecond, storedBytes, diskFreeBytes } = member;
    if (heardAgoMs === null || heardAgoMs === undefined) return `nothing is known of the load of ${name}`;
    if (heardAgoMs > staleMs) return `the load of ${name} is ${Math.round(heardAgoMs / 1_000)} s old`;
    if (targets.busy !== null && !isTold(busyPermille)) return `${name} does not tell how busy it is`;
    if (targets.requests !== null && !isTold(requestsPerSecond)) return `${name} does not tell its requests`;
    if (targets.disk !== null && !(isTold(storedBytes) && isTold(diskFreeBytes))) {
      return `${name} does not tell how full its disk is`;
    }
  }
  return null;
}

/** By how much more those that remain have to do when a member goes: what it did is shared out by weight. */
export function growthWithout(members: readonly ObservedMember[], leaver: ObservedMember): number {
  const all = weightOf(members);
  return all / (all - (leaver.weight ?? 1));
}

/** Why the copies of a key would not all lie on hosts of their own without this member; null when they would. */
export function hostObjection(
  { members, replicas }: Pick<Observation, "members" | "replicas">,
  leaver: ObservedMember,
): string | null {
  const hosts = new Map<string, Set<string>>();
  for (const { id, dc, host } of members) {
    const known = hosts.get(dc ?? "") ?? new Set();
    hosts.set(dc ?? "", known);
    if (id !== leaver.id) known.add(host ?? id);
  }
  for (const [dc, { size }] of hosts) {
    const copies = replicas.dcs[dc] ?? replicas.default;
    if (size < copies) return `without ${leaver.name} there would be ${size} hosts in ${dc} for ${copies} copies of each key`;
  }
  return null;
}

/** Of the room that there is for its data, how much a member's takes: 0 to 1. */
export function fullnessOf({ storedBytes, diskFreeBytes }: ObservedMember): number {
  const stored = storedBytes ?? 0;
  const room = stored + (diskFreeBytes ?? 0);
  return room === 0 ? 1 : stored / room;
}

function busyOf({ busyPermille }: ObservedMember): number {
  return (busyPermille ?? 0) / 1_000;
}

function weightOf(members: readonly ObservedMember[]): number {
  return sum(members, ({ weight }) => weight ?? 1);
}

function sum(members: readonly ObservedMember[], of: (member: ObservedMember) => number): number {
  return members.reduce((total, member) => total + of(member), 0);
}

/** A node of an earlier version leaves figures out. */
function isTold(value: number | null | undefined): value is number {
  return value !== null && value !== undefined;
}
