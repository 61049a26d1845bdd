/**
 * The commands on the values of several keys. Each key is read and written by itself, with its own quorum; only MSETNX,
 * which stores all or nothing, is one step over its keys.
 */
import { latin1Of } from "../bytes/latin1.js";
import { type Effect, KEEP } from "../coordinator/keyspace.js";
import type { Call } from "../resp/call.js";
import { ONE, REPLY_BYTES_MAX, wrongNumberOfArguments, ZERO } from "./answer.js";
import { KEY, KEYS, VALUE } from "./argument-docs.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import { NEVER } from "./expire-time.js";
import { keyByKey } from "./key-by-key.js";
import { readKeys, updateKeys } from "./keyed.js";

const PAIRS = { first: 1, last: -1, step: 2 } as const;
const KEY_AND_VALUE = { name: "data", type: "block", multiple: true, arguments: [KEY, VALUE] } as const;

export const manyStringCommands: readonly Command[] = [
  {
    name: "mget",
    arity: -2,
    flags: ["readonly", "fast"],
    keys: { first: 1, last: -1, step: 1 },
    since: "1.0.0",
    group: "string",
    summary: "Answers the values of several keys, nil for the missing ones; each key is read by itself.",
    complexity: "O(N) in the number of keys",
    arguments: [KEYS],
    run: mget,
  },
  {
    name: "mset",
    arity: -3,
    flags: ["write", "denyoom"],
    keys: PAIRS,
    access: ["OW", "update"],
    since: "1.0.1",
    group: "string",
    summary: "Stores several values; each key is written by itself.",
    complexity: "O(N) in the number of keys",
    arguments: [KEY_AND_VALUE],
    run: mset,
  },
  {
    name: "msetnx",
    arity: -3,
    flags: ["write", "denyoom"],
    keys: PAIRS,
    access: ["OW", "insert"],
    since: "1.0.1",
    group: "string",
    summary: "Stores several values unless one of the keys exists.",
    complexity: "O(N) in the number of keys",
    arguments: [KEY_AND_VALUE],
    run: msetnx,
  },
];

function mget(context: CommandContext, call: Call<ClientSession>): void {
  let bytes = 0;
  readKeys(context, call, {
    first: 1,
    end: call.args.length,
    pick: (entry) => {
      bytes += entry?.value.length ?? 0;
      // Past the bound the answer is an error, and no further value is held.
      return bytes > REPLY_BYTES_MAX ? null : entry;
    },
    answer: (reply, entries) => {
      if (bytes > REPLY_BYTES_MAX) {
        reply.error(`ERR the values are ${bytes} bytes together, MGET answers at most ${REPLY_BYTES_MAX}: ask for fewer keys`);
        return;
      }
      reply.array(entries.length);
      for (const entry of entries) {
        if (entry === null) reply.null();
        else reply.bulk(entry.value);
      }
    },
  });
}

function mset(context: CommandContext, call: Call<ClientSession>): void {
  const { args, reply } = call;
  if (args.length % 2 === 0) {
    reply.error(wrongNumberOfArguments("mset"));
    return;
  }
  const { keyspace } = context;
  const { scope } = call.session;
  // The request is refused as a whole when one of its pairs is too large.
  for (let at = 1; at < args.length; at += 2) keyspace.checkPair(args[at]!, args[at + 1]!);
  for (let at = 1; at < args.length; at += 2) {
    if (!keyspace.tryPut(scope, args[at]!, args[at + 1]!, NEVER)) {
      msetLater(context, call, at);
      return;
    }
  }
  reply.ok();
}

/** Stores the pairs from position `first` on. */
function msetLater(context: CommandContext, call: Call<ClientSession>, first: number): void {
  const { keyspace } = context;
  const { scope } = call.session;
  call.later(async (reply, args) => {
    const puts: Promise<void>[] = [];
    const put = async (key: Buffer, value: Buffer): Promise<void> => keyspace.put(scope, key, value, NEVER);
    for (let at = first; at < args.length; at += 2) puts.push(put(args[at]!, args[at + 1]!));
    // The pairs before it were stored within the call.
    if (first > 1) puts.push(keyspace.committed());
    await keyByKey((args.length - 1) / 2, puts);
    reply.ok();
  });
}

function msetnx(context: CommandContext, call: Call<ClientSession>): void {
  if (call.args.length % 2 === 0) {
    call.reply.error(wrongNumberOfArguments("msetnx"));
    return;
  }
  const { scope } = call.session;
  updateKeys(context, call, (args) => {
    const valueByKey = new Map<string, { key: Buffer; value: Buffer }>();
    // A key that is named twice gets its last value.
    for (let at = 1; at < args.length; at += 2) {
      valueByKey.set(latin1Of(args[at]!), { key: args[at]!, value: args[at + 1]! });
    }
    const pairs = [...valueByKey.values()];
    return {
      targets: pairs.map(({ key }) => ({ scope, key })),
      decide: (entries) => {
        const isFree = entries.every((entry) => entry === null);
        const effects = pairs.map(({ value }): Effect => (isFree ? { kind: "put", value, expiryMs: NEVER } : KEEP));
        return { effects, answer: isFree ? ONE : ZERO };
      },
    };
  });
}
