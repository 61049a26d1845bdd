/** HELP of container commands and usage lines, made from the table's own documentation. */
import { oneOf, token } from "./argument-docs.js";
import type { ArgumentDoc, Command } from "./command.js";

/** The subcommand HELP over its siblings. */
export function helpCommand(container: string, siblings: readonly Command[], since: string): Command {
  return {
    name: "help",
    arity: 2,
    flags: ["loading", "stale"],
    keys: null,
    since,
    group: siblings[0]?.group ?? "server",
    summary: `Lists the subcommands of ${container.toUpperCase()}.`,
    arguments: [],
    run: (_, call) => {
      const lines = [`${container.toUpperCase()} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:`];
      for (const sub of siblings) lines.push(usageOf(sub), `    ${sub.summary}`);
      lines.push("HELP", "    Prints this help.");
      call.reply.array(lines.length);
      for (const line of lines) call.reply.simple(line);
    },
  };
}

/** A container: only its subcommands do anything. */
export function container(
  about: Pick<Command, "name" | "since" | "group" | "summary">,
  subcommands: readonly Command[],
): Command {
  return {
    ...about,
    arity: -2,
    flags: [],
    keys: null,
    arguments: [],
    subcommands: [...subcommands, helpCommand(about.name, subcommands, about.since)],
    // The arity keeps requests without a subcommand out, and unknown ones are refused by dispatch.
    run: (_, call) => call.reply.error(`ERR wrong number of arguments for '${about.name}' command`),
  };
}

/** `KILL <ip:port> [ID <client-id>]`. */
function usageOf(command: Command): string {
  return [command.name.toUpperCase(), ...command.arguments.map(argumentUsage)].join(" ");
}

function argumentUsage(argument: ArgumentDoc): string {
  const token = argument.token === undefined ? "" : argument.token;
  const inner = innerUsage(argument);
  const text = [token, inner].filter((part) => part !== "").join(" ");
  const repeated = argument.multiple === true ? `${text} [${text} ...]` : text;
  return argument.optional === true ? `[${repeated}]` : repeated;
}

function innerUsage(argument: ArgumentDoc): string {
  switch (argument.type) {
    case "pure-token":
      return "";
    case "oneof":
      return `(${(argument.arguments ?? []).map(argumentUsage).join("|")})`;
    case "block":
      return (argument.arguments ?? []).map(argumentUsage).join(" ");
    default:
      return `<${argument.name}>`;
  }
}

/** An argument that is one of some words. */
export function choice(name: string, words: readonly string[]): ArgumentDoc {
  return oneOf(name, words.map(token));
}
