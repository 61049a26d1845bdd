/**
 * OBJECT and MEMORY USAGE: what clients ask about a value besides the value. There are no shared objects, encodings or
 * access counters behind these answers: they are what Redis would say of the same value, or the nearest that is true.
 */
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { KEY, option, optional } from "./argument-docs.js";
import { NOT_AN_INTEGER, SYNTAX_ERROR, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { container } from "./help.js";
import { parseInteger, parseIntegerBytes } from "./integer.js";
import { readKey } from "./keyed.js";

const SECOND = { first: 2, last: 2, step: 1 } as const;

/** Longest value that Redis keeps in one piece with its header. */
const EMBEDDED_BYTES_MAX = 44;
/** What a stored pair takes besides its key and value: the record's context, dot, stamp and its place in the index. */
const RECORD_BYTES = 64;

const NO_FREQUENCY =
  "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between " +
  "policies at runtime LRU and LFU data will take some time to adjust.";

export const objectCommand: Command = container(
  { name: "object", since: "2.2.3", group: "generic", summary: "Tells about the value at a key." },
  [
    {
      ...subcommand("encoding", "2.2.3"),
      summary: "Answers how Redis would hold the value: int, embstr or raw.",
      run: (context, call) => describe(context, call, (reply, value) => reply.bulk(encodingOf(value))),
    },
    {
      ...subcommand("freq", "4.0.0"),
      summary: "Answers an error: how often keys are used is not recorded.",
      run: (context, call) => describe(context, call, (reply) => reply.error(NO_FREQUENCY)),
    },
    {
      ...subcommand("idletime", "2.2.3"),
      summary: "Answers the seconds since the key was last written or touched; reads are not recorded.",
      run: idleTime,
    },
    {
      ...subcommand("refcount", "2.2.3"),
      summary: "Answers how many references a value has: always 1.",
      run: (context, call) => describe(context, call, (reply) => reply.integer(1)),
    },
  ],
);

/** MEMORY USAGE, for the table of MEMORY's subcommands. */
export const memoryUsage: Command = {
  name: "usage",
  arity: -3,
  flags: ["readonly"],
  keys: SECOND,
  access: ["RO"],
  since: "4.0.0",
  group: "server",
  summary: "Answers about how many bytes a key and its value take, uncompressed.",
  arguments: [KEY, optional(option("SAMPLES", "count", "integer"))],
  run: usage,
};

function subcommand(name: string, since: string): Omit<Command, "summary" | "run"> {
  return { name, arity: 3, flags: ["readonly"], keys: SECOND, since, group: "generic", access: ["RO"], arguments: [KEY] };
}

/** Answers about the value at `args[2]`; nil where there is none. */
function describe(context: CommandContext, call: Call<ClientSession>, answer: (reply: Reply, value: string) => void): void {
  readKey(
    context,
    call,
    (reply, entry) => {
      if (entry === null) reply.null();
      else answer(reply, entry.value);
    },
    2,
  );
}

function encodingOf(value: string): string {
  if (parseInteger(value) !== null) return "int";
  return value.length <= EMBEDDED_BYTES_MAX ? "embstr" : "raw";
}

function idleTime(context: CommandContext, call: Call<ClientSession>): void {
  const { clock, keyspace, touches } = context;
  const { scope } = call.session;
  call.later(async (reply, args) => {
    const siblings = await keyspace.siblings(scope, args[2]!);
    const newest = siblings?.versions.find(({ value }) => value !== null);
    if (newest === undefined) return reply.null();
    const usedMs = Math.max(newest.stampMs, touches.of(scope.database, args[2]!));
    reply.integer(Math.max(Math.floor((clock.wallMs() - usedMs) / 1_000), 0));
  });
}

function usage(context: CommandContext, call: Call<ClientSession>): void {
  const { args } = call;
  for (let at = 3; at < args.length; at += 2) {
    const samples = args[at + 1];
    if (wordOf(args[at]!) !== "SAMPLES" || samples === undefined) {
      call.reply.error(SYNTAX_ERROR);
      return;
    }
    const count = parseIntegerBytes(samples);
    if (count === null || count < 0) {
      call.reply.error(count === null ? NOT_AN_INTEGER : SYNTAX_ERROR);
      return;
    }
  }
  const keyBytes = args[2]!.length;
  describe(context, call, (reply, value) => reply.integer(keyBytes + value.length + RECORD_BYTES));
}
