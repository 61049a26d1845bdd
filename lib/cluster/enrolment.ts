/**
 * Brings this member and the ring document together: joins the ring, and keeps right what the document says of this member.
 * What is next is decided in ring-changes.ts; this is the time, the messages and the retries. It runs while there is
 * something to do, and again when a newer document says so. A restart goes on where the stored document stands.
 */
import { assert, unreachable } from "../assert.js";
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import type { MemberId } from "./member.js";
import type { ReplicaCounts } from "./preference-table.js";
import { Rest } from "./rest.js";
import type { Ring } from "./ring.js";
import {
  correctChange,
  isSameChange,
  joinChange,
  type MemberSelf,
  type NextStep,
  nextStep,
  takeOverChange,
} from "./ring-changes.js";
import type { RingDocument } from "./ring-document.js";
import type { ChangeOutcome } from "./ring-keeper.js";
import type { RingChange } from "./ring-proposer.js";

export interface EnrolmentOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly self: MemberSelf;
  readonly replicas: ReplicaCounts;
  readonly vnodes: number;
  /** The newest ring known here. */
  readonly ring: () => Ring;
  readonly change: (change: RingChange, deadlineMs: number) => Promise<ChangeOutcome>;
  /** Resolves when the other member has this document, or a newer one, on its disk. Rejects with an `OperatingError`. */
  readonly teach: (to: MemberId, document: RingDocument, deadlineMs: number) => Promise<void>;
  /** Whether an answer may be hoped for. */
  readonly isReachable: (id: MemberId) => boolean;
  /** See `ClusterOptions`. */
  readonly catchUp: (ring: Ring, isOvertaken: () => boolean) => Promise<void>;
}

type Work = Exclude<NextStep, "nothing" | "removed">;

const CHANGE_MS_MAX = 10_000;
const TEACH_MS_MAX = 2_000;
/** How long old owners that are reachable are waited for. Most know the document at once. */
const TEACHING_MS_MAX = 10_000;
const TEACHING_PAUSE_MS = 200;
/** A newer document ends the wait for those before us; this is for one that was missed. */
const WAIT_MS = 5_000;
const PAUSE_MS_MIN = 500;
const PAUSE_MS_MAX = 15_000;

export class Enrolment {
  readonly #options: EnrolmentOptions;
  readonly #rest: Rest;
  #isRunning = false;
  #isStopped = false;
  #said = "";

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#rest = new Rest(options.clock);
  }

  /** There is a ring to be in, or a newer one. */
  ringChanged(): void {
    if (this.#isStopped) return;
    if (this.#isRunning) this.#rest.wake();
    else if (!isDone(this.#next())) background(this.#run());
  }

  stop(): void {
    this.#isStopped = true;
    this.#rest.wake();
  }

  #next(): NextStep {
    const { self, replicas, ring } = this.#options;
    return nextStep(ring().document, { self, replicas });
  }

  async #run(): Promise<void> {
    const { log, random } = this.#options;
    this.#isRunning = true;
    let pauseMs = PAUSE_MS_MIN;
    for (let next = this.#next(); !isDone(next) && !this.#isStopped; next = this.#next()) {
      try {
        await this.#take(next);
        pauseMs = PAUSE_MS_MIN;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        if (this.#isStopped) break;
        log.warn({ code: error.code, step: next }, `${FAILED[next]}, and is tried again: ${messageOf(error)}`);
        await this.#rest.take(pauseMs * (0.5 + random.fraction()));
        pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
      }
    }
    this.#isRunning = false;
    if (this.#next() === "removed") log.error({}, "this member was removed from its cluster");
  }

  async #take(step: Work): Promise<void> {
    const { self, replicas, vnodes, random, log } = this.#options;
    switch (step) {
      case "ask":
        await this.#change(joinChange({ self, vnodes, fraction: () => random.fraction() }));
        return;
      case "wait":
        this.#sayWait();
        await this.#rest.take(WAIT_MS);
        return;
      case "take over":
        return this.#takeOver();
      case "correct":
        await this.#change(correctChange({ self, replicas }));
        log.info({}, "the ring names this member as it is now");
        return;
      default:
        return unreachable(step);
    }
  }

  async #takeOver(): Promise<void> {
    const { ring, catchUp, self, log, clock } = this.#options;
    const prepared = ring();
    const sinceMs = clock.monotonicMs();
    log.info({ version: prepared.document.version }, "joining: fetching what this member is to own");
    await this.#teachOwners(prepared);
    await catchUp(prepared, () => this.#isStopped || !isSameChange(prepared.change, ring().change));
    await this.#change(takeOverChange({ memberId: self.id, prepared: prepared.document }));
    const tookMs = Math.round(clock.monotonicMs() - sinceMs);
    log.info({ version: ring().document.version, tookMs }, "joined: this member owns its share");
  }

  /**
   * Returns when the old owners write to this member too: those that can be reached all know of the change, or some were
   * waited for long enough and every slot that moves has a majority of owners that do. So whatever is written from now
   * on reaches this member, and what was written before can be fetched.
   */
  async #teachOwners(ring: Ring): Promise<void> {
    const { clock, self, teach, isReachable } = this.#options;
    const { document } = ring;
    const untilMs = clock.monotonicMs() + TEACHING_MS_MAX;
    const taught = new Set<MemberId>();
    const teachOne = async (id: MemberId): Promise<void> => {
      try {
        await teach(id, document, clock.monotonicMs() + TEACH_MS_MAX);
        taught.add(id);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
      }
    };
    const others = document.members.map((member) => member.id).filter((id) => id !== self.id);
    for (;;) {
      await Promise.all(others.filter((id) => !taught.has(id)).map(teachOne));
      const missing = others.filter((id) => !taught.has(id) && isReachable(id));
      if (missing.length === 0 || clock.monotonicMs() >= untilMs) break;
      await this.#rest.take(TEACHING_PAUSE_MS);
      if (this.#isStopped) throw new OperatingError("CLOSED", "this node is stopping");
    }
    const slots = slotsWithout(ring, taught);
    if (slots > 0) {
      const few = `${taught.size} of ${others.length} members know of the join`;
      throw new OperatingError("UNAVAILABLE", `${few}, which is no majority of the owners of ${slots} slots`);
    }
  }

  async #change(change: RingChange): Promise<void> {
    const { clock } = this.#options;
    const outcome = await this.#options.change(change, clock.monotonicMs() + CHANGE_MS_MAX);
    switch (outcome.kind) {
      case "made":
        return;
      case "refused":
        throw new OperatingError("UNAVAILABLE", outcome.reason);
      case "no-majority":
        throw new OperatingError(
          "UNAVAILABLE",
          `${outcome.reached} members answered about the ring, ${outcome.needed} are needed`,
        );
      default:
        unreachable(outcome);
    }
  }

  #sayWait(): void {
    const first = this.#options.ring().document.pending[0];
    assert(first !== undefined, "enrolment: who waits, waits for somebody");
    const who = first.kind === "leave" ? first.memberId : first.member.name;
    const said = `waiting to join until the ${first.kind} of ${who} is done`;
    if (said !== this.#said) this.#options.log.info({ pending: this.#options.ring().document.pending.length }, said);
    this.#said = said;
  }
}

const FAILED: Readonly<Record<Work, string>> = {
  ask: "asking to join the ring failed",
  wait: "waiting to join the ring failed",
  "take over": "joining the ring failed",
  correct: "correcting what the ring says of this member failed",
};

function isDone(step: NextStep): step is Exclude<NextStep, Work> {
  return step === "nothing" || step === "removed";
}

/** How many slots that change owners have no majority of old ones among `ids`. */
function slotsWithout(ring: Ring, ids: ReadonlySet<MemberId>): number {
  let slots = 0;
  for (const slot of ring.changingSlots()) {
    const owners = ring.current.replicas(slot);
    let known = 0;
    for (const owner of owners) if (ids.has(ring.members[owner]!.id)) known++;
    if (2 * known <= owners.length) slots++;
  }
  return slots;
}
