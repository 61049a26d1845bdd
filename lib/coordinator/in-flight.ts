/**
 * The requests that wait for peers. One timer looks at all of them: those that wait for longer than an answer usually takes
 * hedge, once; those past their deadline are given up, so that no request waits for ever, whatever it waits for.
 *
 * Hedging costs work exactly when there may be too much of it, so it has a budget: a share of all requests, and what was
 * saved up in quiet times for the moment in which a peer stops. Turning away from one that has stopped costs none of it: all
 * that waits there would fail, and it does none of the work itself.
 */
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { MemberHealth } from "../replica/member-health.js";

/** True when a member is late with what it was asked `agoMs` ago, and there is budget to ask another. */
export type Lateness = (member: MemberId, agoMs: number) => boolean;

export interface Request {
  /** Nothing more is expected of anybody. */
  readonly isSettled: boolean;
  /** Monotonic: from when on it should hedge, and when it is given up. */
  readonly hedgeAtMs: number;
  readonly deadlineMs: number;
  isHedged: boolean;
  /** Has others asked for those who `isLate` says are late. False when nobody is, so far: then it is asked again. */
  hedge(isLate: Lateness): boolean;
  expire(): void;
}

const TICK_MS = 5;
/** A look that comes so much too late says that this node had much to do: what has arrived meanwhile is read first. */
const LATE_MS = 5;
/** Hedges that a request pays for, and how many may be saved up. */
const SHARE = 0.1;
const SAVED_MAX = 2_000;

export class InFlight {
  readonly #clock: Clock;
  readonly #health: Pick<MemberHealth, "isLate" | "hasStopped">;
  readonly #requestsMax: () => number;
  /** In the order in which they began. */
  readonly #requests: Request[] = [];
  #isTicking = false;
  #saved = SAVED_MAX;
  /** The request that is being asked to hedge turns away from a member that is slow, not stopped. */
  #isPaid = false;
  #dueMs = 0;
  /** Writes that travel in groups, beyond the one that each group is. */
  grouped = 0;
  readonly #onTick = (): void => this.#tick();
  readonly #isLate: Lateness = (member, agoMs) => this.#judge(member, agoMs);
  /** Hedges made, and put off for want of budget; requests given up. */
  hedged = 0;
  spared = 0;
  expired = 0;

  constructor(options: { clock: Clock; health: Pick<MemberHealth, "isLate" | "hasStopped">; requestsMax: () => number }) {
    this.#clock = options.clock;
    this.#health = options.health;
    this.#requestsMax = options.requestsMax;
  }

  /** Requests under way, some settled since the last look among them. */
  get count(): number {
    return this.#requests.length + this.grouped;
  }

  /** Throws BUSY when too many wait already. Comes before anything of a request is done. */
  requireRoom(): void {
    const requestsMax = this.#requestsMax();
    if (this.#requests.length + this.grouped < requestsMax) return;
    throw new OperatingError("BUSY", `${requestsMax} requests wait for other nodes already; try again`);
  }

  add(request: Request): void {
    this.#requests.push(request);
    if (this.#saved < SAVED_MAX) this.#saved += SHARE;
    if (this.#isTicking) return;
    this.#isTicking = true;
    this.#schedule(this.#clock.monotonicMs());
  }

  #schedule(nowMs: number): void {
    this.#dueMs = nowMs + TICK_MS;
    this.#clock.after(TICK_MS, this.#onTick);
  }

  #tick(): void {
    const nowMs = this.#clock.monotonicMs();
    const mayHedge = nowMs - this.#dueMs < LATE_MS;
    const requests = this.#requests;
    let kept = 0;
    // What hedging adds stands behind and is looked at, too.
    for (let at = 0; at < requests.length; at++) {
      const request = requests[at]!;
      if (request.isSettled) continue;
      if (nowMs >= request.deadlineMs) {
        this.expired++;
        request.expire();
        continue;
      }
      requests[kept++] = request;
      if (mayHedge && !request.isHedged && nowMs >= request.hedgeAtMs) this.#hedge(request);
    }
    requests.length = kept;
    this.#isTicking = kept > 0;
    if (this.#isTicking) this.#schedule(nowMs);
  }

  #hedge(request: Request): void {
    this.#isPaid = false;
    if (!request.hedge(this.#isLate)) return;
    request.isHedged = true;
    if (this.#isPaid) this.#saved--;
    this.hedged++;
  }

  #judge(member: MemberId, agoMs: number): boolean {
    if (this.#health.hasStopped(member)) return true;
    if (!this.#health.isLate(member, agoMs)) return false;
    if (this.#saved < 1) {
      this.spared++;
      return false;
    }
    this.#isPaid = true;
    return true;
  }
}
