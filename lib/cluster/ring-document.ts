/**
 * What the members of a ring agree on, as one document with one version; immutable. Version n + 1 is decided by the members
 * of version n (ring-consensus.ts), gossip spreads it, and traffic never waits for it. A node that has never met another
 * holds version 0, without members, until it founds a ring of one. How a document becomes bytes: ring-document-encoding.ts.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import { OperatingError } from "../errors.js";
import { faultOfMember, isMemberId, type Member, type MemberId, type UnknownField } from "./member.js";
import { type ReplicaCounts, replicasOfDc } from "./preference-table.js";
import { decodeRingDocument, encodeRingDocument } from "./ring-document-encoding.js";

export { decodeRingDocument, encodeRingDocument };

interface Departure {
  readonly memberId: MemberId;
  readonly since: number;
  /**
   * An operator wants it done without the members that are down (`--force`): those that would gain slots are not waited for, and
   * what is on them only is not taken in.
   */
  readonly isForced?: true;
  readonly unknown?: readonly UnknownField[];
}

/** A change of ownership that is under way (the first of the list) or waits for its turn (the others). */
export type PendingChange =
  /** `member` takes its tokens when it has what they own. */
  | { readonly kind: "join"; readonly member: Member; readonly since: number; readonly unknown?: readonly UnknownField[] }
  /** The member gives up its tokens and is removed. It drives this itself. */
  | ({ readonly kind: "leave" } & Departure)
  /** The same of a member that is gone for good: the others drive it, and read nothing from it. */
  | ({ readonly kind: "remove" } & Departure)
  /** `member` takes over the tokens of `memberId`, which is removed. */
  | {
      readonly kind: "replace";
      readonly memberId: MemberId;
      readonly member: Member;
      readonly since: number;
      readonly unknown?: readonly UnknownField[];
    };

/** All versions that this covers are dead everywhere (FLUSHDB, FLUSHALL): of each store the highest sequence. */
export interface FlushContext {
  readonly database: number;
  /** Sorted by store id, 8 latin1 characters; sequences from 1. */
  readonly entries: readonly { readonly storeId: string; readonly sequence: number }[];
}

export interface RingDocument {
  /** 0: nobody agreed to it yet. */
  readonly version: number;
  /** 16 random bytes. */
  readonly clusterId: Buffer;
  /** 32 random bytes: the key of the MACs in contexts. A secret. */
  readonly clusterKey: Buffer;
  readonly replicas: ReplicaCounts;
  /** Sorted by id. */
  readonly members: readonly Member[];
  readonly pending: readonly PendingChange[];
  /** Ids that are refused for ever, sorted. */
  readonly removed: readonly MemberId[];
  /** Settings of single databases as JSON text, sorted by database. */
  readonly databases: readonly { readonly database: number; readonly settings: string }[];
  /** Sorted by database. */
  readonly flushContexts: readonly FlushContext[];
  /** Fields of later versions, tags ascending; left out when there are none. */
  readonly unknown?: readonly UnknownField[];
}

export const CLUSTER_ID_BYTES = 16;
export const CLUSTER_KEY_BYTES = 32;
export const REPLICAS_DEFAULT = 3;
export const DATABASE_MAX = 255;
/** No record is kept on more members than this in one data centre. */
export const REPLICAS_MAX = 255;
/** Forcing adds this much, so that no version that the lost majority may still decide is above the forced one. */
const FORCED_STEP = 2 ** 32;

/** The document of a node that has met nobody; `bytes` is the Random seam's. */
export function mintRingDocument(bytes: (length: number) => Buffer): RingDocument {
  return {
    version: 0,
    clusterId: bytes(CLUSTER_ID_BYTES),
    clusterKey: bytes(CLUSTER_KEY_BYTES),
    replicas: { default: REPLICAS_DEFAULT, dcs: [] },
    members: [],
    pending: [],
    removed: [],
    databases: [],
    flushContexts: [],
  };
}

/** Version 1 of a ring that `member` founds alone. REQUIRES a document that nobody agreed to, and tokens. */
export function foundRing(
  document: RingDocument,
  options: { readonly member: Member; readonly replicas: ReplicaCounts },
): RingDocument {
  assert(document.version === 0 && document.members.length === 0, "ring: only a ring without members is founded");
  assert(options.member.tokens.length > 0, "ring: a founder holds tokens");
  const { dc } = options.member;
  if (replicasOfDc(options.replicas, dc) === 0) {
    const advice = "found the cluster with a node of one that does, or give --replicas more for it";
    throw new OperatingError("CONFIG", `--replicas keeps no copies in ${dc}, the data centre of this node: ${advice}`);
  }
  return { ...document, version: 1, members: [options.member], replicas: options.replicas };
}

/**
 * The document of an operator who lost the majority for good and says so (`--force`): `changed`, with a version above all
 * that those who are lost may still agree on among themselves. See the header of ring-consensus.ts for what it gives up.
 */
export function forceRingDocument(base: RingDocument, changed: RingDocument): RingDocument {
  return { ...changed, version: (Math.floor(base.version / FORCED_STEP) + 1) * FORCED_STEP };
}

/** The member that a change brings; null for none. */
export function comingMember(change: PendingChange): Member | null {
  return change.kind === "join" || change.kind === "replace" ? change.member : null;
}

/** The id of the member that a change takes away; null for none. */
export function goingMember(change: PendingChange): MemberId | null {
  return change.kind === "join" ? null : change.memberId;
}

/** Whether members that are down are done without. */
export function isForced(change: PendingChange): boolean {
  return (change.kind === "leave" || change.kind === "remove") && change.isForced === true;
}

/** The members that the changes bring, in their order. */
export function comingMembers(pending: readonly PendingChange[]): Member[] {
  return pending.flatMap((change) => comingMember(change) ?? []);
}

/** The members as they are once a pending change is done, sorted by id. */
export function membersAfter(members: readonly Member[], change: PendingChange): Member[] {
  const going = goingMember(change);
  const rest = members.filter((member) => member.id !== going);
  const coming = comingMember(change);
  if (coming !== null) rest.push(coming);
  return rest.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** True when two documents agree in every byte. */
export function isSameDocument(a: RingDocument, b: RingDocument): boolean {
  return a === b || (a.version === b.version && encodeRingDocument(a).equals(encodeRingDocument(b)));
}

/** What is wrong with a document, for people; null when nothing is. What is encoded or decided has no fault. */
export function faultOfRingDocument(document: RingDocument): string | null {
  if (!Number.isSafeInteger(document.version) || document.version < 0) return `${document.version} is no version`;
  if (document.clusterId.length !== CLUSTER_ID_BYTES) return `a cluster id has ${CLUSTER_ID_BYTES} bytes`;
  if (document.clusterKey.length !== CLUSTER_KEY_BYTES) return `a cluster key has ${CLUSTER_KEY_BYTES} bytes`;
  return (
    faultOfReplicas(document.replicas) ??
    faultOfMembers(document) ??
    faultOfPending(document) ??
    faultOfTokens(document) ??
    faultOfDatabases(document)
  );
}

function faultOfReplicas(replicas: ReplicaCounts): string | null {
  if (!isWhole(replicas.default, 1, REPLICAS_MAX)) return `replicas may be 1 to ${REPLICAS_MAX}`;
  for (const { dc, replicas: count } of replicas.dcs) {
    if (dc.length === 0 || !isWhole(count, 0, REPLICAS_MAX)) return `replicas of a data centre may be 0 to ${REPLICAS_MAX}`;
  }
  return isAscending(replicas.dcs.map((entry) => entry.dc)) ? null : "replicas name each data centre once, sorted";
}

function faultOfMembers({ members, removed }: RingDocument): string | null {
  if (!isAscending(members.map((member) => member.id))) return "each member is listed once, sorted by id";
  if (!removed.every(isMemberId) || !isAscending(removed)) return "each removed id is listed once, sorted";
  const gone = new Set(removed);
  for (const member of members) {
    const fault = faultOfMember(member);
    if (fault !== null) return fault;
    if (gone.has(member.id)) return `member ${member.id} was removed; it may come back with a new id only`;
  }
  return null;
}

function faultOfPending({ members, pending, removed }: RingDocument): string | null {
  const ids = new Set(members.map((member) => member.id));
  const coming = new Set<MemberId>([...ids, ...removed]);
  const going = new Set<MemberId>();
  for (const change of pending) {
    if (!Number.isSafeInteger(change.since) || change.since < 0) return `${change.since} is no version`;
    const gone = goingMember(change);
    if (gone !== null) {
      if (!ids.has(gone)) return `a pending change names ${gone}, which is no member`;
      if (going.has(gone)) return `two pending changes remove member ${gone}`;
      going.add(gone);
    }
    const member = comingMember(change);
    if (member !== null) {
      const fault = faultOfMember(member);
      if (fault !== null) return fault;
      if (coming.has(member.id)) return `member ${member.id} joins, but is or was a member`;
      coming.add(member.id);
    }
  }
  return null;
}

/** A slot is a token of one member at most; who replaces a member may hold that one's. */
function faultOfTokens({ members, pending }: RingDocument): string | null {
  const holder = new Map<number, MemberId>();
  for (const member of members) {
    for (const token of member.tokens) {
      if (holder.has(token)) return `slot ${token} is a token of two members`;
      holder.set(token, member.id);
    }
  }
  const claimed = new Set<number>();
  for (const change of pending) {
    for (const token of comingMember(change)?.tokens ?? []) {
      const held = holder.get(token);
      const isTakenOver = change.kind === "replace" && held === change.memberId;
      if (claimed.has(token) || (held !== undefined && !isTakenOver)) return `slot ${token} is a token of two members`;
      claimed.add(token);
    }
  }
  return holder.size + claimed.size <= 2 * SLOTS ? null : "there are more tokens than slots";
}

function faultOfDatabases({ databases, flushContexts }: RingDocument): string | null {
  for (const list of [databases, flushContexts]) {
    if (!list.every(({ database }) => isWhole(database, 0, DATABASE_MAX))) return `databases are 0 to ${DATABASE_MAX}`;
    for (let at = 1; at < list.length; at++) {
      if (list[at - 1]!.database >= list[at]!.database) return "each database is listed once, ascending";
    }
  }
  for (const { entries } of flushContexts) {
    if (
      !entries.every(({ storeId, sequence }) => /^[\0-\xff]{8}$/.test(storeId) && isWhole(sequence, 1, Number.MAX_SAFE_INTEGER))
    ) {
      return "a flush context holds store ids of 8 bytes and sequences from 1";
    }
    if (!isAscending(entries.map((entry) => entry.storeId))) return "a flush context lists each store once, sorted";
  }
  return null;
}

function isWhole(value: number, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && value >= min && value <= max;
}

function isAscending(texts: readonly string[]): boolean {
  return texts.every((text, at) => at === 0 || texts[at - 1]! < text);
}

/** The document as `kindred ring --json` shows it: everything but the key, ids in hexadecimal. */
export function readableRingDocument(document: RingDocument): object {
  return {
    version: document.version,
    clusterId: document.clusterId.toString("hex"),
    replicas: {
      default: document.replicas.default,
      ...Object.fromEntries(document.replicas.dcs.map((d) => [d.dc, d.replicas])),
    },
    members: document.members.map(readableMember),
    pending: document.pending.map(readableChange),
    removed: document.removed,
    databases: Object.fromEntries(document.databases.map(({ database, settings }) => [database, readableSettings(settings)])),
    flushContexts: document.flushContexts.map(({ database, entries }) => ({
      database,
      entries: Object.fromEntries(entries.map((entry) => [hexOf(entry.storeId), entry.sequence])),
    })),
    ...(document.unknown === undefined ? {} : { unknownFields: document.unknown.map((field) => field.tag) }),
  };
}

function readableChange(change: PendingChange): object {
  const memberId = goingMember(change);
  const member = comingMember(change);
  return {
    kind: change.kind,
    since: change.since,
    ...(isForced(change) ? { isForced: true } : {}),
    ...(memberId === null ? {} : { memberId }),
    ...(member === null ? {} : { member: readableMember(member) }),
  };
}

function readableMember({ unknown, ...member }: Member): object {
  return {
    ...member,
    storeId: hexOf(member.storeId),
    ...(unknown === undefined ? {} : { unknownFields: unknown.map((field) => field.tag) }),
  };
}

function readableSettings(settings: string): unknown {
  try {
    return JSON.parse(settings);
  } catch {
    return settings;
  }
}

function hexOf(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("hex");
}
