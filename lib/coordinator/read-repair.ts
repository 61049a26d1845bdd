/**
 * Brings the replicas that answered a read to what they hold together, before the read is answered. Where one of them fails
 * or is slow, another owner is brought there instead: what counts is how many hold the merged record.
 */

import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { encodedRecordOf } from "../replica/encoded-record.js";
import type { MemberCall, MemberFailureCode } from "../replica/remote-replicas.js";
import type { Limit } from "../replica/replica.js";
import { AnswerStatus, ReplicaKind } from "../replica/replica-messages.js";
import type { TurnWork } from "../replica/turn-end.js";
import type { Lateness, Request } from "./in-flight.js";
import type { QuorumContext } from "./quorum-context.js";
import type { SlotPlan } from "./slot-plan.js";
import { Soon } from "./soon.js";

export interface StalePlace {
  readonly to: MemberId;
  /** `to` keeps a hint for the owner at `position`. */
  readonly isStandIn: boolean;
  readonly position: number;
}

export interface ReadRepairOptions {
  readonly plan: SlotPlan;
  readonly dataKey: string;
  /** The merged record. Owned. */
  readonly bytes: Buffer;
  readonly deadlineMs: number;
  readonly stale: readonly StalePlace[];
  /** Positions of owners that may take the place of one that fails. */
  readonly others: readonly number[];
  /** This node's own copy lacks something, too. */
  readonly isOwnStale: boolean;
  /** One of the three is called, once, and never within `start`. */
  readonly onDone: () => void;
  readonly onFailure: (error: OperatingError) => void;
  /** The slot has other owners by now, as this member knows. */
  readonly onStaleRing: (from: MemberId) => void;
}

export class ReadRepair implements TurnWork, Request {
  readonly #context: QuorumContext;
  readonly #options: ReadRepairOptions;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  isSettled = false;
  /** Copies that have to hold it yet; calls that may still say that one does, and what this node itself is about to hold. */
  #missing: number;
  #open = 0;
  #ownOpen = 0;
  readonly #others: number[];

  constructor(context: QuorumContext, options: ReadRepairOptions) {
    this.#context = context;
    this.#options = options;
    this.deadlineMs = options.deadlineMs;
    this.hedgeAtMs = options.deadlineMs;
    this.#missing = options.stale.length + (options.isOwnStale ? 1 : 0);
    this.#others = [...options.others];
  }

  start(): void {
    this.#context.inFlight.add(this);
    // What was merged may hold what this turn has stored here: if the disk refuses that, nobody else may have it.
    this.#context.turn.add(
      new Soon(
        () => this.#launch(),
        () => this.#fail(),
      ),
    );
  }

  #launch(): void {
    const { stale, isOwnStale } = this.#options;
    for (const place of stale) {
      if (place.to === this.#context.selfId) background(this.#keepOwnHint(place.position));
      else this.#send(place);
    }
    if (isOwnStale) background(this.#repairOwn());
  }

  // Request.

  hedge(isLate: Lateness): boolean {
    // It is not asked before that is long enough ago.
    if (!this.#options.stale.some(({ to }) => isLate(to, Number.POSITIVE_INFINITY))) return false;
    let isSent = false;
    for (let open = this.#open; open > 0; open--) isSent = this.#sendToAnother() || isSent;
    return isSent;
  }

  expire(): void {
    this.#fail();
  }

  // TurnWork: what this node itself has to hold.

  committed(): void {}

  durable(): void {
    this.#ownOpen--;
    this.#repaired();
  }

  lost(): void {
    this.#fail();
  }

  async #repairOwn(): Promise<void> {
    this.#ownOpen++;
    const { dataKey, bytes } = this.#options;
    try {
      await this.#context.replica.mergeRead(dataKey, bytes, 0, bytes.length, this.#limit());
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return this.#fail();
    }
    this.#context.turn.add(this);
  }

  /** This node stands in for the owner at `position`. */
  async #keepOwnHint(position: number): Promise<void> {
    this.#ownOpen++;
    const { dataKey, bytes, plan } = this.#options;
    const { hints, turn } = this.#context;
    const owner = plan.owners[position]!;
    try {
      let kept = hints.keep(owner, dataKey, bytes, 0, bytes.length);
      if (kept === "unread") kept = await hints.keepRead(owner, dataKey, bytes, 0, bytes.length);
      if (kept === "full") return this.#missedHint();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return this.#missedHint();
    }
    turn.add(this);
  }

  #limit(): Limit {
    const { clock } = this.#context;
    const { deadlineMs } = this;
    return {
      get isPast() {
        return clock.monotonicMs() >= deadlineMs;
      },
      error: () => new OperatingError("TIMEOUT", "the read that found it took too long"),
    };
  }

  #send({ to, isStandIn, position }: StalePlace): void {
    const { plan, dataKey, bytes } = this.#options;
    const { remote, health, clock } = this.#context;
    this.hedgeAtMs = Math.min(this.hedgeAtMs, clock.monotonicMs() + health.hedgeAfterMs(to));
    this.#open++;
    const hintFor = isStandIn ? plan.owners[position]! : null;
    const what = { ringVersion: plan.ring.document.version, hintFor, dataKey };
    remote.store(new RepairCall(this, to), what, encodedRecordOf(bytes));
  }

  #sendToAnother(): boolean {
    for (;;) {
      const position = this.#others.shift();
      if (position === undefined) return false;
      const owner = this.#options.plan.owners[position]!;
      if (!this.#context.health.isUsable(owner)) continue;
      this.#send({ to: owner, isStandIn: false, position });
      return true;
    }
  }

  onAnswer(from: MemberId, answer: Buffer): void {
    this.#open--;
    if (answer[0] === AnswerStatus.staleRing) this.#onStaleRing(from);
    else if (answer[0] === AnswerStatus.ok || answer[0] === AnswerStatus.uncovered) this.#repaired();
    else this.#missed();
  }

  #onStaleRing(from: MemberId): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.#options.onStaleRing(from);
  }

  onMissed(): void {
    this.#open--;
    this.#missed();
  }

  #missedHint(): void {
    this.#ownOpen--;
    this.#missed();
  }

  #missed(): void {
    if (this.isSettled || this.#sendToAnother() || this.#open + this.#ownOpen >= this.#missing) return;
    this.#fail();
  }

  #repaired(): void {
    if (--this.#missing > 0 || this.isSettled) return;
    this.isSettled = true;
    this.#options.onDone();
  }

  #fail(): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.#options.onFailure(
      new OperatingError(
        "QUORUM",
        "the replicas that answered hold different versions, and too few could be brought up to date",
      ),
    );
  }
}

class RepairCall implements MemberCall {
  readonly to: MemberId;
  readonly kind = ReplicaKind.store;
  readonly deadlineMs: number;
  readonly #repair: ReadRepair;

  constructor(repair: ReadRepair, to: MemberId) {
    this.to = to;
    this.deadlineMs = repair.deadlineMs;
    this.#repair = repair;
  }

  onAnswer(payload: Buffer): void {
    this.#repair.onAnswer(this.to, payload);
  }

  onFailure(_code: MemberFailureCode, _text: string): void {
    this.#repair.onMissed();
  }
}
