/**
 * The commands on all keys of a database: listing, counting, removing. They look at more than the keys they name, so they
 * wait for the connection's earlier requests, and its later ones wait for them.
 */
import { latin1Of } from "../bytes/latin1.js";
import { type KeyPage, NOT_IN_MEMORY, type Scope } from "../coordinator/keyspace.js";
import type { Clock } from "../host/clock.js";
import type { Call } from "../resp/call.js";
import { Reply } from "../resp/reply.js";
import { REPLY_BYTES_MAX } from "./answer.js";
import { oneOf, option, optional, token } from "./argument-docs.js";
import { NOT_AN_INTEGER, SYNTAX_ERROR, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { Glob } from "./glob.js";
import { parseIntegerBytes } from "./integer.js";

/** Keys of a SCAN page when COUNT is not given, as in Redis. */
const PAGE_KEYS_DEFAULT = 10;
/** Keys of a page at most, whatever COUNT asks for: a page is answered in one go. */
const PAGE_KEYS_MAX = 10_000;
/** Keys that KEYS looks at before it lets others run: well under a millisecond. */
const KEYS_STEP = 500;
/** How long KEYS works before it lets others run. */
const TURN_MS = 5;
/** The only type of value there is so far. */
const STRING_TYPE = "STRING";

const FLUSH_MODE = [optional(oneOf("flush-type", [token("ASYNC"), token("SYNC")]))];

export const scanCommands: readonly Command[] = [
  {
    name: "scan",
    arity: -2,
    flags: ["readonly"],
    keys: null,
    since: "2.8.0",
    group: "generic",
    summary: "Answers some keys and the cursor to go on from; every key that stays throughout is answered at least once.",
    complexity: "O(N) in the keys of the page",
    arguments: [
      { name: "cursor", type: "integer" },
      optional(option("MATCH", "pattern", "pattern")),
      optional(option("COUNT", "count", "integer")),
      optional(option("TYPE", "type", "string")),
    ],
    run: scan,
  },
  {
    name: "keys",
    arity: 2,
    flags: ["readonly"],
    keys: null,
    since: "1.0.0",
    group: "generic",
    summary: "Answers all keys that match a pattern; reads every key of the database.",
    complexity: "O(N) in the keys of the database",
    arguments: [{ name: "pattern", type: "pattern" }],
    run: keys,
  },
  {
    name: "randomkey",
    arity: 1,
    flags: ["readonly"],
    keys: null,
    since: "1.0.0",
    group: "generic",
    summary: "Answers one key of the database, drawn at random, or nil.",
    arguments: [],
    run: randomKey,
  },
  {
    name: "dbsize",
    arity: 1,
    flags: ["readonly", "fast"],
    keys: null,
    since: "1.0.0",
    group: "server",
    summary: "Answers how many keys the database holds.",
    arguments: [],
    run: databaseSize,
  },
  {
    name: "flushdb",
    arity: -1,
    flags: ["write"],
    keys: null,
    since: "1.0.0",
    group: "server",
    summary: "Removes all keys of the database.",
    complexity: "O(N) in the keys of the database, in the background",
    arguments: FLUSH_MODE,
    run: (context, call) => flush(context, call, "database"),
  },
  {
    name: "flushall",
    arity: -1,
    flags: ["write"],
    keys: null,
    since: "1.0.0",
    group: "server",
    summary: "Removes all keys of all databases.",
    complexity: "O(N) in the keys, in the background",
    arguments: FLUSH_MODE,
    run: (context, call) => flush(context, call, "all"),
  },
  {
    name: "swapdb",
    arity: 3,
    flags: ["write", "fast"],
    keys: null,
    since: "4.0.0",
    group: "server",
    summary: "Not supported: answers an error.",
    arguments: [
      { name: "index1", type: "integer" },
      { name: "index2", type: "integer" },
    ],
    run: (_context, call) => {
      call.reply.error("ERR SWAPDB is not supported: databases cannot be exchanged, MOVE and COPY take single keys to another");
    },
  },
];

interface ScanOptions {
  readonly cursor: bigint;
  readonly count: number;
  /** Null where every key fits. */
  readonly pattern: Glob | null;
  readonly type: string;
}

function scan(context: CommandContext, call: Call<ClientSession>): void {
  const options = parseScanOptions(call.args);
  if (typeof options === "string") {
    call.reply.error(options);
    return;
  }
  const { keyspace } = context;
  const { scope } = call.session;
  call.alone(async (reply) => {
    answerPage(reply, await keyspace.scan(scope, options.cursor, options.count), options);
  });
}

function answerPage(reply: Reply, page: KeyPage, { pattern, type }: ScanOptions): void {
  const fitting = page.keys.filter((key) => pattern === null || pattern.matches(key));
  const shown = type === STRING_TYPE ? fitting : [];
  reply.array(2);
  reply.bulk(String(page.cursor));
  reply.array(shown.length);
  for (const key of shown) reply.bulk(key);
}

/** The cursor and the options, or the text of the error. */
function parseScanOptions(args: readonly Buffer[]): ScanOptions | string {
  const cursor = parseCursor(latin1Of(args[1]!));
  if (cursor === null) return "ERR invalid cursor";
  let count = PAGE_KEYS_DEFAULT;
  let pattern: Glob | null = null;
  let type = STRING_TYPE;
  for (let at = 2; at < args.length; at += 2) {
    const value = args[at + 1];
    if (value === undefined) return SYNTAX_ERROR;
    switch (wordOf(args[at]!)) {
      case "COUNT": {
        const wanted = parseIntegerBytes(value);
        if (wanted === null) return NOT_AN_INTEGER;
        if (wanted < 1) return SYNTAX_ERROR;
        count = Math.min(Number(wanted), PAGE_KEYS_MAX);
        break;
      }
      case "MATCH": {
        const glob = new Glob(value);
        pattern = glob.matchesAll ? null : glob;
        break;
      }
      case "TYPE":
        type = wordOf(value);
        break;
      default:
        return SYNTAX_ERROR;
    }
  }
  return { cursor, count, pattern, type };
}

const CURSOR = /^(?:|[+-]?[0-9]+)$/;
const CURSOR_LENGTH_MAX = 64;
const CURSOR_END = 2n ** 64n;

/** Any 64-bit number is a cursor. As in Redis, a sign is let pass and an empty text is 0. Null for anything else. */
function parseCursor(text: string): bigint | null {
  if (text.length > CURSOR_LENGTH_MAX || !CURSOR.test(text)) return null;
  const magnitude = BigInt(text.replace(/^[+-]/, ""));
  if (magnitude >= CURSOR_END) return null;
  return text.startsWith("-") ? BigInt.asUintN(64, -magnitude) : magnitude;
}

function keys(context: CommandContext, call: Call<ClientSession>): void {
  const pattern = new Glob(call.args[1]!);
  const { scope } = call.session;
  call.alone((reply) => answerKeys(reply, { context, scope, pattern }));
}

/** Walks the database in small pages and lets others run between them; only what matches is held. */
async function answerKeys(
  reply: Reply,
  { context, scope, pattern }: { context: CommandContext; scope: Scope; pattern: Glob },
): Promise<void> {
  const { clock, keyspace } = context;
  const matching = new Reply(reply.protocol);
  let count = 0;
  let cursor = 0n;
  do {
    const page = await keyspace.scan(scope, cursor, KEYS_STEP);
    cursor = page.cursor;
    let turnEndMs = clock.monotonicMs() + TURN_MS;
    for (const key of page.keys) {
      // A page of long keys and a pattern of many stars can take longer than others should wait.
      if (clock.monotonicMs() > turnEndMs) {
        await nextTurn(clock);
        turnEndMs = clock.monotonicMs() + TURN_MS;
      }
      if (!pattern.matches(key)) continue;
      matching.bulk(key);
      count++;
    }
    if (matching.length > REPLY_BYTES_MAX) {
      reply.error(`ERR KEYS answers at most ${REPLY_BYTES_MAX} bytes: narrow the pattern, or use SCAN`);
      return;
    }
    if (cursor !== 0n) await nextTurn(clock);
  } while (cursor !== 0n);
  reply.array(count);
  reply.raw(matching.take());
}

function nextTurn(clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    clock.defer(resolve);
  });
}

function randomKey(context: CommandContext, call: Call<ClientSession>): void {
  const { keyspace } = context;
  const { scope } = call.session;
  call.alone(async (reply) => {
    const key = await keyspace.randomKey(scope);
    if (key === null) reply.null();
    else reply.bulk(key);
  });
}

function databaseSize(context: CommandContext, call: Call<ClientSession>): void {
  const { keyspace } = context;
  const { scope } = call.session;
  const total = call.unanswered === 0 ? keyspace.peekTotal(scope) : NOT_IN_MEMORY;
  if (total !== NOT_IN_MEMORY) {
    call.reply.integer(total);
    return;
  }
  call.alone(async (reply) => {
    reply.integer(await keyspace.readTotal(scope));
  });
}

/** ASYNC and SYNC are the same: what is removed is gone at once, and its space returns in the background. */
function flush(context: CommandContext, call: Call<ClientSession>, what: "database" | "all"): void {
  const { args } = call;
  const mode = args.length === 2 ? wordOf(args[1]!) : "";
  if (args.length > 2 || (args.length === 2 && mode !== "ASYNC" && mode !== "SYNC")) {
    call.reply.error(SYNTAX_ERROR);
    return;
  }
  const { keyspace } = context;
  const { scope } = call.session;
  call.alone(async (reply) => {
    await keyspace.flush(scope, what);
    reply.ok();
  });
}
