/**
 * The ring as clients and operators may see it: who is a member and how it fares, who answers which slots best, who holds
 * a key. Plain data and one interface; the cluster implements it. What is JSON here is what CLUSTER STATUS, RING and WHERE
 * answer: fields are added, never renamed.
 */
import { SLOTS } from "../bytes/slot.js";

/** Of a member's own id; cluster clients see it filled up with zeros. */
const MEMBER_ID_DIGITS = 16;

export interface ClusterMember {
  /** 40 hexadecimal digits, the same for the life of the member. */
  readonly id: string;
  /** What clients connect to: an IP address, never empty (some clients loop for ever on an empty one). */
  readonly ip: string;
  readonly port: number;
  readonly peerPort: number;
  readonly health: "online" | "failed" | "loading";
}

/** Consecutive slots with the same preference list. */
export interface SlotRange {
  /** Both inclusive. */
  readonly first: number;
  readonly last: number;
  /** In the order of preference, at least one: the first is shown as master, the others as its replicas. */
  readonly members: readonly ClusterMember[];
}

/** One who is not up is shown so, whatever it was doing. */
export type MemberState = "up" | "suspect" | "down" | "joining" | "leaving";

/** A member as CLUSTER STATUS shows it. Null stands for what this node has not heard of it. */
export interface MemberRow {
  /** The member's own id, 16 hexadecimal digits. */
  readonly id: string;
  readonly name: string;
  readonly host: string | null;
  readonly rack: string | null;
  readonly dc: string | null;
  readonly weight: number | null;
  /** `host:port`. */
  readonly clientAddress: string | null;
  readonly peerAddress: string | null;
  readonly state: MemberState;
  /** Since when this node sees it in that state: Unix time in milliseconds. */
  readonly sinceMs: number | null;
  /** Part of all slots that it keeps a copy of, and what its weight gives it: 0 to 100. */
  readonly ownershipPercent: number;
  readonly fairPercent: number;
  readonly requestsPerSecond: number | null;
  readonly storedBytes: number | null;
  readonly waitingHints: number | null;
  /** Thousandths of the last seconds for which its thread of requests was busy; null also where it does not tell. */
  readonly busyPermille: number | null;
  /** Free where it keeps its data; null also where it does not tell. */
  readonly diskFreeBytes: number | null;
  /** For how long nothing was heard of it: its load is some heartbeats older, at most ten. */
  readonly heardAgoMs: number | null;
  readonly softwareVersion: string | null;
  /** The highest version of the members' protocol that it speaks. */
  readonly protocolVersion: number | null;
  readonly isSelf: boolean;
}

/** A change of the ring that is under way, or waits for those before it. */
export interface PendingRow {
  readonly kind: "join" | "leave" | "replace" | "remove";
  readonly progress: "under way" | "waiting";
  /** Who joins or leaves. */
  readonly id: string;
  readonly name: string;
  /** Whom it takes over from; null unless it replaces one. */
  readonly replaces: { readonly id: string; readonly name: string } | null;
  /** The version of the ring that began it. */
  readonly sinceVersion: number;
  /** A phrase for each member that keeps it from going on, with what to do: `node-c, which speaks protocol 1: upgrade it first`. */
  readonly waitsFor: readonly string[];
}

/** How far a member is with taking in the slots that the change under way gives it. */
export interface TransferRow {
  readonly id: string;
  readonly name: string;
  readonly isDone: boolean;
  readonly slotsDone: number;
  readonly slots: number;
  /** Read so far. */
  readonly records: number;
  readonly bytes: number;
}

export interface ClusterStatus {
  /** The version of the ring document; 0 where nobody agreed to one yet. */
  readonly ringVersion: number;
  /** Hexadecimal. */
  readonly clusterId: string;
  /** Copies of each key that a data centre keeps: the default, and exceptions by name. */
  readonly replicas: { readonly default: number; readonly dcs: Readonly<Record<string, number>> };
  /** In order of their names. */
  readonly members: readonly MemberRow[];
  readonly pending: readonly PendingRow[];
  /** What the answering node knows of: itself, and the others where it drives the change. */
  readonly transfers: readonly TransferRow[];
  /** One sentence each, for people. */
  readonly warnings: readonly string[];
}

/** What CLUSTER STATUS answers. */
export interface StatusReply extends ClusterStatus {
  /** The answering node's wall clock, Unix milliseconds: what `sinceMs` is compared with. */
  readonly nowMs: number;
}

/** How much of the ring a member owns. */
export interface OwnershipRow {
  readonly id: string;
  readonly name: string;
  readonly host: string | null;
  readonly rack: string | null;
  readonly dc: string | null;
  readonly weight: number | null;
  readonly tokens: number;
  /** Slots that it keeps a copy of. */
  readonly slots: number;
  /** As in `MemberRow`. */
  readonly ownershipPercent: number;
  readonly fairPercent: number;
}

/** The part of CLUSTER RING's answer that is sure to be there; the document's other fields are beside it. */
export interface RingReply {
  readonly version: number;
  readonly clusterId: string;
  /** By data centre, and `default`. */
  readonly replicas: Readonly<Record<string, number>>;
  readonly pending: readonly object[];
  readonly removed: readonly string[];
  /** In order of their names. */
  readonly ownership: readonly OwnershipRow[];
  /** Tokens of all members. */
  readonly tokens: number;
  /** Slots that the change under way gives other owners. */
  readonly slotsChanging: number;
}

/** A version that a member holds, as CLUSTER WHERE shows it. */
export interface WhereVersion {
  readonly valueBytes: number;
  /** Readable: `node-a:3 node-b:1`. */
  readonly clock: string;
  /** `node-a:3`. */
  readonly dot: string;
  /** Unix time in milliseconds. */
  readonly stampMs: number;
  /** Deleted or expired. */
  readonly isTombstone: boolean;
  /** Unix time in milliseconds, 0 for never; null where it was not asked. */
  readonly expiryMs: number | null;
}

/** What one member says of a key. */
export type WhereAnswer =
  | {
      readonly answer: "holds";
      /** Newest first. */
      readonly versions: readonly WhereVersion[];
      /** All that was ever seen of the key there, readable; null where it was not asked. */
      readonly context: string | null;
    }
  | { readonly answer: "absent" }
  | { readonly answer: "unreachable"; readonly reason: string };

/** A member that is to hold the key. */
export interface WhereTarget {
  readonly id: string;
  readonly name: string;
  /** Null where there is no ring. */
  readonly dc: string | null;
  /** `new owner`: it takes the slot over by the change that is under way. */
  readonly role: "replica" | "new owner";
  /** Place in the order of preference, from 1. */
  readonly rank: number;
  readonly state: MemberState;
}

export type WhereRow = WhereTarget & WhereAnswer;

export interface WhereReport {
  readonly slot: number;
  readonly members: readonly WhereRow[];
}

/** What CLUSTER WHERE answers. */
export interface WhereReply extends WhereReport {
  /** As text: bytes that are no UTF-8 are lost in it. */
  readonly key: string;
  readonly database: number;
}

export interface ClusterView {
  self(): ClusterMember;
  /** All members, this one included. */
  members(): readonly ClusterMember[];
  /** Ascending, together all slots. The same array as before where nothing changed. */
  ranges(): readonly SlotRange[];
  /** The version of the ring document. */
  version(): number;
  status(): ClusterStatus;
  /** The ring document for people, with who owns how much: what JSON can hold, keys and secrets left out. */
  ringDocument(): RingReply;
  /**
   * Asks every member that is to hold the key. Never rejects for a member that does not answer: that is an answer. Null
   * for a node alone: what its keyspace says is all there is.
   */
  readonly where: ((database: number, key: Uint8Array) => Promise<WhereReport>) | null;
}

/** The view of a node that is alone. `self` is asked each time: a port may be known only after listening. */
export function ringOfOne(self: () => ClusterMember, options: { readonly where?: ClusterView["where"] } = {}): ClusterView {
  let last: readonly SlotRange[] = [];
  const ranges = (): readonly SlotRange[] => {
    const member = self();
    const known = last[0]?.members[0];
    if (known === undefined || !isSameMember(known, member)) last = [{ first: 0, last: SLOTS - 1, members: [member] }];
    return last;
  };
  return {
    self,
    members: () => [self()],
    ranges,
    version: () => 0,
    status: () => statusOfOne(self()),
    ringDocument: () => documentOfOne(self()),
    where: options.where ?? null,
  };
}

/** Equal for one that is shown the same in every way. */
export function isSameMember(a: ClusterMember, b: ClusterMember): boolean {
  return a.id === b.id && a.ip === b.ip && a.port === b.port && a.peerPort === b.peerPort && a.health === b.health;
}

/** A member's own id out of the padded one that cluster clients are shown. */
export function shortId(id: string): string {
  return id.slice(0, MEMBER_ID_DIGITS);
}

function statusOfOne(self: ClusterMember): ClusterStatus {
  const { ip, port, peerPort } = self;
  const member: MemberRow = {
    ...placeOfOne(self),
    clientAddress: `${ip}:${port}`,
    peerAddress: `${ip}:${peerPort}`,
    state: "up",
    sinceMs: null,
    ownershipPercent: 100,
    fairPercent: 100,
    requestsPerSecond: null,
    storedBytes: null,
    waitingHints: null,
    busyPermille: null,
    diskFreeBytes: null,
    heardAgoMs: null,
    softwareVersion: null,
    protocolVersion: null,
    isSelf: true,
  };
  return {
    ringVersion: 0,
    clusterId: "",
    replicas: { default: 1, dcs: {} },
    members: [member],
    pending: [],
    transfers: [],
    warnings: [],
  };
}

function documentOfOne(self: ClusterMember): RingReply {
  const own: OwnershipRow = { ...placeOfOne(self), tokens: 0, slots: SLOTS, ownershipPercent: 100, fairPercent: 100 };
  return {
    version: 0,
    clusterId: "",
    replicas: { default: 1 },
    pending: [],
    removed: [],
    ownership: [own],
    tokens: 0,
    slotsChanging: 0,
  };
}

function placeOfOne({ id, ip, port }: ClusterMember) {
  return { id: shortId(id), name: `${ip}:${port}`, host: null, rack: null, dc: null, weight: null };
}
