/** COMMAND and its subcommands: the table, described by itself. */
import { latin1Of } from "../bytes/latin1.js";
import type { Call } from "../resp/call.js";
import { SYNTAX_ERROR, wordOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandFlag } from "./command.js";
import { categoriesOf, replyDescription, replyDocumentation } from "./command-docs.js";
import type { CommandTable, TableEntry } from "./command-table.js";
import { Glob } from "./glob.js";
import { helpCommand } from "./help.js";

const FLAGS: readonly CommandFlag[] = ["loading", "stale"];
const INVALID_ARGUMENTS = "ERR Invalid number of arguments specified for command";

type ClientCall = Call<ClientSession>;

/** Builds the family. `table` is asked when a command runs: it holds COMMAND itself. */
export function commandCommands(table: () => CommandTable): readonly Command[] {
  const sub = (name: string, arity: number, run: Command["run"], about: Partial<Command> & { summary: string }): Command => ({
    name,
    arity,
    flags: FLAGS,
    keys: null,
    since: "2.8.13",
    group: "server",
    arguments: [],
    ...about,
    run,
  });
  const names = [{ name: "command-name", type: "string", optional: true, multiple: true }] as const;
  const request = [
    { name: "command", type: "string" },
    { name: "arg", type: "string", optional: true, multiple: true },
  ] as const;
  const subcommands: readonly Command[] = [
    sub("count", 2, (_, call) => call.reply.integer(table().entries.length), { summary: "How many commands there are." }),
    sub("info", -2, (_, call) => describe(table(), call, call.args.slice(2)), {
      summary: "Describes some commands, or all.",
      arguments: names,
    }),
    sub("docs", -2, (_, call) => document(table(), call), {
      since: "7.0.0",
      summary: "Documents some commands, or all.",
      arguments: names,
    }),
    sub("list", -2, (_, call) => list(table(), call), {
      since: "7.0.0",
      summary: "Names the commands.",
      arguments: [
        {
          name: "filterby",
          type: "oneof",
          token: "FILTERBY",
          optional: true,
          arguments: [
            { name: "module-name", type: "string", token: "MODULE" },
            { name: "category", type: "string", token: "ACLCAT" },
            { name: "pattern", type: "pattern", token: "PATTERN" },
          ],
        },
      ],
    }),
    sub("getkeys", -4, (_, call) => keys(table(), call, "names"), {
      summary: "The keys in a request.",
      arguments: request,
    }),
    sub("getkeysandflags", -4, (_, call) => keys(table(), call, "names and access"), {
      since: "7.0.0",
      summary: "The keys in a request and what would be done with them.",
      arguments: request,
    }),
  ];
  return [
    {
      name: "command",
      arity: -1,
      flags: FLAGS,
      keys: null,
      since: "2.8.13",
      group: "server",
      summary: "Describes all commands.",
      arguments: [],
      subcommands: [...subcommands, helpCommand("command", subcommands, "5.0.0")],
      run: (_, call) => describe(table(), call, []),
    },
  ];
}

function describe(table: CommandTable, { reply }: ClientCall, names: readonly Uint8Array[]): void {
  const chosen = names.length === 0 ? table.entries : names.map((name) => table.named(latin1Of(name)));
  reply.array(chosen.length);
  for (const entry of chosen) {
    if (entry === null) reply.null();
    else replyDescription(reply, entry);
  }
}

function document(table: CommandTable, { args, reply }: ClientCall): void {
  const names = args.slice(2);
  const asked = names.length === 0 ? table.entries : names.map((name) => table.named(latin1Of(name)));
  const chosen = asked.filter((entry) => entry !== null);
  reply.map(chosen.length);
  for (const entry of chosen) replyDocumentation(reply, entry);
}

function list(table: CommandTable, { args, reply }: ClientCall): void {
  let chosen: readonly TableEntry[];
  if (args.length === 2) {
    chosen = [...table.all()];
  } else {
    if (args.length !== 5 || wordOf(args[2]!) !== "FILTERBY") return reply.error(SYNTAX_ERROR);
    const value = latin1Of(args[4]!).toLowerCase();
    switch (wordOf(args[3]!)) {
      case "MODULE":
        chosen = [];
        break;
      case "ACLCAT":
        chosen = [...table.all()].filter((entry) => categoriesOf(entry).includes(`@${value}`));
        break;
      case "PATTERN":
        chosen = matching(table, new Glob(Buffer.from(value, "latin1")));
        break;
      default:
        return reply.error(SYNTAX_ERROR);
    }
  }
  reply.array(chosen.length);
  for (const entry of chosen) reply.bulk(entry.fullName);
}

function matching(table: CommandTable, glob: Glob): readonly TableEntry[] {
  return [...table.all()].filter((entry) => glob.matches(entry.fullName));
}

function keys(table: CommandTable, { args, reply }: ClientCall, what: "names" | "names and access"): void {
  const request = args.slice(2);
  const lookup = table.resolve(request);
  if (lookup.kind !== "found") return reply.error("ERR Invalid command specified");
  const { entry } = lookup;
  const hasKeys = entry.command.keys !== null || entry.command.keysIn !== undefined;
  if (!hasKeys) return reply.error("ERR The command has no key arguments");
  if (!entry.accepts(request.length)) return reply.error(INVALID_ARGUMENTS);
  const found = entry.keyPositions(request).map((position) => request[position]!);
  if (found.length === 0) return reply.error("ERR The command has no key arguments");
  reply.array(found.length);
  for (const key of found) {
    if (what === "names and access") {
      reply.array(2);
      reply.bulkBytes(key);
      reply.set(entry.access.length);
      for (const access of entry.access) reply.simple(access);
    } else {
      reply.bulkBytes(key);
    }
  }
}
