/**
 * The options of SET and GETEX. Any order and any case; an option given twice counts once, its last argument wins; two
 * different times, or two conditions, contradict each other. Parsing finds positions and leaves arguments unread: Redis
 * reports contradictions before it looks at numbers. Pure.
 */
import { invalidExpiry } from "./answer.js";
import { NOT_AN_INTEGER, wordOf } from "./arguments.js";
import { type ExpiryUnit, futureExpiryMsOf } from "./expire-time.js";
import { parseIntegerBytes } from "./integer.js";

/** When the value will expire; `at` is the position of the amount. */
export type Timing =
  | { readonly kind: "unsaid" }
  /** KEEPTTL. */
  | { readonly kind: "keep" }
  /** PERSIST. */
  | { readonly kind: "persist" }
  | { readonly kind: "amount"; readonly unit: ExpiryUnit; readonly at: number };

const UNSAID: Timing = { kind: "unsaid" };

export interface SetOptions {
  readonly timing: Timing;
  /** Whether the key must be absent (NX) or present (XX). */
  readonly condition: "none" | "absent" | "present";
  /** What is answered: OK, or the value before (GET). */
  readonly answers: "ok" | "old value";
  /** The position of the context after CONTEXT, or 0. */
  readonly contextAt: number;
}

/** The options of SET from `args[3]` on, or null where they are no options or contradict each other. */
export function parseSetOptions(args: readonly Buffer[]): SetOptions | null {
  let timing = UNSAID;
  let condition: SetOptions["condition"] = "none";
  let answers: SetOptions["answers"] = "ok";
  let contextAt = 0;
  for (let at = 3; at < args.length; at++) {
    const word = wordOf(args[at]!);
    switch (word) {
      case "NX":
        if (condition === "present") return null;
        condition = "absent";
        break;
      case "XX":
        if (condition === "absent") return null;
        condition = "present";
        break;
      case "GET":
        answers = "old value";
        break;
      case "CONTEXT":
        contextAt = ++at;
        break;
      default: {
        const next = word === "PERSIST" ? null : nextTiming(timing, word, at);
        if (next === null) return null;
        if (next.kind === "amount") at++;
        timing = next;
      }
    }
    // An option that takes an argument may not be the last word.
    if (at >= args.length) return null;
  }
  const readsFirst = condition !== "none" || answers === "old value" || timing.kind === "keep";
  return contextAt > 0 && readsFirst ? null : { timing, condition, answers, contextAt };
}

/** The option of GETEX from `args[2]` on, or null where it is none or there are different ones. */
export function parseGetexTiming(args: readonly Buffer[]): Timing | null {
  let timing = UNSAID;
  for (let at = 2; at < args.length; at++) {
    const word = wordOf(args[at]!);
    const next = word === "KEEPTTL" ? null : nextTiming(timing, word, at);
    if (next === null) return null;
    if (next.kind === "amount") at++;
    if (at >= args.length) return null;
    timing = next;
  }
  return timing;
}

/** An expiry in Unix milliseconds, or the text of the error. */
export type Expiry = { readonly ms: number; readonly error: null } | { readonly ms: null; readonly error: string };

/** The expiry that an argument of `command` (lower case) names; it must be positive, not in the future. */
export function readExpiry(argument: Uint8Array, unit: ExpiryUnit, nowMs: number, command: string): Expiry {
  const amount = parseIntegerBytes(argument);
  if (amount === null) return { ms: null, error: NOT_AN_INTEGER };
  const ms = futureExpiryMsOf(amount, unit, nowMs);
  return ms === null ? { ms, error: invalidExpiry(command) } : { ms, error: null };
}

/** What the word at `at` makes of the timing so far; null when it is no time option or contradicts it. */
function nextTiming(timing: Timing, word: string, at: number): Timing | null {
  switch (word) {
    case "KEEPTTL":
      return timing.kind === "unsaid" || timing.kind === "keep" ? { kind: "keep" } : null;
    case "PERSIST":
      return timing.kind === "unsaid" || timing.kind === "persist" ? { kind: "persist" } : null;
    case "EX":
    case "PX":
    case "EXAT":
    case "PXAT": {
      const isSameUnit = timing.kind === "amount" && timing.unit === word;
      return timing.kind === "unsaid" || isSameUnit ? { kind: "amount", unit: word, at: at + 1 } : null;
    }
    default:
      return null;
  }
}
