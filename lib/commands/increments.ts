/** The commands that count: a value that reads as a number is read, changed and stored in one step; its expiry stays. */
import { latin1Of } from "../bytes/latin1.js";
import type { Call } from "../resp/call.js";
import { errorAnswer, integerAnswer } from "./answer.js";
import { KEY } from "./argument-docs.js";
import { NOT_AN_INTEGER } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { addDecimals, formatDecimal, parseDecimal } from "./decimal.js";
import { NEVER } from "./expire-time.js";
import { addInt64, INT64_MIN, type Int64, parseInteger, parseIntegerBytes } from "./integer.js";
import { type Decide, type Decision, keep, put, updateKey } from "./keyed.js";

const ONE_KEY = { first: 1, last: 1, step: 1 } as const;
const FLAGS = ["write", "denyoom", "fast"] as const;

const OVERFLOW = keep(errorAnswer("ERR increment or decrement would overflow"));
const NO_INTEGER = keep(errorAnswer(NOT_AN_INTEGER));
const NO_FLOAT = keep(errorAnswer("ERR value is not a valid float"));
const NO_FINITE_SUM = keep(errorAnswer("ERR increment would produce NaN or Infinity"));

export const incrementCommands: readonly Command[] = [
  {
    name: "incr",
    arity: 2,
    flags: FLAGS,
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "string",
    summary: "Adds one to the integer at a key; a missing key counts as 0.",
    arguments: [KEY],
    run: (context, call) => updateKey(context, call, addingOne),
  },
  {
    name: "decr",
    arity: 2,
    flags: FLAGS,
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "string",
    summary: "Subtracts one from the integer at a key; a missing key counts as 0.",
    arguments: [KEY],
    run: (context, call) => updateKey(context, call, subtractingOne),
  },
  {
    name: "incrby",
    arity: 3,
    flags: FLAGS,
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "string",
    summary: "Adds an integer to the one at a key; a missing key counts as 0.",
    arguments: [KEY, { name: "increment", type: "integer" }],
    run: incrby,
  },
  {
    name: "decrby",
    arity: 3,
    flags: FLAGS,
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "1.0.0",
    group: "string",
    summary: "Subtracts an integer from the one at a key; a missing key counts as 0.",
    arguments: [KEY, { name: "decrement", type: "integer" }],
    run: decrby,
  },
  {
    name: "incrbyfloat",
    arity: 3,
    flags: FLAGS,
    keys: ONE_KEY,
    access: ["RW", "access", "update"],
    since: "2.6.0",
    group: "string",
    summary: "Adds a decimal number to the one at a key, exactly; a missing key counts as 0.",
    arguments: [KEY, { name: "increment", type: "double" }],
    run: (context, call) => updateKey(context, call, decideIncrbyfloat),
  },
];

const addingOne = adding(1);
const subtractingOne = adding(-1);

function adding(increment: Int64): Decide {
  return (entry): Decision => {
    const value = entry === null ? 0 : parseInteger(entry.value);
    if (value === null) return NO_INTEGER;
    const sum = addInt64(value, increment);
    return sum === null ? OVERFLOW : put(String(sum), entry?.expiryMs ?? NEVER, integerAnswer(sum));
  };
}

function incrby(context: CommandContext, call: Call<ClientSession>): void {
  const increment = parseIntegerBytes(call.args[2]!);
  if (increment === null) call.reply.error(NOT_AN_INTEGER);
  else updateKey(context, call, adding(increment));
}

function decrby(context: CommandContext, call: Call<ClientSession>): void {
  const decrement = parseIntegerBytes(call.args[2]!);
  if (decrement === null) call.reply.error(NOT_AN_INTEGER);
  else if (decrement === INT64_MIN) call.reply.error("ERR decrement would overflow");
  else updateKey(context, call, adding(-decrement));
}

const decideIncrbyfloat: Decide = (entry, args) => {
  const value = parseDecimal(entry?.value ?? "0");
  const increment = parseDecimal(latin1Of(args[2]!));
  if (value === null || increment === null) return NO_FLOAT;
  if (value === "infinite" || increment === "infinite") return NO_FINITE_SUM;
  const sum = formatDecimal(addDecimals(value, increment));
  return sum === null ? NO_FINITE_SUM : put(sum, entry?.expiryMs ?? NEVER, { kind: "bulk", value: sum });
};
