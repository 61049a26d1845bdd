/**
 * How a ring heals: a member dies, its disk with it, and another one replaces it; then keys are written while a member is away
 * for which nothing is kept, so that only the comparison of hash trees finds what it lacks. How long it took, and what was sent.
 */
import { rmSync } from "node:fs";
import { pause, plainClient } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import { memberPorts } from "./ports.js";
import type { ServerProcess, ServerSettings, Servers } from "./server-process.js";
import { until } from "./until.js";

export interface HealingRunOptions {
  readonly keys: number;
  /** How many are written while a member is away, each time that it is. */
  readonly differences: readonly number[];
  /** How long nothing may be repaired in the end, in milliseconds. */
  readonly quietMs: number;
  readonly say?: (line: string) => void;
}

export interface ReplacementReport {
  /** From the start of the new member until all were up, owned their share, and no change was pending. */
  readonly healthyMs: number;
  /** Of which it took in its slots, and the bytes of records that it read for that. */
  readonly transferMs: number;
  readonly bytes: number;
  /** Of the keys, on its own disk in the end. */
  readonly copies: number;
}

export interface ConvergenceReport {
  readonly keys: number;
  /** How the member went that is away: after a stop it knows the sums of its hash trees, after a kill it has to read for them. */
  readonly how: "stop" | "kill";
  /** From the start of the member that was away until it had all of them. */
  readonly equalMs: number;
  /** What all members sent to compare and to repair. */
  readonly bytes: number;
}

export interface HealingReport {
  readonly keys: number;
  readonly replacement: ReplacementReport;
  readonly convergences: readonly ConvergenceReport[];
  /** In `quietMs`, once all was equal: bytes sent by all members to compare, and slots in which anything was repaired. */
  readonly quietMs: number;
  readonly quietBytes: number;
  readonly quietRepairs: number;
}

const MEMBERS = 3;
const LOST = 2;
const STAYING = [0, 1];
const BATCH = 500;
const LOADERS = 4;
const VALUE = "v".repeat(100);
const HEALTHY_MS_MAX = 300_000;
const EQUAL_MS_MAX = 120_000;
const SETTLED_MS_MAX = 60_000;
const POLL_MS = 50;
/** Nothing more is repaired once nothing was for so long. */
const STILL_MS = 2_000;

export function runHealing(servers: Servers, options: HealingRunOptions): Promise<HealingReport> {
  return new HealingRun(servers, options).run();
}

class HealingRun {
  readonly #servers: Servers;
  readonly #options: HealingRunOptions;
  #cluster!: ClusterProcesses;

  constructor(servers: Servers, options: HealingRunOptions) {
    this.#servers = servers;
    this.#options = options;
  }

  async run(): Promise<HealingReport> {
    const { keys, differences, quietMs } = this.#options;
    // Nothing is kept for who is away.
    const settings = { replicas: `${MEMBERS}`, "hints-max-bytes": "0" };
    this.#cluster = await ClusterProcesses.start(this.#servers, { nodes: MEMBERS, settings });
    await this.#write(keys, VALUE);
    this.#say(`wrote ${keys} keys`);
    const { replacement, report } = await this.#replace(settings);
    const running = [...STAYING.map((at) => this.#cluster.members[at]!.server), replacement];
    await this.#settled(running);
    const convergences: ConvergenceReport[] = [];
    for (const count of differences) convergences.push(await this.#converge(running, replacement, { count, how: "stop" }));
    const [first] = differences;
    if (first !== undefined) convergences.push(await this.#converge(running, replacement, { count: first, how: "kill" }));
    const before = await totals(running);
    await pause(quietMs);
    const after = await totals(running);
    const quiet = { quietMs, quietBytes: after.bytes - before.bytes, quietRepairs: after.repairs - before.repairs };
    return { keys, replacement: report, convergences, ...quiet };
  }

  async #replace(settings: ServerSettings): Promise<{ replacement: ServerProcess; report: ReplacementReport }> {
    const { members } = this.#cluster;
    const lost = members[LOST]!;
    await lost.server.kill();
    rmSync(lost.server.directory, { recursive: true });
    const [ports] = await memberPorts(1);
    const seeds = STAYING.map((at) => `127.0.0.1:${members[at]!.ports.peer}`).join(",");
    const place = { port: `${ports!.client}`, "peer-port": `${ports!.peer}`, name: "node-d", host: lost.name };
    const startedMs = performance.now();
    const replacement = await this.#servers.start({ settings: { ...settings, ...place, seeds, replace: lost.name } });
    const { records, bytes, tookMs } = await until({ what: "it has taken in its slots", withinMs: HEALTHY_MS_MAX }, () =>
      pause(POLL_MS).then(
        () => replacement.log.find(({ msg }) => msg === "took in the slots that this member is to own") ?? null,
      ),
    );
    await this.#cluster.agreed(STAYING);
    const healthyMs = performance.now() - startedMs;
    this.#say(`node-d replaced node-c, ${seconds(healthyMs)} after its start: ${records} records, ${bytes} bytes`);
    const copies = await keysAt(replacement);
    return { replacement, report: { healthyMs, transferMs: Number(tookMs), bytes: Number(bytes), copies } };
  }

  async #converge(
    running: readonly ServerProcess[],
    away: ServerProcess,
    { count, how }: { readonly count: number; readonly how: "stop" | "kill" },
  ): Promise<ConvergenceReport> {
    const others = running.filter((server) => server !== away);
    await (how === "stop" ? away.terminate() : away.kill());
    const value = `written while it was away after a ${how}, one of ${count}`;
    await this.#write(count, value);
    const before = await totals(others);
    const startedMs = performance.now();
    await away.restart();
    const client = plainClient(away.port);
    await client.connect();
    await client.call("CONSISTENCY", "ONE");
    await until({ what: `it has all ${count} that it lacked`, withinMs: EQUAL_MS_MAX }, async () => {
      for (const names of batches(count)) {
        if ((await client.mget(names)).some((found) => found !== value)) return pause(POLL_MS).then(() => null);
      }
      return true;
    });
    const equalMs = performance.now() - startedMs;
    client.disconnect();
    await this.#settled(running);
    // The counters of the one that was away began again.
    const bytes = (await totals(running)).bytes - before.bytes;
    this.#say(`${count} differing keys after a ${how}: equal ${seconds(equalMs)} after its start, ${bytes} bytes`);
    return { keys: count, how, equalMs, bytes };
  }

  /** Waits until a while goes by in which nothing is repaired. */
  async #settled(running: readonly ServerProcess[]): Promise<void> {
    await this.#cluster.agreed(STAYING);
    let last = await totals(running);
    await until({ what: "nothing is repaired any more", withinMs: SETTLED_MS_MAX }, async () => {
      await pause(STILL_MS);
      const now = await totals(running);
      const isStill = now.repairs === last.repairs;
      last = now;
      return isStill || null;
    });
  }

  /** The first `count` keys, at both that stay. */
  async #write(count: number, value: string): Promise<void> {
    const work = batches(count);
    const load = async (_: unknown, at: number): Promise<void> => {
      const client = plainClient(this.#cluster.port(STAYING[at % STAYING.length]!));
      await client.connect();
      for (const names of work) await client.mset(names.flatMap((name) => [name, value]));
      client.disconnect();
    };
    await Promise.all(Array.from({ length: LOADERS }, load));
  }

  #say(line: string): void {
    this.#options.say?.(line);
  }
}

function* batches(count: number): Generator<string[], void, undefined> {
  for (let from = 0; from < count; from += BATCH) {
    yield Array.from({ length: Math.min(BATCH, count - from) }, (_, at) => `key:${from + at}`);
  }
}

/** Of these members, since each was started. */
async function totals(servers: readonly ServerProcess[]): Promise<{ bytes: number; repairs: number }> {
  const texts = await Promise.all(servers.map((server) => info(server, "anti-entropy")));
  const total = (name: string): number => texts.reduce((sum, text) => sum + numberIn(text, `${name}:`), 0);
  return { bytes: total("anti_entropy_bytes"), repairs: total("anti_entropy_slots_repaired") };
}

async function keysAt(server: ServerProcess): Promise<number> {
  return numberIn(await info(server, "keyspace"), "db0:keys=");
}

async function info(server: ServerProcess, section: string): Promise<string> {
  const client = await server.connect();
  try {
    return String(await client.call("INFO", section));
  } finally {
    await client.close();
  }
}

function numberIn(text: string, before: string): number {
  return Number(text.match(new RegExp(`^${before}(\\d+)`, "m"))?.[1] ?? Number.NaN);
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}
