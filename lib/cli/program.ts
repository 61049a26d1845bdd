/**
 * The `kindred` command: its subcommands, their options and help. Every setting of config.ts is an option of `server`.
 * What a subcommand does is handed in, so that this file only translates words into calls.
 */
import { Command, Option } from "commander";
import { allSettings } from "../config.js";

export interface Actions {
  /** `flags` by setting name; `configPath` as given with --config. */
  server(flags: ReadonlyMap<string, string>, configPath: string | null): Promise<void>;
  check(directory: string, options: { readonly isSalvage: boolean; readonly isJson: boolean }): Promise<void>;
  inspect(file: string, options: { readonly isJson: boolean }): void;
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
  for (const setting of allSettings()) {
    const standard = setting.format(setting.default);
    const notes = [standard === "" ? "no default" : `default ${standard}`];
    if (setting.shape === "<word>") notes.unshift(`one of ${setting.words.join(", ")}`);
    if (setting.change === "at run time") notes.push("CONFIG SET changes it");
    server.addOption(new Option(`--${setting.name} ${setting.shape}`, `${setting.why} (${notes.join("; ")})`));
  }
  // A misspelt subcommand comes here, as an argument of the one that is the default.
  server.allowExcessArguments(true).action(async (options: Record<string, string>, command: Command) => {
    const [word] = command.args;
    if (word !== undefined) return program.error(unknownSubcommand(word, program));
    const flags = new Map<string, string>();
    for (const option of command.options) {
      const value = options[option.attributeName()];
      if (value !== undefined && option.long !== "--config") flags.set((option.long ?? "").slice(2), value);
    }
    await actions.server(flags, options.config ?? null);
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
  return program;
}

function unknownSubcommand(word: string, program: Command): string {
  const names = program.commands.map((command) => command.name());
  const nearest = names.find((name) => name.startsWith(word.slice(0, 2)));
  const advice = nearest === undefined ? `there are ${names.join(", ")}` : `did you mean ${nearest}?`;
  return `error: unknown command '${word}' (${advice})`;
}
