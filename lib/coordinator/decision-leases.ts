/**
 * What is passed on to the node that decides on a key must be begun there in time, or not at all: after that another may be
 * given it. Where many wait that time is too short, though the node lives and comes to all of them. So whoever passes on
 * leases a member more time, for all that waits there at once, as often as the member shows that it lives.
 *
 * INVARIANT: a lease that has run out covers nothing any more of what was sent before; whoever looks at one of these requests
 * then gives it to another.
 */

import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import type { MemberId } from "../cluster/member.js";
import type { RemoteReplicas } from "../replica/remote-replicas.js";
import { ForwardKind } from "./forward-messages.js";

/** A lease is made longer when that gains so much. */
const RENEWAL_MS_MIN = 40;
const INSTANCE_BYTES = 8;
const RECEIVED_MAX = 1_024;

interface Lease {
  /** The number of the first sending that it covers. */
  readonly from: number;
  /** When that was sent: monotonic, of this node. */
  readonly sinceMs: number;
  /** Monotonic. */
  readonly byMs: number;
}

/** Those that this node gives to others. */
export class LeasesGiven {
  readonly #remote: Pick<RemoteReplicas, "notify">;
  readonly #instance: string;
  readonly #leases = new Map<MemberId, Lease>();
  #sendings = 0;

  /** `instance`: of this run of this node, 8 latin1 characters. */
  constructor(options: { remote: Pick<RemoteReplicas, "notify">; instance: string }) {
    this.#remote = options.remote;
    this.#instance = options.instance;
  }

  /** A request leaves for the member, which may begin it until `byMs`. Returns the number of the sending, which it carries. */
  open(member: MemberId, byMs: number, nowMs: number): number {
    const number = ++this.#sendings;
    const lease = this.#leases.get(member);
    if (lease === undefined || lease.byMs <= nowMs) this.#leases.set(member, { from: number, sinceMs: nowMs, byMs });
    return number;
  }

  /** Lets the member begin what waits there until `byMs`, unless it has run out of time already. */
  renew(member: MemberId, byMs: number, nowMs: number): void {
    const lease = this.#leases.get(member);
    if (lease === undefined || lease.byMs <= nowMs || byMs < lease.byMs + RENEWAL_MS_MIN) return;
    this.#leases.set(member, { ...lease, byMs });
    const payload = Buffer.alloc(INSTANCE_BYTES + varintLength(lease.from));
    writeVarint(payload, writeLatin1(payload, 0, this.#instance), lease.from);
    this.#remote.notify({ to: member, kind: ForwardKind.lease, payload, deadlineMs: byMs });
  }

  /** Since when the member has not run out of time. */
  sinceMs(member: MemberId): number {
    return this.#leases.get(member)?.sinceMs ?? 0;
  }

  /** Until when what was sent to the member with this number is leased; 0 where it is not. */
  untilMs(member: MemberId, number: number): number {
    return untilMs(this.#leases.get(member), number);
  }
}

/** Those that others give to this node, by the instance of who does. */
export class LeasesTaken {
  readonly #leases = new Map<string, Pick<Lease, "from" | "byMs">>();

  /** Throws CORRUPT. */
  learn(payload: Buffer, byMs: number): void {
    const instance = latin1Of(payload, 0, Math.min(INSTANCE_BYTES, payload.length));
    const from = readVarint(payload, { at: instance.length }, payload.length);
    // Nodes that restart leave theirs behind.
    if (this.#leases.size >= RECEIVED_MAX) this.#leases.clear();
    this.#leases.set(instance, { from, byMs });
  }

  /** Until when a request with this write id and number is leased; 0 where it is not. */
  untilMs(writeId: string, number: number): number {
    return this.#leases.size === 0 ? 0 : untilMs(this.#leases.get(writeId.slice(0, INSTANCE_BYTES)), number);
  }
}

function untilMs(lease: Pick<Lease, "from" | "byMs"> | undefined, number: number): number {
  return lease !== undefined && number >= lease.from ? lease.byMs : 0;
}
