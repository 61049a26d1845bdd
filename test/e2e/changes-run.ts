/**
 * A cluster whose members come and go under load: grows from three to six, loses one to kill -9, grows, lets two leave, and has the
 * dead one replaced; what clients of two members that stay were told, what moved, and where the data is in the end. Half of the
 * clients let stand-ins count, as they do by default; the others do not, and their reads are promised to miss nothing.
 */
import { ClusterLoad, pause, plainClient, short } from "./cluster-load.js";
import { type MemberPorts, memberPorts } from "./ports.js";
import { mainPath, run } from "./program.js";
import type { ServerProcess, ServerSettings, Servers } from "./server-process.js";
import { until } from "./until.js";

export interface ChangesRunOptions {
  readonly rate: number;
  readonly keys: number;
  /** Between two changes, in milliseconds. */
  readonly restMs: number;
  readonly settings?: ServerSettings;
  readonly say?: (line: string) => void;
}

export interface StepReport {
  readonly what: string;
  readonly tookMs: number;
  /** Copies that members took in, as a share of all copies, and what it had to be at least. */
  readonly moved: number;
  readonly ideal: number;
  /** The longest request that began in it. */
  readonly longestMs: number;
}

export interface ChangesReport {
  readonly operations: number;
  readonly acknowledgedWrites: number;
  readonly failed: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly longestMs: number;
  readonly longest: string;
  /** Of those who are promised that there is none. */
  readonly staleReads: number;
  /** Of the others. */
  readonly sloppyStaleReads: number;
  readonly lost: number;
  readonly steps: readonly StepReport[];
  /** Keys, and copies of them on all members in the end: copies are keys times replicas. */
  readonly keys: number;
  readonly copies: number;
  readonly releasedMs: number;
  readonly examples: readonly string[];
}

const REPLICAS = 3;
const FOUNDERS = ["node-a", "node-b", "node-c"];
/** Clients are at these, which stay. */
const ASKED = ["node-a", "node-b"];
const STEP_MS_MAX = 180_000;
const RELEASED_MS_MAX = 120_000;
const EXAMPLES_MAX = 10;

interface Member {
  readonly name: string;
  readonly ports: MemberPorts;
  readonly server: ServerProcess;
  /** Log lines that were counted. */
  counted: number;
}

interface Status {
  readonly members: readonly { readonly name: string; readonly state: string }[];
  readonly pending: readonly unknown[];
}

export async function runChanges(servers: Servers, options: ChangesRunOptions): Promise<ChangesReport> {
  return new ChangesRun(servers, options).run();
}

class ChangesRun {
  readonly #servers: Servers;
  readonly #options: ChangesRunOptions;
  readonly #members = new Map<string, Member>();
  readonly #steps: StepReport[] = [];
  readonly #examples: string[] = [];
  #ports: MemberPorts[] = [];

  constructor(servers: Servers, options: ChangesRunOptions) {
    this.#servers = servers;
    this.#options = options;
  }

  async run(): Promise<ChangesReport> {
    const { rate, restMs } = this.#options;
    const keys = 2 * Math.floor(this.#options.keys / 2);
    this.#ports = [...(await memberPorts(9))];
    for (const name of FOUNDERS) await this.#start(name);
    await this.#settled();
    const ports = ASKED.map((name) => this.#port(name));
    const half = { ports, rate: rate / 2, keys: keys / 2 };
    const strict = await ClusterLoad.connect({ ...half, seed: 1, prefix: "strict:", standIns: "strict" });
    const sloppy = await ClusterLoad.connect({ ...half, seed: 2, prefix: "sloppy:", standIns: "sloppy" });
    const loads = [strict, sloppy];
    for (const load of loads) await this.#fill(load);
    for (const load of loads) load.start();
    await pause(restMs);
    for (const load of loads) load.forgetLatencies();
    let longest = { ms: 0, what: "none" };
    const step = async (what: string, ideal: number, change: () => Promise<unknown>): Promise<void> => {
      this.#say(`${what} ...`);
      for (const member of this.#members.values()) member.counted = member.server.log.length;
      const startedMs = performance.now();
      await change();
      await this.#settled();
      const tookMs = performance.now() - startedMs;
      await pause(restMs);
      const moved = this.#recordsMoved() / (keys * REPLICAS);
      const slowest = loads.map((load) => load.slowest).reduce((one, other) => (one.ms > other.ms ? one : other));
      if (slowest.ms > longest.ms) longest = { ms: slowest.ms, what: `${slowest.what}, during: ${what}` };
      this.#steps.push({ what, tookMs, moved, ideal, longestMs: slowest.ms });
      const failed = loads.reduce((sum, load) => sum + failuresOf(load), 0);
      this.#say(`${what}: ${(tookMs / 1_000).toFixed(1)} s, moved ${(100 * moved).toFixed(1)}%, ${failed} failures so far`);
      for (const load of loads) load.forgetLatencies();
    };
    for (const [at, name] of ["node-d", "node-e", "node-f"].entries()) {
      await step(`${name} joins`, 1 / (FOUNDERS.length + at + 1), () => this.#start(name));
    }
    await step("node-c is killed, and nothing else", 0, () => this.#kill("node-c"));
    await step("node-g joins while node-c is dead", 1 / 7, () => this.#start("node-g"));
    // They wait for the dead one, which may own more by then; the replacement of it goes before them.
    await step("node-d and node-e leave, node-h replaces node-c", 3 / 7, async () => {
      const leaving = ["node-d", "node-e"].map((name) => this.#leave(name));
      await pause(restMs);
      await this.#start("node-h", { replace: "node-c" }, "node-c");
      await Promise.all(leaving);
    });
    await Promise.all(loads.map((load) => load.stop()));
    let lost = 0;
    for (const load of loads) lost += await this.#lost(load);
    const releasing = performance.now();
    const copies = await this.#copies(keys * REPLICAS);
    return {
      operations: loads.reduce((sum, load) => sum + load.operations, 0),
      acknowledgedWrites: loads.reduce((sum, load) => sum + load.history.acknowledged, 0),
      failed: loads.reduce((sum, load) => sum + failuresOf(load), 0),
      failures: Object.fromEntries(loads.flatMap((load) => [...load.failures])),
      longestMs: longest.ms,
      longest: longest.what,
      staleReads: strict.staleReads,
      sloppyStaleReads: sloppy.staleReads,
      lost,
      steps: this.#steps,
      keys,
      copies,
      releasedMs: performance.now() - releasing,
      examples: [...strict.staleExamples, ...this.#examples],
    };
  }

  async #start(name: string, own: ServerSettings = {}, gone: string | null = null): Promise<void> {
    const ports = this.#ports.shift()!;
    const seeds = [...this.#members.values()].map((member) => `127.0.0.1:${member.ports.peer}`);
    const { client, peer } = ports;
    const fixed = { consistency: "QUORUM", replicas: `${REPLICAS}`, ...this.#options.settings };
    const place = { port: `${client}`, "peer-port": `${peer}`, name, host: name };
    const joined = seeds.length === 0 ? {} : { seeds: seeds.join(",") };
    const server = await this.#servers.start({ settings: { ...fixed, ...place, ...joined, ...own } });
    this.#members.set(name, { name, ports, server, counted: 0 });
    if (gone !== null) this.#members.delete(gone);
  }

  async #kill(name: string): Promise<void> {
    await this.#members.get(name)!.server.kill();
  }

  async #leave(name: string): Promise<void> {
    const member = this.#members.get(name)!;
    const outcome = await run(process.execPath, [mainPath, "leave", "--port", `${member.ports.client}`], {
      withinMs: STEP_MS_MAX,
    });
    if (outcome.code !== 0) throw new Error(`${name} did not leave: ${outcome.stderr}`);
    const { code } = await member.server.exit;
    if (code !== 0) throw new Error(`${name} ended with ${code} when it had left`);
    this.#members.delete(name);
  }

  /** Waits until those that run see just these members, and no change. */
  async #settled(): Promise<void> {
    const names = [...this.#members.keys()].sort().join();
    await until({ what: `all see ${names}, and no change`, withinMs: STEP_MS_MAX }, async () => {
      for (const { server } of this.#running()) {
        const client = await server.connect();
        const status = JSON.parse(String(await client.call("CLUSTER", "STATUS"))) as Status;
        await client.close();
        if (
          status.pending.length > 0 ||
          status.members
            .map(({ name }) => name)
            .sort()
            .join() !== names
        )
          return pause(50).then(() => null);
      }
      return true;
    });
  }

  #running(): Member[] {
    return [...this.#members.values()].filter(({ server }) => server.isRunning);
  }

  /** Records that members have taken in since they were counted. */
  #recordsMoved(): number {
    let records = 0;
    for (const { server, counted } of this.#members.values()) {
      for (const line of server.log.slice(counted))
        if (line.msg.startsWith("took in the slots")) records += Number(line.records);
    }
    return records;
  }

  /** Every key is there before anything is counted. */
  async #fill({ history, keys }: ClusterLoad): Promise<void> {
    const client = plainClient(this.#port(ASKED[0]!));
    await client.connect();
    for (let at = 0; at < keys.length; at += 500) {
      const batch = client.pipeline();
      const attempts = keys.slice(at, at + 500).map((key) => history.begin(key, performance.now()));
      for (const { key, value } of attempts) batch.set(key, value);
      await batch.exec();
      for (const attempt of attempts) history.acknowledge(attempt, performance.now());
    }
    client.disconnect();
  }

  async #lost(load: ClusterLoad): Promise<number> {
    const client = plainClient(this.#port("node-b"));
    await client.connect();
    let lost = 0;
    for (const key of load.history.keys) {
      const value = await client.get(key);
      if (load.history.judge(key, value) === "right") continue;
      lost++;
      if (this.#examples.length < EXAMPLES_MAX)
        this.#examples.push(
          `lost: ${key}, last acknowledged ${short(load.history.lastAcknowledged(key))}, found ${short(value)}`,
        );
    }
    client.disconnect();
    return lost;
  }

  /** Copies on all members, once those that are not to be there have gone. */
  async #copies(expected: number): Promise<number> {
    let copies = 0;
    const count = async (): Promise<true | null> => {
      copies = 0;
      for (const { server } of this.#running()) {
        const client = await server.connect();
        copies += Number(/^db0:keys=(\d+)/m.exec(String(await client.call("INFO", "keyspace")))?.[1] ?? 0);
        await client.close();
      }
      return copies === expected ? true : pause(500).then(() => null);
    };
    await until({ what: `${expected} copies`, withinMs: RELEASED_MS_MAX }, count).catch(() => null);
    return copies;
  }

  #port(name: string): number {
    return this.#members.get(name)!.ports.client;
  }

  #say(line: string): void {
    this.#options.say?.(line);
  }
}

function failuresOf({ failures }: ClusterLoad): number {
  return [...failures.values()].reduce((sum, count) => sum + count, 0);
}
