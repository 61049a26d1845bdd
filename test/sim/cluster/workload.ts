/** Clients that do random things with random keys of random nodes, one thing after the other each, until they have done enough. */
import { pause } from "../../../lib/host/clock.js";
import type { SimRandom } from "../sim-random.js";
import type { Level } from "./centres.js";
import { nodeName } from "./node-flags.js";
import { parseSiblings } from "./sim-client.js";
import type { World } from "./world.js";
import type { LevelChoice, WorldClient } from "./world-client.js";

export interface WorkloadOptions {
  readonly operations: number;
  readonly clients: number;
  /** Keys of each ring; as many counters beside them, at most four. */
  readonly keys: number;
  /** Longest pause of a client between two operations. */
  readonly thinkMsMax: number;
  /** Bytes that values are filled up to, at most. */
  readonly valueBytesMax: number;
  /** Chance that an operation is not at the connection's default level. */
  readonly levels: number;
  /** Whether clients are to go on, at leisure, when they have done enough: for a while. */
  readonly isWantedLonger?: () => boolean;
}

type Action =
  | "get"
  | "set"
  | "del"
  | "siblings"
  | "set context"
  | "incr"
  | "setnx"
  | "mget"
  | "mset"
  | "set expiring"
  | "expire";

const COUNTERS_MAX = 4;
/** Of those who go on: operations, and the longest pause between two. */
const MORE_OPERATIONS = 200;
const MORE_THINK_MS_MAX = 200;
const EXPIRY_MS_MAX = 2_000;
/** Where hardly anything is answered in time, clients do less than they are to: a world waits ten minutes for them. */
const WORK_MS_MAX = 300_000;
const LEVELS = ["ONE", "QUORUM", "ALL"] as const;
const LEVELS_OF_CENTRES = ["LOCAL_QUORUM", "EACH_QUORUM"] as const;

export class Workload {
  readonly #world: World;
  readonly #options: WorkloadOptions;
  readonly #weights: readonly (readonly [Action, number])[];
  #left: number;
  #more = MORE_OPERATIONS;
  #values = 0;

  constructor(world: World, random: SimRandom, options: WorkloadOptions) {
    this.#world = world;
    this.#options = options;
    this.#left = options.operations;
    const some = (weight: number): number => weight * random.pick([0, 0.3, 1, 1, 3]);
    this.#weights = [
      ["get", 1 + some(4)],
      ["set", 1 + some(4)],
      ["del", some(1)],
      ["siblings", some(2)],
      ["set context", some(2)],
      ["incr", some(2)],
      ["setnx", some(1)],
      ["mget", some(0.5)],
      ["mset", some(0.5)],
      ["set expiring", some(0.3)],
      ["expire", some(0.1)],
    ];
  }

  /** The keys there are, and the nodes of each one's ring. */
  get keys(): readonly { readonly key: string; readonly nodes: readonly number[] }[] {
    const { topology, machines } = this.#world;
    const everyone = machines.map(({ index }) => index);
    const rings = topology === "alone" ? everyone.map((index) => [index]) : [everyone];
    const { keys } = this.#options;
    return rings.flatMap((nodes, ring) => {
      const prefix = topology === "alone" ? `n${ring}-` : "";
      const counters = Math.min(keys, COUNTERS_MAX);
      const names = [
        ...Array.from({ length: keys }, (_, at) => `${prefix}key-${at}`),
        ...Array.from({ length: counters }, (_, at) => `${prefix}counter-${at}`),
      ];
      return names.map((key) => ({ key, nodes }));
    });
  }

  /** Resolves when all clients are done. Lets no time pass itself. */
  async run(random: SimRandom): Promise<void> {
    const clients = Array.from({ length: this.#options.clients }, (_, at) => this.#client(`client-${at}`, random.fork()));
    await Promise.all(clients);
  }

  /** Reads everything on every node at ALL. */
  async readAll(): Promise<void> {
    for (const { key, nodes } of this.keys) {
      for (const node of nodes) {
        const machine = this.#world.machines[node]!;
        if (!machine.wasStarted || this.#world.gone.has(machine)) continue;
        const client = this.#world.client(nodeName(node), "reader").at("ALL");
        await client.tryGet(key);
        if (!isCounter(key)) await client.trySiblings(key);
      }
    }
  }

  async #client(name: string, random: SimRandom): Promise<void> {
    const { topology, clock } = this.#world;
    const tokens = new Map<string, string>();
    let home = random.pick(this.#world.staying());
    const all = this.keys;
    const untilMs = clock.monotonicMs() + WORK_MS_MAX;
    while (clock.monotonicMs() < untilMs) {
      const isMore = this.#left-- <= 0;
      if (isMore && !this.#goesOn()) return;
      await pause(clock, random.fraction() * (isMore ? MORE_THINK_MS_MAX : this.#options.thinkMsMax));
      // A client of a member that is gone turns to another one.
      const members = this.#world.staying();
      if (!members.includes(home)) home = random.pick(members);
      const { index: node } = random.chance(0.3) ? random.pick(members) : home;
      const own = topology === "alone" ? all.filter(({ nodes }) => nodes[0] === node) : all;
      const client = this.#leveled(this.#world.client(nodeName(node), name), random);
      await this.#act({ client, random, tokens, own: own.map(({ key }) => key) });
    }
  }

  #goesOn(): boolean {
    return this.#options.isWantedLonger?.() === true && this.#more-- > 0;
  }

  #leveled(client: WorldClient, random: SimRandom): WorldClient {
    if (!random.chance(this.#options.levels)) return client;
    const levels = this.#world.centres.count > 1 ? [...LEVELS, ...LEVELS_OF_CENTRES] : LEVELS;
    return client.at(random.pick<Level>(levels), random.pick<LevelChoice["standIns"]>(["strict", "strict", "sloppy"]));
  }

  async #act({ client, random, tokens, own }: Turn): Promise<void> {
    const plain = own.filter((key) => !isCounter(key));
    const key = random.pick(plain);
    switch (this.#draw(random)) {
      case "get":
        return void (await client.tryGet(random.pick(own)));
      case "set":
        return void (await client.trySet(key, this.#value(random)));
      case "del":
        return void (await client.tryDel(key));
      case "incr":
        return void (await client.tryIncr(random.pick(own.filter(isCounter))));
      case "setnx":
        return void (await client.trySetnx(key, this.#value(random)));
      case "mget":
        return void (await client.tryMget([...new Set([key, random.pick(plain), random.pick(plain)])]));
      case "mset":
        return void (await client.tryMset([...new Set([key, random.pick(plain)])].map((each) => [each, this.#value(random)])));
      case "set expiring":
        return void (await client.trySet(key, this.#value(random), "PX", String(1 + random.below(EXPIRY_MS_MAX))));
      case "expire":
        return void (await client.tryExpire(key, 1 + random.below(EXPIRY_MS_MAX)));
      case "siblings": {
        const { outcome } = await client.trySiblings(key);
        const found = outcome.kind === "answered" ? parseSiblings(outcome.reply) : null;
        if (found !== null) tokens.set(key, found.context);
        return;
      }
      case "set context": {
        // Contexts from long ago are as good as new ones.
        const known = [...tokens.keys()].filter((each) => plain.includes(each));
        if (known.length === 0) return void (await client.tryGet(key));
        const chosen = random.pick(known);
        const form = random.chance(0.5) ? "set" : "resolve";
        return void (await client.trySetContext(chosen, this.#value(random), tokens.get(chosen)!, form));
      }
    }
  }

  #draw(random: SimRandom): Action {
    const total = this.#weights.reduce((sum, [, weight]) => sum + weight, 0);
    let at = random.fraction() * total;
    for (const [action, weight] of this.#weights) if ((at -= weight) < 0) return action;
    return "get";
  }

  /** No two are equal. */
  #value(random: SimRandom): string {
    const value = `v${++this.#values}`;
    return random.chance(0.3) ? value.padEnd(random.below(this.#options.valueBytesMax), ".") : value;
  }
}

interface Turn {
  readonly client: WorldClient;
  readonly random: SimRandom;
  /** Contexts that this client was shown, by key. */
  readonly tokens: Map<string, string>;
  readonly own: readonly string[];
}

function isCounter(key: string): boolean {
  return key.includes("counter-");
}
