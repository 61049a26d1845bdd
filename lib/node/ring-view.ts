/**
 * The ring as clients and operators see it, out of what this node knows: the ring document says who is a member and who
 * owns which slots, gossip says where each is and how it fares. Decides nothing. Slots are always shown under members with
 * an address; where nobody has one, under this node, which answers every key.
 *
 * What takes long (ranges over all slots, ownership) is kept until the ring, an address or somebody's health changes.
 */
import { assert } from "../assert.js";
import { SLOTS, slotOf } from "../bytes/slot.js";
import { readableDot, type StoreNames } from "../causality/actor.js";
import { stampMs } from "../causality/hybrid-clock.js";
import { clockOf, distinctVersions, isLive, type Record } from "../causality/record.js";
import { type MemberSight, obstaclesOf } from "../cluster/change-obstacles.js";
import type { MemberReport } from "../cluster/gossip.js";
import type { Member, MemberId } from "../cluster/member.js";
import type { MemberAddress, MemberLoad } from "../cluster/member-entry.js";
import { type OwnershipRow as Owned, ownershipOf } from "../cluster/ownership.js";
import type { Ring } from "../cluster/ring.js";
import {
  comingMember,
  comingMembers,
  goingMember,
  type PendingChange,
  readableRingDocument,
} from "../cluster/ring-document.js";
import {
  type ClusterMember,
  type ClusterStatus,
  type ClusterView,
  isSameMember,
  type MemberRow,
  type MemberState,
  type OwnershipRow,
  type PendingRow,
  type RingReply,
  type SlotRange,
  type TransferRow,
  type WhereAnswer,
  type WhereReport,
  type WhereRow,
  type WhereTarget,
} from "../commands/cluster-view.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import { PeerCallError } from "../peer/peer.js";
import type { IntakeProgress } from "../replica/slot-intake.js";
import { warningsOf } from "./ring-warnings.js";

export interface RingViewOptions {
  readonly selfId: MemberId;
  readonly clock: Clock;
  /** The ring held at present; the same object as long as it is the same ring. */
  readonly ring: () => Ring;
  /** Gossip's, this member included. */
  readonly reports: () => readonly MemberReport[];
  /** What is known here of members that take in slots. */
  readonly intakes: () => readonly (readonly [MemberId, IntakeProgress])[];
  /** Members without which a restored cluster cannot change its ring: their names. */
  readonly awaited: () => readonly string[];
  /** There is a link to it that works: a broken one is known at once, long before gossip notices. */
  readonly isLinked: (memberId: MemberId) => boolean;
  /** This member's, as it is now: what gossip tells of the others is some seconds old. */
  readonly load: () => MemberLoad;
  /**
   * What a member (this one too) holds of a key. Rejects with an `OperatingError` when it does not answer in time: it has
   * a deadline.
   */
  readonly ask: (memberId: MemberId, database: number, key: Uint8Array) => Promise<WhereAnswer>;
}

/** Of the ids that cluster clients are shown. */
const SHOWN_ID_DIGITS = 40;
/** Addresses that stand for all or none of a machine's: nothing that a client elsewhere could connect to. */
const NO_ADDRESS: ReadonlySet<string> = new Set(["", "0.0.0.0", "::", "*"]);

/** How usable a member is for a client: the lower, the earlier it is shown. */
const TIERS: Readonly<{ [Status in MemberReport["status"]]: number }> = { up: 0, suspect: 1, down: 2 };

/** A member that clients can connect to. */
interface Shown {
  readonly member: ClusterMember;
  readonly tier: number;
}

interface Drawn {
  readonly ring: Ring;
  readonly shown: readonly Shown[];
  readonly members: readonly ClusterMember[];
  ranges: readonly SlotRange[] | null;
}

export class RingView implements ClusterView {
  readonly #options: RingViewOptions;
  #drawn: Drawn | null = null;
  #owned: { readonly ring: Ring; readonly rows: ReadonlyMap<MemberId, Owned> } | null = null;

  constructor(options: RingViewOptions) {
    this.#options = options;
  }

  self(): ClusterMember {
    const id = shownId(this.#options.selfId);
    const self = this.members().find((member) => member.id === id);
    assert(self !== undefined, "ring view: this member is always shown");
    return self;
  }

  members(): readonly ClusterMember[] {
    return this.#draw().members;
  }

  ranges(): readonly SlotRange[] {
    const drawn = this.#draw();
    drawn.ranges ??= rangesOf(drawn.ring, drawn.shown, shownId(this.#options.selfId));
    return drawn.ranges;
  }

  version(): number {
    return this.#options.ring().document.version;
  }

  status(): ClusterStatus {
    const ring = this.#options.ring();
    const reports = this.#options.reports();
    const { version, clusterId, replicas, pending } = ring.document;
    const members = this.#rows(ring, reports);
    const waits = obstaclesOf(ring, sightOf(members));
    return {
      ringVersion: version,
      clusterId: clusterId.toString("hex"),
      replicas: { default: replicas.default, dcs: Object.fromEntries(replicas.dcs.map((each) => [each.dc, each.replicas])) },
      members,
      pending: pending.map((change, at) => pendingRow(change, at, ring.document.members, waits)),
      transfers: this.#options.intakes().map(([id, progress]) => transferRow(ring, id, progress)),
      warnings: warningsOf({ ring, rows: members, reports, awaited: this.#options.awaited() }),
    };
  }

  ringDocument(): RingReply {
    const ring = this.#options.ring();
    const { document } = ring;
    const owned = this.#ownership(ring);
    const ownership = everyMember(ring).map((member): OwnershipRow => {
      const { id, name, host, rack, dc, weight } = member;
      const row = owned.get(id);
      const place = { id, name, host, rack, dc, weight };
      return { ...place, tokens: member.tokens.length, slots: row?.slots ?? 0, ...percentsOf(row) };
    });
    return {
      // What it has beyond its type is for people and tools that read JSON.
      ...(readableRingDocument(document) as Pick<RingReply, "version" | "clusterId" | "replicas" | "pending" | "removed">),
      ownership: ownership.sort(byName),
      tokens: document.members.reduce((sum, member) => sum + member.tokens.length, 0),
      slotsChanging: [...ring.changingSlots()].length,
    };
  }

  readonly where = async (database: number, key: Uint8Array): Promise<WhereReport> => {
    // Who is asked may look at it after this call, for which it is borrowed.
    const owned = Buffer.from(key);
    const slot = slotOf(owned);
    const targets = this.whereTargets(slot);
    const members = await Promise.all(
      targets.map(async (target): Promise<WhereRow> => ({ ...target, ...(await this.#ask(target.id, database, owned)) })),
    );
    return { slot, members };
  };

  /** Who is to hold the keys of a slot, in order of preference: its replicas, then who takes it over. */
  whereTargets(slot: number): readonly WhereTarget[] {
    const ring = this.#options.ring();
    const reports = byId(this.#options.reports());
    const { old, new: next } = ring.owners(slot);
    const leaving = leavingIds(ring);
    const target = (index: number, role: WhereTarget["role"], rank: number): WhereTarget => {
      const member = ring.members[index]!;
      const joined = ring.document.members.some(({ id }) => id === member.id);
      const state = stateOf(reports.get(member.id), { isJoining: !joined, isLeaving: leaving.has(member.id) });
      return { id: member.id, name: member.name, dc: member.dc, role, rank: rank + 1, state };
    };
    const replicas = [...old].map((index, rank) => target(index, "replica", rank));
    const newOwners = [...next].flatMap((index, rank) => (old.includes(index) ? [] : target(index, "new owner", rank)));
    return [...replicas, ...newOwners];
  }

  async #ask(id: MemberId, database: number, key: Uint8Array): Promise<WhereAnswer> {
    try {
      return await this.#options.ask(id, database, key);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return { answer: "unreachable", reason: error instanceof PeerCallError ? reasonOf(error) : error.message };
    }
  }

  /** Who is shown, anew where something of it changed. */
  #draw(): Drawn {
    const { selfId } = this.#options;
    const ring = this.#options.ring();
    const shown = shownMembers(ring, this.#options.reports(), { selfId, isLinked: this.#options.isLinked });
    const last = this.#drawn;
    const isSame =
      last !== null &&
      last.ring === ring &&
      last.shown.length === shown.length &&
      last.shown.every(({ member, tier }, at) => tier === shown[at]!.tier && isSameMember(member, shown[at]!.member));
    if (isSame) return last;
    this.#drawn = { ring, shown, members: shown.map(({ member }) => member), ranges: null };
    return this.#drawn;
  }

  #ownership(ring: Ring): ReadonlyMap<MemberId, Owned> {
    if (this.#owned?.ring !== ring) {
      const { rows } = ownershipOf(ring.current);
      this.#owned = { ring, rows: new Map(rows.map((row) => [row.member.id, row])) };
    }
    return this.#owned.rows;
  }

  #rows(ring: Ring, reports: readonly MemberReport[]): readonly MemberRow[] {
    const { clock, selfId } = this.#options;
    const ages = { wallMs: clock.wallMs(), monotonicMs: clock.monotonicMs() };
    const owned = this.#ownership(ring);
    const known = byId(reports);
    const members = everyMember(ring);
    const ids = new Set(members.map((member) => member.id));
    const joined = new Set(ring.document.members.map((member) => member.id));
    const leaving = leavingIds(ring);
    const rows = members.map((member): MemberRow => {
      const { id, name, host, rack, dc, weight } = member;
      const report = known.get(id);
      const state = stateOf(report, { isJoining: !joined.has(id), isLeaving: leaving.has(id) });
      const place = { id, name, host, rack, dc, weight };
      return { ...place, ...heardOf(report, ages), state, ...percentsOf(owned.get(id)), isSelf: id === selfId };
    });
    // Who gossips already and has not asked to join yet, or has not heard that it did.
    for (const report of reports) {
      const { id, contents } = report.member;
      if (ids.has(id)) continue;
      const state = stateOf(report, { isJoining: true, isLeaving: false });
      // One that is gone before it was of the ring is nobody that could be removed.
      if (state === "down") continue;
      const place = { id, name: contents.name, host: null, rack: null, dc: null, weight: null };
      rows.push({ ...place, ...heardOf(report, ages), state, ...percentsOf(undefined), isSelf: id === selfId });
    }
    return rows.map((row) => (row.isSelf ? { ...row, ...this.#options.load(), heardAgoMs: 0 } : row)).sort(byName);
  }
}

/** How a record is told of: an `ask` answers this. `names` says what the stores are called. */
export function whereAnswerOf(record: Record | null, options: { names: StoreNames; nowMs: number }): WhereAnswer {
  if (record === null) return { answer: "absent" };
  const { names, nowMs } = options;
  const versions = distinctVersions(record).map((version) => ({
    valueBytes: version.value?.length ?? 0,
    clock: clockOf(record, version).readable(names),
    dot: readableDot(version.dot, names),
    stampMs: stampMs(version.stamp),
    isTombstone: !isLive(version, nowMs),
    expiryMs: version.expiryMs,
  }));
  return { answer: "holds", versions, context: record.context.readable(names) };
}

/** The document's members, and all who are to join. */
function everyMember(ring: Ring): Member[] {
  return [...ring.document.members, ...comingMembers(ring.document.pending)];
}

function leavingIds(ring: Ring): ReadonlySet<MemberId> {
  return new Set(ring.document.pending.flatMap((change) => goingMember(change) ?? []));
}

function sightOf(rows: readonly MemberRow[]): MemberSight {
  const known = new Map(rows.map((row) => [row.id, row]));
  return { isDown: (id) => known.get(id)?.state === "down", protocolOf: (id) => known.get(id)?.protocolVersion ?? null };
}

function byId(reports: readonly MemberReport[]): ReadonlyMap<MemberId, MemberReport> {
  return new Map(reports.map((report) => [report.member.id, report]));
}

function byName(a: { name: string; id: string }, b: { name: string; id: string }): number {
  const names = a.name.localeCompare(b.name, "en", { numeric: true });
  return names !== 0 ? names : a.id < b.id ? -1 : 1;
}

function shownId(id: MemberId): string {
  return id.padEnd(SHOWN_ID_DIGITS, "0");
}

/** A member of the ring that was never heard of cannot be reached: that is what down means to a client. */
function stateOf(report: MemberReport | undefined, pending: { isJoining: boolean; isLeaving: boolean }): MemberState {
  if (report === undefined) return "down";
  if (report.status !== "up") return report.status;
  if (pending.isJoining || report.member.contents.state === "joining") return "joining";
  return pending.isLeaving || report.member.contents.state === "leaving" ? "leaving" : "up";
}

type Heard = Pick<
  MemberRow,
  "clientAddress" | "peerAddress" | "sinceMs" | "heardAgoMs" | "softwareVersion" | "protocolVersion" | keyof MemberLoad
>;

function heardOf(report: MemberReport | undefined, now: { wallMs: number; monotonicMs: number }): Heard {
  const contents = report?.member.contents;
  return {
    clientAddress: contents === undefined ? null : textOf(contents.clientAddress),
    peerAddress: contents === undefined ? null : textOf(contents.peerAddress),
    sinceMs: report === undefined ? null : Math.round(now.wallMs - (now.monotonicMs - report.sinceMs)),
    requestsPerSecond: contents?.load.requestsPerSecond ?? null,
    storedBytes: contents?.load.storedBytes ?? null,
    waitingHints: contents?.load.waitingHints ?? null,
    busyPermille: contents?.load.busyPermille ?? null,
    diskFreeBytes: contents?.load.diskFreeBytes ?? null,
    heardAgoMs: report === undefined ? null : Math.max(0, Math.round(now.monotonicMs - report.member.movedAtMs)),
    softwareVersion: contents?.softwareVersion ?? null,
    protocolVersion: contents?.protocolVersion ?? null,
  };
}

/** Null for an address that is not served. */
function textOf({ host, port }: MemberAddress): string | null {
  if (host === "" || port === 0) return null;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function percentsOf(owned: Owned | undefined): { readonly ownershipPercent: number; readonly fairPercent: number } {
  if (owned === undefined) return { ownershipPercent: 0, fairPercent: 0 };
  const part = owned.slots / SLOTS;
  return { ownershipPercent: percentOf(part), fairPercent: owned.ofFair === 0 ? 0 : percentOf(part / owned.ofFair) };
}

/** To two digits behind the point. */
function percentOf(part: number): number {
  return Math.round(part * 10_000) / 100;
}

function transferRow(ring: Ring, id: MemberId, { isDone, slotsDone, slots, records, bytes }: IntakeProgress): TransferRow {
  const index = ring.indexOf(id);
  return { id, name: index === null ? id : ring.members[index]!.name, isDone, slotsDone, slots, records, bytes };
}

/** `waits`: for whom the first of them. */
function pendingRow(change: PendingChange, at: number, members: readonly Member[], waits: readonly string[]): PendingRow {
  const named = (id: MemberId) => ({ id, name: members.find((member) => member.id === id)?.name ?? id });
  const coming = comingMember(change);
  const who = coming === null ? named(goingMember(change)!) : { id: coming.id, name: coming.name };
  return {
    kind: change.kind,
    progress: at === 0 ? "under way" : "waiting",
    ...who,
    replaces: change.kind === "replace" ? named(change.memberId) : null,
    sinceVersion: change.since,
    waitsFor: at === 0 ? waits : [],
  };
}

/** Members of the ring that clients can connect to, in order of their ids; this one always. */
function shownMembers(
  ring: Ring,
  reports: readonly MemberReport[],
  { selfId, isLinked }: Pick<RingViewOptions, "selfId" | "isLinked">,
): Shown[] {
  const shown: Shown[] = [];
  const joined = new Set(ring.document.members.map((member) => member.id));
  for (const { member, status } of reports) {
    const isSelf = member.id === selfId;
    if (ring.indexOf(member.id) === null && !isSelf) continue;
    const { clientAddress, peerAddress, state } = member.contents;
    const ip = [clientAddress.host, peerAddress.host].find((host) => !NO_ADDRESS.has(host)) ?? (isSelf ? "127.0.0.1" : null);
    if (ip === null || (clientAddress.port === 0 && !isSelf)) continue;
    // Alone in a ring that nobody founded yet, this node serves what it has.
    const isLoading = ring.document.members.length > 0 && (!joined.has(member.id) || state === "joining");
    const health = status === "down" ? "failed" : isLoading ? "loading" : "online";
    const { port } = clientAddress;
    shown.push({
      member: { id: shownId(member.id), ip, port, peerPort: peerAddress.port, health },
      tier: status === "up" && !isSelf && !isLinked(member.id) ? TIERS.suspect : TIERS[status],
    });
  }
  return shown;
}

/**
 * Of each slot the replicas with an address, the nearest first: those of this member's data centre, each in the order of the ring.
 * Those that are suspect or out of reach from here are behind those that are up, down ones last.
 */
function rangesOf(ring: Ring, shown: readonly Shown[], selfId: string): readonly SlotRange[] {
  const table = ring.current;
  const byId = new Map(shown.map((each) => [each.member.id, each]));
  const byIndex = table.members.map((member) => byId.get(shownId(member.id)) ?? null);
  const self = byId.get(selfId)!;
  const centre = table.members.find(({ id }) => shownId(id) === selfId)?.dc;
  const distances = table.members.map(({ dc }) => (dc === centre ? 0 : 1));
  /** One array for each list, however often it occurs. */
  const lists = new Map<string, readonly ClusterMember[]>();
  const listOf = (slot: number): readonly ClusterMember[] => {
    const near = [...table.replicas(slot)].sort((a, b) => distances[a]! - distances[b]!);
    const usable = near.flatMap((index) => byIndex[index] ?? []);
    const ordered = (usable.length === 0 ? [self] : usable.sort((a, b) => a.tier - b.tier)).map(({ member }) => member);
    const key = ordered.map(({ id }) => id).join(" ");
    const known = lists.get(key);
    if (known === undefined) lists.set(key, ordered);
    return known ?? ordered;
  };
  const ranges: { first: number; last: number; readonly members: readonly ClusterMember[] }[] = [];
  for (let slot = 0; slot < SLOTS; slot++) {
    const range = ranges.at(-1);
    if (range !== undefined && isSameList(ring, slot)) {
      range.last = slot;
      continue;
    }
    const members = listOf(slot);
    if (range?.members === members) range.last = slot;
    else ranges.push({ first: slot, last: slot, members });
  }
  return ranges;
}

/** Has the slot the list of the slot before it? */
function isSameList({ current }: Ring, slot: number): boolean {
  for (let rank = 0; rank < current.width; rank++) {
    if (current.replicaAt(slot, rank) !== current.replicaAt(slot - 1, rank)) return false;
  }
  return true;
}

/** Why a member did not answer, without the call's inner names. */
function reasonOf({ failure, message }: PeerCallError): string {
  if (failure === "UNAVAILABLE") return "it cannot be reached";
  return failure === "TIMEOUT" ? "not in time" : message;
}
