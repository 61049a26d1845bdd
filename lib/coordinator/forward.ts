/**
 * A request that is passed on to the first of several members that takes it. Each has some time in which it must begin it, or
 * not at all; one from which nothing is heard until then is followed by the next. So a member that was stopped, and wakes with
 * the request still before it, does not make an old write over a newer one. One that may have run it without being heard is
 * followed only where the request carries an id by which a second run is known.
 */
import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { MemberCall, MemberFailureCode } from "../replica/remote-replicas.js";
import type { LeasesGiven } from "./decision-leases.js";
import { decodeRefused, ForwardStatus } from "./forward-messages.js";
import type { Request } from "./in-flight.js";
import type { QuorumContext } from "./quorum-context.js";
import { Soon } from "./soon.js";

/** Who may run a request, by the ring as it is. */
export interface Route {
  /** In the order in which they are tried; with none, `here` is not null. */
  readonly candidates: readonly MemberId[];
  /** Runs it on this node, after all candidates; resolves with an answer like theirs. Null: this node cannot. */
  readonly here: (() => Promise<Buffer>) | null;
  /** The request to a member that must begin it `spareMs` (whole) before the deadline of its call, or as it is leased. Owned. */
  readonly payloadFor: (spareMs: number, leaseNumber: number) => Buffer;
}

export interface ForwardOptions {
  readonly kind: number;
  /** Asked anew when a member knows a newer ring. Throws QUORUM where there is nobody. */
  readonly route: () => Route;
  readonly deadlineMs: number;
  /**
   * May it be given to a second member although the first may have run it? `anywhere`: yes, one does as well as another.
   * `in turn`: yes, but the first is where it is decided: as long as that lives, it is asked again rather than another.
   */
  readonly repeats: "never" | "in turn" | "anywhere";
  /** Where the first is where it is decided: it is given more time as long as it lives. */
  readonly leases?: LeasesGiven;
  /** The answer with status `ok`, borrowed. One of the two is called, once, never within `start`. */
  readonly onAnswer: (answer: Buffer) => void;
  readonly onFailure: (error: OperatingError) => void;
}

/** What a member has to begin a request, as a multiple of what its answers take. What is decided needs a read first. */
const WRITE_FACTOR = 2;
const DECISION_FACTOR = 8;
const DECISION_MS_MIN = 250;
/** One that lives and does not answer (its disk hangs?) is done without after so long. */
const WRITE_MS_MAX = 250;
const DECISION_MS_MAX = 1_000;
/** One that is waited for is asked for a sign of life so often. */
const PROBE_MS = 50;
const ROUTES_MAX = 4;

const MAY_TAKE_EFFECT = "; it may still take effect";
/** Codes of failures after which the request may have been run. */
const AMBIGUOUS: ReadonlySet<MemberFailureCode> = new Set(["TIMEOUT", "UNAVAILABLE"]);

export class Forward implements Request {
  readonly #context: QuorumContext;
  readonly #options: ForwardOptions;
  readonly deadlineMs: number;
  hedgeAtMs: number;
  isHedged = false;
  isSettled = false;
  #route: Route | null = null;
  #routes = 0;
  #isRingAwaited = false;
  #next = 0;
  #open = 0;
  /** Who was given it last, until that answers or fails. */
  #holder: MemberId | null = null;
  /** Of the last member that was asked. */
  #sentMs = 0;
  #beginByMs = 0;
  #patienceMs = 0;
  #leaseNumber = 0;
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
    this.#context.turn.add(new Soon(() => this.#begin()));
  }

  hedge(): boolean {
    const { health, remote, clock } = this.#context;
    const { repeats } = this.#options;
    const last = this.#holder ?? this.#route?.candidates[this.#next - 1];
    if (last === undefined || repeats === "never") return false;
    const nowMs = clock.monotonicMs();
    const agoMs = nowMs - this.#sentMs;
    // What lives shows it soon. It may have others to decide on first, and nothing else to say.
    if (health.isLate(last, 0)) remote.probe(last);
    const isWorthWaiting = this.#isWorthWaiting(last, agoMs);
    this.#lease(last, nowMs);
    if (nowMs < this.#beginByMs) {
      this.hedgeAtMs = Math.min(this.#beginByMs, nowMs + PROBE_MS);
      return false;
    }
    if (!this.#isSilent(last) && isWorthWaiting) return false;
    this.#mayHaveRun = true;
    this.#sendNext();
    return false;
  }

  /** It keeps its place behind the others there: as long as the member shows that it lives, it may begin the request later. */
  #lease(member: MemberId, nowMs: number): void {
    const { leases } = this.#options;
    if (leases === undefined) return;
    const { health } = this.#context;
    const byMs = nowMs - health.silentMs(member) + this.#patienceMs;
    const isDeciding = nowMs - leases.sinceMs(member) < DECISION_MS_MAX || health.hasDecidedWithin(member, DECISION_MS_MAX);
    if (isDeciding) leases.renew(member, byMs, nowMs);
    const leasedMs = Math.min(this.deadlineMs, leases.untilMs(member, this.#leaseNumber));
    this.#beginByMs = Math.max(this.#beginByMs, leasedMs);
  }

  /** A busy moment of a member is no reason to have something decided elsewhere: not before all others would, too. */
  #isSilent(member: MemberId): boolean {
    const { health } = this.#context;
    return this.#options.repeats === "in turn" ? !health.isAnswering(member) : health.isLate(member, 0);
  }

  /**
   * While a member decides, there may be many before this one: another that decides meanwhile would decide differently. One that
   * lives and decides nothing hangs.
   */
  #isWorthWaiting(member: MemberId, agoMs: number): boolean {
    if (this.#options.repeats === "anywhere") return agoMs < WRITE_MS_MAX;
    return agoMs < DECISION_MS_MAX || this.#context.health.hasDecidedWithin(member, DECISION_MS_MAX);
  }

  expire(): void {
    this.#fail();
  }

  #begin(): void {
    if (this.isSettled) return;
    try {
      this.#route = this.#options.route();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#lastError = error;
      if (this.#open === 0) this.#fail();
      return;
    }
    this.#next = 0;
    this.#goOn();
  }

  #sendNext(): boolean {
    const to = this.#route!.candidates[this.#next];
    if (to === undefined) return this.#runHere();
    this.#next++;
    const usualMs = this.#context.health.hedgeAfterMs(to);
    const isDecision = this.#options.repeats === "in turn";
    this.#patienceMs = isDecision ? Math.max(DECISION_MS_MIN, DECISION_FACTOR * usualMs) : WRITE_FACTOR * usualMs;
    this.#sendTo(to);
    return true;
  }

  #sendTo(to: MemberId): void {
    const { remote, health, clock } = this.#context;
    const { repeats, kind, deadlineMs, leases } = this.#options;
    const { candidates, here, payloadFor } = this.#route!;
    this.#open++;
    this.#holder = to;
    this.#sentMs = clock.monotonicMs();
    const isLast = this.#next >= candidates.length && here === null;
    const isBound = repeats === "never" || isLast;
    this.#beginByMs = isBound ? deadlineMs : Math.min(deadlineMs, this.#sentMs + this.#patienceMs);
    this.hedgeAtMs = isBound ? deadlineMs : this.#sentMs + health.hedgeAfterMs(to);
    const call: MemberCall = {
      to,
      kind,
      deadlineMs,
      onAnswer: (payload) => this.#onAnswer(to, payload),
      onFailure: (code, text) => this.#onFailure(to, code, text),
    };
    // What the member has all its time for is no part of a lease: who looks at the others must not wait that long for them.
    this.#leaseNumber = isBound || leases === undefined ? 0 : leases.open(to, this.#beginByMs, this.#sentMs);
    remote.send(call, payloadFor(Math.ceil(deadlineMs - this.#beginByMs), this.#leaseNumber));
  }

  #runHere(): boolean {
    const { here } = this.#route!;
    if (here === null || this.#isTriedHere) return false;
    const { selfId } = this.#context;
    this.#isTriedHere = true;
    this.hedgeAtMs = this.deadlineMs;
    this.#open++;
    this.#holder = selfId;
    background(here().then((answer) => this.#onAnswer(selfId, answer)));
    return true;
  }

  #letGo(from: MemberId): void {
    this.#open--;
    if (this.#holder === from) this.#holder = null;
  }

  /** Another was given it since: what is said now by one that was passed by must not have it decided by a third. */
  get #isDecidedElsewhere(): boolean {
    return this.#options.repeats === "in turn" && this.#holder !== null;
  }

  #onAnswer(from: MemberId, answer: Buffer): void {
    this.#letGo(from);
    const isHere = from === this.#context.selfId;
    if (!isHere && this.#options.repeats !== "anywhere") this.#context.health.noteDecision(from);
    if (this.isSettled) return;
    switch (answer[0]) {
      case ForwardStatus.ok:
        return this.#deliver(answer);
      case ForwardStatus.staleRing:
        return isHere ? this.#goOn() : this.#routeAnew(from);
      default:
        return this.#onRefused(from, decodeRefused(answer));
    }
  }

  #deliver(answer: Buffer): void {
    this.isSettled = true;
    try {
      this.#options.onAnswer(answer);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#options.onFailure(error);
    }
  }

  #onRefused(from: MemberId, error: OperatingError): void {
    const { clock, selfId } = this.#context;
    this.#lastError = error;
    if (this.#isDecidedElsewhere) return;
    switch (error.code) {
      case "TIMEOUT":
        // It was not begun in time, and never will be. Where it is decided there may be many before it.
        if (this.#options.repeats !== "in turn" || from === selfId || this.#isSilent(from)) return this.#goOn();
        if (clock.monotonicMs() >= this.deadlineMs) return this.#fail();
        this.#patienceMs *= 2;
        return this.#sendTo(from);
      case "BUSY":
        // It has too much to do: another may have room. Where it lives and decides, another would decide differently.
        return this.#options.repeats === "anywhere" ? this.#goOn() : this.#fail();
      case "IO":
        // Its disk is full, and another's is not. What the disk refused may have reached it all the same.
        this.#mayHaveRun = true;
        return this.#options.repeats === "never" ? this.#fail() : this.#goOn();
      case "UNAVAILABLE":
        // It was begun, and came too late to be finished.
        this.#mayHaveRun = true;
        this.#lastError = new OperatingError("QUORUM", error.message);
        return this.#goOn();
      default:
        // All other errors are the request's own.
        return this.#fail();
    }
  }

  /** Others may keep the key by now. */
  #routeAnew(from: MemberId): void {
    if (this.#isRingAwaited || this.#isDecidedElsewhere) return;
    if (++this.#routes > ROUTES_MAX) return this.#goOn();
    this.#isRingAwaited = true;
    background(
      this.#context.fetchRing(from).then(() => {
        this.#isRingAwaited = false;
        if (!this.#isDecidedElsewhere) this.#begin();
      }),
    );
  }

  #onFailure(from: MemberId, code: MemberFailureCode, text: string): void {
    this.#letGo(from);
    if (AMBIGUOUS.has(code)) this.#mayHaveRun = true;
    if (this.isSettled || this.#isDecidedElsewhere) return;
    if (code === "BUSY" && this.#options.repeats !== "anywhere") {
      this.#lastError = new OperatingError("BUSY", `the node that decides on the key has too much to do: ${text}; try again`);
      return this.#fail();
    }
    if (this.#mayHaveRun && this.#options.repeats === "never") return this.#fail();
    this.#goOn();
  }

  #goOn(): void {
    if (this.#sendNext() || this.#open > 0 || this.#isRingAwaited) return;
    this.#fail();
  }

  #fail(): void {
    if (this.isSettled) return;
    this.isSettled = true;
    this.#options.onFailure(this.#error());
  }

  #error(): OperatingError {
    const mayTakeEffect = this.#mayHaveRun || this.#open > 0;
    const error = this.#lastError;
    if (error !== null && (!mayTakeEffect || error.code === "IO" || error.message.endsWith(MAY_TAKE_EFFECT))) return error;
    // What one of them said is true of its own run only.
    if (error !== null && error.code !== "TIMEOUT")
      return new OperatingError("QUORUM", `of one node: ${error.message}${MAY_TAKE_EFFECT}`);
    const tail = mayTakeEffect ? MAY_TAKE_EFFECT : "; it was not run";
    const asked = this.#route?.candidates.length ?? 0;
    return new OperatingError("QUORUM", `none of ${asked} nodes that keep the key answered${tail}`);
  }
}
