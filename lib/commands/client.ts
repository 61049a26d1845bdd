/**
 * CLIENT. Subcommands that would arm machinery which does not exist (TRACKING, CACHING, MAINT_NOTIFICATIONS, CAPA) are
 * unknown on purpose: clients take that error as "feature absent".
 */
import { latin1Of } from "../bytes/latin1.js";
import type { Call } from "../resp/call.js";
import { integerOf, NOT_AN_INTEGER, SYNTAX_ERROR, wordOf } from "./arguments.js";
import { clientLine, isChosen, parseKillFilter, parseListFilter } from "./client-list.js";
import type { ClientSession } from "./client-session.js";
import type { Clients } from "./clients.js";
import type { Command, CommandContext, CommandFlag } from "./command.js";
import { BAD_CLIENT_NAME, isClientName } from "./connection.js";
import { choice, container } from "./help.js";

const USUAL: readonly CommandFlag[] = ["noscript", "loading", "stale"];
const ADMIN: readonly CommandFlag[] = ["admin", "noscript", "loading", "stale"];

type ClientCall = Call<ClientSession>;
type About = Pick<Command, "since" | "summary"> & Partial<Pick<Command, "arguments" | "flags">>;

/** Builds the family. */
export function clientCommands(clients: Clients): readonly Command[] {
  const sub = (name: string, arity: number, run: Command["run"], about: About): Command => ({
    name,
    arity,
    flags: USUAL,
    keys: null,
    group: "connection",
    arguments: [],
    ...about,
    run,
  });
  const subcommands: readonly Command[] = [
    sub("id", 2, (_, call) => call.reply.integer(call.session.id), { since: "5.0.0", summary: "The connection's id." }),
    sub("getname", 2, (_, call) => getName(call), { since: "2.6.9", summary: "The connection's name." }),
    sub("setname", 3, (_, call) => setName(call), {
      since: "2.6.9",
      summary: "Names the connection; an empty name takes it away.",
      arguments: [{ name: "connection-name", type: "string" }],
    }),
    sub("setinfo", 4, (_, call) => setInfo(call), {
      since: "7.2.0",
      summary: "Notes the name or version of the client's library.",
      arguments: [
        {
          name: "attr",
          type: "oneof",
          arguments: [
            { name: "libname", type: "string", token: "LIB-NAME" },
            { name: "libver", type: "string", token: "LIB-VER" },
          ],
        },
      ],
    }),
    sub("info", 2, (context, call) => info(context, call), { since: "6.2.0", summary: "Describes this connection." }),
    sub("list", -2, (context, call) => list(clients, context, call), {
      since: "2.4.0",
      summary: "Describes the connections.",
      flags: ADMIN,
      arguments: [
        { ...choice("client-type", ["NORMAL", "MASTER", "REPLICA", "PUBSUB"]), token: "TYPE", optional: true },
        { name: "client-id", type: "integer", token: "ID", optional: true, multiple: true },
      ],
    }),
    sub("kill", -3, (_, call) => kill(clients, call), {
      since: "2.4.0",
      summary: "Closes connections: one by its address, or those that match all options.",
      flags: ADMIN,
      arguments: [
        { name: "ip:port", type: "string", optional: true },
        { name: "client-id", type: "integer", token: "ID", optional: true },
        { ...choice("client-type", ["NORMAL", "MASTER", "REPLICA", "PUBSUB"]), token: "TYPE", optional: true },
        { name: "username", type: "string", token: "USER", optional: true },
        { name: "ip:port", type: "string", token: "ADDR", optional: true },
        { name: "ip:port", type: "string", token: "LADDR", optional: true },
        { ...choice("yes/no", ["YES", "NO"]), token: "SKIPME", optional: true },
      ],
    }),
    sub("reply", 3, (_, call) => setReplyMode(call), {
      since: "3.2.0",
      summary: "Whether requests of this connection are answered.",
      // Half an EXEC's replies missing would leave its array unreadable.
      flags: [...USUAL, "no_multi"],
      arguments: [choice("on-off-skip", ["ON", "OFF", "SKIP"])],
    }),
    sub("no-evict", 3, (_, call) => setExemption(call, "eviction"), {
      since: "7.0.0",
      summary: "Whether this connection is spared when memory for clients runs out.",
      flags: ADMIN,
      arguments: [choice("enabled", ["ON", "OFF"])],
    }),
    sub("no-touch", 3, (_, call) => setExemption(call, "touch"), {
      since: "7.2.0",
      summary: "Whether reads of this connection leave keys untouched.",
      arguments: [choice("enabled", ["ON", "OFF"])],
    }),
    sub("pause", -3, (_, call) => pause(clients, call), {
      since: "3.0.0",
      summary: "Holds back all commands, or writes only, for some milliseconds.",
      flags: ADMIN,
      arguments: [
        { name: "timeout", type: "integer" },
        { ...choice("mode", ["WRITE", "ALL"]), optional: true },
      ],
    }),
    sub("unpause", 2, (_, call) => unpause(clients, call), { since: "6.2.0", summary: "Ends a pause.", flags: ADMIN }),
    sub("unblock", -3, (_, call) => unblock(call), {
      since: "5.0.0",
      summary: "Wakes a connection that is blocked in a command; no command blocks yet.",
      flags: ADMIN,
      arguments: [
        { name: "client-id", type: "integer" },
        { ...choice("unblock-type", ["TIMEOUT", "ERROR"]), optional: true },
      ],
    }),
    sub("getredir", 2, (_, call) => call.reply.integer(-1), {
      since: "6.0.0",
      summary: "Where invalidations go: nowhere, there is no tracking.",
    }),
    sub("trackinginfo", 2, (_, call) => trackingInfo(call), {
      since: "6.2.0",
      summary: "The state of client-side caching: off.",
    }),
  ];
  return [
    container({ name: "client", since: "2.4.0", group: "connection", summary: "Commands about connections." }, subcommands),
  ];
}

function getName({ session, reply }: ClientCall): void {
  if (session.name === "") reply.null();
  else reply.bulk(session.name);
}

function setName({ session, args, reply }: ClientCall): void {
  const name = latin1Of(args[2]!);
  if (!isClientName(name)) return reply.error(BAD_CLIENT_NAME);
  session.name = name;
  reply.ok();
}

function setInfo({ session, args, reply }: ClientCall): void {
  const attribute = wordOf(args[2]!);
  const value = latin1Of(args[3]!);
  if (attribute !== "LIB-NAME" && attribute !== "LIB-VER") {
    return reply.error(`ERR Unrecognized option '${latin1Of(args[2]!)}'`);
  }
  if (!isClientName(value)) {
    return reply.error(`ERR ${attribute.toLowerCase()} cannot contain spaces, newlines or special characters.`);
  }
  if (attribute === "LIB-NAME") session.libraryName = value;
  else session.libraryVersion = value;
  reply.ok();
}

function info(context: CommandContext, { session, args, reply }: ClientCall): void {
  reply.verbatim(`${clientLine(session, context.clock.wallMs(), args)}\n`);
}

function list(clients: Clients, context: CommandContext, { session, args, reply }: ClientCall): void {
  const filter = parseListFilter(args);
  if (typeof filter === "string") return reply.error(filter);
  const nowMs = context.clock.wallMs();
  const chosen = clients.all().filter((client) => isChosen(client, filter, session));
  reply.verbatim(chosen.map((client) => `${clientLine(client, nowMs, client === session ? args : null)}\n`).join(""));
}

function kill(clients: Clients, { session, args, reply }: ClientCall): void {
  if (args.length === 3) {
    const address = latin1Of(args[2]!);
    const found = clients.all().find((client) => client.remoteAddress === address);
    if (found === undefined) return reply.error("ERR No such client");
    reply.ok();
    return end(found, session);
  }
  const filter = parseKillFilter(args);
  if (typeof filter === "string") return reply.error(filter);
  const chosen = clients.all().filter((client) => isChosen(client, filter, session));
  reply.integer(chosen.length);
  for (const client of chosen) end(client, session);
}

/** The connection that asked still gets its answer. */
function end(client: ClientSession, self: ClientSession): void {
  if (client === self) client.control.closeAfterReplies();
  else client.control.kill();
}

/** OFF and SKIP answer nothing, themselves included. */
function setReplyMode({ session, args, reply }: ClientCall): void {
  switch (wordOf(args[2]!)) {
    case "ON":
      session.control.setReplyMode("on");
      return reply.ok();
    case "OFF":
      return session.control.setReplyMode("off");
    case "SKIP":
      return session.control.setReplyMode("skip");
    default:
      return reply.error(SYNTAX_ERROR);
  }
}

function setExemption({ session, args, reply }: ClientCall, from: "eviction" | "touch"): void {
  const word = wordOf(args[2]!);
  if (word !== "ON" && word !== "OFF") return reply.error(SYNTAX_ERROR);
  if (from === "eviction") session.isExemptFromEviction = word === "ON";
  else session.isExemptFromTouch = word === "ON";
  reply.ok();
}

function pause(clients: Clients, { args, reply }: ClientCall): void {
  if (args.length > 4) return reply.error(SYNTAX_ERROR);
  const mode = args.length === 4 ? wordOf(args[3]!) : "ALL";
  if (mode !== "WRITE" && mode !== "ALL") return reply.error("ERR CLIENT PAUSE mode must be WRITE or ALL");
  const durationMs = integerOf(args[2]!);
  if (durationMs === null) return reply.error("ERR timeout is not an integer or out of range");
  if (durationMs < 0) return reply.error("ERR timeout is negative");
  clients.pause(mode === "WRITE" ? "write" : "all", durationMs);
  reply.ok();
}

function unpause(clients: Clients, { reply }: ClientCall): void {
  clients.unpause();
  reply.ok();
}

function unblock({ args, reply }: ClientCall): void {
  const reason = args.length === 4 ? wordOf(args[3]!) : "TIMEOUT";
  if (args.length > 4 || (reason !== "TIMEOUT" && reason !== "ERROR")) {
    return reply.error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
  }
  if (integerOf(args[2]!) === null) return reply.error(NOT_AN_INTEGER);
  reply.integer(0);
}

function trackingInfo({ reply }: ClientCall): void {
  reply.map(3);
  reply.bulk("flags");
  reply.set(1);
  reply.bulk("off");
  reply.bulk("redirect");
  reply.integer(-1);
  reply.bulk("prefixes");
  reply.array(0);
}
