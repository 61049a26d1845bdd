/** CONFIG, over the settings that the node was given. */
import { latin1Of } from "../bytes/latin1.js";
import type { Call } from "../resp/call.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandFlag } from "./command.js";
import { Glob } from "./glob.js";
import { container } from "./help.js";
import type { RuntimeSettings, SettingRefusal, SettingValue } from "./runtime-settings.js";

const FLAGS: readonly CommandFlag[] = ["admin", "noscript", "loading", "stale"];

/** What makes a name a pattern. */
const WILDCARD = /[*?[\\]/;

type ClientCall = Call<ClientSession>;

/** Builds the family. `resetStatistics` sets every counter of INFO back. */
export function configCommands(options: {
  readonly settings: RuntimeSettings;
  readonly resetStatistics: () => void;
}): readonly Command[] {
  const { settings } = options;
  const sub = (name: string, arity: number, run: Command["run"], about: Pick<Command, "summary" | "arguments">): Command => ({
    name,
    arity,
    flags: FLAGS,
    keys: null,
    since: "2.0.0",
    group: "server",
    ...about,
    run,
  });
  return [
    container({ name: "config", since: "2.0.0", group: "server", summary: "Commands about the node's settings." }, [
      sub("get", -3, (_, call) => get(settings, call), {
        summary: "The settings whose names match one of the patterns.",
        arguments: [{ name: "parameter", type: "pattern", multiple: true }],
      }),
      sub("set", -4, (_, call) => set(settings, call), {
        summary: "Changes settings: all of them, or none when one is refused.",
        arguments: [
          {
            name: "parameter-value",
            type: "block",
            multiple: true,
            arguments: [
              { name: "parameter", type: "string" },
              { name: "value", type: "string" },
            ],
          },
        ],
      }),
      sub("resetstat", 2, (_, call) => resetStatistics(options.resetStatistics, call), {
        summary: "Sets the counters of INFO back to zero.",
        arguments: [],
      }),
      sub("rewrite", 2, (_, call) => rewrite(settings, call), {
        summary: "Would write the settings to the configuration file; Kindred never changes that file.",
        arguments: [],
      }),
    ]),
  ];
}

/** A name without wildcards is shown as it was typed. */
function get(settings: RuntimeSettings, { args, reply }: ClientCall): void {
  const found = new Map<string, SettingValue>();
  for (const argument of args.slice(2)) {
    const pattern = latin1Of(argument);
    const name = pattern.toLowerCase();
    if (!WILDCARD.test(pattern)) {
      const value = settings.get(name);
      if (value !== null && !found.has(name)) found.set(name, { name: pattern, value });
    } else {
      for (const setting of settings.list(new Glob(Buffer.from(name, "latin1")))) {
        if (!found.has(setting.name)) found.set(setting.name, setting);
      }
    }
  }
  reply.map(found.size);
  for (const { name, value } of found.values()) {
    reply.bulk(name);
    reply.bulk(value);
  }
}

function set(settings: RuntimeSettings, { args, reply }: ClientCall): void {
  if (args.length % 2 !== 0) return reply.error("ERR wrong number of arguments for 'config|set' command");
  const changes = new Map<string, SettingValue>();
  let duplicate: string | null = null;
  for (let at = 2; at < args.length; at += 2) {
    const name = latin1Of(args[at]!).toLowerCase();
    if (settings.get(name) === null) return reply.error(refusalText({ kind: "unknown", name: latin1Of(args[at]!) }));
    if (changes.has(name)) duplicate ??= name;
    changes.set(name, { name, value: latin1Of(args[at + 1]!) });
  }
  if (duplicate !== null) {
    return reply.error(refusalText({ kind: "refused", name: duplicate, reason: "duplicate parameter" }));
  }
  const refusal = settings.set([...changes.values()]);
  if (refusal === null) reply.ok();
  else reply.error(refusalText(refusal));
}

function refusalText(refusal: SettingRefusal): string {
  if (refusal.kind === "unknown") return `ERR Unknown option or number of arguments for CONFIG SET - '${refusal.name}'`;
  return `ERR CONFIG SET failed (possibly related to argument '${refusal.name}') - ${refusal.reason}`;
}

function resetStatistics(reset: () => void, { reply }: ClientCall): void {
  reset();
  reply.ok();
}

function rewrite(settings: RuntimeSettings, { reply }: ClientCall): void {
  if (settings.rewrite() === "written") reply.ok();
  else reply.error("ERR Kindred does not write its configuration file: what CONFIG SET changed is gone with the next start");
}
