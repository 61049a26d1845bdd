/**
 * What proposers and acceptors say to each other, and what an acceptor keeps, as bytes (docs/FORMATS.md, "Ring consensus
 * messages"). Readers throw CORRUPT for anything that is not written here.
 */
import { unreachable } from "../assert.js";
import { OperatingError } from "../errors.js";
import { PartReader, sized, varint } from "./field-encoding.js";
import { MEMBER_ID_BYTES } from "./member.js";
import type { AcceptorState, Ballot, Instance, RefusalReason, RingAnswer, RingRequest, Vote } from "./ring-consensus.js";
import { decodeRingDocument, encodeRingDocument, type RingDocument } from "./ring-document.js";

/** Numbers on the wire: append only. */
const Kind = {
  prepare: 1,
  accept: 2,
  learn: 3,
  promised: 4,
  accepted: 5,
  preempted: 6,
  decided: 7,
  behind: 8,
  learned: 9,
  refused: 10,
  fetch: 11,
} as const;
const Reason = { "not-a-member": 1, foreign: 2, forked: 3 } as const;
const STATE_FORMAT = 1;

export function encodeRingRequest(request: RingRequest): Buffer {
  switch (request.kind) {
    case "prepare":
      return message("prepare", instance(request.instance), ballot(request.ballot), optional(request.base, document));
    case "accept":
      return message(
        "accept",
        instance(request.instance),
        ballot(request.ballot),
        document(request.document),
        optional(request.base, document),
      );
    case "learn":
      return message("learn", document(request.document));
    case "fetch":
      return message("fetch", varint(request.version));
    default:
      return unreachable(request);
  }
}

export function decodeRingRequest(bytes: Buffer): RingRequest {
  const part = new PartReader(bytes);
  const request = readRequest(part);
  part.end();
  return request;
}

function readRequest(part: PartReader): RingRequest {
  const kind = part.varint();
  switch (kind) {
    case Kind.prepare:
      return {
        kind: "prepare",
        instance: readInstance(part),
        ballot: readBallot(part),
        base: readOptional(part, readDocument),
      };
    case Kind.accept: {
      const head = { instance: readInstance(part), ballot: readBallot(part), document: readDocument(part) };
      if (head.document.version !== head.instance.version) throw corrupt("a vote is asked for another version");
      return { kind: "accept", ...head, base: readOptional(part, readDocument) };
    }
    case Kind.learn:
      return { kind: "learn", document: readDocument(part) };
    case Kind.fetch:
      return { kind: "fetch", version: part.varint() };
    default:
      throw corrupt(`there is no ring request of kind ${kind}`);
  }
}

export function encodeRingAnswer(answer: RingAnswer): Buffer {
  switch (answer.kind) {
    case "promised":
      return message("promised", ballot(answer.ballot), optional(answer.vote, vote));
    case "accepted":
      return message("accepted", ballot(answer.ballot));
    case "preempted":
      return message("preempted", ballot(answer.ballot), ballot(answer.promised));
    case "decided":
      return message("decided", document(answer.document));
    case "behind":
      return message("behind", ballot(answer.ballot), varint(answer.version));
    case "learned":
      return message("learned", varint(answer.version));
    case "refused":
      return message("refused", optional(answer.ballot, ballot), varint(Reason[answer.reason]));
    default:
      return unreachable(answer);
  }
}

export function decodeRingAnswer(bytes: Buffer): RingAnswer {
  const part = new PartReader(bytes);
  const answer = readAnswer(part);
  part.end();
  return answer;
}

function readAnswer(part: PartReader): RingAnswer {
  const kind = part.varint();
  switch (kind) {
    case Kind.promised:
      return { kind: "promised", ballot: readBallot(part), vote: readOptional(part, readVote) };
    case Kind.accepted:
      return { kind: "accepted", ballot: readBallot(part) };
    case Kind.preempted:
      return { kind: "preempted", ballot: readBallot(part), promised: readBallot(part) };
    case Kind.decided:
      return { kind: "decided", document: readDocument(part) };
    case Kind.behind:
      return { kind: "behind", ballot: readBallot(part), version: part.varint() };
    case Kind.learned:
      return { kind: "learned", version: part.varint() };
    case Kind.refused:
      return { kind: "refused", ballot: readOptional(part, readBallot), reason: readReason(part) };
    default:
      throw corrupt(`there is no ring answer of kind ${kind}`);
  }
}

/** What an acceptor keeps on the disk: the decided document included, so that one write is all. */
export function encodeAcceptorState(state: AcceptorState): Buffer {
  return Buffer.concat([
    varint(STATE_FORMAT),
    document(state.decided),
    optional(state.promised, ballot),
    optional(state.vote, vote),
  ]);
}

export function decodeAcceptorState(bytes: Buffer): AcceptorState {
  const part = new PartReader(bytes);
  const format = part.varint();
  if (format !== STATE_FORMAT) throw corrupt(`the acceptor's state has format ${format}; this version reads ${STATE_FORMAT}`);
  const state = {
    decided: readDocument(part),
    promised: readOptional(part, readBallot),
    vote: readOptional(part, readVote),
  };
  part.end();
  return state;
}

function message(kind: keyof typeof Kind, ...parts: readonly Buffer[]): Buffer {
  return Buffer.concat([varint(Kind[kind]), ...parts]);
}

function instance({ version, baseCheck }: Instance): Buffer {
  return Buffer.concat([varint(version), varint(baseCheck)]);
}

function readInstance(part: PartReader): Instance {
  return { version: part.varint(), baseCheck: part.varint() };
}

function ballot({ counter, memberId, nonce }: Ballot): Buffer {
  return Buffer.concat([varint(counter), Buffer.from(memberId, "hex"), varint(nonce)]);
}

function readBallot(part: PartReader): Ballot {
  const counter = part.varint();
  // Whoever is told of one makes a higher one.
  if (counter === Number.MAX_SAFE_INTEGER) throw corrupt("a ballot is higher than any that is cast");
  return { counter, memberId: part.fixed(MEMBER_ID_BYTES).toString("hex"), nonce: part.varint() };
}

function document(value: RingDocument): Buffer {
  return sized(encodeRingDocument(value));
}

function readDocument(part: PartReader): RingDocument {
  return decodeRingDocument(part.sized());
}

function vote(value: Vote): Buffer {
  return Buffer.concat([ballot(value.ballot), document(value.document)]);
}

function readVote(part: PartReader): Vote {
  return { ballot: readBallot(part), document: readDocument(part) };
}

function optional<T>(value: T | null, encode: (value: T) => Buffer): Buffer {
  return value === null ? varint(0) : Buffer.concat([varint(1), encode(value)]);
}

function readOptional<T>(part: PartReader, read: (part: PartReader) => T): T | null {
  const flag = part.varint();
  if (flag > 1) throw corrupt("a flag is 0 or 1");
  return flag === 0 ? null : read(part);
}

function readReason(part: PartReader): RefusalReason {
  const number = part.varint();
  for (const reason of ["not-a-member", "foreign", "forked"] as const) if (Reason[reason] === number) return reason;
  throw corrupt(`there is no refusal ${number}`);
}

function corrupt(reason: string): OperatingError {
  return new OperatingError("CORRUPT", reason);
}
