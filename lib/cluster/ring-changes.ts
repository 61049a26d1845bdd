/**
 * What a member asks of the ring document on its own behalf: to join, to take over what it waits for, to be written as it is.
 * Pure. Each change is idempotent, as `RingChange` requires: where it is made already it changes nothing.
 */
import { isSameReplicas } from "./hello-settings.js";
import type { Member, MemberId } from "./member.js";
import type { ReplicaCounts } from "./preference-table.js";
import { membersAfter, type PendingChange, type RingDocument } from "./ring-document.js";
import type { RingChange } from "./ring-proposer.js";
import { chooseTokens, tokenCount } from "./token-choice.js";

/** A member as its settings have it. */
export type MemberSelf = Omit<Member, "tokens" | "unknown">;

/** What is next between a member and the document that it knows. */
export type NextStep =
  /** To have itself added to the pending changes. */
  | "ask"
  /** Others are before it. */
  | "wait"
  /** Its change is under way: to fetch what it is to own, and to become an owner. */
  | "take over"
  /** The document names it otherwise than it is. */
  | "correct"
  | "nothing"
  /** It was removed, and may not come back under its id. */
  | "removed";

export function nextStep(document: RingDocument, own: { self: MemberSelf; replicas: ReplicaCounts }): NextStep {
  const { id } = own.self;
  if (document.removed.includes(id)) return "removed";
  if (correct(document, own) !== document) return "correct";
  if (document.members.some((member) => member.id === id)) return "nothing";
  const place = document.pending.findIndex((change) => isComing(change, id));
  return place < 0 ? "ask" : place === 0 ? "take over" : "wait";
}

/** Adds a pending join with tokens of its own. `fraction`: the Random seam's. */
export function joinChange(joining: { self: MemberSelf; vnodes: number; fraction: () => number }): RingChange {
  const { self, vnodes, fraction } = joining;
  return (base) => {
    if (base.members.some((member) => member.id === self.id)) return base;
    if (base.pending.some((change) => isComing(change, self.id))) return base;
    if (base.removed.includes(self.id)) return { refused: `member ${self.id} was removed; it may join with a new id only` };
    const choice = { members: tokenHolders(base), joiner: { ...self, tokens: [] }, replicas: base.replicas, vnodes, fraction };
    if (tokenCount(choice) < 1) return { refused: "the ring is full: its members hold all the tokens that there may be" };
    const member: Member = { ...self, tokens: chooseTokens(choice) };
    return { ...base, pending: [...base.pending, { kind: "join", member, since: base.version + 1 }] };
  };
}

/**
 * Makes a member of the one whose pending change is the first, for who holds what it is to own by `prepared`. Refused when the
 * ring has changed since in what is owned by whom.
 */
export function takeOverChange(taking: { memberId: MemberId; prepared: RingDocument }): RingChange {
  const { memberId, prepared } = taking;
  return (base) => {
    if (base.members.some((member) => member.id === memberId)) return base;
    const change = base.pending[0];
    if (change === undefined || !isComing(change, memberId)) return { refused: "another change of the ring came first" };
    if (placementOf(base) !== placementOf(prepared)) return { refused: "the ring has changed meanwhile" };
    const removed = change.kind === "replace" ? [...base.removed, change.memberId].sort() : base.removed;
    return { ...base, members: membersAfter(base.members, change), pending: base.pending.slice(1), removed };
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
    change.kind === "leave" ? change : { ...change, member: corrected(change.member) },
  );
  const replicas = isAlone ? own.replicas : document.replicas;
  if (!isChanged && isSameReplicas(replicas, document.replicas)) return document;
  return { ...document, members, pending, replicas };
}

/** In what a member in company differs from its settings, for people; null where nothing does. */
export function misplacementOf(document: RingDocument, self: MemberSelf): string | null {
  const pending = document.pending.flatMap((change) => (change.kind === "leave" ? [] : [change.member]));
  const known = [...document.members, ...pending].find((member) => member.id === self.id);
  if (known === undefined) return null;
  const labels = ["host", "rack", "dc", "weight"] as const;
  const differing = labels.filter((label) => known[label] !== self[label]);
  if (differing.length === 0) return null;
  return differing.map((label) => `--${label} is ${self[label]}, the ring has ${known[label]}`).join("; ");
}

/** Whether two documents mean the same pending change, as it may have been corrected meanwhile. */
export function isSameChange(one: PendingChange | null, other: PendingChange | null): boolean {
  if (one === null || other === null) return one === other;
  return one.kind === other.kind && one.since === other.since && subjectOf(one) === subjectOf(other);
}

function subjectOf(change: PendingChange): MemberId {
  return change.kind === "leave" ? change.memberId : change.member.id;
}

function isComing(change: PendingChange, memberId: MemberId): boolean {
  return change.kind !== "leave" && change.member.id === memberId;
}

/** Members that hold tokens now or once the pending changes are done; none of them twice, and no slot of two. */
function tokenHolders({ members, pending }: RingDocument): Member[] {
  const replaced = new Set(pending.flatMap((change) => (change.kind === "replace" ? [change.memberId] : [])));
  const coming = pending.flatMap((change) => (change.kind === "leave" ? [] : [change.member]));
  return [...members.filter((member) => !replaced.has(member.id)), ...coming];
}

/** All that decides who owns what before and after the change that is under way. */
function placementOf({ members, pending, replicas }: RingDocument): string {
  const place = ({ id, host, rack, dc, tokens }: Member): unknown => [id, host, rack, dc, tokens];
  const change = pending[0];
  const first =
    change === undefined ? null : [change.kind, change.since, change.kind === "leave" ? null : place(change.member)];
  return JSON.stringify([members.map(place), first, replicas]);
}
