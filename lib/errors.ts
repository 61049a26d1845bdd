/**
 * Failures that a running system must expect: bad input, full disks, silent peers. Codes are part of the interface.
 * Absence is `null` and the outcome of a quorum is a value; neither is an error.
 */

/** Numbers and names here are API: log searches and tests rely on them. Append, never rename. */
export type ErrorCode =
  /** The disk refused or failed; reads of what is stored go on. */
  | "IO"
  /** Stored bytes are not what was written. */
  | "CORRUPT"
  /** Another process holds the data directory. */
  | "LOCKED"
  /** A setting is unknown, malformed or out of range. */
  | "CONFIG"
  /** An argument of a request is malformed or out of range. */
  | "ARGUMENT"
  /** A bound on queued work is reached; the request was not run. */
  | "BUSY"
  /** A deadline passed. */
  | "TIMEOUT"
  /** The component is stopping or was stopped. */
  | "CLOSED"
  /** A file or address is in use, missing or not permitted. */
  | "UNAVAILABLE"
  /** Too few replicas answered. */
  | "QUORUM"
  /** A key has siblings and the connection asked to be told (`CONSISTENCY CONFLICTS ERROR`). */
  | "CONFLICT";

/** An expected failure. `message` tells a person what was asked, what the limit was and what to change. */
export class OperatingError extends Error {
  override readonly name = "OperatingError";
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** A value that a setting cannot have. The message is for people, `redisReason` what Redis says of such a value. */
export class RefusedValue extends OperatingError {
  readonly redisReason: string;

  constructor(message: string, redisReason: string) {
    super("CONFIG", message);
    this.redisReason = redisReason;
  }
}

/** The message of anything thrown, for logs and replies. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
