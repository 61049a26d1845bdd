/**
 * Requests at a fixed rate through ioredis, whether or not earlier ones were answered: half SET of values that no other SET
 * has, half GET, over keys drawn at random. Every failure is kept with its text, every answer is judged by the history.
 */
import { Redis } from "ioredis";
import { Lcg } from "../resp/lcg.js";
import { connectorTo, here, type Place } from "./place.js";
import { RegisterHistory } from "./register-history.js";

export interface LoadOptions {
  /** Of the nodes that are asked, in turn. */
  readonly ports: readonly number[];
  /** Requests a second. */
  readonly rate: number;
  readonly keys: number;
  readonly seed: number;
  /** Of the same keys, where an earlier load has written them. */
  readonly history?: RegisterHistory;
  /** What keys begin with. Default: `key:`. */
  readonly prefix?: string;
  /** Of the nodes. Default: where the test runs. */
  readonly place?: Place;
  /** Whether stand-ins count: `strict` reads miss nothing, whoever fails. Default: as the nodes have it. */
  readonly standIns?: "strict" | "sloppy";
}

export interface Slowest {
  readonly ms: number;
  /** Since latencies count. */
  readonly afterMs: number;
  readonly what: string;
}

const CONNECTIONS_PER_NODE = 4;
const TICK_MS = 1;
const DRAIN_POLL_MS = 5;
const DRAIN_MS_MAX = 20_000;
/** As many of a kind are kept as anyone will read. */
const STALE_SHOWN_MAX = 5;

export class ClusterLoad {
  readonly history: RegisterHistory;
  readonly #options: LoadOptions;
  readonly #clients: readonly { readonly client: Redis; readonly port: number }[];
  readonly #random: Lcg;
  readonly #failures = new Map<string, number>();
  readonly #latenciesMs: number[] = [];
  readonly #stale: string[] = [];
  #timer: NodeJS.Timeout | null = null;
  #rate: number;
  /** Since the rate is this: when that was, and requests begun before. */
  #paceMs = 0;
  #paceBegun = 0;
  #measuredMs = 0;
  #begun = 0;
  #open = 0;
  #staleReads = 0;
  #slowest: Slowest = { ms: 0, afterMs: 0, what: "none" };

  private constructor(options: LoadOptions, clients: ClusterLoad["clients"]) {
    this.#options = options;
    this.#rate = options.rate;
    this.history = options.history ?? new RegisterHistory();
    this.#clients = clients;
    this.#random = new Lcg(options.seed);
  }

  /** Connects; requests begin with `start`. */
  static async connect(options: LoadOptions): Promise<ClusterLoad> {
    const clients = options.ports.flatMap((port) =>
      Array.from({ length: CONNECTIONS_PER_NODE }, () => ({ port, client: plainClient(port, options.place) })),
    );
    const connect = async (client: Redis): Promise<void> => {
      await client.connect();
      if (options.standIns !== undefined) await client.call("CONSISTENCY", options.standIns.toUpperCase());
    };
    await Promise.all(clients.map(({ client }) => connect(client)));
    return new ClusterLoad(options, clients);
  }

  /** In turn by node. */
  get clients(): readonly { readonly client: Redis; readonly port: number }[] {
    return this.#clients;
  }

  get keys(): readonly string[] {
    const { prefix = "key:", keys } = this.#options;
    return Array.from({ length: keys }, (_, at) => `${prefix}${at}`);
  }

  /** Requests begun. */
  get operations(): number {
    return this.#begun;
  }

  /** How often each kind of failure was met. */
  get failures(): ReadonlyMap<string, number> {
    return this.#failures;
  }

  get slowest(): Slowest {
    return this.#slowest;
  }

  get staleReads(): number {
    return this.#staleReads;
  }

  /** Some of them, for people. */
  get staleExamples(): readonly string[] {
    return this.#stale;
  }

  /** Milliseconds that this share of the requests (0 to 1) did not exceed. */
  quantileMs(share: number): number {
    const sorted = [...this.#latenciesMs].sort((a, b) => a - b);
    return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  }

  /** What was measured so far was warming up: latencies count from here on. Failures and wrong answers always count. */
  forgetLatencies(): void {
    this.#latenciesMs.length = 0;
    this.#slowest = { ms: 0, afterMs: 0, what: "none" };
    this.#measuredMs = performance.now();
  }

  start(): void {
    this.turnTo(this.#rate);
    this.#measuredMs = this.#paceMs;
    this.#timer = setInterval(() => this.#catchUp(), TICK_MS);
  }

  /** Goes on at another rate, in requests a second. */
  turnTo(rate: number): void {
    this.#rate = rate;
    this.#paceMs = performance.now();
    this.#paceBegun = this.#begun;
  }

  /** Begins no more requests, and waits for those that are open. */
  async stop(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    const deadlineMs = performance.now() + DRAIN_MS_MAX;
    while (this.#open > 0 && performance.now() < deadlineMs) await pause(DRAIN_POLL_MS);
    if (this.#open > 0) this.#fail(`no answer within ${DRAIN_MS_MAX} ms`, this.#open);
    for (const { client } of this.#clients) client.disconnect();
  }

  /** A write besides the others, counted as they are but for a history of its own. True when it was acknowledged. */
  set(key: string, history: RegisterHistory): Promise<boolean> {
    return this.#set(this.#clients[this.#begun % this.#clients.length]!, key, history);
  }

  #catchUp(): void {
    const due = this.#paceBegun + Math.floor(((performance.now() - this.#paceMs) / 1_000) * this.#rate);
    for (; this.#begun < due; ) {
      const key = `${this.#options.prefix ?? "key:"}${this.#random.below(this.#options.keys)}`;
      const place = this.#clients[this.#random.below(this.#clients.length)]!;
      void (this.#random.below(2) === 0 ? this.#set(place, key) : this.#get(place, key));
    }
  }

  async #set({ client, port }: { client: Redis; port: number }, key: string, history = this.history): Promise<boolean> {
    const beganMs = this.#begin();
    const attempt = history.begin(key, beganMs);
    try {
      const reply = await client.set(key, attempt.value);
      if (reply !== "OK") throw new Error(`SET was answered ${reply}`);
      history.acknowledge(attempt, performance.now());
      return true;
    } catch (error) {
      this.#fail(`SET: ${textOf(error)}`);
      return false;
    } finally {
      this.#end(beganMs, `SET ${key} at ${port}`);
    }
  }

  async #get({ client, port }: { client: Redis; port: number }, key: string): Promise<void> {
    const beganMs = this.#begin();
    try {
      const value = await client.get(key);
      const judgement = this.history.judge(key, value, beganMs);
      if (judgement !== "right") this.#onWrong(`${judgement}: GET ${key} at ${port} ${this.#after(beganMs)}: ${short(value)}`);
    } catch (error) {
      this.#fail(`GET: ${textOf(error)}`);
    } finally {
      this.#end(beganMs, `GET ${key} at ${port}`);
    }
  }

  #onWrong(text: string): void {
    this.#staleReads++;
    if (this.#stale.length < STALE_SHOWN_MAX) this.#stale.push(text);
  }

  #after(nowMs: number): string {
    return `after ${((nowMs - this.#measuredMs) / 1_000).toFixed(2)} s`;
  }

  #begin(): number {
    this.#begun++;
    this.#open++;
    return performance.now();
  }

  #end(beganMs: number, what: string): void {
    this.#open--;
    const ms = performance.now() - beganMs;
    this.#latenciesMs.push(ms);
    if (ms > this.#slowest.ms) this.#slowest = { ms, afterMs: beganMs - this.#measuredMs, what };
  }

  #fail(text: string, count = 1): void {
    this.#failures.set(text, (this.#failures.get(text) ?? 0) + count);
  }
}

/** Which tells of every failure at once instead of trying again. */
export function plainClient(port: number, place: Place = here): Redis {
  const plain = { lazyConnect: true, maxRetriesPerRequest: 0, retryStrategy: () => null };
  const elsewhere = place === here ? {} : { Connector: connectorTo(place, port) };
  const client = new Redis(port, "127.0.0.1", { ...plain, ...elsewhere });
  client.on("error", () => undefined);
  return client;
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function short(value: string | null): string {
  return value === null ? "nothing" : value.slice(0, value.indexOf(";"));
}
