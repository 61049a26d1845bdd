/** Commands about the node as a whole: ROLE, SAVE, SHUTDOWN, and the containers that are all but empty here. */
import { createHash } from "node:crypto";
import { background } from "../background.js";
import { latin1Of } from "../bytes/latin1.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Log } from "../log.js";
import type { Call } from "../resp/call.js";
import { SYNTAX_ERROR, wordOf } from "./arguments.js";
import { USER } from "./authentication.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandFlag } from "./command.js";
import { categoriesOf } from "./command-docs.js";
import type { CommandSettings } from "./command-settings.js";
import type { CommandTable } from "./command-table.js";
import { choice, container } from "./help.js";

const ADMIN: readonly CommandFlag[] = ["admin", "noscript", "loading", "stale"];

export interface ServerOptions {
  readonly version: string;
  readonly settings: CommandSettings;
  readonly table: () => CommandTable;
  readonly log: Log;
  /** Resolves when everything acknowledged so far is on disk. Rejects with code `IO`. */
  readonly makeDurable: () => Promise<void>;
  /** Wall clock in seconds of the last moment at which all was durable. */
  readonly lastDurableSeconds: () => number;
  /** Begins a clean stop, which closes all connections. */
  readonly shutdown: () => void;
}

type ClientCall = Call<ClientSession>;
type About = Pick<Command, "since" | "summary"> & Partial<Command>;

/** Builds the family. */
export function serverCommands(options: ServerOptions): readonly Command[] {
  const command = (name: string, arity: number, run: Command["run"], about: About): Command => ({
    name,
    arity,
    flags: ADMIN,
    keys: null,
    group: "server",
    arguments: [],
    ...about,
    run,
  });
  return [
    command("role", 1, (_, call) => role(call), {
      since: "2.8.12",
      summary: "The node's role: a master, always.",
      flags: ["noscript", "loading", "stale", "fast"],
    }),
    command("lastsave", 1, (_, call) => call.reply.integer(options.lastDurableSeconds()), {
      since: "1.0.0",
      summary: "When everything stored was last known to be on disk (Unix seconds).",
      flags: ["loading", "stale", "fast"],
    }),
    command("save", 1, (_, call) => save(options, call), {
      since: "1.0.0",
      summary: "Waits until everything acknowledged is on disk.",
      flags: ["admin", "noscript", "no_async_loading", "no_multi"],
    }),
    command("bgsave", -1, (_, call) => saveInBackground(options, call), {
      since: "1.0.0",
      summary: "The same, without waiting.",
      flags: ["admin", "noscript", "no_async_loading"],
      arguments: [{ name: "schedule", type: "pure-token", token: "SCHEDULE", optional: true }],
    }),
    command("shutdown", -1, (_, call) => shutdown(options, call), {
      since: "1.0.0",
      summary: "Stops the node: finishes what is under way, writes everything to disk.",
      flags: [...ADMIN, "no_multi", "allow_busy"],
      arguments: ["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"].map((word) => ({
        name: word.toLowerCase(),
        type: "pure-token" as const,
        token: word,
        optional: true as const,
      })),
    }),
    command("lolwut", -1, (_, call) => call.reply.verbatim(`Kindred ver. ${options.version}\n`), {
      since: "5.0.0",
      summary: "The node's version, without the art.",
      flags: ["readonly", "fast"],
      arguments: [{ name: "version", type: "integer", token: "VERSION", optional: true }],
    }),
    ...emptyContainers(command),
    accessControl(options, command),
  ];
}

type Build = (name: string, arity: number, run: Command["run"], about: About) => Command;

/** What of modules, functions and scripts is true without any of them. */
function emptyContainers(command: Build): readonly Command[] {
  const flushMode = { ...choice("flush-type", ["ASYNC", "SYNC"]), optional: true as const };
  return [
    container({ name: "module", since: "4.0.0", group: "server", summary: "Commands about modules; there are none." }, [
      command("list", 2, (_, call) => call.reply.array(0), {
        since: "4.0.0",
        summary: "The loaded modules: none.",
        flags: ["admin", "noscript"],
      }),
    ]),
    container({ name: "function", since: "7.0.0", group: "scripting", summary: "Commands about functions; there are none." }, [
      command("flush", -2, (_, call) => flushScripts(call, "FUNCTION FLUSH only supports SYNC|ASYNC option"), {
        since: "7.0.0",
        summary: "Removes all functions, of which there are none.",
        group: "scripting",
        flags: ["write", "noscript"],
        arguments: [flushMode],
      }),
      command("list", -2, (_, call) => call.reply.array(0), {
        since: "7.0.0",
        summary: "The libraries of functions: none.",
        group: "scripting",
        flags: ["noscript"],
      }),
    ]),
    container({ name: "script", since: "2.6.0", group: "scripting", summary: "Commands about scripts; there are none." }, [
      command("exists", -3, (_, call) => noScripts(call), {
        since: "2.6.0",
        summary: "Which of the scripts are known: none.",
        group: "scripting",
        flags: ["noscript"],
        arguments: [{ name: "sha1", type: "string", multiple: true }],
      }),
      command("flush", -2, (_, call) => flushScripts(call, "SCRIPT FLUSH only support SYNC|ASYNC option"), {
        since: "2.6.0",
        summary: "Forgets all scripts, of which there are none.",
        group: "scripting",
        flags: ["noscript"],
        arguments: [flushMode],
      }),
      command("kill", 2, (_, call) => call.reply.error("NOTBUSY No scripts in execution right now."), {
        since: "2.6.0",
        summary: "Stops the script that is running: none is.",
        group: "scripting",
        flags: ["noscript", "allow_busy"],
      }),
    ]),
  ];
}

function accessControl(options: ServerOptions, command: Build): Command {
  const open: readonly CommandFlag[] = ["noscript", "loading", "stale"];
  return container({ name: "acl", since: "6.0.0", group: "server", summary: "Commands about users; there is one." }, [
    command("whoami", 2, (_, call) => call.reply.bulk(USER), {
      since: "6.0.0",
      summary: "The connection's user.",
      flags: open,
    }),
    command("users", 2, (_, call) => listUsers(call), { since: "6.0.0", summary: "The names of the users." }),
    command("list", 2, (_, call) => listRules(options.settings, call), {
      since: "6.0.0",
      summary: "The users with their rights.",
    }),
    command("cat", -2, (_, call) => listCategories(options.table(), call), {
      since: "6.0.0",
      summary: "The categories of commands, or the commands of one.",
      flags: open,
      arguments: [{ name: "category", type: "string", optional: true }],
    }),
  ]);
}

function role({ reply }: ClientCall): void {
  reply.array(3);
  reply.bulk("master");
  reply.integer(0);
  reply.array(0);
}

function save(options: ServerOptions, call: ClientCall): void {
  call.later(async (reply) => {
    await options.makeDurable();
    reply.ok();
  });
}

function saveInBackground(options: ServerOptions, { args, reply }: ClientCall): void {
  if (args.length > 2 || (args.length === 2 && wordOf(args[1]!) !== "SCHEDULE")) return reply.error(SYNTAX_ERROR);
  background(
    options.makeDurable().catch((error: unknown) => {
      if (!(error instanceof OperatingError)) throw error;
      options.log.error({ reason: messageOf(error) }, "BGSAVE: not everything could be written to disk");
    }),
  );
  reply.simple("Background saving started");
}

/** Answers nothing: the connection closing is the answer, as in Redis. Everything is saved whatever is asked. */
function shutdown(options: ServerOptions, { args, reply }: ClientCall): void {
  const words = new Set(args.slice(1).map(wordOf));
  const known = ["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"];
  const isContradiction = (words.has("NOSAVE") && words.has("SAVE")) || (words.has("ABORT") && words.size > 1);
  if (isContradiction || [...words].some((word) => !known.includes(word))) return reply.error(SYNTAX_ERROR);
  if (words.has("ABORT")) return reply.error("ERR No shutdown in progress.");
  options.shutdown();
}

function flushScripts({ args, reply }: ClientCall, refusal: string): void {
  const mode = args.length === 3 ? wordOf(args[2]!) : "SYNC";
  if (args.length > 3 || (mode !== "SYNC" && mode !== "ASYNC")) reply.error(`ERR ${refusal}`);
  else reply.ok();
}

function noScripts({ args, reply }: ClientCall): void {
  reply.array(args.length - 2);
  for (let at = 2; at < args.length; at++) reply.integer(0);
}

function listUsers({ reply }: ClientCall): void {
  reply.array(1);
  reply.bulk(USER);
}

/** The password is shown by its hash. */
function listRules(settings: CommandSettings, { reply }: ClientCall): void {
  const password = Buffer.from(settings.requirePassword, "latin1");
  const secret = password.length === 0 ? "nopass" : `#${createHash("sha256").update(password).digest("hex")}`;
  reply.array(1);
  reply.bulk(`user ${USER} on ${secret} ~* &* +@all`);
}

function listCategories(table: CommandTable, { args, reply }: ClientCall): void {
  if (args.length > 3) return reply.error("ERR wrong number of arguments for 'acl|cat' command");
  const entries = [...table.all()];
  const known = new Set(entries.flatMap((entry) => categoriesOf(entry)));
  if (args.length === 2) {
    reply.array(known.size);
    for (const category of known) reply.bulk(category.slice(1));
    return;
  }
  const category = `@${latin1Of(args[2]!).toLowerCase()}`;
  if (!known.has(category)) return reply.error(`ERR Unknown category '${latin1Of(args[2]!)}'`);
  const chosen = entries.filter((entry) => categoriesOf(entry).includes(category));
  reply.array(chosen.length);
  for (const entry of chosen) reply.bulk(entry.fullName);
}
