/**
 * How members come and go: what is asked of the ring document, and by whom. Pure. Each change is idempotent, as `RingChange`
 * requires: where it is made already it changes nothing.
 *
 * A change is added to the pending ones; the first of them is under way. One member drives it: when all who gain slots by it
 * hold what they are to own, it completes it.
 */
import { isSameReplicas } from "./hello-settings.js";
import { ambiguityOf, type Member, type MemberId, membersCalled } from "./member.js";
import { type ReplicaCounts, replicasOfDc } from "./preference-table.js";
import {
  comingMember,
  comingMembers,
  forceRingDocument,
  goingMember,
  isForced,
  membersAfter,
  type PendingChange,
  type RingDocument,
} from "./ring-document.js";
import type { RingChange } from "./ring-proposer.js";
import { chooseTokens, tokenCount } from "./token-choice.js";

/**
 * The protocol version from which on a member reads removals in the ring document, takes in by itself the slots that a change of
 * another member gives it, and says how far it is.
 */
export const PROTOCOL_OF_DEPARTURES = 2;

/** Members, and those who are to come, that are of an earlier protocol than departures need; who goes itself is not asked. */
export function tooOldForDepartures(
  { members, pending }: RingDocument,
  { going, protocolOf }: { readonly going: MemberId; readonly protocolOf: (id: MemberId) => number | null },
): Member[] {
  return [...members, ...comingMembers(pending)].filter(({ id }) => id !== going && isTooOld(protocolOf(id)));
}

/** Null: nothing was heard of it. It is taken for one of now: else a dead member of which nobody knows would keep all from going. */
export function isTooOld(protocol: number | null): boolean {
  return protocol !== null && protocol < PROTOCOL_OF_DEPARTURES;
}

/** A member as its settings have it. */
export type MemberSelf = Omit<Member, "tokens" | "unknown">;

/** What is next between a member and the document that it knows. */
export type NextStep =
  /** To have itself added to the pending changes. */
  | "ask"
  /** Others are before it, or another member drives what is under way and might die. */
  | "wait"
  /** It drives the change that is under way. */
  | "drive"
  /** The document names it otherwise than it is. */
  | "correct"
  | "nothing"
  /** It was removed, and may not come back under its id. */
  | "removed";

export function nextStep(
  document: RingDocument,
  own: { readonly self: MemberSelf; readonly replicas: ReplicaCounts; readonly isUp: (id: MemberId) => boolean },
): NextStep {
  const { id } = own.self;
  if (document.removed.includes(id)) return "removed";
  if (correct(document, own) !== document) return "correct";
  if (driverOf(document, own.isUp) === id) return "drive";
  // Whoever drives it may go.
  if (document.members.some((member) => member.id === id)) return document.pending.length > 0 ? "wait" : "nothing";
  return document.pending.some((change) => comingMember(change)?.id === id) ? "wait" : "ask";
}

/** Who drives the change that is under way: who comes or leaves; of those that a removed member leaves behind the first that is up. */
export function driverOf({ members, pending }: RingDocument, isUp: (id: MemberId) => boolean): MemberId | null {
  const change = pending[0];
  if (change === undefined) return null;
  if (change.kind !== "remove") return comingMember(change)?.id ?? goingMember(change);
  return members.find(({ id }) => id !== change.memberId && isUp(id))?.id ?? null;
}

/** Adds a pending join with tokens of its own. `fraction`: the Random seam's. */
export function joinChange(joining: { self: MemberSelf; vnodes: number; fraction: () => number }): RingChange {
  const { self, vnodes, fraction } = joining;
  return (base) => {
    const known = standing(base, self.id);
    if (known !== null) return known;
    const choice = { members: tokenHolders(base), joiner: { ...self, tokens: [] }, replicas: base.replicas, vnodes, fraction };
    if (tokenCount(choice) < 1) return { refused: "the ring is full: its members hold all the tokens that there may be" };
    const member: Member = { ...self, tokens: chooseTokens(choice) };
    return { ...base, pending: [...base.pending, { kind: "join", member, since: base.version + 1 }] };
  };
}

/**
 * Adds a pending replacement: with the tokens of a member that is gone for good, given by its id or name. Before those who join
 * or leave: they may wait for the dead one.
 */
export function replaceChange(replacing: { readonly self: MemberSelf; readonly replaces: string }): RingChange {
  const { self, replaces } = replacing;
  return (base) => {
    const known = standing(base, self.id);
    if (known !== null) return known;
    const [gone, ...more] = membersCalled(base.members, replaces);
    if (more.length > 0) return { refused: ambiguityOf(replaces, 1 + more.length) };
    if (gone === undefined) return { refused: `there is no member called ${replaces} to replace (kindred status lists them)` };
    if (base.pending.some((change) => goingMember(change) === gone.id)) {
      return { refused: `${gone.name} leaves, or is replaced or removed already` };
    }
    const member: Member = { ...self, tokens: gone.tokens };
    const change: PendingChange = { kind: "replace", memberId: gone.id, member, since: base.version + 1 };
    return { ...base, pending: inserted(base.pending, change, ["remove", "replace"]) };
  };
}

const NOBODY_LEFT = "nobody would be left that keeps copies: a ring has one such member at least";

/** The document where this newcomer is in it already, a refusal where it may not be, null where it has to be added. */
function standing(base: RingDocument, id: MemberId): ReturnType<RingChange> | null {
  if (base.members.some((member) => member.id === id)) return base;
  if (comingMembers(base.pending).some((member) => member.id === id)) return base;
  if (base.removed.includes(id)) return { refused: `member ${id} was removed; it may join with a new id only` };
  return null;
}

/** How a member goes. */
export interface DepartureOptions {
  /** Members that are down are done without; also where the change is pending already. */
  readonly isForced: boolean;
}

/** Adds a pending leave, behind the other changes; refused where a version is given and the ring has another by now. */
export function leaveChange(
  memberId: MemberId,
  { isForced = false, ifVersion = null }: Partial<DepartureOptions> & { readonly ifVersion?: number | null } = {},
): RingChange {
  const options = { isForced };
  return (base) => {
    if (base.removed.includes(memberId)) return base;
    const pending = base.pending.find((change) => goingMember(change) === memberId);
    if (pending !== undefined) return pending.kind === "leave" && isForced ? forced(base, pending) : base;
    if (ifVersion !== null && base.version !== ifVersion) {
      return { refused: `the ring has version ${base.version} by now, not ${ifVersion}: look at it again` };
    }
    if (!base.members.some(({ id }) => id === memberId)) return { refused: `${memberId} is no member` };
    if (staying(base, memberId) === 0) return { refused: NOBODY_LEFT };
    return { ...base, pending: [...base.pending, departure("leave", memberId, base, options)] };
  };
}

/**
 * Adds the removal of a member that is gone for good, before all other changes but removals: those may wait for it. One that was
 * still to come is struck out; either way its id is refused from then on.
 */
export function removeChange(memberId: MemberId, options: DepartureOptions = { isForced: false }): RingChange {
  return (base) => {
    if (base.removed.includes(memberId)) return base;
    const known = base.pending.find((change) => change.kind === "remove" && change.memberId === memberId);
    if (known !== undefined) return options.isForced ? forced(base, known) : base;
    const pending = base.pending.filter((change) => comingMember(change)?.id !== memberId);
    if (pending.length < base.pending.length) return { ...base, pending, removed: [...base.removed, memberId].sort() };
    if (!base.members.some(({ id }) => id === memberId)) return { refused: `${memberId} is no member` };
    const successor = pending.find((change) => change.kind === "replace" && change.memberId === memberId);
    if (successor !== undefined) {
      return { refused: `${comingMember(successor)!.name} is about to replace it; to remove both, remove that one first` };
    }
    if (staying(base, memberId) === 0) return { refused: NOBODY_LEFT };
    const others = pending.filter((change) => goingMember(change) !== memberId);
    return { ...base, pending: inserted(others, departure("remove", memberId, base, options), ["remove"]) };
  };
}

/**
 * The ring without these members, at once and without anybody's agreement: for an operator who lost a majority for good. Those who
 * are left own all slots then, whatever they hold of them.
 */
export function forcedRemoval(base: RingDocument, gone: readonly MemberId[]): RingDocument {
  const isGone = (id: MemberId | null): boolean => id !== null && gone.includes(id);
  const members = base.members.filter(({ id }) => !isGone(id));
  const pending = base.pending.filter((change) => !isGone(goingMember(change)) && !isGone(comingMember(change)?.id ?? null));
  return forceRingDocument(base, { ...base, members, pending, removed: [...new Set([...base.removed, ...gone])].sort() });
}

function departure(kind: "leave" | "remove", memberId: MemberId, base: RingDocument, options: DepartureOptions): PendingChange {
  return { kind, memberId, since: base.version + 1, ...(options.isForced ? { isForced: true as const } : {}) };
}

function forced(base: RingDocument, change: PendingChange): RingDocument {
  if (isForced(change)) return base;
  return {
    ...base,
    pending: base.pending.map((each) => (each === change ? ({ ...change, isForced: true } as PendingChange) : each)),
  };
}

/** The changes with one more, before the first that is of none of these kinds. */
function inserted(
  pending: readonly PendingChange[],
  change: PendingChange,
  after: readonly PendingChange["kind"][],
): PendingChange[] {
  const first = pending.findIndex(({ kind }) => !after.includes(kind));
  const at = first < 0 ? pending.length : first;
  return [...pending.slice(0, at), change, ...pending.slice(at)];
}

/** Members that keep copies and are there when this one and all others that are about to go have gone. */
function staying({ members, pending, replicas }: RingDocument, memberId: MemberId): number {
  const going = new Set<MemberId | null>([memberId, ...pending.map(goingMember)]);
  return members.filter(({ id, dc }) => !going.has(id) && replicasOfDc(replicas, dc) > 0).length;
}

/**
 * Completes the first pending change, for whoever drives it: all who gain slots hold what they are to own by `prepared`. Refused
 * when the ring has changed since in what is owned by whom.
 */
export function completeChange(prepared: RingDocument): RingChange {
  const change = prepared.pending[0]!;
  const coming = comingMember(change);
  const going = goingMember(change);
  return (base) => {
    const hasCome = coming === null || base.members.some(({ id }) => id === coming.id);
    const hasGone = going === null || base.removed.includes(going);
    if (hasCome && hasGone) return base;
    if (!isSameChange(base.pending[0] ?? null, change)) return { refused: "another change of the ring came first" };
    if (!isStillPrepared(prepared, base)) return { refused: "the ring has changed meanwhile" };
    const removed = going === null ? base.removed : [...base.removed, going].sort();
    // As it stands in the newest document: it may have been corrected.
    return { ...base, members: membersAfter(base.members, base.pending[0]!), pending: base.pending.slice(1), removed };
  };
}

/** Writes the member as it is. */
export function correctChange(own: { self: MemberSelf; replicas: ReplicaCounts }): RingChange {
  return (base) => correct(base, own);
}

/**
 * The document with name and store as they are; and, where the member is alone, with the place it stands at and the numbers
 * of copies. In company these decide who owns what, which is not changed in passing. The document itself where all is right.
 */
function correct(document: RingDocument, own: { self: MemberSelf; replicas: ReplicaCounts }): RingDocument {
  const { id, name, storeId, host, rack, dc, weight } = own.self;
  const isAlone = document.members.length === 1 && document.members[0]!.id === id && document.pending.length === 0;
  const right = isAlone ? { name, storeId, host, rack, dc, weight } : { name, storeId };
  let isChanged = false;
  const corrected = (member: Member): Member => {
    if (member.id !== id || Object.entries(right).every(([key, value]) => member[key as keyof Member] === value)) return member;
    isChanged = true;
    return { ...member, ...right };
  };
  const members = document.members.map(corrected);
  const pending = document.pending.map((change) =>
    change.kind === "join" || change.kind === "replace" ? { ...change, member: corrected(change.member) } : change,
  );
  const replicas = isAlone ? own.replicas : document.replicas;
  if (!isChanged && isSameReplicas(replicas, document.replicas)) return document;
  return { ...document, members, pending, replicas };
}

/** In what a member in company differs from its settings, for people; null where nothing does. */
export function misplacementOf(document: RingDocument, self: MemberSelf): string | null {
  const known = [...document.members, ...comingMembers(document.pending)].find((member) => member.id === self.id);
  if (known === undefined) return null;
  const labels = ["host", "rack", "dc", "weight"] as const;
  const differing = labels.filter((label) => known[label] !== self[label]);
  if (differing.length === 0) return null;
  return differing.map((label) => `--${label} is ${self[label]}, the ring has ${known[label]}`).join("; ");
}

/** Whether the change that is under way is the one that was prepared by an older document, and gives the same slots to the same. */
export function isStillPrepared(prepared: RingDocument, newest: RingDocument): boolean {
  if (prepared === newest) return true;
  return isSameChange(prepared.pending[0] ?? null, newest.pending[0] ?? null) && placementOf(prepared) === placementOf(newest);
}

/** Whether two documents mean the same pending change, as it may have been corrected meanwhile. */
export function isSameChange(one: PendingChange | null, other: PendingChange | null): boolean {
  if (one === null || other === null) return one === other;
  return one.kind === other.kind && one.since === other.since && subjectOf(one) === subjectOf(other);
}

function subjectOf(change: PendingChange): MemberId {
  return comingMember(change)?.id ?? goingMember(change)!;
}

/** Members that hold tokens now or once the pending changes are done; none of them twice, and no slot of two. */
function tokenHolders({ members, pending }: RingDocument): Member[] {
  const replaced = new Set(pending.flatMap((change) => (change.kind === "replace" ? [change.memberId] : [])));
  return [...members.filter((member) => !replaced.has(member.id)), ...comingMembers(pending)];
}

/** All that decides who owns what before and after the change that is under way. */
function placementOf({ members, pending, replicas }: RingDocument): string {
  const place = ({ id, host, rack, dc, tokens }: Member): unknown => [id, host, rack, dc, tokens];
  const change = pending[0];
  const coming = change === undefined ? null : comingMember(change);
  const first = change === undefined ? null : [change.kind, change.since, coming === null ? null : place(coming)];
  return JSON.stringify([members.map(place), first, replicas]);
}
