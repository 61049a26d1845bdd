/** Why a call to a peer has no answer. */
import { type ErrorCode, OperatingError } from "../errors.js";

/**
 * - `BUSY`: a bound on calls, bytes or handlers was reached, here or there; it was not run.
 * - `LATE`: it reached the peer after its deadline, and was not run (or its handler says so).
 * - `TOO_LARGE`: the payload is above `frameBytesMax` of one side and was not run; or its answer is, and it was.
 * - `NO_HANDLER`: the peer does not know this kind of call, being of an older version; it was not run.
 * - `FAILED`: the handler refused, in its own words.
 * - `UNAVAILABLE`: no link, so not sent; or the link broke, and then IT MAY HAVE TAKEN EFFECT.
 * - `TIMEOUT`: no answer by the deadline; IT MAY HAVE TAKEN EFFECT.
 */
export type PeerFailureCode = "BUSY" | "LATE" | "TOO_LARGE" | "NO_HANDLER" | "FAILED" | "UNAVAILABLE" | "TIMEOUT";

/** What a peer may answer instead of an answer. Numbers on the wire: append, never reuse. */
const WIRE_CODES = ["BUSY", "LATE", "TOO_LARGE", "NO_HANDLER", "FAILED"] as const;
export type RefusalCode = (typeof WIRE_CODES)[number];

/** From 1. */
export function wireCodeOf(code: RefusalCode): number {
  return WIRE_CODES.indexOf(code) + 1;
}

/** Codes of later versions count as `FAILED`. */
export function refusalOf(wireCode: number): RefusalCode {
  return WIRE_CODES[wireCode - 1] ?? "FAILED";
}

const ERROR_CODES: Readonly<Record<PeerFailureCode, ErrorCode>> = {
  BUSY: "BUSY",
  LATE: "TIMEOUT",
  TOO_LARGE: "ARGUMENT",
  NO_HANDLER: "ARGUMENT",
  FAILED: "UNAVAILABLE",
  UNAVAILABLE: "UNAVAILABLE",
  TIMEOUT: "TIMEOUT",
};

/** What `call` rejects with. */
export class PeerCallError extends OperatingError {
  readonly failure: PeerFailureCode;
  /** For people, without which call it was. */
  readonly reason: string;

  constructor(failure: PeerFailureCode, call: string, reason: string) {
    super(ERROR_CODES[failure], `${call}: ${reason}`);
    this.failure = failure;
    this.reason = reason;
  }
}

/** What `dial` rejects with: the other side, or this one, will not have the link. */
export class PeerRefusal extends OperatingError {
  readonly reason: RefusalReason;
  /** Who will not have it. Where that is the other side, nothing proves that it is who it says. */
  readonly by: "us" | "them";

  constructor(reason: RefusalReason, message: string, by: "us" | "them") {
    super("UNAVAILABLE", message);
    this.reason = reason;
    this.by = by;
  }
}

/** Why a hello was refused. Numbers on the wire: append, never reuse. */
const REASONS = ["protocol", "secret", "self", "settings", "full", "address", "twin", "removed", "past"] as const;
/**
 * `protocol`: no common version. `self`: the node dialled itself. `settings`: the owner's `admit`. `address`: another peer is
 * there. `twin`: another process with this identity is linked, and lives. `removed`: the owner's `admit`, of one that was a peer.
 * `past`: the owner's `admit`, of one whose store is of a time before its last run.
 */
export type RefusalReason = (typeof REASONS)[number];

export function wireReasonOf(reason: RefusalReason): number {
  return REASONS.indexOf(reason) + 1;
}

export function reasonOf(wireReason: number): RefusalReason {
  return REASONS[wireReason - 1] ?? "settings";
}
