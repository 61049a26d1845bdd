/**
 * The `kindred` command: its subcommands, their options and help. Every setting of config.ts is an option of `server`.
 * What a subcommand does is handed in, so that this file only translates words into calls.
 */
import { Command, InvalidArgumentError, Option } from "commander";
import { SLOTS } from "../bytes/slot.js";
import { allSettings } from "../config.js";
import { OperatingError } from "../errors.js";
import {
  AUTOSCALE_NAMES,
  type AutoscaleFlags,
  type AutoscaleOptions,
  addAutoscaleOptions,
  autoscaleOptions,
} from "./autoscale-options.js";
import { MEMBERS_MAX, OWN_SETTINGS } from "./cluster-plan.js";

const PORTS = { min: 1, max: 65_535 };
const DATABASE_MAX = 15;

export interface Actions {
  /** `flags` by setting name; `configPath` as given with --config. */
  server(flags: ReadonlyMap<string, string>, configPath: string | null): Promise<void>;
  check(directory: string, options: { readonly isSalvage: boolean; readonly isJson: boolean }): Promise<void>;
  inspect(file: string, options: { readonly isJson: boolean }): void;
  cluster(options: ClusterOptions): Promise<void>;
  /** Of a running node. */
  status(options: NodeOptions): Promise<void>;
  ring(options: NodeOptions): Promise<void>;
  where(key: string, options: NodeOptions): Promise<void>;
  repair(what: RepairOptions, options: NodeOptions): Promise<void>;
  /** `directory` as given. */
  backup(directory: string, options: NodeOptions): Promise<void>;
  restore(backup: string, options: RestoreOptions): Promise<void>;
  leave(options: NodeOptions & { readonly isForced: boolean }): Promise<void>;
  remove(members: readonly string[], options: NodeOptions & { readonly isForced: boolean }): Promise<void>;
  autoscale(options: AutoscaleOptions): Promise<void>;
}

export interface RepairOptions {
  /** Null: all. */
  readonly slot: number | null;
  /** The other member's name or id; null: all. */
  readonly peer: string | null;
  readonly isFull: boolean;
}

export interface RestoreOptions {
  /** Both as given. */
  readonly directory: string;
  readonly as: "member" | "whole cluster" | "alone";
  readonly without: readonly string[];
  readonly isJson: boolean;
}

export interface ClusterOptions {
  readonly nodes: number;
  readonly port: number;
  readonly peerPort: number | null;
  readonly directory: string;
  /** Settings of all members, by name. */
  readonly flags: ReadonlyMap<string, string>;
  readonly configPath: string | null;
}

export interface NodeOptions {
  readonly host: string;
  readonly port: number;
  /** Null where none was given. */
  readonly password: string | null;
  readonly database: number;
  /** Null: in the clear. `caPath`: whom to trust, null for the authorities that Node trusts; with a certificate to show, both paths. */
  readonly tls: TlsOptions | null;
  readonly isJson: boolean;
}

export interface TlsOptions {
  readonly caPath: string | null;
  readonly certPath: string | null;
  readonly keyPath: string | null;
}

/** Where help and errors of the command line itself go. */
export interface Output {
  out(text: string): void;
  error(text: string): void;
}

/** Builds the command line. Its `parseAsync` rejects with commander's CommanderError instead of ending the process. */
export function buildProgram(version: string, actions: Actions, output: Output): Command {
  const program = new Command("kindred")
    .description("A leaderless key-value store that speaks the Redis protocol.")
    .version(version, "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .showSuggestionAfterError(true)
    .exitOverride()
    .configureOutput({ writeOut: (text) => output.out(text), writeErr: (text) => output.error(text) });

  const server = program
    .command("server", { isDefault: true })
    .description("run a node (the default)")
    .addOption(new Option("--config <file>", "JSON file of settings; flags and KINDRED_... variables override it"))
    .addHelpText(
      "after",
      "\nEvery setting may also come from the environment (--max-pair-bytes is KINDRED_MAX_PAIR_BYTES)\nor from the file that --config or KINDRED_CONFIG names. Flags win over the environment, the environment over the file.",
    );
  for (const setting of allSettings()) server.addOption(settingOption(setting));
  const replace = program
    .command("replace")
    .description("run a node that joins in the place of a member that is gone for good: kindred server --replace <member>")
    .argument("<member>", "its name or id")
    .addOption(new Option("--config <file>", "JSON file of settings"));
  for (const setting of allSettings()) if (setting.name !== "replace") replace.addOption(settingOption(setting));
  replace.action(async (member: string, options: Record<string, string>, command: Command) => {
    await actions.server(settingsGiven(command, options).set("replace", member), options.config ?? null);
  });
  // A misspelt subcommand comes here, as an argument of the one that is the default.
  server.allowExcessArguments(true).action(async (options: Record<string, string>, command: Command) => {
    const [word] = command.args;
    if (word !== undefined) return program.error(unknownSubcommand(word, program));
    await actions.server(settingsGiven(command, options), options.config ?? null);
  });

  program
    .command("check")
    .description("verify everything in a data directory that no server is using")
    .argument("<dir>", "the data directory")
    .option("--salvage", "cut damaged parts away, so that the node starts with what is left")
    .option("--json", "print the report as JSON")
    .action(async (directory: string, options: { salvage?: true; json?: true }) => {
      await actions.check(directory, { isSalvage: options.salvage ?? false, isJson: options.json ?? false });
    });

  program
    .command("inspect")
    .description("print what one file of a store holds: a log segment, a table, the manifest, the lock")
    .argument("<file>", "the file")
    .option("--json", "print one JSON object a line")
    .action((file: string, options: { json?: true }) => {
      actions.inspect(file, { isJson: options.json ?? false });
    });
  addRestore(program, actions);
  addCluster(program, actions);
  addQuestions(program, actions);
  addAutoscale(program, actions);
  return program;
}

function addRestore(program: Command, actions: Actions): void {
  program
    .command("restore")
    .description("make a data directory of a backup; by default for a new member in the place of the one that it is of")
    .argument("<backup>", "the backup")
    .requiredOption("--dir <directory>", "the data directory to make")
    .addOption(new Option("--whole-cluster", "all members are restored: each goes on as it was").conflicts("alone"))
    .addOption(
      new Option("--without <member>", "of a whole cluster: one that is not restored (repeatable)").argParser(collected),
    )
    .addOption(new Option("--alone", "as the only member of a new cluster, which has nothing to do with the old one"))
    .option("--json", "print the outcome as JSON")
    .action(async (backup: string, { dir, wholeCluster, without = [], alone, json }: RestoreFlags) => {
      if (without.length > 0 && !wholeCluster) throw new OperatingError("CONFIG", "--without goes with --whole-cluster");
      const as = wholeCluster ? "whole cluster" : alone ? "alone" : "member";
      await actions.restore(backup, { directory: dir, as, without, isJson: json ?? false });
    });
}

interface RestoreFlags {
  readonly dir: string;
  readonly wholeCluster?: true;
  readonly without?: readonly string[];
  readonly alone?: true;
  readonly json?: true;
}

function collected(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

function addCluster(program: Command, actions: Actions): void {
  const cluster = program
    .command("cluster")
    .description("run several members on this machine, each a process of its own, until Ctrl-C")
    .addOption(whole("--nodes <number>", "how many members to run", { min: 1, max: MEMBERS_MAX }).default(3))
    .addOption(whole("--port <port>", "port of the first member for clients; the others follow", PORTS).default(7_000))
    .addOption(whole("--peer-port <port>", "the same for the members among themselves (default: --port + 10000)", PORTS))
    .addOption(new Option("--dir <directory>", "where each member has a directory").default("./cluster"))
    .addOption(new Option("--config <file>", "JSON file of settings for each member"))
    .addHelpText(
      "after",
      `
The members are called node-a, node-b and so on, each a host of its own. The first founds a cluster and the others join
it; where their directories have data, they go on with that. All other settings are those of kindred server and go to
each member. None is restarted: it is said which one ended, and how to start it again.

Ctrl-C or SIGTERM stops all of them in order, a second one at once. If this command itself is killed (kill -9), the
members go on: stop each with SIGTERM or SHUTDOWN.`,
    );
  for (const setting of allSettings()) if (!OWN_SETTINGS.has(setting.name)) cluster.addOption(settingOption(setting));
  cluster.action(async ({ nodes, port, peerPort, dir, config, ...settings }: ClusterFlags, command: Command) => {
    const flags = settingsGiven(command, settings);
    await actions.cluster({ nodes, port, peerPort: peerPort ?? null, directory: dir, flags, configPath: config ?? null });
  });
}

function addAutoscale(program: Command, actions: Actions): void {
  const autoscale = program
    .command("autoscale")
    .description("grow and shrink a cluster with its load, until Ctrl-C")
    .addHelpText(
      "after",
      `
--provider local runs the members on this machine as kindred cluster does, with the settings of kindred server that are
given here; Ctrl-C or SIGTERM stops them in order. --provider exec runs a command with the wanted count of members as its
last argument, and in AUTOSCALE_MEMBERS: kindred autoscale --provider exec -- kubectl scale statefulset kindred --replicas
Each decision is a line with its reason. Nothing is begun before the last change is done.`,
    );
  addAutoscaleOptions(autoscale);
  // Members join beside the others, in directories that are used again.
  const own = new Set([...OWN_SETTINGS, ...AUTOSCALE_NAMES, "replace", "rejoin"]);
  for (const setting of allSettings()) if (!own.has(setting.name)) autoscale.addOption(settingOption(setting));
  autoscale.action(async (command: string[], options: AutoscaleFlags & Record<string, unknown>, self: Command) => {
    const flags = settingsGiven(self, options);
    for (const name of AUTOSCALE_NAMES) flags.delete(name);
    await actions.autoscale(autoscaleOptions(options, { command, flags }));
  });
}

/** And all settings that are not the members' own. */
interface ClusterFlags {
  readonly nodes: number;
  readonly port: number;
  readonly peerPort?: number;
  readonly dir: string;
  readonly config?: string;
}

function addQuestions(program: Command, actions: Actions): void {
  const question = (name: string, description: string): Command =>
    program
      .command(name)
      .description(description)
      .addOption(whole("--port <port>", "port for clients of the node to ask", PORTS).default(6_379))
      .addOption(new Option("--host-address <address>", "address of the node to ask").default("127.0.0.1"))
      .addOption(new Option("--password <password>", "its password (default: KINDRED_REQUIREPASS)"))
      .addOption(new Option("--tls", "speak TLS, and trust the authorities that Node trusts"))
      .addOption(new Option("--tls-ca <file>", "speak TLS, and trust the authority in this PEM file"))
      .addOption(new Option("--tls-cert <file>", "certificate to show, for a node with tls-auth-clients; with --tls-key"))
      .addOption(new Option("--tls-key <file>", "its key"))
      .addOption(new Option("--json", "print the answer as JSON"));
  question("status", "show the members of a cluster and how each fares, as one of them sees it").action(
    async (options: QuestionOptions) => actions.status(nodeOptions(options)),
  );
  question("ring", "show who owns how much of the ring").action(async (options: QuestionOptions) =>
    actions.ring(nodeOptions(options)),
  );
  question("where", "show which members hold a key, and what each of them has")
    .argument("<key>", "the key")
    .addOption(whole("--db <number>", "its database", { min: 0, max: DATABASE_MAX }).default(0))
    .action(async (key: string, options: QuestionOptions) => actions.where(key, nodeOptions(options)));
  question("backup", "have a node copy its store into a directory on its machine, while it serves; waits until that is done")
    .requiredOption("--to <directory>", "the directory, which is not there yet, below the node's backup-dir")
    .action(async ({ to, ...options }: QuestionOptions & { to: string }) => actions.backup(to, nodeOptions(options)));
  question("leave", "have a node give its slots away, leave its cluster and stop; waits until it has")
    .addOption(
      new Option("--force", "without members that are down: what they were to take over is brought to them when they return"),
    )
    .action(async ({ force, ...options }: QuestionOptions & { force?: true }) =>
      actions.leave({ ...nodeOptions(options), isForced: force ?? false }),
    );
  question("remove", "take a member that is gone for good, or is still to join, out of the cluster; waits until that is done")
    .argument("<members...>", "its name or id; several only where a majority is gone for good: all of those, with --force")
    .addOption(new Option("--force", "also if it is not down, or if others are down: what only those have may be lost"))
    .action(async (members: string[], { force, ...options }: QuestionOptions & { force?: true }) =>
      actions.remove(members, { ...nodeOptions(options), isForced: force ?? false }),
    );
  question("repair", "compare a node's copies with other members' and make them equal, without waiting for it to do so itself")
    .addOption(whole("--slot <slot>", "this slot only", { min: 0, max: SLOTS - 1 }))
    .addOption(new Option("--peer <member>", "with this member only, by its name or id"))
    .addOption(new Option("--full", "have the node read all its records, and trust no sum that it keeps of them"))
    .action(async ({ slot, peer, full, ...options }: QuestionOptions & RepairFlags) =>
      actions.repair({ slot: slot ?? null, peer: peer ?? null, isFull: full ?? false }, nodeOptions(options)),
    );
}

interface RepairFlags {
  readonly slot?: number;
  readonly peer?: string;
  readonly full?: true;
}

interface QuestionOptions {
  readonly port: number;
  readonly hostAddress: string;
  readonly password?: string;
  readonly db?: number;
  readonly tls?: true;
  readonly tlsCa?: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
  readonly json?: true;
}

function nodeOptions({ port, hostAddress, password, db, json, ...tls }: QuestionOptions): NodeOptions {
  const options = { host: hostAddress, port, password: password ?? null, database: db ?? 0, isJson: json ?? false };
  return { ...options, tls: tlsOptions(tls) };
}

function tlsOptions({ tls, tlsCa, tlsCert, tlsKey }: Partial<QuestionOptions>): TlsOptions | null {
  if (tls === undefined && tlsCa === undefined && tlsCert === undefined && tlsKey === undefined) return null;
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new OperatingError("CONFIG", "--tls-cert and --tls-key go together");
  return { caPath: tlsCa ?? null, certPath: tlsCert ?? null, keyPath: tlsKey ?? null };
}

function settingOption(setting: ReturnType<typeof allSettings>[number]): Option {
  const standard = setting.format(setting.default);
  const notes = [standard === "" ? "no default" : `default ${standard}`];
  if (setting.shape === "<word>") notes.unshift(`one of ${setting.words.join(", ")}`);
  if (setting.change === "at run time") notes.push("CONFIG SET changes it");
  return new Option(`--${setting.name} ${setting.shape}`, `${setting.why} (${notes.join("; ")})`);
}

/** Settings by name, as they were given. */
function settingsGiven(command: Command, options: Readonly<Record<string, unknown>>): Map<string, string> {
  const flags = new Map<string, string>();
  for (const option of command.options) {
    const value = options[option.attributeName()];
    if (value !== undefined && option.long !== "--config") flags.set((option.long ?? "").slice(2), String(value));
  }
  return flags;
}

/** An option that is a whole number within bounds. */
function whole(flags: string, description: string, { min, max }: { min: number; max: number }): Option {
  return new Option(flags, description).argParser((text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`It may be ${min} to ${max}.`);
    }
    return value;
  });
}

function unknownSubcommand(word: string, program: Command): string {
  const names = program.commands.map((command) => command.name());
  const nearest = names.find((name) => name.startsWith(word.slice(0, 2)));
  const advice = nearest === undefined ? `there are ${names.join(", ")}` : `did you mean ${nearest}?`;
  return `error: unknown command '${word}' (${advice})`;
}
