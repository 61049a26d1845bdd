/** DEBUG, for test suites, where `enable-debug-command` allows it. */

import { latin1Of } from "../bytes/latin1.js";
import { pause } from "../host/clock.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { wordOf } from "./arguments.js";
import { isLoopback } from "./authentication.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandContext } from "./command.js";
import type { CommandSettings } from "./command-settings.js";

/** DEBUG SLEEP does not hold a connection longer than this. */
const SLEEP_SECONDS_MAX = 3_600;

const NOT_ALLOWED =
  'ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.';
const UNKNOWN_TYPE =
  "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false";

export interface DebugOptions {
  readonly settings: CommandSettings;
  /** Whether expired keys are removed in the background; their expiry holds either way. */
  readonly setActiveExpiry: (mode: "on" | "off") => void;
}

type ClientCall = Call<ClientSession>;

/** Builds DEBUG. */
export function debugCommands(options: DebugOptions): readonly Command[] {
  return [
    {
      name: "debug",
      arity: -2,
      flags: ["admin", "noscript", "loading", "stale"],
      keys: null,
      since: "1.0.0",
      group: "server",
      summary: "Helps test suites: SLEEP, SET-ACTIVE-EXPIRE, PROTOCOL.",
      arguments: [
        { name: "subcommand", type: "string" },
        { name: "argument", type: "string", optional: true, multiple: true },
      ],
      run: (context, call) => debug(options, context, call),
    },
  ];
}

function debug(options: DebugOptions, context: CommandContext, call: ClientCall): void {
  const { session, args, reply } = call;
  const { debugCommand } = options.settings;
  const isLocal = isLoopback(session.control.ends.remoteAddress);
  if (debugCommand === "no" || (debugCommand === "local" && !isLocal)) return reply.error(NOT_ALLOWED);
  const word = wordOf(args[1]!);
  if (word === "SLEEP" && args.length === 3) return sleep(context, call);
  if (word === "SET-ACTIVE-EXPIRE" && args.length === 3) {
    options.setActiveExpiry(latin1Of(args[2]!) === "0" ? "off" : "on");
    return reply.ok();
  }
  if (word === "PROTOCOL" && args.length === 3) return protocol(wordOf(args[2]!).toLowerCase(), reply);
  if (word === "HELP" && args.length === 2) return help(reply);
  const shown = latin1Of(args[1]!);
  reply.error(`ERR unknown subcommand or wrong number of arguments for '${shown}'. Try DEBUG HELP.`);
}

const HELP_LINES = [
  "DEBUG <subcommand> [<argument>]. Subcommands are:",
  "SLEEP <seconds>",
  "    Holds this connection back for so long.",
  "SET-ACTIVE-EXPIRE <0|1>",
  "    Stops or starts the removal of expired keys in the background.",
  "PROTOCOL <type>",
  "    Answers a value of this type of the protocol.",
  "HELP",
  "    Prints this help.",
];

function help(reply: Reply): void {
  reply.array(HELP_LINES.length);
  for (const line of HELP_LINES) reply.simple(line);
}

/** Holds back this connection only: a node that stood still would be no node. */
function sleep(context: CommandContext, call: ClientCall): void {
  const seconds = Number.parseFloat(latin1Of(call.args[2]!));
  const durationMs = Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), SLEEP_SECONDS_MAX) * 1_000 : 0;
  call.alone(async (reply) => {
    await pause(context.clock, durationMs);
    reply.ok();
  });
}

/** One value of each type of the protocol. */
function protocol(type: string, reply: Reply): void {
  const isNew = reply.protocol === 3;
  switch (type) {
    case "string":
      return reply.bulk("Hello World");
    case "integer":
      return reply.integer(12_345);
    case "double":
      return isNew ? reply.raw(",3.141\r\n") : reply.bulk("3.141");
    case "bignum":
      return isNew ? reply.raw(`(${BIG_NUMBER}\r\n`) : reply.bulk(BIG_NUMBER);
    case "null":
      return reply.null();
    case "array":
      reply.array(3);
      return threeIntegers(reply);
    case "set":
      reply.set(3);
      return threeIntegers(reply);
    case "map":
      reply.map(3);
      for (let at = 0; at < 3; at++) {
        reply.integer(at);
        replyBoolean(reply, at === 1 ? "true" : "false");
      }
      return;
    case "attrib":
      if (isNew) reply.raw("|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n");
      return reply.bulk("Some real reply following the attribute");
    case "push":
      if (!isNew) return reply.error("ERR RESP2 is not supported by this command");
      reply.push(2);
      reply.bulk("server-cpu-usage");
      reply.integer(42);
      return reply.bulk("Some real reply following the push reply");
    case "verbatim":
      return reply.verbatim("This is a verbatim\nstring");
    case "true":
    case "false":
      return replyBoolean(reply, type);
    default:
      return reply.error(UNKNOWN_TYPE);
  }
}

const BIG_NUMBER = "1234567999999999999999999999999999999";

function threeIntegers(reply: Reply): void {
  for (let at = 0; at < 3; at++) reply.integer(at);
}

function replyBoolean(reply: Reply, value: "true" | "false"): void {
  if (reply.protocol === 3) reply.raw(value === "true" ? "#t\r\n" : "#f\r\n");
  else reply.integer(value === "true" ? 1 : 0);
}
