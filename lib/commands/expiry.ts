/**
 * The commands that set, clear and tell the expiry of a key. A new expiry is a new version of the value, computed from
 * the one that was read; an expiry that has passed removes the key.
 */
import { latin1Of } from "../bytes/latin1.js";
import { REMOVE } from "../coordinator/keyspace.js";
import type { Call } from "../resp/call.js";
import { invalidExpiry, ONE, ZERO } from "./answer.js";
import { KEY, oneOf, optional, token } from "./argument-docs.js";
import { NOT_AN_INTEGER, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { ArgumentDoc, Command, CommandContext } from "./command.js";
import { type ExpiryUnit, expiryMsOf, isPast, NEVER } from "./expire-time.js";
import { parseIntegerBytes } from "./integer.js";
import { type Decide, keep, put, readKey, updateKey } from "./keyed.js";

const ONE_KEY = { first: 1, last: 1, step: 1 } as const;
const CONDITION = optional(oneOf("condition", [token("NX"), token("XX"), token("GT"), token("LT")]));

export const expiryCommands: readonly Command[] = [
  {
    ...expireCommand("expire", "EX", { name: "seconds", type: "integer" }),
    since: "1.0.0",
    summary: "Lets a key expire after some seconds.",
  },
  {
    ...expireCommand("pexpire", "PX", { name: "milliseconds", type: "integer" }),
    since: "2.6.0",
    summary: "Lets a key expire after some milliseconds.",
  },
  {
    ...expireCommand("expireat", "EXAT", { name: "unix-time-seconds", type: "unix-time" }),
    since: "1.2.0",
    summary: "Lets a key expire at a Unix time in seconds.",
  },
  {
    ...expireCommand("pexpireat", "PXAT", { name: "unix-time-milliseconds", type: "unix-time" }),
    since: "2.6.0",
    summary: "Lets a key expire at a Unix time in milliseconds.",
  },
  {
    ...timeCommand("ttl", (expiryMs, nowMs) => roundedSeconds(remaining(expiryMs, nowMs))),
    since: "1.0.0",
    summary: "Answers the seconds until a key expires, -1 if it does not, -2 if there is none.",
  },
  {
    ...timeCommand("pttl", remaining),
    since: "2.6.0",
    summary: "Answers the milliseconds until a key expires, -1 if it does not, -2 if there is none.",
  },
  {
    ...timeCommand("expiretime", roundedSeconds),
    since: "7.0.0",
    summary: "Answers the Unix time in seconds at which a key expires, -1 if it does not, -2 if there is none.",
  },
  {
    ...timeCommand("pexpiretime", (expiryMs) => expiryMs),
    since: "7.0.0",
    summary: "Answers the Unix time in milliseconds at which a key expires, -1 if it does not, -2 if there is none.",
  },
  {
    name: "persist",
    arity: 2,
    flags: ["write", "fast"],
    keys: ONE_KEY,
    since: "2.2.0",
    group: "generic",
    summary: "Clears the expiry of a key.",
    arguments: [KEY],
    run: (context, call) => updateKey(context, call, decidePersist),
  },
];

type Family = Omit<Command, "since" | "summary">;

function expireCommand(name: string, unit: ExpiryUnit, time: ArgumentDoc): Family {
  return {
    name,
    arity: -3,
    flags: ["write", "fast"],
    keys: ONE_KEY,
    group: "generic",
    arguments: [KEY, time, CONDITION],
    run: (context, call) => expire(context, call, unit, name),
  };
}

function timeCommand(name: string, timeOf: (expiryMs: number, nowMs: number) => number): Family {
  return {
    name,
    arity: 2,
    flags: ["readonly", "fast"],
    keys: ONE_KEY,
    group: "generic",
    arguments: [KEY],
    run: (context, call) => {
      readKey(context, call, (reply, entry) => {
        if (entry === null) reply.integer(-2);
        else reply.integer(entry.expiryMs === NEVER ? -1 : timeOf(entry.expiryMs, context.clock.wallMs()));
      });
    },
  };
}

function remaining(expiryMs: number, nowMs: number): number {
  return Math.max(expiryMs - nowMs, 0);
}

function roundedSeconds(ms: number): number {
  return Math.floor((ms + 500) / 1_000);
}

function expire(context: CommandContext, call: Call<ClientSession>, unit: ExpiryUnit, command: string): void {
  const conditions = parseConditions(call.args);
  if (typeof conditions === "string") {
    call.reply.error(conditions);
    return;
  }
  const amount = parseIntegerBytes(call.args[2]!);
  if (amount === null) {
    call.reply.error(NOT_AN_INTEGER);
    return;
  }
  const nowMs = context.clock.wallMs();
  const expiryMs = expiryMsOf(amount, unit, nowMs);
  if (expiryMs === null) call.reply.error(invalidExpiry(command));
  else updateKey(context, call, expiringAt(expiryMs, conditions, nowMs));
}

/** The conditions from `args[3]` on, or the text of the error. */
function parseConditions(args: readonly Buffer[]): ReadonlySet<string> | string {
  const conditions = new Set<string>();
  for (let at = 3; at < args.length; at++) {
    const word = wordOf(args[at]!);
    if (word !== "NX" && word !== "XX" && word !== "GT" && word !== "LT") {
      return `ERR Unsupported option ${latin1Of(args[at]!)}`;
    }
    conditions.add(word);
  }
  if (conditions.has("NX") && conditions.size > 1) {
    return "ERR NX and XX, GT or LT options at the same time are not compatible";
  }
  if (conditions.has("GT") && conditions.has("LT")) {
    return "ERR GT and LT options at the same time are not compatible";
  }
  return conditions;
}

function expiringAt(expiryMs: number, conditions: ReadonlySet<string>, nowMs: number): Decide {
  return (entry) => {
    if (entry === null || !isMet(conditions, entry.expiryMs, expiryMs)) return keep(ZERO);
    return isPast(expiryMs, nowMs) ? { effect: REMOVE, answer: ONE } : put(entry.value, expiryMs, ONE);
  };
}

/** A key that does not expire counts as expiring later than any other. */
function isMet(conditions: ReadonlySet<string>, currentMs: number, wantedMs: number): boolean {
  const isExpiring = currentMs !== NEVER;
  if (conditions.has("NX") && isExpiring) return false;
  if (conditions.has("XX") && !isExpiring) return false;
  if (conditions.has("GT") && (!isExpiring || wantedMs <= currentMs)) return false;
  return !(conditions.has("LT") && isExpiring && wantedMs >= currentMs);
}

const decidePersist: Decide = (entry) =>
  entry === null || entry.expiryMs === NEVER ? keep(ZERO) : put(entry.value, NEVER, ONE);
