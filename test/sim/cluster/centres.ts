/** Which data centre each node of a world is in, and how many copies of a key that makes. */
import type { Needed } from "./history.js";

export type Level = "ONE" | "QUORUM" | "ALL" | "LOCAL_QUORUM" | "EACH_QUORUM";

export class Centres {
  readonly count: number;
  /** Copies of each key in each of them. */
  readonly copiesOfEach: number;
  readonly #ofNode: number[];

  /** Nodes are in them in turn. `replicas`: of each of them, as far as there are nodes. */
  constructor({ count, nodes, replicas }: { count: number; nodes: number; replicas: number }) {
    this.count = count;
    this.copiesOfEach = Math.min(replicas, Math.floor(nodes / count));
    this.#ofNode = Array.from({ length: nodes }, (_, index) => index % count);
  }

  /** Copies of each key. */
  get copies(): number {
    return this.count * this.copiesOfEach;
  }

  /** By its number, from 0. */
  of(node: number): number {
    return this.#ofNode[node]!;
  }

  /** The name as the nodes have it. */
  nameOf(node: number): string {
    return `dc${this.of(node) + 1}`;
  }

  nodesOf(centre: number): number[] {
    return this.#ofNode.flatMap((own, node) => (own === centre ? node : []));
  }

  /** A node that takes another's place is in its data centre. */
  move(node: number, where: number): void {
    this.#ofNode[node] = this.of(where);
  }

  /** How many replicas a level asks for, seen from a node. */
  needed(level: Level, node: number): Omit<Needed, "standIns"> {
    const { copies, copiesOfEach, count } = this;
    const local = Math.floor(copiesOfEach / 2) + 1;
    const all = {
      ONE: 1,
      QUORUM: Math.floor(copies / 2) + 1,
      ALL: copies,
      LOCAL_QUORUM: local,
      EACH_QUORUM: count * local,
    }[level];
    const own = this.of(node);
    const inEach = Math.max(0, all - (copies - copiesOfEach));
    const centres = Array.from({ length: count }, (_, centre) =>
      level === "EACH_QUORUM" || (level === "LOCAL_QUORUM" && centre === own) ? local : inEach,
    );
    return { copies, read: all, write: all, centres };
  }
}
