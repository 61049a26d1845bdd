/**
 * A request that is passed on to the first of several members that takes it. One that surely did not run it is followed by
 * the next; one that may have run it (it did not answer, or its link broke) is followed by the next only because the request
 * carries an id by which a second run is known. A slow one is hedged the same way.
 */
import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { MemberCall, MemberFailureCode } from "../replica/remote-replicas.js";
import { decodeRefused, ForwardStatus } from "./forward-messages.js";
import type { Request } from "./in-flight.js";
import type { QuorumContext } from "./quorum-context.js";
import { Soon } from "./soon.js";

export interface ForwardOptions {
  readonly kind: number;
  /** In the order in which they are tried; with none, `here` is not null. */
  readonly candidates: readonly MemberId[];
  /** Runs it on this node, after all candidates; resolves with an answer like theirs. Null: this node cannot. */
  readonly here: (() => Promise<Buffer>) | null;
  /** The request, for one of them. Owned. */
  readonly payloadFor: (to: MemberId) => Buffer;
  readonly deadlineMs: number;
  /**
   * May it be given to a second member although the first may have run it? `side by side`: while the first may still do so,
   * because what both write counts as one. `in turn`: only when the first would refuse it as late, because it reads first.
   */
  readonly repeats: "never" | "in turn" | "side by side";
  /** The answer with status `ok`, borrowed. One of the two is called, once, never within `start`. */
  readonly onAnswer: (answer: Buffer) => void;
  readonly onFailure: (error: OperatingError) => void;
}

/** What a member has for a request that another may be given in its turn: a multiple of what its answers take, within bounds. */
const ATTEMPT_FACTOR = 8;
const ATTEMPT_MS_MIN = 250;

/** Codes of failures after which the request may have been run. */
const AMBIGUOUS: ReadonlySet<MemberFailureCode> = new Set(["TIMEOUT", "UNAVAILABLE"]);

export class Forward implements Request {
  readonly #context: QuorumContext;
  readonly #options: ForwardOptions;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  isSettled = false;
  #next = 0;
  #open = 0;
  #sentMs = 0;
  #isTriedHere = false;
  #mayHaveRun = false;
  #lastError: OperatingError | null = null;

  constructor(context: QuorumContext, options: ForwardOptions) {
    this.#context = context;
    this.#options = options;
    this.deadlineMs = options.deadlineMs;
    this.hedgeAtMs = options.deadlineMs;
  }

  start(): void {
    this.#context.inFlight.add(this);
    // Behind the writes of this turn: they reach the same members first.
    this.#context.turn.add(new Soon(() => this.#sendNext()));
  }

  hedge(): boolean {
    const { health, clock } = this.#context;
    const { repeats, candidates, here } = this.#options;
    const last = candidates[this.#next - 1];
    if (repeats !== "side by side" || (last !== undefined && !health.isLate(last, clock.monotonicMs() - this.#sentMs)))
      return false;
    if (!this.#sendNext()) return false;
    // The next one may be slow, too.
    return this.#next >= candidates.length && (here === null || this.#isTriedHere);
  }

  expire(): void {
    this.#fail();
  }

  #sendNext(): boolean {
    const { candidates, kind, payloadFor } = this.#options;
    const { remote, health, clock } = this.#context;
    const to = candidates[this.#next];
    if (to === undefined) return this.#runHere();
    this.#next++;
    this.#open++;
    this.#sentMs = clock.monotonicMs();
    this.hedgeAtMs = this.#sentMs + 2 * health.hedgeAfterMs(to);
    const call: MemberCall = {
      to,
      kind,
      deadlineMs: this.#attemptDeadlineMs(to),
      onAnswer: (payload) => this.#onAnswer(to, payload),
      onFailure: (code) => this.#onFailure(code),
    };
    remote.send(call, payloadFor(to));
    return true;
  }

  /** Until when this member may run it: where another is next, not so long that there is no time left for that one. */
  #attemptDeadlineMs(to: MemberId): number {
    const { repeats, candidates, here, deadlineMs } = this.#options;
    const isLast = this.#next >= candidates.length && here === null;
    if (repeats !== "in turn" || isLast) return deadlineMs;
    const usualMs = this.#context.health.hedgeAfterMs(to);
    return Math.min(deadlineMs, this.#sentMs + Math.max(ATTEMPT_MS_MIN, ATTEMPT_FACTOR * usualMs));
  }

  #runHere(): boolean {
    const { here } = this.#options;
    if (here === null || this.#isTriedHere) return false;
    this.#isTriedHere = true;
    this.#open++;
    background(here().then((answer) => this.#onAnswer(null, answer)));
    return true;
  }

  #onAnswer(from: MemberId | null, answer: Buffer): void {
    this.#open--;
    if (this.isSettled) return;
    switch (answer[0]) {
      case ForwardStatus.ok:
        this.isSettled = true;
        return this.#options.onAnswer(answer);
      case ForwardStatus.staleRing:
        if (from !== null) background(this.#context.fetchRing(from));
        return this.#goOn();
      default: {
        const error = decodeRefused(answer);
        // Its disk is full, or it has too much to do, and it changed nothing: another may have room. Others are the request's own.
        if (error.code !== "IO" && error.code !== "BUSY" && error.code !== "TIMEOUT") {
          this.isSettled = true;
          return this.#options.onFailure(error);
        }
        this.#lastError = error;
        this.#goOn();
      }
    }
  }

  #onFailure(code: MemberFailureCode): void {
    this.#open--;
    if (AMBIGUOUS.has(code)) this.#mayHaveRun = true;
    if (this.isSettled) return;
    if (this.#mayHaveRun && this.#options.repeats === "never") return this.#fail();
    this.#goOn();
  }

  #goOn(): void {
    if (this.#sendNext() || this.#open > 0) return;
    this.#fail();
  }

  #fail(): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.#options.onFailure(this.#lastError ?? this.#error());
  }

  #error(): OperatingError {
    const tail = this.#mayHaveRun || this.#open > 0 ? "; it may still take effect" : "; it was not run";
    return new OperatingError("QUORUM", `none of ${this.#options.candidates.length} nodes that keep the key answered${tail}`);
  }
}
