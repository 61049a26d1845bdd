/**
 * The network between the machines of a world: partitions of every shape, which overlap and end one by one, slow links,
 * dropped connections. Delays are drawn for each message, so links overtake each other; a connection keeps its order.
 */
import type { SimClock } from "../sim-clock.js";
import { SimNetwork } from "../sim-network.js";
import type { SimRandom } from "../sim-random.js";
import type { Trace } from "../trace.js";

/** A fault that can be taken back. */
export interface NetworkFault {
  end(): void;
}

type Way = readonly [from: string, to: string];

export interface WorldNetworkOptions {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly trace: Trace;
  /** Names of the nodes by index. */
  readonly names: readonly string[];
  /** What every message between two nodes, by index, takes besides. */
  readonly delayMsOf: (from: number, to: number) => number;
  /** Longest usual delay of a message, drawn for each. */
  readonly delayMsMax: number;
  /** Chunks are cut anywhere. */
  readonly isCutting: boolean;
  readonly onFault: () => void;
}

export class WorldNetwork {
  readonly sim: SimNetwork;
  readonly #options: WorldNetworkOptions;
  readonly #cuts = new Map<NetworkFault, readonly Way[]>();
  readonly #slow = new Map<NetworkFault, { readonly ways: readonly Way[]; readonly delayMs: number }>();
  /** Bytes between two nodes, both ways, since the start. */
  peerBytes = 0;

  constructor(options: WorldNetworkOptions) {
    this.#options = options;
    const { clock, random, trace, delayMsMax, isCutting } = options;
    const nodes = new Set(options.names);
    this.sim = new SimNetwork({
      clock,
      cut: (length) => (isCutting && random.chance(0.2) ? 1 + random.below(length) : length),
      drawDelayMs: () => random.fraction() * delayMsMax,
      onDeliver: (from, to, bytes) => {
        trace.note(`${clock.monotonicMs().toFixed(3)} ${from}>${to} ${bytes}`);
        if (nodes.has(from) && nodes.has(to)) this.peerBytes += bytes;
      },
    });
    this.#applyDelays();
  }

  /** Nodes of different groups do not reach each other; those of no group reach all. */
  split(...groups: readonly (readonly number[])[]): NetworkFault {
    const ways: Way[] = [];
    for (const [at, group] of groups.entries()) {
      for (const other of groups.slice(at + 1)) {
        for (const a of group) for (const b of other) ways.push(...bothWays(this.#name(a), this.#name(b)));
      }
    }
    return this.#cut(ways);
  }

  /** Nothing reaches the nodes of `to` from those of `from`; the other way is free. */
  cutOneWay(from: readonly number[], to: readonly number[]): NetworkFault {
    return this.#cut(from.flatMap((a) => to.filter((b) => b !== a).map((b): Way => [this.#name(a), this.#name(b)])));
  }

  /** Two halves that see each other only through `bridge`. */
  bridge(bridge: number, some: readonly number[], others: readonly number[]): NetworkFault {
    const without = (group: readonly number[]): number[] => group.filter((index) => index !== bridge);
    return this.split(without(some), without(others));
  }

  isolate(index: number): NetworkFault {
    const others = this.#options.names.map((_, at) => at).filter((at) => at !== index);
    return this.split([index], others);
  }

  /** A client (by the name of its machine) and a node do not reach each other. */
  cutClient(client: string, index: number): NetworkFault {
    return this.#cut(bothWays(client, this.#name(index)));
  }

  /** All that leaves and reaches a node takes longer. */
  slowDown(index: number, delayMs: number): NetworkFault {
    const ways = this.#options.names.flatMap((name, at) => (at === index ? [] : bothWays(name, this.#name(index))));
    this.#options.onFault();
    const fault: NetworkFault = {
      end: () => {
        if (this.#slow.delete(fault)) this.#applyDelays();
      },
    };
    this.#slow.set(fault, { ways, delayMs });
    this.#applyDelays();
    return fault;
  }

  /** Breaks connections that the node takes part in, each with this probability. Returns how many. */
  dropConnections(index: number, probability: number): number {
    const name = this.#name(index);
    this.#options.onFault();
    return this.sim.dropWhere((end) => end.name === name && this.#options.random.chance(probability));
  }

  heal(): void {
    this.#cuts.clear();
    this.#slow.clear();
    this.#applyDelays();
    this.sim.replaceCuts([]);
  }

  #name(index: number): string {
    return this.#options.names[index]!;
  }

  #cut(ways: readonly Way[]): NetworkFault {
    this.#options.onFault();
    const fault: NetworkFault = {
      end: () => {
        if (this.#cuts.delete(fault)) this.#applyCuts();
      },
    };
    this.#cuts.set(fault, ways);
    this.#applyCuts();
    return fault;
  }

  #applyCuts(): void {
    this.sim.replaceCuts([...this.#cuts.values()].flat());
  }

  #applyDelays(): void {
    const { names, delayMsOf } = this.#options;
    for (const [at, from] of names.entries())
      for (const [to, name] of names.entries()) this.sim.setDelay(from, name, delayMsOf(at, to));
    for (const { ways, delayMs } of this.#slow.values()) for (const [from, to] of ways) this.sim.setDelay(from, to, delayMs);
  }
}

function bothWays(a: string, b: string): readonly Way[] {
  return [
    [a, b],
    [b, a],
  ];
}
