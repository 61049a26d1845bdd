/** Medians and ratios of interleaved rounds. Pure. */

/** One round's figures of the two sides: taken one after the other, so that both saw the same machine. */
export interface Pair {
  readonly ours: number;
  readonly peer: number;
}

/** What a row of a table is made of. */
export interface Summary {
  readonly rounds: number;
  /** Medians over the rounds. */
  readonly ours: number;
  readonly peer: number;
  /** Median over the rounds of ours / peer in one round; with the lowest and the highest. */
  readonly ratio: number;
  readonly ratioMin: number;
  readonly ratioMax: number;
}

/** The middle value, or the mean of the two middle ones. REQUIRES at least one value. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}

/** The value that this share of the values (0 to 1) does not exceed. REQUIRES at least one value. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] as number;
}

/** REQUIRES at least one pair, with peers above zero. */
export function summarize(pairs: readonly Pair[]): Summary {
  const ratios = pairs.map(({ ours, peer }) => ours / peer);
  return {
    rounds: pairs.length,
    ours: median(pairs.map(({ ours }) => ours)),
    peer: median(pairs.map(({ peer }) => peer)),
    ratio: median(ratios),
    ratioMin: Math.min(...ratios),
    ratioMax: Math.max(...ratios),
  };
}
