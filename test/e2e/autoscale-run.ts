/**
 * `kindred autoscale` as it runs: a cluster of its own under a load that rises and falls, what it decided, who was a member when,
 * and what clients of two members that stay were told.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { ClusterLoad, pause, plainClient, short, textOf } from "./cluster-load.js";
import { cleanEnvironment, mainPath } from "./program.js";
import { until, within } from "./until.js";

const READY_MS_MAX = 60_000;
const STOP_MS_MAX = 40_000;
const LOOK_MS = 250;
const EXAMPLES_MAX = 5;

/** A running `kindred autoscale`. */
export class AutoscaleProcess {
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;
  output = "";

  constructor(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(process.execPath, [mainPath, "autoscale", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: cleanEnvironment(environment),
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        this.output += `${chunk}`;
      });
    }
    this.ended = new Promise((resolve) => this.#child.once("exit", (code) => resolve(code)));
  }

  /** What it told by itself, without the logs of its members. */
  get lines(): readonly string[] {
    return this.output.split("\n").filter((line) => /^\d\d:\d\d:\d\d {2}|^kindred autoscale: /.test(line));
  }

  /** Resolves with its exit code once it has ended its members. */
  stop(): Promise<number | null> {
    this.#child.kill("SIGTERM");
    return within({ what: `it ends:\n${this.output.slice(-3_000)}`, withinMs: STOP_MS_MAX }, this.ended);
  }

  /** Ends it without a warning: its members go on. */
  kill(): Promise<number | null> {
    this.#child.kill("SIGKILL");
    return this.ended;
  }
}

/** Load besides that of the checking client: resolves with what ends it. */
export type Raise = (ports: readonly number[], load: ClusterLoad) => Promise<() => Promise<void>>;

export interface AutoscaleRunOptions {
  /** Of the first member; the others follow. */
  readonly port: number;
  readonly directory: string;
  readonly args: readonly string[];
  /** Members at the least, and once the load has risen. */
  readonly members: { readonly least: number; readonly raised: number };
  /** Requests a second of the checking client. */
  readonly rate: number;
  readonly keys: number;
  readonly raise: Raise;
  readonly stepMsMax: number;
  readonly say?: (line: string) => void;
}

export interface AutoscaleReport {
  readonly decisions: readonly string[];
  /** Seconds since the load began, and names of the members, whenever they changed. */
  readonly members: readonly { readonly atSeconds: number; readonly names: string }[];
  readonly operations: number;
  readonly acknowledgedWrites: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly staleReads: number;
  readonly lost: number;
  readonly longestMs: number;
  readonly exitCode: number | null;
  readonly examples: readonly string[];
}

interface Status {
  readonly members: readonly { readonly name: string; readonly state: string }[];
  readonly pending: readonly unknown[];
}

export async function runAutoscale(options: AutoscaleRunOptions): Promise<AutoscaleReport> {
  const { port, directory, args, members, rate, keys, raise, stepMsMax } = options;
  const say = options.say ?? ((): void => undefined);
  const scaler = new AutoscaleProcess(["--dir", directory, "--port", `${port}`, ...args]);
  try {
    await until({ what: `members are ready:\n${scaler.output}`, withinMs: READY_MS_MAX }, async () => {
      const status = await statusAt(port).catch(() => null);
      return status !== null && isSettled(status, members.least) ? true : pause(LOOK_MS).then(() => null);
    });
    // Those that stay: the last ones go first.
    const ports = [port, port + 1];
    const load = await ClusterLoad.connect({ ports, rate, keys, seed: 1 });
    const startedMs = performance.now();
    const seen: { atSeconds: number; names: string }[] = [];
    const look = async (): Promise<Status> => {
      const status = await statusAt(port);
      const names = status.members.map(({ name, state }) => (state === "up" ? name : `${name} (${state})`)).join(" ");
      if (seen.at(-1)?.names !== names) {
        seen.push({ atSeconds: (performance.now() - startedMs) / 1_000, names });
        say(`${seen.at(-1)!.atSeconds.toFixed(0)} s: ${names}`);
      }
      return status;
    };
    const untilMembers = (count: number): Promise<true> =>
      until({ what: `${count} members:\n${scaler.lines.join("\n")}`, withinMs: stepMsMax }, async () => {
        return isSettled(await look(), count) ? true : pause(LOOK_MS).then(() => null);
      });
    load.start();
    await look();
    const lower = await raise(ports, load);
    say("the load is raised");
    await untilMembers(members.raised);
    await lower();
    say("the load is lowered");
    await untilMembers(members.least);
    await load.stop();
    const { lost, examples } = await judge(load, port);
    return {
      decisions: scaler.lines,
      members: seen,
      operations: load.operations,
      acknowledgedWrites: load.history.acknowledged,
      failures: Object.fromEntries(load.failures),
      staleReads: load.staleReads,
      lost,
      longestMs: load.slowest.ms,
      exitCode: await scaler.stop(),
      examples: [...load.staleExamples, ...examples],
    };
  } finally {
    await scaler.stop().catch(() => scaler.kill());
  }
}

/** What was acknowledged and is not there. */
async function judge({ history }: ClusterLoad, port: number): Promise<{ lost: number; examples: readonly string[] }> {
  const client = plainClient(port);
  await client.connect();
  const examples: string[] = [];
  let lost = 0;
  for (const key of history.keys) {
    const value = await client.get(key).catch((error: unknown) => textOf(error));
    if (history.judge(key, value) === "right") continue;
    lost++;
    if (examples.length < EXAMPLES_MAX) examples.push(`lost: ${key}, found ${short(value)}`);
  }
  client.disconnect();
  return { lost, examples };
}

function isSettled({ members, pending }: Status, count: number): boolean {
  return members.length === count && pending.length === 0 && members.every(({ state }) => state === "up");
}

export async function statusAt(port: number): Promise<Status> {
  const client = plainClient(port);
  try {
    await client.connect();
    return JSON.parse(String(await client.call("CLUSTER", "STATUS"))) as Status;
  } finally {
    client.disconnect();
  }
}
