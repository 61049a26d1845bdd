/** The options of `kindred autoscale`, and what they make: bounds, targets and times for the policy. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { ScaleSettings } from "../autoscale/policy.js";
import { OperatingError } from "../errors.js";
import { MEMBERS_MAX } from "./cluster-plan.js";

export interface AutoscaleOptions {
  readonly provider: "local" | "exec";
  readonly scale: ScaleSettings;
  /** Between two looks. */
  readonly periodMs: number;
  /** Of the node to ask, or of the first local member. */
  readonly port: number;
  readonly peerPort: number | null;
  readonly hostAddress: string;
  /** More nodes to ask: `host:port`. */
  readonly ask: readonly string[];
  readonly password: string | null;
  readonly directory: string;
  /** Of the provider exec; empty for the other. */
  readonly command: readonly string[];
  readonly commandMsMax: number;
  readonly isJson: boolean;
  /** Settings of local members, by name. */
  readonly flags: ReadonlyMap<string, string>;
  readonly configPath: string | null;
}

/** As commander has them, without the settings of members. */
export interface AutoscaleFlags {
  readonly provider: "local" | "exec";
  readonly min: number;
  readonly max: number;
  readonly busy: number;
  readonly requests: number;
  readonly disk: number;
  readonly high: number;
  readonly low: number;
  readonly growAfter: number;
  readonly shrinkAfter: number;
  readonly growPause: number;
  readonly shrinkPause: number;
  readonly changeTimeout: number;
  readonly commandTimeout: number;
  readonly every: number;
  readonly port?: number;
  readonly peerPort?: number;
  readonly hostAddress: string;
  readonly ask?: string;
  readonly password?: string;
  readonly dir: string;
  readonly json?: true;
  readonly config?: string;
}

const PORTS = { min: 1, max: 65_535 };
const DAY_S = 86_400;
const LOCAL_PORT = 7_000;
const NODE_PORT = 6_379;
/** Loads that are older than this, or than some looks, are not known. */
const STALE_MS_MIN = 15_000;
const STALE_LOOKS = 3;

/** Names that are not settings of members. */
export const AUTOSCALE_NAMES: readonly string[] = [
  "provider",
  "min",
  "max",
  "busy",
  "requests",
  "disk",
  "high",
  "low",
  "grow-after",
  "shrink-after",
  "grow-pause",
  "shrink-pause",
  "change-timeout",
  "command-timeout",
  "every",
  "port",
  "peer-port",
  "host-address",
  "ask",
  "password",
  "dir",
  "json",
  "config",
];

export function addAutoscaleOptions(command: Command): void {
  const seconds = (flags: string, description: string, standard: number, min = 0): Option =>
    whole(flags, `${description}, in seconds`, { min, max: DAY_S }).default(standard);
  command
    .argument("[command...]", "for --provider exec, after --: a program and its arguments; the wanted count follows")
    .addOption(new Option("--provider <name>", "who runs the members").choices(["local", "exec"]).default("local"))
    .addOption(whole("--min <members>", "never fewer", { min: 1, max: MEMBERS_MAX }).default(3))
    .addOption(whole("--max <members>", "never more", { min: 1, max: MEMBERS_MAX }).default(9))
    .addOption(
      whole("--busy <percent>", "target: time for which members' event loops are busy, their mean; 0: not looked at", {
        min: 0,
        max: 100,
      }).default(60),
    )
    .addOption(
      whole("--requests <number>", "target: requests a second for a member of weight 1; 0: not looked at", {
        min: 0,
        max: 10_000_000,
      }).default(0),
    )
    .addOption(
      whole("--disk <percent>", "target: of the room for its data, what the fullest member uses; 0: not looked at", {
        min: 0,
        max: 100,
      }).default(70),
    )
    .addOption(whole("--high <percent>", "of a target: above it the cluster grows", { min: 1, max: 1_000 }).default(100))
    .addOption(
      whole("--low <percent>", "of a target: where one member fewer would stay below it, the cluster shrinks", {
        min: 0,
        max: 999,
      }).default(70),
    )
    .addOption(seconds("--grow-after <seconds>", "how long there has to be too much to do", 30, 1))
    .addOption(seconds("--shrink-after <seconds>", "how long there has to be so little to do", 300, 1))
    .addOption(
      seconds(
        "--grow-pause <seconds>",
        "after a change, until it may grow (and after an attempt that failed, until the next)",
        60,
      ),
    )
    .addOption(seconds("--shrink-pause <seconds>", "after a change, or the start, until it may shrink", 600))
    .addOption(seconds("--change-timeout <seconds>", "until a change that has not ended is told of", 3_600, 1))
    .addOption(seconds("--command-timeout <seconds>", "for the command of --provider exec", 60, 1))
    .addOption(seconds("--every <seconds>", "between two looks", 5, 1))
    .addOption(
      whole(
        "--port <port>",
        `local: of the first member, the others follow (default: ${LOCAL_PORT}); exec: of the node to ask (default: ${NODE_PORT})`,
        PORTS,
      ),
    )
    .addOption(whole("--peer-port <port>", "local: the same for the members among themselves (default: --port + 10000)", PORTS))
    .addOption(new Option("--host-address <address>", "exec: address of the node to ask").default("127.0.0.1"))
    .addOption(new Option("--ask <addresses>", "exec: more nodes to ask, as host:port,...; others are learnt from the answers"))
    .addOption(new Option("--password <password>", "exec: their password (default: KINDRED_REQUIREPASS)"))
    .addOption(new Option("--dir <directory>", "local: where each member has a directory").default("./cluster"))
    .addOption(new Option("--json", "print each look as a line of JSON"))
    .addOption(new Option("--config <file>", "local: JSON file of settings for each member"));
}

/** Throws CONFIG for what does not go together. */
export function autoscaleOptions(
  given: AutoscaleFlags,
  { command, flags }: { readonly command: readonly string[]; readonly flags: ReadonlyMap<string, string> },
): AutoscaleOptions {
  const { provider, min, max, high, low, every } = given;
  const refuse = (text: string): never => {
    throw new OperatingError("CONFIG", text);
  };
  if (max < min) refuse(`--max is ${max}, which is below --min ${min}`);
  if (low >= high) refuse(`--low is ${low}%, which has to be below --high ${high}%: between them nothing is done`);
  if (given.busy + given.requests + given.disk === 0)
    refuse("--busy, --requests and --disk are all 0: nothing is left to look at");
  if (provider === "exec" && command.length === 0) {
    refuse(
      "--provider exec wants a command: kindred autoscale --provider exec -- kubectl scale statefulset kindred --replicas",
    );
  }
  if (provider === "local" && command.length > 0) refuse(`a command (${command[0]}) is for --provider exec`);
  const share = (percent: number): number | null => (percent === 0 ? null : percent / 100);
  const periodMs = 1_000 * every;
  return {
    provider,
    scale: {
      min,
      max,
      targets: { busy: share(given.busy), requests: given.requests === 0 ? null : given.requests, disk: share(given.disk) },
      highMark: high / 100,
      lowMark: low / 100,
      growAfterMs: 1_000 * given.growAfter,
      shrinkAfterMs: 1_000 * given.shrinkAfter,
      growPauseMs: 1_000 * given.growPause,
      shrinkPauseMs: 1_000 * given.shrinkPause,
      changeMsMax: 1_000 * given.changeTimeout,
      staleMs: Math.max(STALE_MS_MIN, STALE_LOOKS * periodMs),
    },
    periodMs,
    port: given.port ?? (provider === "local" ? LOCAL_PORT : NODE_PORT),
    peerPort: given.peerPort ?? null,
    hostAddress: given.hostAddress,
    ask: (given.ask ?? "").split(",").filter((address) => address !== ""),
    password: given.password ?? null,
    directory: given.dir,
    command,
    commandMsMax: 1_000 * given.commandTimeout,
    isJson: given.json ?? false,
    flags,
    configPath: given.config ?? null,
  };
}

/** An option that is a whole number within bounds. */
function whole(flags: string, description: string, { min, max }: { min: number; max: number }): Option {
  return new Option(flags, description).argParser((text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) throw new InvalidArgumentError(`It may be ${min} to ${max}.`);
    return value;
  });
}
