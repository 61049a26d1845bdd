/**
 * The commands that look into a value or change a part of it, and LCS, which compares two. Positions count bytes from 0,
 * negative ones from the end.
 */
import { latin1Of } from "../bytes/latin1.js";
import type { Entry } from "../coordinator/keyspace.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { errorAnswer, integerAnswer, STRING_BYTES_MAX, STRING_TOO_LONG, ZERO } from "./answer.js";
import { KEY, option, optional, token, VALUE } from "./argument-docs.js";
import { NOT_AN_INTEGER, SYNTAX_ERROR, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { NEVER } from "./expire-time.js";
import { parseIntegerBytes } from "./integer.js";
import { type Decide, keep, put, readKey, readKeys, updateKey } from "./keyed.js";
import { LCS_CELLS_MAX, lcsLength, lcsRuns, textOfRuns } from "./lcs.js";

const ONE_KEY = { first: 1, last: 1, step: 1 } as const;
const START_AND_END = [
  { name: "start", type: "integer" },
  { name: "end", type: "integer" },
] as const;

const TOO_LONG = keep(errorAnswer(STRING_TOO_LONG));

export const rangeCommands: readonly Command[] = [
  {
    name: "append",
    arity: 3,
    flags: ["write", "denyoom", "fast"],
    keys: ONE_KEY,
    access: ["RW", "insert"],
    since: "2.0.0",
    group: "string",
    summary: "Puts bytes behind the value of a key, which begins empty, and answers the new length.",
    complexity: "O(N) in the length of the value",
    arguments: [KEY, VALUE],
    run: (context, call) => updateKey(context, call, decideAppend),
  },
  {
    name: "strlen",
    arity: 2,
    flags: ["readonly", "fast"],
    keys: ONE_KEY,
    access: ["RO"],
    since: "2.2.0",
    group: "string",
    summary: "Answers the length of a value in bytes, 0 for a missing key.",
    arguments: [KEY],
    run: (context, call) => readKey(context, call, answerLength),
  },
  {
    name: "getrange",
    arity: 4,
    flags: ["readonly"],
    keys: ONE_KEY,
    since: "2.4.0",
    group: "string",
    summary: "Answers a part of a value, both ends included.",
    complexity: "O(N) in the length of the answer",
    arguments: [KEY, ...START_AND_END],
    run: getrange,
  },
  {
    name: "substr",
    arity: 4,
    flags: ["readonly"],
    keys: ONE_KEY,
    since: "1.0.0",
    group: "string",
    summary: "The old name of GETRANGE.",
    complexity: "O(N) in the length of the answer",
    arguments: [KEY, ...START_AND_END],
    run: getrange,
  },
  {
    name: "setrange",
    arity: 4,
    flags: ["write", "denyoom"],
    keys: ONE_KEY,
    since: "2.2.0",
    group: "string",
    summary: "Overwrites a value from a position on, filling a gap with zero bytes, and answers the new length.",
    complexity: "O(N) in the length of the value",
    arguments: [KEY, { name: "offset", type: "integer" }, VALUE],
    run: setrange,
  },
  {
    name: "lcs",
    arity: -3,
    flags: ["readonly"],
    keys: { first: 1, last: 2, step: 1 },
    since: "7.0.0",
    group: "string",
    summary: "Answers the longest common subsequence of two values, its length, or where it lies.",
    complexity: "O(N*M) in the lengths of the values",
    arguments: [
      { name: "key1", type: "key" },
      { name: "key2", type: "key" },
      optional(token("LEN")),
      optional(token("IDX")),
      optional(option("MINMATCHLEN", "min-match-len", "integer")),
      optional(token("WITHMATCHLEN")),
    ],
    run: lcs,
  },
];

const decideAppend: Decide = (entry, args) => {
  const old = entry?.value ?? "";
  const length = old.length + args[2]!.length;
  if (length > STRING_BYTES_MAX) return TOO_LONG;
  return put(old + latin1Of(args[2]!), entry?.expiryMs ?? NEVER, integerAnswer(length));
};

function answerLength(reply: Reply, entry: Entry | null): void {
  reply.integer(entry === null ? 0 : entry.value.length);
}

function getrange(context: CommandContext, call: Call<ClientSession>): void {
  const start = parseIntegerBytes(call.args[2]!);
  const end = parseIntegerBytes(call.args[3]!);
  if (start === null || end === null) call.reply.error(NOT_AN_INTEGER);
  else {
    readKey(context, call, (reply, entry) => {
      reply.bulk(entry === null ? "" : partOf(entry.value, Number(start), Number(end)));
    });
  }
}

/** The bytes from `start` to `end`, both included. */
function partOf(value: string, start: number, end: number): string {
  // Redis moves positions before the first byte to it, save where both are negative and in the wrong order.
  if (start < 0 && end < 0 && start > end) return "";
  const first = Math.max(start < 0 ? value.length + start : start, 0);
  const last = Math.max(end < 0 ? value.length + end : end, 0);
  return value.slice(first, last + 1);
}

function setrange(context: CommandContext, call: Call<ClientSession>): void {
  const offset = parseIntegerBytes(call.args[2]!);
  if (offset === null) call.reply.error(NOT_AN_INTEGER);
  else if (offset < 0) call.reply.error("ERR offset is out of range");
  else updateKey(context, call, overwritingAt(Number(offset)));
}

function overwritingAt(offset: number): Decide {
  return (entry, args) => {
    const old = entry?.value ?? "";
    const part = args[3]!;
    if (part.length === 0) return keep(entry === null ? ZERO : integerAnswer(old.length));
    const end = offset + part.length;
    if (end > STRING_BYTES_MAX) return TOO_LONG;
    const gap = "\0".repeat(Math.max(offset - old.length, 0));
    const value = old.slice(0, offset) + gap + latin1Of(part) + old.slice(end);
    return put(value, entry?.expiryMs ?? NEVER, integerAnswer(value.length));
  };
}

interface LcsOptions {
  readonly form: "text" | "length" | "runs";
  /** Shorter runs are left out of the answer. */
  readonly runLengthMin: number;
  readonly lengthOfRuns: "shown" | "hidden";
}

function lcs(context: CommandContext, call: Call<ClientSession>): void {
  const options = parseLcsOptions(call.args);
  if (typeof options === "string") call.reply.error(options);
  else {
    readKeys(context, call, {
      first: 1,
      end: 3,
      pick: (entry) => entry?.value ?? "",
      answer: (reply, [a = "", b = ""]) => answerLcs(reply, a, b, options),
    });
  }
}

/** The options from `args[3]` on, or the text of the error. */
function parseLcsOptions(args: readonly Buffer[]): LcsOptions | string {
  const words = new Set<string>();
  let runLengthMin = 0;
  for (let at = 3; at < args.length; at++) {
    const word = wordOf(args[at]!);
    if (word === "MINMATCHLEN" && at + 1 < args.length) {
      const length = parseIntegerBytes(args[++at]!);
      if (length === null) return NOT_AN_INTEGER;
      runLengthMin = Number(length);
    } else if (word === "LEN" || word === "IDX" || word === "WITHMATCHLEN") words.add(word);
    else return SYNTAX_ERROR;
  }
  if (words.has("LEN") && words.has("IDX")) return "ERR If you want both the length and indexes, please just use IDX.";
  return {
    form: words.has("IDX") ? "runs" : words.has("LEN") ? "length" : "text",
    runLengthMin,
    lengthOfRuns: words.has("WITHMATCHLEN") ? "shown" : "hidden",
  };
}

function answerLcs(reply: Reply, a: string, b: string, options: LcsOptions): void {
  if (a.length * b.length > LCS_CELLS_MAX) {
    reply.error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");
    return;
  }
  if (options.form === "length") {
    reply.integer(lcsLength(a, b));
    return;
  }
  const runs = lcsRuns(a, b);
  if (options.form === "text") {
    reply.bulk(textOfRuns(a, runs));
    return;
  }
  const shown = runs.filter(({ length }) => length >= options.runLengthMin);
  reply.map(2);
  reply.bulk("matches");
  reply.array(shown.length);
  for (const { startA, startB, length } of shown) {
    reply.array(options.lengthOfRuns === "shown" ? 3 : 2);
    answerSpan(reply, startA, length);
    answerSpan(reply, startB, length);
    if (options.lengthOfRuns === "shown") reply.integer(length);
  }
  reply.bulk("len");
  reply.integer(runs.reduce((sum, { length }) => sum + length, 0));
}

/** The positions of the first and the last byte. */
function answerSpan(reply: Reply, start: number, length: number): void {
  reply.array(2);
  reply.integer(start);
  reply.integer(start + length - 1);
}
