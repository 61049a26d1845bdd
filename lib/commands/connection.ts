/** Commands about the connection itself: PING, HELLO, AUTH, SELECT, RESET and their like. */
import { latin1Of } from "../bytes/latin1.js";
import { type Copies, quorumSizes } from "../coordinator/consistency.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { integerOf, NOT_AN_INTEGER, SYNTAX_ERROR, wordOf } from "./arguments.js";
import { isAdmitted, WRONG_PASSWORD } from "./authentication.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandFlag } from "./command.js";
import { type CommandSettings, DATABASES } from "./command-settings.js";

/** The version of Redis whose behaviour clients may expect; they choose features by it. */
export const REDIS_VERSION = "7.2.4";

export const BAD_CLIENT_NAME = "ERR Client names cannot contain spaces, newlines or special characters.";
const NO_PASSWORD_SET =
  "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
const HELLO_NEEDS_AUTH =
  "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";

const FAST: readonly CommandFlag[] = ["loading", "stale", "fast"];
const HANDSHAKE: readonly CommandFlag[] = ["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];

export interface ConnectionOptions {
  readonly settings: CommandSettings;
  /** The copies of each key at present, for WAIT. */
  readonly copies: () => Copies;
  /** HELLO's `mode`. */
  readonly mode: "standalone" | "cluster";
}

type Run = Command["run"];
type ClientCall = Call<ClientSession>;

/** Builds the family. */
export function connectionCommands(options: ConnectionOptions): readonly Command[] {
  const { settings } = options;
  const command = (name: string, arity: number, flags: readonly CommandFlag[], run: Run, about: About): Command => ({
    name,
    arity,
    flags,
    keys: null,
    group: "connection",
    ...about,
    arguments: about.arguments ?? [],
    run,
  });
  return [
    command("ping", -1, ["fast"], (_, call) => ping(call), {
      since: "1.0.0",
      summary: "Answers PONG, or the message.",
      arguments: [{ name: "message", type: "string", optional: true }],
    }),
    command("echo", 2, FAST, (_, call) => call.reply.bulkBytes(call.args[1]!), {
      since: "1.0.0",
      summary: "Answers the message.",
      arguments: [{ name: "message", type: "string" }],
    }),
    command("hello", -1, HANDSHAKE, (_, call) => hello(options, call), {
      since: "6.0.0",
      summary: "Chooses the protocol, authenticates, names the connection, and tells what the server is.",
      arguments: [
        {
          name: "arguments",
          type: "block",
          optional: true,
          arguments: [
            { name: "protover", type: "integer" },
            {
              name: "auth",
              type: "block",
              token: "AUTH",
              optional: true,
              arguments: [
                { name: "username", type: "string" },
                { name: "password", type: "string" },
              ],
            },
            { name: "clientname", type: "string", token: "SETNAME", optional: true },
          ],
        },
      ],
    }),
    command("auth", -2, HANDSHAKE, (_, call) => authenticate(settings, call), {
      since: "1.0.0",
      summary: "Authenticates the connection.",
      arguments: [
        { name: "username", type: "string", optional: true },
        { name: "password", type: "string" },
      ],
    }),
    command("select", 2, FAST, (_, call) => select(settings, call), {
      since: "1.0.0",
      summary: "Chooses the connection's database, 0 to 15.",
      arguments: [{ name: "index", type: "integer" }],
    }),
    command("quit", -1, HANDSHAKE, (_, call) => quit(call), {
      since: "1.0.0",
      summary: "Closes the connection after the replies.",
    }),
    command("reset", 1, HANDSHAKE, (_, call) => reset(settings, call), {
      since: "6.2.0",
      summary: "Puts the connection back to how it was when it opened.",
    }),
    command("readonly", 1, FAST, (_, call) => call.reply.ok(), {
      since: "3.0.0",
      summary: "Accepted: every node answers every key.",
    }),
    command("readwrite", 1, FAST, (_, call) => call.reply.ok(), {
      since: "3.0.0",
      summary: "Accepted: every node answers every key.",
    }),
    command("asking", 1, ["fast"], (_, call) => call.reply.ok(), {
      since: "3.0.0",
      summary: "Accepted: no node redirects.",
    }),
    command("time", 1, FAST, (context, call) => time(context.clock.wallMs(), call.reply), {
      since: "2.6.0",
      summary: "The node's wall clock: seconds and microseconds.",
      group: "server",
    }),
    command("wait", 3, ["noscript"], (_, call) => wait(options, call), {
      since: "3.0.0",
      summary: "How many replicas besides the first have every write that was answered on this connection.",
      arguments: [
        { name: "numreplicas", type: "integer" },
        { name: "timeout", type: "integer" },
      ],
    }),
  ];
}

type About = Pick<Command, "since" | "summary"> & Partial<Pick<Command, "arguments" | "group">>;

function ping(call: ClientCall): void {
  const { args, reply } = call;
  if (args.length > 2) reply.error("ERR wrong number of arguments for 'ping' command");
  else if (args.length === 2) reply.bulkBytes(args[1]!);
  else reply.simple("PONG");
}

function hello(options: ConnectionOptions, call: ClientCall): void {
  const { session, args, reply } = call;
  let protocol = session.protocol;
  if (args.length > 1) {
    const version = integerOf(args[1]!);
    if (version === null) return reply.error("ERR Protocol version is not an integer or out of range");
    if (version !== 2 && version !== 3) return reply.error("NOPROTO unsupported protocol version");
    protocol = version;
  }
  let name: string | null = null;
  let credentials: { user: Buffer; password: Buffer } | null = null;
  for (let at = 2; at < args.length; at++) {
    const word = wordOf(args[at]!);
    const left = args.length - 1 - at;
    if (word === "AUTH" && left >= 2) {
      credentials = { user: args[at + 1]!, password: args[at + 2]! };
      at += 2;
    } else if (word === "SETNAME" && left >= 1) {
      name = latin1Of(args[++at]!);
    } else {
      return reply.error(`ERR Syntax error in HELLO option '${latin1Of(args[at]!)}'`);
    }
  }
  if (credentials !== null) {
    if (!isAdmitted(credentials.user, credentials.password, options.settings.requirePassword)) {
      return reply.error(WRONG_PASSWORD);
    }
    session.isAuthenticated = true;
  }
  if (!session.isAuthenticated) return reply.error(HELLO_NEEDS_AUTH);
  if (name !== null && !isClientName(name)) return reply.error(BAD_CLIENT_NAME);
  if (name !== null) session.name = name;
  setProtocol(call, protocol);
  describeServer(options, session, reply);
}

function describeServer(options: ConnectionOptions, session: ClientSession, reply: Reply): void {
  reply.map(7);
  reply.bulk("server");
  reply.bulk("redis");
  reply.bulk("version");
  reply.bulk(REDIS_VERSION);
  reply.bulk("proto");
  reply.integer(session.protocol);
  reply.bulk("id");
  reply.integer(session.id);
  reply.bulk("mode");
  reply.bulk(options.mode);
  reply.bulk("role");
  reply.bulk("master");
  reply.bulk("modules");
  reply.array(0);
}

function authenticate(settings: CommandSettings, call: ClientCall): void {
  const { session, args, reply } = call;
  if (args.length > 3) return reply.error(SYNTAX_ERROR);
  const { requirePassword } = settings;
  const user = args.length === 3 ? args[1]! : null;
  if (user === null && requirePassword === "") return reply.error(NO_PASSWORD_SET);
  if (!isAdmitted(user, args.at(-1)!, requirePassword)) return reply.error(WRONG_PASSWORD);
  session.isAuthenticated = true;
  reply.ok();
}

function select(settings: CommandSettings, call: ClientCall): void {
  const { session, args, reply } = call;
  const database = integerOf(args[1]!);
  if (database === null) return reply.error(NOT_AN_INTEGER);
  if (database < 0 || database >= DATABASES) return reply.error("ERR DB index is out of range");
  const consistency = session.chosenConsistency ?? settings.consistencyOf(database);
  session.scope = { ...session.scope, database, consistency };
  reply.ok();
}

function quit(call: ClientCall): void {
  call.reply.ok();
  call.session.control.closeAfterReplies();
}

function reset(settings: CommandSettings, call: ClientCall): void {
  const { session, reply } = call;
  session.transaction = null;
  session.watched = [];
  session.chosenConsistency = null;
  session.scope = { database: 0, consistency: settings.consistencyOf(0), hold: null };
  session.name = "";
  session.isAuthenticated = settings.requirePassword === "";
  session.isExemptFromEviction = false;
  session.isExemptFromTouch = false;
  session.control.setReplyMode("on");
  setProtocol(call, 2);
  reply.simple("RESET");
}

/** The reply to the request that changes the protocol is already in the new one. */
function setProtocol(call: ClientCall, protocol: 2 | 3): void {
  call.session.protocol = protocol;
  call.reply.protocol = protocol;
}

function time(wallMs: number, reply: Reply): void {
  reply.array(2);
  reply.bulk(String(Math.floor(wallMs / 1_000)));
  reply.bulk(String((wallMs % 1_000) * 1_000));
}

/** A write is answered when W replicas have it, so there is nothing left to wait for. */
function wait(options: ConnectionOptions, call: ClientCall): void {
  const { session, args, reply } = call;
  if (integerOf(args[1]!) === null) return reply.error(NOT_AN_INTEGER);
  const timeoutMs = integerOf(args[2]!);
  if (timeoutMs === null) return reply.error("ERR timeout is not an integer or out of range");
  if (timeoutMs < 0) return reply.error("ERR timeout is negative");
  reply.integer(quorumSizes(session.scope.consistency.quorum, options.copies()).write - 1);
}

/** Only visible ASCII: a name must not break the lines of CLIENT LIST. */
export function isClientName(name: string): boolean {
  return /^[!-~]*$/.test(name);
}
