/**
 * How the ring document changes: by compare-and-set among a majority of the members, without a leader and without a log.
 * Version n + 1 of the document is decided by one instance of single-decree Paxos (Lamport, "Paxos Made Simple", 2001) whose
 * acceptors are the members of version n. As in CASPaxos (Rystsov, "CASPaxos: Replicated State Machines without logs",
 * 2018) a proposer applies a change function to the value it read; unlike there, each version has an instance of its own.
 *
 * Why one document a version is decided, also across changes of the members:
 * - Who may vote in instance n + 1 is written in document n and in nothing else. By induction document n is one document,
 *   so all proposers of instance n + 1 count majorities of one set, and two of these share a member.
 * - An acceptor votes in instance n + 1 only while the newest document it knows is version n (a proposer hands it to one
 *   that is behind), and only on that very document (requests carry its checksum). A later decided document ends the
 *   instance for it: what it promised or accepted there may be forgotten, because from then on it answers every request of
 *   that or an earlier instance with the decided document, never with a vote.
 * - A ballot is used for one value only: it holds a random number beside counter and member, so that a proposer that
 *   restarts and knows nothing of its earlier ballots cannot repeat one.
 * - A promise or vote leaves an acceptor after its state is on the disk (`stored` below), so a crash takes nothing back.
 * - A joining member votes from the version on that names it among the members; a removed one no more from that on.
 *
 * When a majority is lost for good, an operator may force a document (`forceRingDocument`): all who are left are told to
 * learn a version 2^32 above. Nobody voted for it, so what those who are lost had decided, or decide among themselves, is
 * given up: should they come back, the forced version is above theirs, and they learn it. Two documents forced apart
 * under one version do not mix: their checksums differ, and each side refuses the other.
 *
 * All here is pure. A driver delivers requests (those to its own member directly), writes what is to be stored, and
 * watches the time. The proposer: ring-proposer.ts.
 */
import { assert, unreachable } from "../assert.js";
import { crc32 } from "../bytes/crc32.js";
import type { MemberId } from "./member.js";
import { encodeRingDocument, isSameDocument, type RingDocument } from "./ring-document.js";

/** Unique to one attempt of one proposer. Ordered by counter, member, nonce. */
export interface Ballot {
  /** From 1. */
  readonly counter: number;
  readonly memberId: MemberId;
  /** 48 random bits. */
  readonly nonce: number;
}

/** What an acceptor voted for. */
export interface Vote {
  readonly ballot: Ballot;
  readonly document: RingDocument;
}

/** Names one instance: the version it decides, and the checksum of the document before it, whose members vote. */
export interface Instance {
  readonly version: number;
  readonly baseCheck: number;
}

export type RingRequest =
  /** Vote for nobody below this ballot, and say whom you voted for. `base`: the document before, for one that is behind. */
  | { readonly kind: "prepare"; readonly instance: Instance; readonly ballot: Ballot; readonly base: RingDocument | null }
  /** Vote for this document. */
  | {
      readonly kind: "accept";
      readonly instance: Instance;
      readonly ballot: Ballot;
      readonly document: RingDocument;
      readonly base: RingDocument | null;
    }
  /** This document is decided. */
  | { readonly kind: "learn"; readonly document: RingDocument }
  /** Send the newest document if it is above this version. */
  | { readonly kind: "fetch"; readonly version: number };

export type RingAnswer =
  | { readonly kind: "promised"; readonly ballot: Ballot; readonly vote: Vote | null }
  | { readonly kind: "accepted"; readonly ballot: Ballot }
  /** A higher ballot was promised: to the request with `ballot`. */
  | { readonly kind: "preempted"; readonly ballot: Ballot; readonly promised: Ballot }
  /** The instance is over: this is the newest document. Also what a `learn` or `fetch` of an older one is answered with. */
  | { readonly kind: "decided"; readonly document: RingDocument }
  /** The document before the instance is not known here: ask again and hand it over. */
  | { readonly kind: "behind"; readonly ballot: Ballot; readonly version: number }
  /** The version is known now, or (of a `fetch`) the newest known is this one. */
  | { readonly kind: "learned"; readonly version: number }
  | { readonly kind: "refused"; readonly ballot: Ballot | null; readonly reason: RefusalReason };

export type RefusalReason =
  /** This node is no member of the document before the instance. */
  | "not-a-member"
  /** The document is of another cluster. */
  | "foreign"
  /** Another document was forced under the same version. */
  | "forked";

/** What an acceptor must not forget. */
export interface AcceptorState {
  /** The newest document that is known to be decided. */
  readonly decided: RingDocument;
  /** Of the instance after it. */
  readonly promised: Ballot | null;
  readonly vote: Vote | null;
}

export interface AcceptorOutcome {
  readonly answer: RingAnswer;
  /** The state to write and sync before the answer leaves (`encodeAcceptorState`); null when nothing changed. */
  readonly stored: AcceptorState | null;
}

export type LearnOutcome = "newer" | "known" | "foreign" | "forked";

/** Below 0, 0, above 0: as in sorting. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.counter !== b.counter) return a.counter - b.counter;
  if (a.memberId !== b.memberId) return a.memberId < b.memberId ? -1 : 1;
  return a.nonce - b.nonce;
}

/** The instance that decides what follows `base`. */
export function instanceAfter(base: RingDocument): Instance {
  return { version: base.version + 1, baseCheck: crc32(encodeRingDocument(base)) };
}

/** One member's votes. */
export class RingAcceptor {
  readonly #memberId: MemberId;
  #state: AcceptorState;
  /** Of `#state.decided`. */
  #next: Instance;

  constructor(memberId: MemberId, state: AcceptorState) {
    this.#memberId = memberId;
    this.#state = state;
    this.#next = instanceAfter(state.decided);
  }

  /** The newest document that this node knows to be decided. */
  get decided(): RingDocument {
    return this.#state.decided;
  }

  get state(): AcceptorState {
    return this.#state;
  }

  handle(request: RingRequest): AcceptorOutcome {
    const before = this.#state;
    const answer = this.#answer(request);
    return { answer, stored: this.#state === before ? null : this.#state };
  }

  /** Takes over a decided document that came by gossip or from an operator. "newer": `state` changed and is to be stored. */
  learn(document: RingDocument): LearnOutcome {
    const { decided } = this.#state;
    if (!document.clusterId.equals(decided.clusterId)) return "foreign";
    if (document.version < decided.version) return "known";
    if (document.version === decided.version) return isSameDocument(document, decided) ? "known" : "forked";
    this.#state = { decided: document, promised: null, vote: null };
    this.#next = instanceAfter(document);
    return "newer";
  }

  #answer(request: RingRequest): RingAnswer {
    if (request.kind === "learn") return this.#answerLearn(request.document);
    if (request.kind === "fetch") return this.#answerFetch(request.version);
    const { ballot, instance, base } = request;
    if (base !== null && base.version + 1 === instance.version) {
      const outcome = this.learn(base);
      if (outcome === "foreign" || outcome === "forked") return { kind: "refused", ballot, reason: outcome };
    }
    const { decided } = this.#state;
    if (instance.version < this.#next.version) return { kind: "decided", document: decided };
    if (instance.version > this.#next.version) return { kind: "behind", ballot, version: decided.version };
    if (instance.baseCheck !== this.#next.baseCheck) return { kind: "refused", ballot, reason: "forked" };
    if (!decided.members.some((member) => member.id === this.#memberId)) {
      return { kind: "refused", ballot, reason: "not-a-member" };
    }
    const { promised, vote } = this.#state;
    if (promised !== null && compareBallots(ballot, promised) < 0) return { kind: "preempted", ballot, promised };
    switch (request.kind) {
      case "prepare":
        this.#change({ decided, promised: ballot, vote });
        return { kind: "promised", ballot, vote };
      case "accept":
        assert(request.document.version === instance.version, "ring acceptor: a vote is for the instance's version");
        if (!request.document.clusterId.equals(decided.clusterId)) return { kind: "refused", ballot, reason: "foreign" };
        this.#change({ decided, promised: ballot, vote: { ballot, document: request.document } });
        return { kind: "accepted", ballot };
      default:
        return unreachable(request);
    }
  }

  #answerLearn(document: RingDocument): RingAnswer {
    const outcome = this.learn(document);
    if (outcome === "foreign" || outcome === "forked") return { kind: "refused", ballot: null, reason: outcome };
    if (document.version < this.#state.decided.version) return { kind: "decided", document: this.#state.decided };
    return { kind: "learned", version: document.version };
  }

  #answerFetch(version: number): RingAnswer {
    const { decided } = this.#state;
    if (decided.version > version) return { kind: "decided", document: decided };
    return { kind: "learned", version: decided.version };
  }

  /** Does nothing for a request that came twice: then there is nothing to sync. */
  #change(state: AcceptorState): void {
    const { promised, vote } = this.#state;
    const isKnown =
      promised !== null &&
      state.promised !== null &&
      compareBallots(promised, state.promised) === 0 &&
      (state.vote === vote || (vote !== null && state.vote !== null && compareBallots(vote.ballot, state.vote.ballot) === 0));
    if (!isKnown) this.#state = state;
  }
}
