/**
 * One wish to change the ring document, from the first attempt to its verdict; see ring-consensus.ts for the protocol and
 * why it is safe. Pure: the driver sends what is returned, hands in answers and failures, and starts again after a pause
 * (random and growing, so that two proposers do not preempt each other for ever) when an attempt was preempted.
 */
import { assert, unreachable } from "../assert.js";
import type { MemberId } from "./member.js";
import {
  type Ballot,
  compareBallots,
  type Instance,
  instanceAfter,
  type RingAnswer,
  type RingRequest,
  type Vote,
} from "./ring-consensus.js";
import { comingMembers, faultOfRingDocument, isSameDocument, type RingDocument } from "./ring-document.js";

/** Why a change is not made: for people. */
export interface ChangeRefusal {
  readonly refused: string;
}

/**
 * The document that is to follow `base`; its version is set by the proposer. `base` itself when nothing is left to do. Must be
 * idempotent: after "lost" it is applied to a newer document, which may hold this very change already.
 */
export type RingChange = (base: RingDocument) => RingDocument | ChangeRefusal;

export type ProposalVerdict =
  | { readonly kind: "waiting" }
  /** Another proposer was first with some acceptors: call `start` again after a pause. */
  | { readonly kind: "preempted" }
  /** The change is made: `document` is decided. */
  | { readonly kind: "decided"; readonly document: RingDocument }
  /** The change asked for nothing: `document` is what it was. */
  | { readonly kind: "unchanged"; readonly document: RingDocument }
  /** Another document was decided: propose the change again, based on this one. */
  | { readonly kind: "lost"; readonly document: RingDocument }
  | { readonly kind: "refused"; readonly reason: string }
  /** Too few members answered (`reached`, in the step that it ended in). `start` may be called again. */
  | {
      readonly kind: "no-majority";
      readonly reached: number;
      readonly needed: number;
      /** True when a vote for the change was asked for: a later proposer may finish it. */
      readonly mayTakeEffect: boolean;
    };

/** A request and the member it is for; the proposer's own acceptor among them. */
export interface OutgoingRequest {
  readonly to: MemberId;
  readonly request: RingRequest;
}

export interface ProposalOptions {
  readonly memberId: MemberId;
  /** The newest document that is known to be decided; it has members. */
  readonly base: RingDocument;
  readonly change: RingChange;
  /** 48 random bits, strong: the Random seam's. */
  readonly nonce: () => number;
}

export class RingProposer {
  readonly #memberId: MemberId;
  readonly #base: RingDocument;
  readonly #instance: Instance;
  readonly #voters: ReadonlySet<MemberId>;
  readonly #needed: number;
  readonly #change: RingChange;
  readonly #nonce: () => number;
  #phase: "idle" | "prepare" | "accept" | "done" = "idle";
  #ballot: Ballot | null = null;
  #counter = 0;
  readonly #granted = new Set<MemberId>();
  readonly #preempted = new Set<MemberId>();
  readonly #failed = new Set<MemberId>();
  /** The vote with the highest ballot among the promises of this attempt. */
  #highest: Vote | null = null;
  /** What the change made of the base: the same in every attempt. */
  #mine: RingDocument | null = null;
  /** What votes are asked for: `#mine`, or what another proposer may have got decided. */
  #value: RingDocument | null = null;
  #mineWasSent = false;
  #verdict: ProposalVerdict = { kind: "waiting" };

  constructor(options: ProposalOptions) {
    assert(options.base.members.length > 0, "ring proposer: a document without members decides nothing");
    this.#memberId = options.memberId;
    this.#base = options.base;
    this.#instance = instanceAfter(options.base);
    this.#voters = new Set(options.base.members.map((member) => member.id));
    this.#needed = Math.floor(this.#voters.size / 2) + 1;
    this.#change = options.change;
    this.#nonce = options.nonce;
  }

  verdict(): ProposalVerdict {
    return this.#verdict;
  }

  /** Begins an attempt with a ballot above all it met. REQUIRES the first, or a verdict of "preempted" or "no-majority". */
  start(): OutgoingRequest[] {
    assert(this.#phase === "idle", "ring proposer: an attempt is under way or was the last");
    this.#ballot = { counter: ++this.#counter, memberId: this.#memberId, nonce: this.#nonce() };
    this.#phase = "prepare";
    this.#highest = null;
    this.#verdict = { kind: "waiting" };
    this.#forgetAnswers();
    return this.#toAll();
  }

  /** Takes an answer, of this attempt or a late one of an earlier; returns what is to be sent next, most often nothing. */
  receive(from: MemberId, answer: RingAnswer): OutgoingRequest[] {
    if (answer.kind === "preempted") this.#counter = Math.max(this.#counter, answer.promised.counter);
    if (this.#phase === "done" || !this.#voters.has(from)) return [];
    if (answer.kind === "decided") return this.#meetDecided(from, answer.document);
    if (answer.kind === "learned" || this.#phase === "idle" || this.#ballot === null) return [];
    if (answer.ballot === null || compareBallots(answer.ballot, this.#ballot) !== 0) return [];
    switch (answer.kind) {
      case "promised":
        return this.#phase === "prepare" ? this.#meetPromise(from, answer.vote) : [];
      case "accepted":
        return this.#phase === "accept" ? this.#meetVote(from) : [];
      case "behind":
        return [{ to: from, request: this.#currentRequest(this.#base) }];
      case "preempted":
        if (!this.#granted.has(from)) this.#preempted.add(from);
        return this.#checkReach();
      case "refused":
        return this.unreachable(from);
      default:
        return unreachable(answer);
    }
  }

  /** The request to this member failed, or it is known to be down. */
  unreachable(memberId: MemberId): OutgoingRequest[] {
    if (!this.#voters.has(memberId) || this.#phase === "idle" || this.#phase === "done") return [];
    if (this.#granted.has(memberId)) return [];
    this.#failed.add(memberId);
    return this.#checkReach();
  }

  /** The attempt took too long: who has not answered counts as failed. */
  timeUp(): void {
    for (const voter of this.#voters) if (!this.#granted.has(voter) && !this.#preempted.has(voter)) this.unreachable(voter);
  }

  #meetPromise(from: MemberId, vote: Vote | null): OutgoingRequest[] {
    this.#granted.add(from);
    this.#failed.delete(from);
    this.#preempted.delete(from);
    if (vote !== null && (this.#highest === null || compareBallots(vote.ballot, this.#highest.ballot) > 0))
      this.#highest = vote;
    if (this.#granted.size < this.#needed) return [];
    // Of a majority: whatever was decided has a vote among these, and the highest of them is for it.
    if (this.#highest !== null) this.#value = this.#highest.document;
    else {
      if (this.#mine === null && !this.#applyChange()) return [];
      this.#value = this.#mine;
      this.#mineWasSent = true;
    }
    this.#phase = "accept";
    this.#forgetAnswers();
    return this.#toAll();
  }

  /** False when there is nothing to ask votes for. */
  #applyChange(): boolean {
    const changed = this.#change(this.#base);
    if ("refused" in changed) {
      this.#finish({ kind: "refused", reason: changed.refused });
      return false;
    }
    if (changed === this.#base) {
      this.#finish({ kind: "unchanged", document: this.#base });
      return false;
    }
    const document = { ...changed, version: this.#instance.version };
    const fault = faultOfRingDocument(document);
    if (fault !== null || document.members.length === 0) {
      this.#finish({ kind: "refused", reason: fault ?? "a ring has at least one member" });
      return false;
    }
    assert(document.clusterId.equals(this.#base.clusterId), "ring proposer: a change keeps the cluster's id");
    this.#mine = document;
    return true;
  }

  #meetVote(from: MemberId): OutgoingRequest[] {
    this.#granted.add(from);
    this.#failed.delete(from);
    this.#preempted.delete(from);
    if (this.#granted.size < this.#needed) return [];
    const document = this.#value;
    assert(document !== null, "ring proposer: votes are for a document");
    this.#conclude(document);
    // Who waits to join is told too: it may be the next, or is struck out.
    const joining = [...comingMembers(document.pending), ...comingMembers(this.#base.pending)];
    const audience = new Set([...this.#voters, ...[...document.members, ...joining].map((member) => member.id)]);
    return [...audience].map((to) => ({ to, request: { kind: "learn", document } }));
  }

  #meetDecided(from: MemberId, document: RingDocument): OutgoingRequest[] {
    if (!document.clusterId.equals(this.#base.clusterId)) return this.unreachable(from);
    // A late answer to a `learn` may name the base itself.
    if (document.version > this.#base.version) this.#conclude(document);
    return [];
  }

  #conclude(document: RingDocument): void {
    const isMine = this.#mine !== null && isSameDocument(document, this.#mine);
    this.#finish({ kind: isMine ? "decided" : "lost", document });
  }

  #checkReach(): OutgoingRequest[] {
    const lost = new Set([...this.#failed, ...this.#preempted]);
    if (this.#voters.size - lost.size >= this.#needed) return [];
    this.#phase = "idle";
    this.#verdict =
      this.#preempted.size > 0 && this.#voters.size - this.#failed.size >= this.#needed
        ? { kind: "preempted" }
        : {
            kind: "no-majority",
            reached: this.#granted.size + this.#preempted.size,
            needed: this.#needed,
            mayTakeEffect: this.#mineWasSent,
          };
    return [];
  }

  #finish(verdict: ProposalVerdict): void {
    this.#phase = "done";
    this.#verdict = verdict;
  }

  #forgetAnswers(): void {
    this.#granted.clear();
    this.#preempted.clear();
    this.#failed.clear();
  }

  #toAll(): OutgoingRequest[] {
    return [...this.#voters].map((to) => ({ to, request: this.#currentRequest(null) }));
  }

  #currentRequest(base: RingDocument | null): RingRequest {
    const instance = this.#instance;
    const ballot = this.#ballot;
    assert(ballot !== null, "ring proposer: an attempt has a ballot");
    if (this.#phase === "prepare") return { kind: "prepare", instance, ballot, base };
    assert(this.#phase === "accept" && this.#value !== null, "ring proposer: votes are for a document");
    return { kind: "accept", instance, ballot, document: this.#value, base };
  }
}
