/**
 * Who stands still. A member whose counter has not moved for `suspectAfterMs` is *suspect*; it is *down* when, besides,
 * min(2, members that we do not suspect, ourselves included) of those suspect it. What a suspected member says of others
 * does not count. Down is a state and never a removal. Pure: time comes in.
 *
 * Only whom we suspect ourselves is ever down for us: while its counter moves here, a member is up, whoever says otherwise.
 */
import type { MemberId } from "./member.js";
import { SUSPECTS_MAX } from "./member-entry.js";

export type MemberStatus = "up" | "suspect" | "down";

export interface ObservedMember {
  readonly id: MemberId;
  readonly movedAtMs: number;
  readonly firstSeenMs: number;
  readonly contents: { readonly suspects: readonly MemberId[] };
}

export interface StatusChange {
  readonly id: MemberId;
  readonly from: MemberStatus;
  readonly to: MemberStatus;
}

/** Members enough to say that one is down. */
const WITNESSES = 2;

/**
 * How long a counter may stand still. News reaches everybody in about log2(n) rounds at worst (each round a member tells
 * and is told by several); four rounds more cover loss and a busy member: with 2% of messages lost, a round brings nothing
 * new to a member of a cluster of two once in 1,000, so four in a row once in 10^12, and with more members there are more
 * ways round. Where a digest takes more pages than are sent a round, news needs that much longer. 5 s for 2 members,
 * 7.4 s for 10, 13 s for 500, and never more than a minute.
 */
export function suspectAfterMs(options: { members: number; heartbeatMs: number; pages: number; fanout: number }): number {
  const { members, heartbeatMs, pages, fanout } = options;
  const rounds = 4 + Math.log2(Math.max(2, members)) * Math.max(1, pages / fanout);
  return heartbeatMs * Math.min(60, rounds);
}

interface Suspicion {
  readonly movedAtMs: number;
  status: MemberStatus;
  sinceMs: number;
}

export class FailureDetector {
  readonly #selfId: MemberId;
  /** Whom we suspect, with the counter's last move: the next move ends it. */
  readonly #suspicions = new Map<MemberId, Suspicion>();
  /** When those came back that were suspect once. */
  readonly #upSinceMs = new Map<MemberId, number>();
  /** Standing still is counted from here at the earliest. */
  #awakeSinceMs = Number.NEGATIVE_INFINITY;

  constructor(selfId: MemberId) {
    this.#selfId = selfId;
  }

  /**
   * We did not run for a while: that no counter moved says nothing. Nobody is newly suspected until we have gossiped for
   * as long as a counter may stand still; suspicions from before stay until their counters move.
   */
  resume(nowMs: number): void {
    this.#awakeSinceMs = nowMs;
  }

  /** Judges all members at this time and returns what changed. */
  evaluate(members: readonly ObservedMember[], nowMs: number, afterMs: number): readonly StatusChange[] {
    const changes: StatusChange[] = [];
    const suspicions = this.#suspicions;
    for (const member of members) {
      const suspicion = suspicions.size === 0 ? undefined : suspicions.get(member.id);
      if (suspicion !== undefined) {
        if (suspicion.movedAtMs === member.movedAtMs) continue;
        suspicions.delete(member.id);
        this.#upSinceMs.set(member.id, nowMs);
        changes.push({ id: member.id, from: suspicion.status, to: "up" });
      } else if (nowMs - Math.max(member.movedAtMs, this.#awakeSinceMs) > afterMs && member.id !== this.#selfId) {
        suspicions.set(member.id, { movedAtMs: member.movedAtMs, status: "suspect", sinceMs: nowMs });
        changes.push({ id: member.id, from: "up", to: "suspect" });
      }
    }
    if (suspicions.size > 0) this.#count(members, nowMs, changes);
    return changes;
  }

  /** Up since it came back, or since it was first heard of. */
  statusOf(member: ObservedMember): { readonly status: MemberStatus; readonly sinceMs: number } {
    const suspicion = this.#suspicions.get(member.id);
    if (suspicion !== undefined) return { status: suspicion.status, sinceMs: suspicion.sinceMs };
    return { status: "up", sinceMs: this.#upSinceMs.get(member.id) ?? member.firstSeenMs };
  }

  isSuspect(id: MemberId): boolean {
    return this.#suspicions.has(id);
  }

  /** How many we suspect, down ones included. */
  get suspected(): number {
    return this.#suspicions.size;
  }

  /**
   * Whom we suspect, ascending, as told to others. Of more than an entry holds it is a stretch that begins at a place of
   * our own, so that each of them is named by many members.
   */
  suspects(): readonly MemberId[] {
    const all = [...this.#suspicions.keys()].sort();
    if (all.length <= SUSPECTS_MAX) return all;
    const start = Number.parseInt(this.#selfId.slice(8), 16) % all.length;
    return [...all.slice(start), ...all.slice(0, start)].slice(0, SUSPECTS_MAX).sort();
  }

  /** The member was removed. */
  forget(id: MemberId): void {
    this.#suspicions.delete(id);
    this.#upSinceMs.delete(id);
  }

  #count(members: readonly ObservedMember[], nowMs: number, changes: StatusChange[]): void {
    const unsuspected = members.length - this.#suspicions.size;
    const needed = Math.min(WITNESSES, unsuspected);
    // We are one of the witnesses of each.
    const witnesses = new Map<MemberId, number>();
    for (const member of members) {
      if (member.id === this.#selfId || this.#suspicions.has(member.id)) continue;
      for (const id of member.contents.suspects) witnesses.set(id, (witnesses.get(id) ?? 0) + 1);
    }
    for (const [id, suspicion] of this.#suspicions) {
      const status = 1 + (witnesses.get(id) ?? 0) >= needed ? "down" : "suspect";
      if (status === suspicion.status) continue;
      changes.push({ id, from: suspicion.status, to: status });
      suspicion.status = status;
      suspicion.sinceMs = nowMs;
    }
  }
}
