/** `kindred autoscale` from its options to a supervisor that looks and acts, and members that run where they are local ones. */
import { DecisionLog } from "../autoscale/decision-log.js";
import { ExecProvider } from "../autoscale/exec-provider.js";
import { LocalProvider } from "../autoscale/local-provider.js";
import { ScalePolicy } from "../autoscale/policy.js";
import type { Provider } from "../autoscale/provider.js";
import { RingWatch } from "../autoscale/ring-watch.js";
import { Supervisor } from "../autoscale/supervisor.js";
import type { StatusReply } from "../commands/cluster-view.js";
import { allSettings, type Config } from "../config.js";
import { OperatingError } from "../errors.js";
import type { Children } from "../host/children.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Programs } from "../host/programs.js";
import { askNode, type NodeTarget, tellNode } from "./ask-node.js";
import type { AutoscaleOptions } from "./autoscale-options.js";
import { memberName, planMembers, reachable } from "./cluster-plan.js";

export interface AutoscaleRun {
  readonly options: AutoscaleOptions;
  /** What settings and environment make of a local member. */
  readonly config: Config;
  readonly host: { readonly clock: Clock; readonly disk: Disk };
  readonly children: Children;
  readonly programs: Programs;
  /** How nodes are spoken to; address and port are those of each. */
  readonly credentials: Pick<NodeTarget, "password" | "tls">;
  readonly output: (text: string) => void;
  /** Told once: what stops it, and the second time kills its members. */
  readonly onStart: (stop: () => void) => void;
}

/** Resolves when it was stopped, and its local members with it. Rejects with CONFIG or UNAVAILABLE. */
export async function runAutoscale(run: AutoscaleRun): Promise<void> {
  const { options, host, output } = run;
  const { scale, periodMs, isJson } = options;
  const { clock } = host;
  const tellMembers = isJson ? (): void => undefined : output;
  const local = options.provider === "local" ? localProvider(run, tellMembers) : null;
  const [program, ...args] = options.command;
  const provider: Provider =
    local ?? new ExecProvider({ programs: run.programs, command: [program!, ...args], withinMs: options.commandMsMax });
  const named = local === null ? [`${bracketed(options.hostAddress)}:${options.port}`, ...options.ask] : localAddresses(run);
  const watch = new RingWatch({ named, ask: (address) => statusOf(targetOf(run, address)) });
  const log = new DecisionLog({ targets: scale.targets, format: isJson ? "json" : "lines", output });
  const supervisor = new Supervisor({
    clock,
    policy: new ScalePolicy(scale),
    provider,
    look: () => watch.look(),
    periodMs,
    report: (event) => log.note(event, clock.wallMs()),
  });
  let stops = 0;
  let stopping: Promise<void> | undefined;
  run.onStart(() => {
    supervisor.stop();
    if (++stops > 1) local?.kill();
    else stopping = local?.stop();
  });
  try {
    await local?.start();
    await supervisor.run();
  } finally {
    await (stopping ?? local?.stop());
  }
}

function localProvider(run: AutoscaleRun, output: (text: string) => void): LocalProvider {
  const { options, config, host } = run;
  const { directory, scale } = options;
  const names = Array.from({ length: scale.max }, (_, at) => memberName(at));
  // One that has left is nobody's data.
  const existing = new Set(
    names.filter((name) => {
      const files = host.disk.list(`${directory}/${name}`) ?? [];
      return files.length > 0 && !files.includes("left");
    }),
  );
  const plans = planMembers({
    nodes: scale.max,
    seeds: scale.min,
    port: options.port,
    peerPort: options.peerPort,
    directory,
    bind: config.bind,
    settings: new Map([...options.flags, ["rejoin", "yes"]]),
    configPath: options.configPath,
    existing,
    known: new Set(allSettings().map(({ name }) => name)),
  });
  return new LocalProvider({
    children: run.children,
    clock: host.clock,
    members: plans,
    first: existing.size === 0 ? names.slice(0, scale.min) : [...existing],
    isNew: existing.size === 0,
    isRunning: ({ name, port }) => isRunning(targetOf(run, `${bracketed(reachable(config.bind))}:${port}`), name),
    leave: async (address, version) => {
      await tellNode(targetOf(run, address), ["CLUSTER", "LEAVE", "IFVERSION", String(version)]);
    },
    output,
  });
}

function localAddresses({ options, config }: AutoscaleRun): readonly string[] {
  const host = bracketed(reachable(config.bind));
  return Array.from({ length: options.scale.max }, (_, at) => `${host}:${options.port + at}`);
}

async function isRunning(target: NodeTarget, name: string): Promise<boolean> {
  try {
    const { members } = await statusOf(target);
    return members.some((member) => member.isSelf && member.name === name);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return false;
  }
}

async function statusOf(target: NodeTarget): Promise<StatusReply> {
  const answer = await askNode(target, ["CLUSTER", "STATUS"]);
  if (!Array.isArray((answer as Readonly<Record<string, unknown>>).members)) {
    throw new OperatingError("UNAVAILABLE", "the node's answer has no members: use a kindred of its version");
  }
  return answer as StatusReply;
}

/** Throws UNAVAILABLE for what is no `host:port`. */
function targetOf({ credentials }: AutoscaleRun, address: string): NodeTarget {
  const [, plain, ipv6, port] = /^(?:([^[\]:]+)|\[([^\]]+)\]):(\d+)$/.exec(address) ?? [];
  if (port === undefined) throw new OperatingError("UNAVAILABLE", `${address} is no address of a node: it is host:port`);
  return { host: (plain ?? ipv6)!, port: Number(port), database: 0, ...credentials };
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
