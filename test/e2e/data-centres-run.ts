/**
 * Two data centres of three members each, with a slow link between them: what each level costs, what a write sends across, and what
 * clients of both are told while the link is cut and after it is back.
 *
 * Where the system has network namespaces each data centre has one, and the link is a cable between them that is pulled; a proxy before
 * each member's peer port delays what comes across. Elsewhere such proxies also count what passes and hold it back.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Redis } from "ioredis";
import { ClusterLoad, pause, plainClient, type Slowest, textOf } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import type { NetworkNamespaces } from "./network-namespaces.js";
import type { ServerSettings, Servers } from "./server-process.js";
import { until } from "./until.js";

export interface DataCentresRunOptions {
  /** One way, in milliseconds. */
  readonly linkMs: number;
  /** How long there is load before latencies count: until what runs for the first time has done so. */
  readonly warmUpSeconds: number;
  /** How long the link is cut. */
  readonly cutSeconds: number;
  /** Requests a second in each data centre meanwhile, half of them writes, and the keys that they are spread over. */
  readonly rate: number;
  readonly keys: number;
  /** Requests that are timed, of each kind at each level. */
  readonly timed: number;
  readonly settings?: ServerSettings;
  /** One for each data centre; null: proxies on one network do. */
  readonly namespaces: NetworkNamespaces | null;
  readonly say?: (line: string) => void;
}

export interface LevelTimes {
  readonly level: string;
  readonly command: "SET" | "GET";
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface SideReport {
  readonly operations: number;
  readonly acknowledgedWrites: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly staleReads: number;
  /** While the link was cut. */
  readonly p99Ms: number;
  readonly longestMs: number;
  readonly longest: string;
  /** In the seconds after it was back, when what was missed is handed over. */
  readonly laterMs: number;
}

export interface DataCentresReport {
  readonly link: "network namespaces" | "proxies";
  readonly linkMs: number;
  readonly cutSeconds: number;
  readonly times: readonly LevelTimes[];
  /** Bytes across the link for a write, over those of its key and value; with the headers of packets where they are counted there. */
  readonly bytesRatio: number;
  /** By data centre, of all its requests from before the cut until after it. */
  readonly sides: readonly SideReport[];
  /** The longest that this process, which asks (and is the link, where that is made of proxies), stood still meanwhile. */
  readonly loadStallMs: number;
  /** From the healing until all copies of all keys were equal; null: not in time. */
  readonly convergedMs: number | null;
  /** Acknowledged writes that no data centre has. */
  readonly lost: number;
  /** Keys written on both sides during the cut, and those that have siblings in the end. */
  readonly writtenOnBoth: number;
  readonly siblings: number;
  readonly examples: readonly string[];
}

const NEAR = [0, 1, 2];
const FAR = [3, 4, 5];
const LEVELS = ["LOCAL_QUORUM", "QUORUM", "EACH_QUORUM"];
const WARM_UP = 50;
const VALUE_BYTES = 4_000;
const WRITES_WEIGHED = 500;
const WEIGH_MS = 2_000;
const SHARED_KEYS = 50;
const SHARED_EVERY_MS = 100;
/** Until what is handed over after the cut has been begun. */
const AFTER_MS = 3_000;
const CONVERGED_MS_MAX = 180_000;
const AT_ONCE = 50;
const EXAMPLES_MAX = 10;

export async function runDataCentres(servers: Servers, options: DataCentresRunOptions): Promise<DataCentresReport> {
  const { namespaces, linkMs } = options;
  const cluster = await ClusterProcesses.start(servers, {
    nodes: 6,
    settings: { replicas: "3", ...options.settings },
    ...(namespaces === null
      ? { isMeshed: true }
      : { halves: { namespaces, sideOf: (at) => (NEAR.includes(at) ? 0 : 1), delayMs: linkMs } }),
    own: (at) => ({ dc: NEAR.includes(at) ? "dc1" : "dc2" }),
  });
  try {
    if (namespaces === null) await cluster.partTwo(NEAR, linkMs);
    return await new DataCentresRun(cluster, options).run();
  } finally {
    await cluster.close();
  }
}

class DataCentresRun {
  readonly #cluster: ClusterProcesses;
  readonly #options: DataCentresRunOptions;
  readonly #examples: string[] = [];

  constructor(cluster: ClusterProcesses, options: DataCentresRunOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  async run(): Promise<DataCentresReport> {
    const { linkMs, warmUpSeconds, cutSeconds, rate, keys, say } = this.#options;
    const times: LevelTimes[] = [];
    for (const level of LEVELS) times.push(...(await this.#time(level)));
    say?.("levels are timed");
    const bytesRatio = await this.#weigh();
    say?.(`a write sends ${bytesRatio.toFixed(2)} times its bytes across`);
    const loads: ClusterLoad[] = [];
    for (const [side, members] of [NEAR, FAR].entries()) {
      const ports = members.map((at) => this.#cluster.port(at));
      const place = this.#cluster.place(members[0]!);
      loads.push(await ClusterLoad.connect({ ports, place, rate, keys, seed: 1 + side, prefix: `dc${side + 1}:` }));
    }
    const shared = new SharedWrites(NEAR.concat(FAR).map((at) => this.#client(at)));
    for (const load of loads) load.start();
    await pause(1_000 * warmUpSeconds);
    for (const load of loads) load.forgetLatencies();
    const ownStalls = monitorEventLoopDelay({ resolution: 1 });
    ownStalls.enable();
    this.#cluster.cutLink();
    say?.(`the link is cut for ${cutSeconds} s`);
    await shared.writeFor(1_000 * cutSeconds);
    this.#cluster.heal();
    const healedMs = performance.now();
    const during = loads.map((load) => ({ p99Ms: load.quantileMs(0.99), slowest: load.slowest }));
    for (const load of loads) load.forgetLatencies();
    await pause(AFTER_MS);
    for (const load of loads) await load.stop();
    ownStalls.disable();
    const all = [...loads.flatMap(({ history }) => history.keys), ...shared.keys];
    const convergedMs = await this.#converged(all, healedMs);
    say?.(convergedMs === null ? "copies still differ" : `all copies are equal after ${(convergedMs / 1_000).toFixed(1)} s`);
    let lost = 0;
    for (const [side, load] of loads.entries()) lost += await this.#lost(load, side === 0 ? FAR[0]! : NEAR[0]!);
    const siblings = await shared.siblings(this.#cluster);
    shared.close();
    const sides = loads.map((load, side) => this.#sideOf(load, shared.failures[side]!, during[side]!));
    const writtenOnBoth = shared.writtenOnBoth;
    return {
      link: this.#options.namespaces === null ? "proxies" : "network namespaces",
      linkMs,
      cutSeconds,
      times,
      bytesRatio,
      sides,
      loadStallMs: ownStalls.max / 1e6,
      convergedMs,
      lost,
      writtenOnBoth,
      siblings,
      examples: this.#examples,
    };
  }

  /** One after the other, through a member of the first data centre. */
  async #time(level: string): Promise<LevelTimes[]> {
    const client = this.#client(NEAR[0]!);
    await client.connect();
    await client.call("CONSISTENCY", level);
    const times: LevelTimes[] = [];
    for (const command of ["SET", "GET"] as const) {
      const tookMs: number[] = [];
      for (let at = 0; at < WARM_UP + this.#options.timed; at++) {
        const key = `timed:${level}:${at % 100}`;
        const beganMs = performance.now();
        await (command === "SET" ? client.set(key, "v".repeat(100)) : client.get(key));
        if (at >= WARM_UP) tookMs.push(performance.now() - beganMs);
      }
      tookMs.sort((a, b) => a - b);
      const quantile = (share: number): number => tookMs[Math.ceil(share * tookMs.length) - 1]!;
      times.push({ level, command, p50Ms: quantile(0.5), p99Ms: quantile(0.99) });
    }
    client.disconnect();
    return times;
  }

  /** What crosses when nothing is asked is left out. */
  async #weigh(): Promise<number> {
    const crossedIn = async (work: () => Promise<unknown>): Promise<number> => {
      const before = this.#cluster.bytesCrossed;
      const beganMs = performance.now();
      await work();
      await pause(Math.max(0, WEIGH_MS - (performance.now() - beganMs)));
      return (this.#cluster.bytesCrossed - before) / (performance.now() - beganMs);
    };
    const client = this.#client(NEAR[1]!);
    await client.connect();
    await pause(WEIGH_MS);
    const idleRate = await crossedIn(() => pause(WEIGH_MS));
    let beganMs = 0;
    const rate = await crossedIn(async () => {
      beganMs = performance.now();
      for (let at = 0; at < WRITES_WEIGHED; at += AT_ONCE) {
        const writes = Array.from({ length: AT_ONCE }, (_, index) =>
          client.set(keyWeighed(at + index), "w".repeat(VALUE_BYTES)),
        );
        await Promise.all(writes);
      }
    });
    const tookMs = Math.max(WEIGH_MS, performance.now() - beganMs);
    client.disconnect();
    return ((rate - idleRate) * tookMs) / (WRITES_WEIGHED * (VALUE_BYTES + keyWeighed(0).length));
  }

  /** Milliseconds from `sinceMs` until all owners of each key hold the same. */
  async #converged(keys: readonly string[], sinceMs: number): Promise<number | null> {
    const client = this.#client(NEAR[0]!);
    await client.connect();
    let left = [...keys];
    const look = async (): Promise<true | null> => {
      const differing: string[] = [];
      for (let at = 0; at < left.length; at += AT_ONCE) {
        const some = left.slice(at, at + AT_ONCE);
        const equal = await Promise.all(some.map(async (key) => isEqual(String(await client.call("CLUSTER", "WHERE", key)))));
        differing.push(...some.filter((_, index) => !equal[index]));
      }
      left = differing;
      return left.length === 0 ? true : pause(200).then(() => null);
    };
    const found = await until({ what: "all copies are equal", withinMs: CONVERGED_MS_MAX }, look).catch(() => null);
    client.disconnect();
    for (const key of left) this.#note(`${key} differs`);
    return found === null ? null : performance.now() - sinceMs;
  }

  /** Asks the other data centre than the one that the writes were made in. */
  async #lost({ history }: ClusterLoad, at: number): Promise<number> {
    const client = this.#client(at);
    await client.connect();
    let lost = 0;
    for (const key of history.keys) {
      if (history.judge(key, await client.get(key)) === "right") continue;
      lost++;
      this.#note(`lost: ${key}`);
    }
    client.disconnect();
    return lost;
  }

  #sideOf(
    load: ClusterLoad,
    besides: ReadonlyMap<string, number>,
    { p99Ms, slowest }: { readonly p99Ms: number; readonly slowest: Slowest },
  ): SideReport {
    const failures = new Map(load.failures);
    for (const [text, count] of besides) failures.set(text, (failures.get(text) ?? 0) + count);
    for (const text of load.staleExamples) this.#note(text);
    return {
      operations: load.operations,
      acknowledgedWrites: load.history.acknowledged,
      failed: [...failures.values()].reduce((sum, count) => sum + count, 0),
      failures: Object.fromEntries(failures),
      staleReads: load.staleReads,
      p99Ms,
      longestMs: slowest.ms,
      longest: `${slowest.what}, ${(slowest.afterMs / 1_000).toFixed(1)} s after the cut`,
      laterMs: load.slowest.ms,
    };
  }

  /** In the data centre of this member. */
  #client(at: number): Redis {
    return plainClient(this.#cluster.port(at), this.#cluster.place(at));
  }

  #note(text: string): void {
    if (this.#examples.length < EXAMPLES_MAX) this.#examples.push(text);
  }
}

/** Keys that clients of both data centres write while they cannot see each other. */
class SharedWrites {
  readonly keys = Array.from({ length: SHARED_KEYS }, (_, at) => `shared:${at}`);
  /** By data centre. */
  readonly failures = [new Map<string, number>(), new Map<string, number>()];
  readonly #clients: readonly Redis[];
  readonly #written = [new Set<string>(), new Set<string>()];

  constructor(clients: readonly Redis[]) {
    this.#clients = clients;
  }

  async writeFor(ms: number): Promise<void> {
    for (const client of this.#clients) await client.connect();
    const endMs = performance.now() + ms;
    for (let count = 0; performance.now() < endMs; count++) {
      // Not with the first of the cut, when what was sent before may still arrive, nor with the last.
      const key = this.keys[count % SHARED_KEYS]!;
      await Promise.all([0, 1].map((side) => this.#write(side, key, count)));
      await pause(SHARED_EVERY_MS);
    }
  }

  async #write(side: number, key: string, count: number): Promise<void> {
    try {
      await this.#clients[side * NEAR.length + (count % NEAR.length)]!.set(key, `dc${side + 1} ${count}`);
      this.#written[side]!.add(key);
    } catch (error) {
      const text = `SET: ${textOf(error)}`;
      this.failures[side]!.set(text, (this.failures[side]!.get(text) ?? 0) + 1);
    }
  }

  get writtenOnBoth(): number {
    return this.keys.filter((key) => this.#written.every((written) => written.has(key))).length;
  }

  /** Keys with versions of both. */
  async siblings(cluster: ClusterProcesses): Promise<number> {
    let found = 0;
    for (const key of this.keys) {
      const reply = (await cluster.ask(NEAR[0]!, "SIBLINGS", key)) as [string, [string, ...unknown[]][]] | null;
      const versions = reply?.[1] ?? [];
      const centres = new Set(versions.map(([value]) => value.split(" ")[0]));
      if (versions.length === 2 && centres.size === 2) found++;
    }
    return found;
  }

  close(): void {
    for (const client of this.#clients) client.disconnect();
  }
}

function keyWeighed(at: number): string {
  return `weighed:${String(at).padStart(6, "0")}`;
}

/** Of the answer to CLUSTER WHERE: do all owners hold the same? */
function isEqual(json: string): boolean {
  const { members } = JSON.parse(json) as { members: readonly { answer: string; versions?: unknown; context?: unknown }[] };
  const held = members.map(({ answer, versions, context }) => JSON.stringify([answer, versions, context]));
  return members.every(({ answer }) => answer !== "unreachable") && new Set(held).size === 1;
}
