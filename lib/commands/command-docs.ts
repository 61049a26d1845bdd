/** The shapes in which COMMAND INFO and COMMAND DOCS describe a command. */
import type { Reply } from "../resp/reply.js";
import type { ArgumentDoc, Command } from "./command.js";
import type { TableEntry } from "./command-table.js";

/** The elements of COMMAND INFO: name, arity, flags, keys (3), categories, tips, key specifications, subcommands. */
export function replyDescription(reply: Reply, entry: TableEntry): void {
  const { command } = entry;
  const keys = command.keys ?? { first: 0, last: 0, step: 0 };
  const categories = categoriesOf(entry);
  const { flags } = command;
  reply.array(10);
  reply.bulk(entry.fullName);
  reply.integer(command.arity);
  reply.set(flags.length);
  for (const flag of flags) reply.simple(flag);
  reply.integer(keys.first);
  reply.integer(keys.last);
  reply.integer(keys.step);
  reply.set(categories.length);
  for (const category of categories) reply.simple(category);
  reply.set(0);
  replyKeySpecifications(reply, entry);
  const subcommands = entry.subcommands?.entries ?? [];
  if (subcommands.length === 0) return reply.set(0);
  reply.array(subcommands.length);
  for (const sub of subcommands) replyDescription(reply, sub);
}

function replyKeySpecifications(reply: Reply, entry: TableEntry): void {
  const { keys } = entry.command;
  if (keys === null) return reply.set(0);
  reply.set(1);
  reply.map(3);
  reply.bulk("flags");
  reply.set(entry.access.length);
  for (const access of entry.access) reply.simple(access);
  reply.bulk("begin_search");
  reply.map(2);
  reply.bulk("type");
  reply.bulk("index");
  reply.bulk("spec");
  reply.map(1);
  reply.bulk("index");
  reply.integer(keys.first);
  reply.bulk("find_keys");
  reply.map(2);
  reply.bulk("type");
  reply.bulk("range");
  reply.bulk("spec");
  reply.map(3);
  reply.bulk("lastkey");
  // Counted from the first key; negative ones from the end, as they are.
  reply.integer(keys.last < 0 ? keys.last : keys.last - keys.first);
  reply.bulk("keystep");
  reply.integer(keys.step);
  reply.bulk("limit");
  reply.integer(0);
}

/** The pair of COMMAND DOCS: the full name, then what is known of it. */
export function replyDocumentation(reply: Reply, entry: TableEntry): void {
  const { command } = entry;
  const subcommands = entry.subcommands?.entries ?? [];
  const hasArguments = command.arguments.length > 0;
  reply.bulk(entry.fullName);
  reply.map(4 + (hasArguments ? 1 : 0) + (subcommands.length > 0 ? 1 : 0));
  reply.bulk("summary");
  reply.bulk(command.summary);
  reply.bulk("since");
  reply.bulk(command.since);
  reply.bulk("group");
  reply.bulk(command.group);
  reply.bulk("complexity");
  reply.bulk(command.complexity ?? "O(1)");
  if (hasArguments) {
    reply.bulk("arguments");
    replyArguments(reply, command.arguments);
  }
  if (subcommands.length > 0) {
    reply.bulk("subcommands");
    reply.map(subcommands.length);
    for (const sub of subcommands) replyDocumentation(reply, sub);
  }
}

function replyArguments(reply: Reply, list: readonly ArgumentDoc[]): void {
  reply.array(list.length);
  for (const argument of list) replyArgument(reply, argument);
}

function replyArgument(reply: Reply, argument: ArgumentDoc): void {
  const flags = [...(argument.optional ? ["optional"] : []), ...(argument.multiple ? ["multiple"] : [])];
  const isKey = argument.type === "key";
  const optionalFields = [isKey, argument.token !== undefined, flags.length > 0, argument.arguments !== undefined];
  reply.map(2 + optionalFields.filter(Boolean).length);
  reply.bulk("name");
  reply.bulk(argument.name);
  reply.bulk("type");
  reply.bulk(argument.type);
  if (isKey) {
    reply.bulk("key_spec_index");
    reply.integer(0);
  }
  if (argument.token !== undefined) {
    reply.bulk("token");
    reply.bulk(argument.token);
  }
  if (flags.length > 0) {
    reply.bulk("flags");
    reply.set(flags.length);
    for (const flag of flags) reply.simple(flag);
  }
  if (argument.arguments !== undefined) {
    reply.bulk("arguments");
    replyArguments(reply, argument.arguments);
  }
}

const categoryOfGroup: Readonly<Record<Command["group"], string | null>> = {
  string: "@string",
  generic: "@keyspace",
  connection: "@connection",
  server: null,
  transactions: "@transaction",
  cluster: null,
  kindred: null,
  pubsub: "@pubsub",
  scripting: "@scripting",
};

/** The ACL categories, derived from flags and group, in Redis's order. */
export function categoriesOf(entry: TableEntry): readonly string[] {
  const found = new Set([categoryOfGroup[entry.command.group], entry.hasFlag("fast") ? "@fast" : "@slow"]);
  if (entry.hasFlag("write")) found.add("@write");
  if (entry.hasFlag("readonly")) found.add("@read");
  if (entry.hasFlag("admin")) found.add("@admin").add("@dangerous");
  return categoryOrder.filter((category) => found.has(category));
}

const categoryOrder: readonly string[] = [
  "@keyspace",
  "@read",
  "@write",
  "@string",
  "@pubsub",
  "@admin",
  "@fast",
  "@slow",
  "@dangerous",
  "@connection",
  "@transaction",
  "@scripting",
];
