/** When a node could not be expected to answer, and why: what the checkers excuse a missing answer with. */

export interface Disturbance {
  readonly node: number;
  readonly why: string;
  readonly fromMs: number;
  /** Infinity while it lasts. */
  toMs: number;
}

export class Disturbances {
  readonly #now: () => number;
  readonly #all: Disturbance[] = [];
  /** Nothing has been done to any node or way since the world was ready. */
  isCalm = true;

  constructor(now: () => number) {
    this.#now = now;
  }

  begin(node: number, why: string): Disturbance {
    const disturbance = { node, why, fromMs: this.#now(), toMs: Number.POSITIVE_INFINITY };
    this.#all.push(disturbance);
    return disturbance;
  }

  end(disturbance: Disturbance): void {
    disturbance.toMs = Math.min(disturbance.toMs, this.#now());
  }

  /** Why the node may have been silent in some part of this time, or null. */
  excuse(node: number, fromMs: number, toMs: number): string | null {
    const found = this.#all.find((one) => one.node === node && one.fromMs <= toMs && one.toMs >= fromMs);
    return found?.why ?? null;
  }
}
