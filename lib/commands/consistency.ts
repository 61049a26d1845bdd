/** The two commands of our own: CONSISTENCY, with its form that prefixes another command, and SIBLINGS. */
import { latin1Of } from "../bytes/latin1.js";
import { type Copies, formatQuorum, LEVELS, parseConsistency, quorumSizes } from "../coordinator/consistency.js";
import type { Sibling, Siblings } from "../coordinator/keyspace.js";
import type { Call, DeferredReply } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { SYNTAX_ERROR, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import { type ArgumentDoc, type Command, type CommandContext, noKeys } from "./command.js";
import type { CommandRunner, Work } from "./command-runner.js";
import type { CommandSettings } from "./command-settings.js";
import type { CommandTable } from "./command-table.js";
import { choice } from "./help.js";
import { arityText, unknownCommandText, unknownSubcommandText } from "./unknown-command.js";

export interface ConsistencyOptions {
  readonly settings: CommandSettings;
  readonly runner: CommandRunner;
  /** Asked when a command runs: it holds CONSISTENCY itself. */
  readonly table: () => CommandTable;
  /** The copies of each key at present. */
  readonly copies: () => Copies;
  /** `replicas`: READ and WRITE take 1 to this many. More than there are copies means all of them. */
  readonly replicasMax: () => number;
}

type ClientCall = Call<ClientSession>;

const NAME = "consistency";
const VERSION = "0.1.0";

/** Builds the family. */
export function consistencyCommands(options: ConsistencyOptions): readonly Command[] {
  return [
    {
      name: NAME,
      arity: -1,
      flags: ["write", "fast", "movablekeys"],
      keys: null,
      keysIn: (args) => prefixedKeys(options, args),
      since: VERSION,
      group: "kindred",
      summary: "Shows or sets how many replicas answer a request, on this connection or for one command.",
      arguments: consistencyArguments,
      run: (_, call) => consistency(options, call),
    },
    {
      name: "siblings",
      arity: -2,
      flags: ["write"],
      keys: { first: 1, last: 1, step: 1 },
      since: VERSION,
      group: "kindred",
      summary: "Shows all versions of a key that were written concurrently, or replaces them by one.",
      complexity: "O(N) for N siblings",
      arguments: [
        { name: "key", type: "key" },
        {
          name: "resolve",
          type: "block",
          token: "RESOLVE",
          optional: true,
          arguments: [
            { name: "context", type: "string" },
            { name: "value", type: "string" },
          ],
        },
      ],
      run: (context, call) => siblings(context, call),
    },
  ];
}

const consistencyArguments: readonly ArgumentDoc[] = [
  { ...choice("level", LEVELS), optional: true },
  {
    name: "quorum",
    type: "block",
    optional: true,
    arguments: [
      { name: "read", type: "integer", token: "READ" },
      { name: "write", type: "integer", token: "WRITE" },
    ],
  },
  { ...choice("stand-ins", ["STRICT", "SLOPPY"]), optional: true },
  { ...choice("conflicts", ["NEWEST", "ERROR"]), token: "CONFLICTS", optional: true },
  { name: "command", type: "string", optional: true, multiple: true },
];

function consistency(options: ConsistencyOptions, call: ClientCall): void {
  const { session, args, reply } = call;
  if (args.length === 1) return replySettings(options, session, reply);
  const parsed = parseConsistency(args.slice(1).map(wordOf), session.scope.consistency, options.replicasMax());
  if (parsed.kind === "error") return reply.error(`ERR ${parsed.message}`);
  if (parsed.words < args.length - 1) {
    const scope = session.scope;
    session.scope = { ...scope, consistency: parsed.consistency };
    try {
      runPrefixed(options, call, parsed.words + 1);
    } finally {
      session.scope = scope;
    }
    return;
  }
  session.chosenConsistency = parsed.consistency;
  session.scope = { ...session.scope, consistency: parsed.consistency };
  reply.ok();
}

function replySettings(options: ConsistencyOptions, session: ClientSession, reply: Reply): void {
  const { quorum, standIns, conflicts } = session.scope.consistency;
  const copies = options.copies();
  const sizes = quorumSizes(quorum, copies);
  reply.map(6);
  reply.bulk("level");
  reply.bulk(formatQuorum(quorum, copies));
  reply.bulk("n");
  reply.integer(sizes.copies);
  reply.bulk("r");
  reply.integer(sizes.read);
  reply.bulk("w");
  reply.integer(sizes.write);
  reply.bulk("stand-ins");
  reply.bulk(standIns);
  reply.bulk("conflicts");
  reply.bulk(conflicts);
}

/** Only commands on keys: they take the scope once, before their first await, and leave it as it was. */
function runPrefixed(options: ConsistencyOptions, call: ClientCall, skip: number): void {
  const rest = call.args.slice(skip);
  const lookup = options.table().resolve(rest);
  if (lookup.kind === "unknown command") return call.reply.error(unknownCommandText(rest));
  if (lookup.kind === "unknown subcommand") return call.reply.error(unknownSubcommandText(lookup.container, rest[1]!));
  const { entry } = lookup;
  if (!entry.accepts(rest.length)) return call.reply.error(arityText(entry));
  const isOnKeys = entry.isWrite || entry.hasFlag("readonly");
  if (!isOnKeys || entry.fullName === NAME) {
    return call.reply.error(`ERR CONSISTENCY goes before commands that read or write keys, not before '${entry.fullName}'`);
  }
  options.runner.runNested(entry, new PrefixedCall(call, skip));
}

function prefixedKeys(options: ConsistencyOptions, args: readonly Uint8Array[]): readonly number[] {
  if (args.length === 1) return noKeys;
  const parsed = parseConsistency(args.slice(1).map(wordOf), options.settings.consistencyOf(0), options.replicasMax());
  if (parsed.kind === "error" || parsed.words === args.length - 1) return noKeys;
  const skip = parsed.words + 1;
  const rest = args.slice(skip);
  const lookup = options.table().resolve(rest);
  if (lookup.kind !== "found" || lookup.entry.fullName === NAME || !lookup.entry.accepts(rest.length)) return noKeys;
  return lookup.entry.keyPositions(rest).map((position) => position + skip);
}

/** A call without its first words. */
class PrefixedCall implements Call<ClientSession> {
  readonly #inner: ClientCall;
  readonly #skip: number;
  readonly session: ClientSession;
  readonly args: readonly Buffer[];
  readonly reply: Reply;

  constructor(inner: ClientCall, skip: number) {
    this.#inner = inner;
    this.#skip = skip;
    this.session = inner.session;
    this.args = inner.args.slice(skip);
    this.reply = inner.reply;
  }

  get unanswered(): number {
    return this.#inner.unanswered;
  }

  markWrite(): void {
    this.#inner.markWrite();
  }

  later(work: Work): void {
    this.#inner.later((reply, args) => work(reply, args.slice(this.#skip)));
  }

  defer(): DeferredReply {
    return this.#inner.defer();
  }

  alone(work: Work, needs: "nothing" | "room" = "nothing"): void {
    const { session } = this;
    const { consistency } = session.scope;
    // It may start after the prefix was taken back: the settings go with it.
    this.#inner.alone(async (reply, args) => {
      const { scope } = session;
      session.scope = { ...scope, consistency };
      try {
        await work(reply, args.slice(this.#skip));
      } finally {
        session.scope = scope;
      }
    }, needs);
  }
}

function siblings(context: CommandContext, call: ClientCall): void {
  const { session, args } = call;
  const { scope } = session;
  if (args.length === 2) {
    call.later(async (reply, [, key]) => {
      const found = await context.keyspace.siblings(scope, key!);
      if (found === null) reply.null();
      else replySiblings(reply, found);
    });
    return;
  }
  if (args.length !== 5 || wordOf(args[2]!) !== "RESOLVE") return call.reply.error(SYNTAX_ERROR);
  call.later(async (reply, [, key, , token, value]) => {
    await context.keyspace.putWithContext(scope, key!, value!, 0, latin1Of(token!));
    reply.ok();
  });
}

/** RESP2: [context, [[value, clock, stamp, dot] ...]]; RESP3 names each. */
function replySiblings(reply: Reply, { context, versions }: Siblings): void {
  const isNamed = reply.protocol === 3;
  if (isNamed) {
    reply.map(2);
    reply.bulk("context");
  } else {
    reply.array(2);
  }
  reply.bulk(context);
  if (isNamed) reply.bulk("versions");
  reply.array(versions.length);
  for (const version of versions) {
    if (isNamed) replyNamedSibling(reply, version);
    else replySibling(reply, version);
  }
}

function replySibling(reply: Reply, { value, clock, stampMs, dot }: Sibling): void {
  reply.array(4);
  if (value === null) reply.null();
  else reply.bulk(value);
  reply.bulk(clock);
  reply.integer(stampMs);
  reply.bulk(dot);
}

function replyNamedSibling(reply: Reply, { value, clock, stampMs, dot }: Sibling): void {
  reply.map(4);
  reply.bulk("value");
  if (value === null) reply.null();
  else reply.bulk(value);
  reply.bulk("clock");
  reply.bulk(clock);
  reply.bulk("stamp-ms");
  reply.integer(stampMs);
  reply.bulk("dot");
  reply.bulk(dot);
}
