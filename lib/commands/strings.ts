/**
 * The commands that store and fetch whole values. What they promise across nodes is the keyspace's business: a plain SET
 * supersedes whatever is there; anything with a condition or an old value in its answer is a read-modify-write.
 */
import { latin1Of } from "../bytes/latin1.js";
import { type Effect, type Entry, KEEP, REMOVE } from "../coordinator/keyspace.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { bulkAnswer, errorAnswer, NULL, OK, ONE, ZERO } from "./answer.js";
import { EXPIRY_CHOICES, KEY, oneOf, option, optional, token, VALUE } from "./argument-docs.js";
import { SYNTAX_ERROR } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { type ExpiryUnit, isPast, NEVER } from "./expire-time.js";
import { incrementCommands } from "./increments.js";
import { type Decide, keep, put, putKey, readKey, updateKey } from "./keyed.js";
import { manyStringCommands } from "./many-strings.js";
import { rangeCommands } from "./ranges.js";
import { type Expiry, parseGetexTiming, parseSetOptions, readExpiry, type SetOptions } from "./set-options.js";

const ONE_KEY = { first: 1, last: 1, step: 1 } as const;

export const stringCommands: readonly Command[] = [
  {
    name: "get",
    arity: 2,
    flags: ["readonly", "fast"],
    keys: ONE_KEY,
    since: "1.0.0",
    group: "string",
    summary: "Answers the value of a key, or nil.",
    arguments: [KEY],
    run: get,
  },
  {
    name: "set",
    arity: -3,
    flags: ["write", "denyoom"],
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "string",
    summary: "Stores a value under a key, with conditions, an expiry or a causal context where asked for.",
    arguments: [
      KEY,
      VALUE,
      optional(oneOf("condition", [token("NX"), token("XX")])),
      optional(token("GET")),
      optional(oneOf("expiration", [...EXPIRY_CHOICES, token("KEEPTTL")])),
      optional(option("CONTEXT", "context", "string")),
    ],
    run: set,
  },
  {
    name: "setex",
    arity: 4,
    flags: ["write", "denyoom"],
    keys: ONE_KEY,
    access: ["OW", "update"],
    since: "2.0.0",
    group: "string",
    summary: "Stores a value that expires after some seconds.",
    arguments: [KEY, { name: "seconds", type: "integer" }, VALUE],
    run: (context, call) => setExpiring(context, call, "EX", "setex"),
  },
  {
    name: "psetex",
    arity: 4,
    flags: ["write", "denyoom"],
    keys: ONE_KEY,
    access: ["OW", "update"],
    since: "2.6.0",
    group: "string",
    summary: "Stores a value that expires after some milliseconds.",
    arguments: [KEY, { name: "milliseconds", type: "integer" }, VALUE],
    run: (context, call) => setExpiring(context, call, "PX", "psetex"),
  },
  {
    name: "setnx",
    arity: 3,
    flags: ["write", "denyoom", "fast"],
    keys: ONE_KEY,
    access: ["OW", "insert"],
    since: "1.0.0",
    group: "string",
    summary: "Stores a value unless the key exists.",
    arguments: [KEY, VALUE],
    run: (context, call) => updateKey(context, call, decideSetnx),
  },
  {
    name: "getset",
    arity: 3,
    flags: ["write", "denyoom", "fast"],
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "string",
    summary: "Stores a value and answers the one before.",
    arguments: [KEY, VALUE],
    run: (context, call) => updateKey(context, call, decideGetset),
  },
  {
    name: "getdel",
    arity: 2,
    flags: ["write", "fast"],
    keys: ONE_KEY,
    access: ["RW", "access", "delete"],
    since: "6.2.0",
    group: "string",
    summary: "Removes a key and answers the value it had.",
    arguments: [KEY],
    run: (context, call) => updateKey(context, call, decideGetdel),
  },
  {
    name: "getex",
    arity: -2,
    flags: ["write", "fast"],
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "6.2.0",
    group: "string",
    summary: "Answers the value of a key and sets or clears its expiry.",
    arguments: [KEY, optional(oneOf("expiration", [...EXPIRY_CHOICES, token("PERSIST")]))],
    run: getex,
  },
  ...manyStringCommands,
  ...incrementCommands,
  ...rangeCommands,
];

function get(context: CommandContext, call: Call<ClientSession>): void {
  readKey(context, call, answerValue);
}

function answerValue(reply: Reply, entry: Entry | null): void {
  if (entry === null) reply.null();
  else reply.bulk(entry.value);
}

function set(context: CommandContext, call: Call<ClientSession>): void {
  if (call.args.length === 3) putKey(context, call, 2, NEVER);
  else setWithOptions(context, call);
}

function setWithOptions(context: CommandContext, call: Call<ClientSession>): void {
  const options = parseSetOptions(call.args);
  if (options === null) {
    call.reply.error(SYNTAX_ERROR);
    return;
  }
  const nowMs = context.clock.wallMs();
  const expiry = expiryOfSet(options, call.args, nowMs);
  if (expiry.error !== null) call.reply.error(expiry.error);
  else if (options.contextAt > 0) setWithContext(context, call, options.contextAt, expiry.ms);
  else if (options.condition === "none" && options.answers === "ok" && options.timing.kind !== "keep") {
    // An expiry that has passed is stored too: it supersedes what is there, and what it stores is a tombstone.
    putKey(context, call, 2, expiry.ms);
  } else updateKey(context, call, decideSet(options, expiry.ms, nowMs));
}

function expiryOfSet(options: SetOptions, args: readonly Buffer[], nowMs: number): Expiry {
  const { timing } = options;
  if (timing.kind !== "amount") return { ms: NEVER, error: null };
  return readExpiry(args[timing.at]!, timing.unit, nowMs, "set");
}

function setWithContext(context: CommandContext, call: Call<ClientSession>, contextAt: number, expiryMs: number): void {
  const { keyspace } = context;
  const { scope } = call.session;
  call.later(async (reply, args) => {
    await keyspace.putWithContext(scope, args[1]!, args[2]!, expiryMs, latin1Of(args[contextAt]!));
    reply.ok();
  });
}

function decideSet(options: SetOptions, expiryMs: number, nowMs: number): Decide {
  return (entry, args) => {
    const isAllowed = options.condition === "none" || (options.condition === "absent" ? entry === null : entry !== null);
    const old = bulkAnswer(entry?.value ?? null);
    if (!isAllowed) return keep(options.answers === "old value" ? old : NULL);
    const answer = options.answers === "old value" ? old : OK;
    if (options.timing.kind === "keep") return put(args[2]!, entry?.expiryMs ?? NEVER, answer);
    if (expiryMs !== NEVER && isPast(expiryMs, nowMs)) return { effect: removalOf(entry), answer };
    return put(args[2]!, expiryMs, answer);
  };
}

function setExpiring(context: CommandContext, call: Call<ClientSession>, unit: ExpiryUnit, command: string): void {
  const expiry = readExpiry(call.args[2]!, unit, context.clock.wallMs(), command);
  if (expiry.error === null) putKey(context, call, 3, expiry.ms);
  else call.reply.error(expiry.error);
}

const decideSetnx: Decide = (entry, args) => (entry === null ? put(args[2]!, NEVER, ONE) : keep(ZERO));

const decideGetset: Decide = (entry, args) => put(args[2]!, NEVER, bulkAnswer(entry?.value ?? null));

const decideGetdel: Decide = (entry) => ({ effect: removalOf(entry), answer: bulkAnswer(entry?.value ?? null) });

function getex(context: CommandContext, call: Call<ClientSession>): void {
  const timing = parseGetexTiming(call.args);
  if (timing === null) call.reply.error(SYNTAX_ERROR);
  else if (timing.kind === "unsaid") readKey(context, call, answerValue);
  else {
    const nowMs = context.clock.wallMs();
    updateKey(context, call, (entry, args) => {
      // As in Redis, a missing key is answered before the amount is looked at.
      if (entry === null) return keep(NULL);
      const answer = bulkAnswer(entry.value);
      if (timing.kind !== "amount") return entry.expiryMs === NEVER ? keep(answer) : put(entry.value, NEVER, answer);
      const expiry = readExpiry(args[timing.at]!, timing.unit, nowMs, "getex");
      if (expiry.error !== null) return keep(errorAnswer(expiry.error));
      return isPast(expiry.ms, nowMs) ? { effect: REMOVE, answer } : put(entry.value, expiry.ms, answer);
    });
  }
}

function removalOf(entry: Entry | null): Effect {
  return entry === null ? KEEP : REMOVE;
}
