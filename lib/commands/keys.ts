/**
 * The commands on keys whatever their values: removing, counting, naming, moving. Several keys of one command are
 * operated on one by one, each with its own quorum; only those that move a value are one step over two keys.
 */
import { type Effect, type Entry, KEEP, NOT_IN_MEMORY, REMOVE, type Scope } from "../coordinator/keyspace.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { type Answer, DATABASE_OUT_OF_RANGE, errorAnswer, OK, ONE, SAME_OBJECT, writeAnswer, ZERO } from "./answer.js";
import { KEY, KEYS, option, optional, token } from "./argument-docs.js";
import { NOT_AN_INTEGER, SYNTAX_ERROR, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { DATABASES } from "./command-settings.js";
import { parseIntegerBytes } from "./integer.js";
import { keyByKey } from "./key-by-key.js";
import { readKey, readKeys, updateKeys } from "./keyed.js";
import { objectCommand } from "./object.js";
import { scanCommands } from "./scan.js";

const ONE_KEY = { first: 1, last: 1, step: 1 } as const;
const TWO_KEYS = { first: 1, last: 2, step: 1 } as const;
const ALL_KEYS = { first: 1, last: -1, step: 1 } as const;
const RENAME_ARGUMENTS = [KEY, { name: "newkey", type: "key" }] as const;

const NO_SUCH_KEY = errorAnswer("ERR no such key");

export const keyCommands: readonly Command[] = [
  {
    name: "del",
    arity: -2,
    flags: ["write"],
    keys: ALL_KEYS,
    access: ["RM", "delete"],
    since: "1.0.0",
    group: "generic",
    summary: "Removes keys, each by itself, and answers how many there were.",
    complexity: "O(N) in the number of keys",
    arguments: [KEYS],
    run: remove,
  },
  {
    name: "unlink",
    arity: -2,
    flags: ["write", "fast"],
    keys: ALL_KEYS,
    access: ["RM", "delete"],
    since: "4.0.0",
    group: "generic",
    summary: "The same as DEL: space is always given back in the background.",
    complexity: "O(N) in the number of keys",
    arguments: [KEYS],
    run: remove,
  },
  {
    name: "exists",
    arity: -2,
    flags: ["readonly", "fast"],
    keys: ALL_KEYS,
    access: ["RO"],
    since: "1.0.0",
    group: "generic",
    summary: "Answers how many of the named keys exist; one named twice counts twice.",
    complexity: "O(N) in the number of keys",
    arguments: [KEYS],
    run: countPresent,
  },
  {
    name: "touch",
    arity: -2,
    flags: ["readonly", "fast"],
    keys: ALL_KEYS,
    access: ["RO"],
    since: "3.2.1",
    group: "generic",
    summary: "Answers how many of the named keys exist; OBJECT IDLETIME counts from now, while we remember it.",
    complexity: "O(N) in the number of keys",
    arguments: [KEYS],
    run: touch,
  },
  {
    name: "type",
    arity: 2,
    flags: ["readonly", "fast"],
    keys: ONE_KEY,
    access: ["RO"],
    since: "1.0.0",
    group: "generic",
    summary: "Answers the type of the value at a key, or none.",
    arguments: [KEY],
    run: (context, call) => readKey(context, call, answerType),
  },
  {
    name: "rename",
    arity: 3,
    flags: ["write"],
    keys: TWO_KEYS,
    since: "1.0.0",
    group: "generic",
    summary: "Moves a value and its expiry to another key, over what is there.",
    arguments: RENAME_ARGUMENTS,
    run: (context, call) => rename(context, call, { over: "anything", done: OK, refused: OK }),
  },
  {
    name: "renamenx",
    arity: 3,
    flags: ["write", "fast"],
    keys: TWO_KEYS,
    since: "1.0.0",
    group: "generic",
    summary: "Moves a value and its expiry to another key unless that exists.",
    arguments: RENAME_ARGUMENTS,
    run: (context, call) => rename(context, call, { over: "nothing", done: ONE, refused: ZERO }),
  },
  {
    name: "copy",
    arity: -3,
    flags: ["write", "denyoom"],
    keys: TWO_KEYS,
    since: "6.2.0",
    group: "generic",
    summary: "Copies a value and its expiry to another key.",
    arguments: [
      { name: "source", type: "key" },
      { name: "destination", type: "key" },
      optional(option("DB", "destination-db", "integer")),
      optional(token("REPLACE")),
    ],
    run: copy,
  },
  {
    name: "move",
    arity: 3,
    flags: ["write", "fast"],
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "generic",
    summary: "Moves a key to another database unless it exists there.",
    arguments: [KEY, { name: "db", type: "integer" }],
    run: move,
  },
  ...scanCommands,
  objectCommand,
];

function remove(context: CommandContext, call: Call<ClientSession>): void {
  const { keyspace } = context;
  const { args } = call;
  const { scope } = call.session;
  let removed = 0;
  for (let at = 1; at < args.length; at++) {
    const outcome = keyspace.tryRemove(scope, args[at]!);
    if (outcome === NOT_IN_MEMORY) {
      call.later(async (reply, copies) => {
        // The keys before it were removed within the call.
        const committed = at > 1 ? keyspace.committed().then(() => false) : Promise.resolve(false);
        const removals = copies.slice(at).map((key) => keyspace.remove(scope, key));
        const outcomes = await keyByKey(copies.length - 1, [...removals, committed]);
        reply.integer(removed + outcomes.filter((wasLive) => wasLive).length);
      });
      return;
    }
    if (outcome) removed++;
  }
  call.reply.integer(removed);
}

function countPresent(context: CommandContext, call: Call<ClientSession>): void {
  let present = 0;
  readKeys(context, call, {
    first: 1,
    end: call.args.length,
    pick: (entry) => {
      if (entry !== null) present++;
    },
    answer: (reply) => reply.integer(present),
  });
}

function touch(context: CommandContext, call: Call<ClientSession>): void {
  const { clock, touches } = context;
  const { database } = call.session.scope;
  const nowMs = clock.wallMs();
  for (let at = 1; at < call.args.length; at++) touches.note(database, call.args[at]!, nowMs);
  countPresent(context, call);
}

function answerType(reply: Reply, entry: Entry | null): void {
  reply.simple(entry === null ? "none" : "string");
}

/** How a value goes from one key to another. */
interface Transfer {
  readonly from: { readonly scope: Scope; readonly key: Uint8Array };
  readonly to: { readonly scope: Scope; readonly key: Uint8Array };
  readonly source: "kept" | "removed";
  /** What may be at the destination. */
  readonly over: "anything" | "nothing";
  readonly done: Answer;
  readonly refused: Answer;
  readonly missing: Answer;
}

/** The destination comes first, so that a value too large for its new key is refused before the old one is removed. */
function transfer(context: CommandContext, call: Call<ClientSession>, plan: (args: readonly Buffer[]) => Transfer): void {
  updateKeys(context, call, (args) => {
    const { from, to, source, over, done, refused, missing } = plan(args);
    return {
      targets: [to, from],
      decide: ([there = null, here = null]) => {
        if (here === null) return { effects: [KEEP, KEEP], answer: missing };
        if (there !== null && over === "nothing") return { effects: [KEEP, KEEP], answer: refused };
        const arrival: Effect = { kind: "put", value: here.value, expiryMs: here.expiryMs };
        return { effects: [arrival, source === "kept" ? KEEP : REMOVE], answer: done };
      },
    };
  });
}

function rename(
  context: CommandContext,
  call: Call<ClientSession>,
  outcome: { readonly over: Transfer["over"]; readonly done: Answer; readonly refused: Answer },
): void {
  if (call.args[1]!.equals(call.args[2]!)) {
    readKey(context, call, (reply, entry) => writeAnswer(reply, entry === null ? NO_SUCH_KEY : outcome.refused));
    return;
  }
  const { scope } = call.session;
  transfer(context, call, (args) => ({
    ...outcome,
    from: { scope, key: args[1]! },
    to: { scope, key: args[2]! },
    source: "removed",
    missing: NO_SUCH_KEY,
  }));
}

function copy(context: CommandContext, call: Call<ClientSession>): void {
  const { args, reply } = call;
  const { scope } = call.session;
  let { database } = scope;
  let over: Transfer["over"] = "nothing";
  for (let at = 3; at < args.length; at++) {
    const word = wordOf(args[at]!);
    if (word === "REPLACE") over = "anything";
    else if (word === "DB" && at + 1 < args.length) {
      const parsed = parseDatabase(args[++at]!);
      if (typeof parsed === "string") {
        reply.error(parsed);
        return;
      }
      database = parsed;
    } else {
      reply.error(SYNTAX_ERROR);
      return;
    }
  }
  if (database === scope.database && args[1]!.equals(args[2]!)) {
    reply.error(SAME_OBJECT);
    return;
  }
  transfer(context, call, (copies) => ({
    from: { scope, key: copies[1]! },
    to: { scope: { ...scope, database }, key: copies[2]! },
    source: "kept",
    over,
    done: ONE,
    refused: ZERO,
    missing: ZERO,
  }));
}

function move(context: CommandContext, call: Call<ClientSession>): void {
  const { scope } = call.session;
  const database = parseDatabase(call.args[2]!);
  if (typeof database === "string") call.reply.error(database);
  else if (database === scope.database) call.reply.error(SAME_OBJECT);
  else {
    transfer(context, call, (args) => ({
      from: { scope, key: args[1]! },
      to: { scope: { ...scope, database }, key: args[1]! },
      source: "removed",
      over: "nothing",
      done: ONE,
      refused: ZERO,
      missing: ZERO,
    }));
  }
}

/** The number of a database, or the text of the error; Redis tells three mistakes apart. */
function parseDatabase(argument: Uint8Array): number | string {
  const number = parseIntegerBytes(argument);
  if (number === null) return NOT_AN_INTEGER;
  if (number < -(2 ** 31) || number >= 2 ** 31) {
    return "ERR value is out of range, value must between -2147483648 and 2147483647";
  }
  return number >= 0 && number < DATABASES ? Number(number) : DATABASE_OUT_OF_RANGE;
}
