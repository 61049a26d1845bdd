/**
 * What a command answers, as a value: a command that reads and writes a key decides first and answers only once its
 * effect is stored, because storing may fail. Holds the error texts that several families share, in Redis's words.
 */
import { unreachable } from "../assert.js";
import type { Reply } from "../resp/reply.js";
import type { Int64 } from "./integer.js";

export type Answer =
  | { readonly kind: "ok" }
  | { readonly kind: "null" }
  | { readonly kind: "integer"; readonly value: Int64 }
  /** Latin1. */
  | { readonly kind: "bulk"; readonly value: string }
  /** `text` starts with its code. */
  | { readonly kind: "error"; readonly text: string };

export const OK: Answer = { kind: "ok" };
export const NULL: Answer = { kind: "null" };
export const ZERO: Answer = { kind: "integer", value: 0 };
export const ONE: Answer = { kind: "integer", value: 1 };

export const DATABASE_OUT_OF_RANGE = "ERR DB index is out of range";
export const SAME_OBJECT = "ERR source and destination objects are the same";
export const STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";

/** Longest value that a command builds: the longest string of the runtime, 24 bytes less than Redis's 512 MB. */
export const STRING_BYTES_MAX = 2 ** 29 - 24;

/** Largest answer that is put together from many keys; half of the longest string of the runtime. */
export const REPLY_BYTES_MAX = 2 ** 28;

export function integerAnswer(value: Int64): Answer {
  return { kind: "integer", value };
}

export function errorAnswer(text: string): Answer {
  return { kind: "error", text };
}

/** A value, or null for its absence. */
export function bulkAnswer(value: string | null): Answer {
  return value === null ? NULL : { kind: "bulk", value };
}

export function writeAnswer(reply: Reply, answer: Answer): void {
  switch (answer.kind) {
    case "ok":
      reply.ok();
      break;
    case "null":
      reply.null();
      break;
    case "integer":
      reply.integer(answer.value);
      break;
    case "bulk":
      reply.bulk(answer.value);
      break;
    case "error":
      reply.error(answer.text);
      break;
    default:
      unreachable(answer);
  }
}

export function invalidExpiry(command: string): string {
  return `ERR invalid expire time in '${command}' command`;
}

export function wrongNumberOfArguments(command: string): string {
  return `ERR wrong number of arguments for '${command}' command`;
}
