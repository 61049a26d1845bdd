/**
 * This member's side of the ring document: keeps the newest one and its votes durable, answers other members' requests, and
 * makes changes. The protocol is pure (ring-consensus.ts, ring-proposer.ts); this is the time, the messages and the disk.
 *
 * INVARIANTS: an answer leaves when the state that it speaks of is durable; `ring` is of a document that is decided and
 * durable here.
 */
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import type { MemberId } from "./member.js";
import { Ring } from "./ring.js";
import { type AcceptorState, type LearnOutcome, RingAcceptor, type RingAnswer, type RingRequest } from "./ring-consensus.js";
import type { RingDocument } from "./ring-document.js";
import { decodeRingAnswer, decodeRingRequest, encodeRingAnswer, encodeRingRequest } from "./ring-messages.js";
import { type OutgoingRequest, type ProposalVerdict, type RingChange, RingProposer } from "./ring-proposer.js";

export interface RingKeeperOptions {
  readonly memberId: MemberId;
  /** As it was last stored. */
  readonly state: AcceptorState;
  /** Makes the state durable before it returns. Throws IO. */
  readonly store: (state: AcceptorState) => void;
  /** Delivers a request to another member. Rejects when there is no answer by the deadline, on the monotonic clock. */
  readonly ask: (to: MemberId, request: Buffer, deadlineMs: number) => Promise<Buffer>;
  /** False while this member may have forgotten votes (reunion.ts): it gives none. */
  readonly mayVote?: () => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

export type ChangeOutcome =
  /** The document holds the change. */
  | { readonly kind: "made"; readonly document: RingDocument }
  | { readonly kind: "refused"; readonly reason: string }
  /** Too few members answered in time. */
  | { readonly kind: "no-majority"; readonly reached: number; readonly needed: number; readonly mayTakeEffect: boolean };

/** An attempt that took longer is given up: a round trip and an fsync, twice. */
const ATTEMPT_MS_MAX = 2_000;
const PAUSE_MS_MIN = 20;
const PAUSE_MS_MAX = 1_000;
const NONCE_BYTES = 6;

type FinalVerdict = Exclude<ProposalVerdict, { kind: "waiting" | "preempted" }>;

export class RingKeeper {
  readonly #options: RingKeeperOptions;
  readonly #acceptor: RingAcceptor;
  readonly #listeners: ((ring: Ring) => void)[] = [];
  #ring: Ring;
  /** The state in memory is newer than the stored one: the disk refused it. */
  #isUnstored = false;

  constructor(options: RingKeeperOptions) {
    this.#options = options;
    this.#acceptor = new RingAcceptor(options.memberId, options.state);
    this.#ring = new Ring(options.state.decided);
  }

  /** The newest ring known here. */
  get ring(): Ring {
    return this.#ring;
  }

  get document(): RingDocument {
    return this.#ring.document;
  }

  /** Calls `listener` with each newer ring. */
  onChange(listener: (ring: Ring) => void): void {
    this.#listeners.push(listener);
  }

  /** Answers another member. Throws CORRUPT for what is no request, and IO when the disk does not take the state. */
  handle(request: Buffer): Buffer {
    return encodeRingAnswer(this.#answer(decodeRingRequest(request)));
  }

  /** Takes over a document that is decided elsewhere; also one that the disk refused before. Throws IO. */
  learn(document: RingDocument): LearnOutcome {
    const outcome = this.#acceptor.learn(document);
    if (outcome === "newer" || this.#isUnstored) this.#store();
    return outcome;
  }

  /**
   * Makes a change, on top of whatever others changed meanwhile. Resolves by `deadlineMs` on the monotonic clock, a disk that
   * refuses its own member's vote included; "made" is known here too by then. Rejects with IO when the disk does not take it.
   */
  async change(change: RingChange, deadlineMs: number): Promise<ChangeOutcome> {
    const { clock, memberId, random } = this.#options;
    for (;;) {
      const proposer = new RingProposer({
        memberId,
        base: this.#acceptor.decided,
        change,
        nonce: () => random.bytes(NONCE_BYTES).readUIntBE(0, NONCE_BYTES),
      });
      const verdict = await this.#propose(proposer, deadlineMs);
      switch (verdict.kind) {
        case "decided":
        case "unchanged":
          this.learn(verdict.document);
          return { kind: "made", document: verdict.document };
        case "refused":
          return verdict;
        case "lost":
          this.learn(verdict.document);
          if (clock.monotonicMs() < deadlineMs) continue;
          return { kind: "no-majority", reached: 0, needed: 1, mayTakeEffect: false };
        case "no-majority":
          return verdict;
      }
    }
  }

  /** Attempts until one is not preempted and reaches a majority, or time is up. */
  async #propose(proposer: RingProposer, deadlineMs: number): Promise<FinalVerdict> {
    const { clock, random } = this.#options;
    for (let pauseMs = PAUSE_MS_MIN; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
      // A late answer may have decided it during the pause.
      const before = proposer.verdict();
      if (isFinal(before)) return before;
      await this.#attempt(proposer, Math.min(deadlineMs, clock.monotonicMs() + ATTEMPT_MS_MAX));
      const verdict = proposer.verdict();
      if (isFinal(verdict)) return verdict;
      const restMs = pauseMs * (0.5 + random.fraction());
      if (clock.monotonicMs() + restMs >= deadlineMs) {
        if (verdict.kind === "no-majority") return verdict;
        return { kind: "no-majority", reached: 0, needed: 1, mayTakeEffect: true };
      }
      await pause(clock, restMs);
    }
  }

  /** One attempt: resolves when the proposer has a verdict. */
  #attempt(proposer: RingProposer, deadlineMs: number): Promise<void> {
    const { clock } = this.#options;
    return new Promise((resolve) => {
      const timer = clock.after(Math.max(0, deadlineMs - clock.monotonicMs()), () => {
        proposer.timeUp();
        resolve();
      });
      const send = (requests: readonly OutgoingRequest[]): void => {
        for (const { to, request } of requests) background(deliver(to, request));
        if (proposer.verdict().kind === "waiting") return;
        timer.cancel();
        resolve();
      };
      const deliver = async (to: MemberId, request: RingRequest): Promise<void> => {
        let answer: RingAnswer;
        try {
          answer = await this.#ask(to, request, deadlineMs);
        } catch (error) {
          if (!(error instanceof OperatingError)) throw error;
          this.#options.log.debug({ member: to, error: messageOf(error) }, "a member did not answer about the ring");
          return send(proposer.unreachable(to));
        }
        send(proposer.receive(to, answer));
      };
      send(proposer.start());
    });
  }

  async #ask(to: MemberId, request: RingRequest, deadlineMs: number): Promise<RingAnswer> {
    if (to === this.#options.memberId) return this.#answer(request);
    return decodeRingAnswer(await this.#options.ask(to, encodeRingRequest(request), deadlineMs));
  }

  #answer(request: RingRequest): RingAnswer {
    if ((request.kind === "prepare" || request.kind === "accept") && this.#options.mayVote?.() === false) {
      return { kind: "refused", ballot: request.ballot, reason: "not-a-member" };
    }
    const { answer, stored } = this.#acceptor.handle(request);
    if (stored !== null || this.#isUnstored) this.#store();
    return answer;
  }

  #store(): void {
    this.#isUnstored = true;
    this.#options.store(this.#acceptor.state);
    this.#isUnstored = false;
    const { decided } = this.#acceptor;
    if (decided.version === this.#ring.document.version) return;
    this.#ring = new Ring(decided);
    for (const listener of this.#listeners) listener(this.#ring);
  }
}

/** True where no further attempt would tell more. */
function isFinal(verdict: ProposalVerdict): verdict is Exclude<FinalVerdict, { kind: "no-majority" }> {
  return verdict.kind !== "waiting" && verdict.kind !== "preempted" && verdict.kind !== "no-majority";
}
