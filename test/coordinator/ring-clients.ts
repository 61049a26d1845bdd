/** Clients of every node of a ring of simulated machines, for requests as they are on the wire. */
import { clientPort, nodeName } from "../sim/cluster/node-flags.js";
import { SimClient, type WireReply } from "../sim/cluster/sim-client.js";
import { ANSWER_MS_MAX, World, type WorldOptions } from "../sim/cluster/world.js";

/** Members of a ring, each with a client of its own. */
export class Ring {
  readonly world: World;
  readonly #clients: readonly SimClient[];

  constructor(world: World) {
    this.world = world;
    this.#clients = world.machines.map(
      ({ index }) =>
        new SimClient({
          clock: world.clock,
          network: world.network.sim.endpoint("client"),
          port: clientPort(index),
          answerMsMax: ANSWER_MS_MAX,
        }),
    );
  }

  static async start(options: WorldOptions = {}): Promise<Ring> {
    const world = await World.start({ topology: "cluster", nodes: 3, ...options });
    world.ledger.mayFlush = true;
    return new Ring(world);
  }

  /** Sends a request to a node; an error reply, and no reply, is thrown. */
  async send(node: number, ...args: string[]): Promise<WireReply> {
    const outcome = await this.#clients[node]!.request(args);
    if (outcome.kind === "answered") return outcome.reply;
    throw new Error(outcome.kind === "refused" ? outcome.text : `${args[0]} has no answer (${outcome.kind})`);
  }

  ask(node: number, ...args: string[]): Promise<WireReply> {
    return this.world.run(this.send(node, ...args));
  }

  /** Stores these keys through all nodes in turn. */
  async fill(keys: readonly string[]): Promise<void> {
    await this.world.run(
      Promise.all(keys.map((key, at) => this.send(at % this.#clients.length, "SET", key, `value of ${key}`))),
    );
  }

  /** All keys of a whole scan, each page asked of the next of these nodes; `between` runs after each page. */
  async scan(nodes: readonly number[], options: readonly string[] = [], between?: (page: number) => void): Promise<string[]> {
    const found: string[] = [];
    let cursor = "0";
    let page = 0;
    do {
      const node = nodes[page % nodes.length]!;
      const [next, keys] = (await this.send(node, "SCAN", cursor, ...options)) as [string, string[]];
      found.push(...keys);
      cursor = next;
      between?.(page++);
    } while (cursor !== "0");
    return found;
  }

  kill(node: number): void {
    this.world.node(nodeName(node)).kill();
  }
}

export function named(count: number, prefix = "key"): string[] {
  return Array.from({ length: count }, (_, at) => `${prefix}:${at}`);
}
