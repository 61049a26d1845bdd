/** A small seeded generator (a linear congruential one, Knuth's MMIX constants): the same numbers in every run. */
export class Lcg {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed);
    for (let i = 0; i < 4; i++) this.below(2);
  }

  /** Uniform in [0, bound). */
  below(bound: number): number {
    this.#state = BigInt.asUintN(64, this.#state * 6364136223846793005n + 1442695040888963407n);
    return Number((this.#state >> 33n) % BigInt(bound));
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}
