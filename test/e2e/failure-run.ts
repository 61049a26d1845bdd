/**
 * One member of three fails under load and comes back: killed, stopped, or cut off from the others while it keeps taking
 * writes of a client of its own. What clients were told meanwhile is held against what is there afterwards: with all three,
 * and again with the one that was away and only one of those that were not.
 */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { ClusterLoad, pause, plainClient, type Slowest, short, textOf } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import { RegisterHistory } from "./register-history.js";
import type { ServerSettings, Servers } from "./server-process.js";
import { until } from "./until.js";
import type { WireClient, WireReply } from "./wire-client.js";

export const FAILURE_MODES = ["kill", "stop", "partition"] as const;
export type FailureMode = (typeof FAILURE_MODES)[number];

export interface FailureRunOptions {
  readonly mode: FailureMode;
  readonly seconds: number;
  /** Requests a second. */
  readonly rate: number;
  readonly keys?: number;
  /** Of the same load before `seconds` begin, in which latencies do not count: members and load compile their code. */
  readonly warmMs?: number;
  readonly seed?: number;
  /** Of the members. */
  readonly settings?: ServerSettings;
  readonly say?: (line: string) => void;
}

export interface FailureReport {
  readonly mode: FailureMode;
  readonly seconds: number;
  readonly rate: number;
  readonly operations: number;
  readonly acknowledgedWrites: number;
  readonly failed: number;
  /** By text. */
  readonly failures: Readonly<Record<string, number>>;
  readonly longest: Slowest;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** The longest that the load's own process did nothing, which is part of what its requests took. */
  readonly loadStallMs: number;
  /** GETs at R+W>N that missed an acknowledged write. */
  readonly staleReads: number;
  /** Keys of which an acknowledged write is neither there nor superseded. */
  readonly lost: number;
  readonly siblingsExpected: number;
  readonly siblingsFound: number;
  /** Keys that were written while the member was away. */
  readonly missedKeys: number;
  /** Hints on the others when it was back. */
  readonly hintsAtReturn: number;
  /** From its start to its first answer; null where it was not started again. */
  readonly restartMs: number | null;
  /** From its return until no hint for it was left and it answered all that it had missed by itself. Null: not in time. */
  readonly caughtUpMs: number | null;
  /** As `lost`, once one more member was killed. */
  readonly missingAfterSecondKill: number;
  /** A few of what is wrong, for people. */
  readonly examples: readonly string[];
}

const VICTIM = 2;
const SURVIVORS = [0, 1] as const;
const SECOND_VICTIM = 0;
const LAST = 1;
const KEYS = 60_000;
const WARM_MS = 3_000;
/** Parts of the run: an even load, the failure, and what follows. */
const FAILS_AT = 0.25;
const RETURNS_AT = 0.58;
/** Writes a second of the client of the node that is cut off, and as many of the same keys on the other side. */
const CUT_OFF_RATE = 100;
const CATCH_UP_MS_MAX = 120_000;
const LOOK_EVERY_MS = 20;
const READ_BATCH = 500;
const EXAMPLES_MAX = 10;
const SIBLINGS_IN_FLIGHT = 32;

export async function runFailure(servers: Servers, options: FailureRunOptions): Promise<FailureReport> {
  const { mode, settings = {} } = options;
  const fixed = { consistency: "QUORUM", replicas: "3", ...settings };
  const cluster = await ClusterProcesses.start(servers, { settings: fixed, isMeshed: mode === "partition" });
  try {
    return await new FailureRun(cluster, options).run();
  } finally {
    await cluster.close();
  }
}

class FailureRun {
  readonly #cluster: ClusterProcesses;
  readonly #options: FailureRunOptions;
  readonly #examples: string[] = [];

  constructor(cluster: ClusterProcesses, options: FailureRunOptions) {
    this.#cluster = cluster;
    this.#options = options;
  }

  async run(): Promise<FailureReport> {
    const { mode, seconds, rate, keys = KEYS, seed = 1, warmMs = WARM_MS } = this.#options;
    const load = await ClusterLoad.connect({ ports: SURVIVORS.map((at) => this.#cluster.port(at)), rate, keys, seed });
    const ownStalls = monitorEventLoopDelay({ resolution: 1 });
    let startedMs = performance.now();
    const sleepUntil = (part: number): Promise<void> =>
      pause(Math.max(0, startedMs + part * seconds * 1_000 - performance.now()));
    load.start();
    await pause(warmMs);
    load.forgetLatencies();
    ownStalls.enable();
    startedMs = performance.now();
    await sleepUntil(FAILS_AT);
    const failedMs = performance.now();
    const bothSides = await this.#begin(load);
    this.#say(`${this.#elapsed(startedMs)}: ${this.#victim} fails (${mode})`);
    await sleepUntil(RETURNS_AT);
    await bothSides?.stop();
    const restartMs = await this.#end();
    const returnedMs = performance.now();
    const hintsAtReturn = await this.#hintsWaiting(SURVIVORS);
    this.#say(`${this.#elapsed(startedMs)}: ${this.#victim} is back; ${hintsAtReturn} hints wait for it`);
    const missed = load.history.keysAcknowledged(failedMs, returnedMs);
    const catchUp = this.#catchUp(load.history, { missed, returnedMs });
    await sleepUntil(1);
    await load.stop();
    ownStalls.disable();
    const caughtUpMs = await catchUp;
    this.#say(
      `${this.#elapsed(startedMs)}: the load is over; caught up after ${caughtUpMs?.toFixed(0) ?? "more than it may"} ms`,
    );

    const lost = await this.#missing(LAST, load.history, "lost");
    const siblings = await this.#siblings(bothSides);
    await this.#cluster.kill(SECOND_VICTIM);
    this.#say(`${this.#elapsed(startedMs)}: ${this.#cluster.members[SECOND_VICTIM]!.name} is killed; reading everything`);
    const missingAfterSecondKill =
      (await this.#missing(LAST, load.history, "missing")) + (await this.#siblings(bothSides)).missing;

    const failures = new Map([...load.failures, ...(bothSides?.failures ?? [])]);
    return {
      mode,
      seconds,
      rate,
      operations: load.operations + (bothSides?.operations ?? 0),
      acknowledgedWrites: load.history.acknowledged + (bothSides?.acknowledged ?? 0),
      failed: [...failures.values()].reduce((sum, count) => sum + count, 0),
      failures: Object.fromEntries(failures),
      longest: bothSides !== null && bothSides.slowest.ms > load.slowest.ms ? bothSides.slowest : load.slowest,
      p50Ms: load.quantileMs(0.5),
      p99Ms: load.quantileMs(0.99),
      p999Ms: load.quantileMs(0.999),
      loadStallMs: ownStalls.max / 1e6,
      staleReads: load.staleReads,
      lost: lost + siblings.missing,
      siblingsExpected: siblings.expected,
      siblingsFound: siblings.found,
      missedKeys: missed.length,
      hintsAtReturn,
      restartMs,
      caughtUpMs,
      missingAfterSecondKill,
      examples: [...load.staleExamples, ...this.#examples],
    };
  }

  get #victim(): string {
    return this.#cluster.members[VICTIM]!.name;
  }

  /** The failure begins. In a partition, writes on both sides do. */
  async #begin(load: ClusterLoad): Promise<BothSides | null> {
    switch (this.#options.mode) {
      case "kill":
        await this.#cluster.kill(VICTIM);
        return null;
      case "stop":
        this.#cluster.suspend(VICTIM);
        return null;
      default: {
        const bothSides = await BothSides.connect(this.#cluster.port(VICTIM), load);
        await this.#cluster.cutOff(VICTIM);
        bothSides.start();
        return bothSides;
      }
    }
  }

  /** Resolves with what the start took. */
  async #end(): Promise<number | null> {
    switch (this.#options.mode) {
      case "kill": {
        const startedMs = performance.now();
        await this.#cluster.restart(VICTIM);
        return performance.now() - startedMs;
      }
      case "stop":
        this.#cluster.resume(VICTIM);
        return null;
      default:
        this.#cluster.heal();
        return null;
    }
  }

  async #hintsWaiting(members: readonly number[] = [...SURVIVORS, VICTIM]): Promise<number> {
    const waiting = await Promise.all(
      members.map(async (at) => {
        const text = String(await this.#cluster.ask(at, "INFO", "hints"));
        return Number(/^hints_waiting:(\d+)/m.exec(text)?.[1]);
      }),
    );
    return waiting.reduce((sum, count) => sum + count, 0);
  }

  /** Milliseconds from the return until no hint is left and the member gives all that it missed from its own copy. */
  async #catchUp(
    history: RegisterHistory,
    { missed, returnedMs }: { readonly missed: readonly string[]; readonly returnedMs: number },
  ): Promise<number | null> {
    const what = "what the member missed is handed over to it";
    const client = await this.#cluster.connect(VICTIM);
    let behind = missed;
    try {
      await client.call("CONSISTENCY", "ONE");
      const caughtUpMs = await until({ what, withinMs: CATCH_UP_MS_MAX }, async () => {
        if ((await this.#hintsWaiting()) > 0) return pause(LOOK_EVERY_MS).then(() => null);
        const seenMs = performance.now();
        behind = await wrongKeys(client, history, { keys: behind, beganMs: returnedMs });
        return behind.length === 0 ? seenMs : null;
      });
      return caughtUpMs - returnedMs;
    } catch (error) {
      this.#example(`${textOf(error)}; behind are ${behind.length} keys such as ${behind.slice(0, 3).join(", ")}`);
      return null;
    } finally {
      await client.close();
    }
  }

  /** Reads all keys at QUORUM through one member; counts those that are not as the history has them. */
  async #missing(at: number, history: RegisterHistory, what: string): Promise<number> {
    const client = await this.#cluster.connect(at);
    try {
      await client.call("CONSISTENCY", "QUORUM", "STRICT");
      const wrong = await wrongKeys(client, history, { keys: history.keys, beganMs: Number.POSITIVE_INFINITY });
      for (const key of wrong) this.#example(`${what}: ${key}, last acknowledged ${short(history.lastAcknowledged(key))}`);
      return wrong.length;
    } finally {
      await client.close();
    }
  }

  async #siblings(bothSides: BothSides | null): Promise<SiblingCounts> {
    if (bothSides === null) return { expected: 0, found: 0, missing: 0 };
    const client = await this.#cluster.connect(LAST);
    try {
      return await bothSides.count(client, (text) => this.#example(text));
    } finally {
      await client.close();
    }
  }

  #example(text: string): void {
    if (this.#examples.length < EXAMPLES_MAX) this.#examples.push(text);
  }

  #elapsed(startedMs: number): string {
    return `${((performance.now() - startedMs) / 1_000).toFixed(1)} s`;
  }

  #say(line: string): void {
    this.#options.say?.(line);
  }
}

interface SiblingCounts {
  readonly expected: number;
  readonly found: number;
  /** Acknowledged writes that are not among the siblings of their key. */
  readonly missing: number;
}

/**
 * Keys that are written once on each side of a partition, by clients that cannot know of each other: each must end with
 * both values. Others are written on the side that is cut off only.
 */
class BothSides {
  readonly #client: ReturnType<typeof plainClient>;
  readonly #load: ClusterLoad;
  readonly #port: number;
  readonly #own = new RegisterHistory("cut off ");
  readonly #others = new RegisterHistory("others ");
  readonly failures = new Map<string, number>();
  operations = 0;
  slowest: Slowest = { ms: 0, afterMs: 0, what: "none" };
  /** By key: what was acknowledged on the side that is cut off, and whether the other side's was. */
  readonly #written = new Map<string, { own: string | null; isOther: boolean }>();
  readonly #open = new Set<Promise<void>>();
  #timer: NodeJS.Timeout | null = null;
  #startedMs = 0;

  private constructor(client: ReturnType<typeof plainClient>, load: ClusterLoad, port: number) {
    this.#client = client;
    this.#load = load;
    this.#port = port;
  }

  static async connect(port: number, load: ClusterLoad): Promise<BothSides> {
    const client = plainClient(port);
    await client.connect();
    await client.call("CONSISTENCY", "READ", "1", "WRITE", "1");
    return new BothSides(client, load, port);
  }

  get acknowledged(): number {
    return this.#own.acknowledged + this.#others.acknowledged;
  }

  start(): void {
    this.#startedMs = performance.now();
    let turn = 0;
    this.#timer = setInterval(() => {
      const due = ((performance.now() - this.#startedMs) / 1_000) * CUT_OFF_RATE;
      for (; turn < due; turn++) this.#keep(turn % 4 === 3 ? this.#one(`alone:${turn}`) : this.#both(`both:${turn}`));
    }, 5);
  }

  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    await Promise.all(this.#open);
    this.#client.disconnect();
  }

  /** Reads the keys at QUORUM and holds them against what was acknowledged. */
  async count(client: WireClient, onWrong: (text: string) => void): Promise<SiblingCounts> {
    await client.call("CONSISTENCY", "QUORUM", "STRICT");
    const counts = { expected: 0, found: 0, missing: 0 };
    const keys = [...this.#written.keys()];
    const check = async (key: string): Promise<void> => {
      const { own, isOther } = this.#written.get(key)!;
      const wanted = [own, isOther ? this.#others.lastAcknowledged(key) : null].filter((value) => value !== null);
      const values = valuesOf(await client.call("SIBLINGS", key));
      if (wanted.length === 2) counts.expected++;
      if (values.length >= 2) counts.found++;
      const missing = wanted.filter((value) => !values.includes(value));
      counts.missing += missing.length;
      if (missing.length > 0)
        onWrong(`${key} lacks ${missing.map(short).join(" and ")}; it has ${values.map(short).join(", ")}`);
      else if (values.length !== wanted.length) onWrong(`${key} has ${values.length} versions for ${wanted.length} writes`);
    };
    for (let at = 0; at < keys.length; at += SIBLINGS_IN_FLIGHT) {
      await Promise.all(keys.slice(at, at + SIBLINGS_IN_FLIGHT).map(check));
    }
    return counts;
  }

  #keep(work: Promise<void>): void {
    const done = work.finally(() => this.#open.delete(done));
    this.#open.add(done);
  }

  async #one(key: string): Promise<void> {
    this.#written.set(key, { own: await this.#setHere(key), isOther: false });
  }

  async #both(key: string): Promise<void> {
    const [own, isOther] = await Promise.all([this.#setHere(key), this.#load.set(key, this.#others)]);
    this.#written.set(key, { own, isOther });
  }

  /** Null unless it was acknowledged. */
  async #setHere(key: string): Promise<string | null> {
    const beganMs = performance.now();
    const attempt = this.#own.begin(key, beganMs);
    this.operations++;
    try {
      await this.#client.set(key, attempt.value);
      this.#own.acknowledge(attempt, performance.now());
      return attempt.value;
    } catch (error) {
      const text = `SET on the node that is cut off: ${textOf(error)}`;
      this.failures.set(text, (this.failures.get(text) ?? 0) + 1);
      return null;
    } finally {
      const ms = performance.now() - beganMs;
      const afterMs = beganMs - this.#startedMs;
      if (ms > this.slowest.ms) this.slowest = { ms, afterMs, what: `SET ${key} at ${this.#port}, cut off since then` };
    }
  }
}

/** The values of a SIBLINGS reply in RESP2. */
function valuesOf(reply: WireReply): readonly string[] {
  if (reply === null) return [];
  const [, versions] = reply as readonly [string, readonly (readonly [string | null])[]];
  return versions.map(([value]) => value ?? "nothing;");
}

/** Keys that do not hold what a read that began then had to give. */
async function wrongKeys(
  client: WireClient,
  history: RegisterHistory,
  { keys, beganMs }: { readonly keys: readonly string[]; readonly beganMs: number },
): Promise<readonly string[]> {
  const wrong: string[] = [];
  for (let at = 0; at < keys.length; at += READ_BATCH) {
    const batch = keys.slice(at, at + READ_BATCH);
    const values = (await client.call("MGET", ...batch)) as readonly (string | null)[];
    for (const [place, key] of batch.entries()) {
      if (history.judge(key, values[place]!, beganMs) !== "right") wrong.push(key);
    }
  }
  return wrong;
}
