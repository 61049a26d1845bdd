/**
 * What INFO commandstats, LATENCY HISTOGRAM and INFO errorstats count. Calls are exact; times come from a sample of the
 * calls (see command-runner.ts), each sample standing for the calls since the one before it.
 */

/** Buckets of the histogram: bucket n counts times of at most 2^n microseconds; the last one counts all above, too. */
const BUCKETS = 31;

export class CommandStatistics {
  calls = 0;
  /** Calls that were refused before they ran: arity, authentication. */
  rejected = 0;
  /** Calls that ran and answered an error. */
  failed = 0;
  /** Calls since the last timed one. */
  untimed = 0;
  /** Calls until the next timed one. */
  countdown = 1;
  #micros = 0;
  /** Allocated with the first sample: most commands of the table are never called. */
  #buckets: number[] | null = null;

  /** Takes the time of one call as that of all calls since the sample before. */
  record(micros: number): void {
    const weight = this.untimed;
    this.untimed = 0;
    this.#micros += micros * weight;
    this.#buckets ??= new Array<number>(BUCKETS).fill(0);
    const bucket = micros <= 1 ? 0 : Math.min(BUCKETS - 1, 32 - Math.clz32(Math.ceil(micros) - 1));
    this.#buckets[bucket]! += weight;
  }

  /** Microseconds spent in all calls, whole. */
  get micros(): number {
    return Math.round(this.#micros);
  }

  /** Pairs of (microseconds, calls that took at most that), without the empty ends. */
  histogram(): readonly (readonly [number, number])[] {
    const pairs: [number, number][] = [];
    let total = 0;
    for (const [bucket, count] of (this.#buckets ?? []).entries()) {
      total += count;
      if (count > 0) pairs.push([2 ** bucket, total]);
    }
    return pairs;
  }

  /** The time in microseconds that `share` (0 to 1) of the calls did not exceed; 0 when none was timed. */
  percentile(share: number): number {
    const pairs = this.histogram();
    const all = pairs.at(-1)?.[1] ?? 0;
    return pairs.find(([, count]) => count >= all * share)?.[0] ?? 0;
  }

  reset(): void {
    this.calls = 0;
    this.rejected = 0;
    this.failed = 0;
    this.untimed = 0;
    this.countdown = 1;
    this.#micros = 0;
    this.#buckets = null;
  }
}

/** Kinds of errors that are counted apart: past this many, new ones are only counted in the total. */
const ERROR_KINDS_MAX = 128;

/** Error replies by their first word. */
export class ErrorStatistics {
  total = 0;
  readonly #kinds = new Map<string, number>();

  /** `text` is an error reply without its dash. */
  count(text: string): void {
    this.total++;
    const space = text.indexOf(" ");
    const kind = space < 0 ? text : text.slice(0, space);
    const seen = this.#kinds.get(kind);
    if (seen !== undefined || this.#kinds.size < ERROR_KINDS_MAX) this.#kinds.set(kind, (seen ?? 0) + 1);
  }

  /** (first word, how often), sorted. */
  entries(): readonly (readonly [string, number])[] {
    return [...this.#kinds].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  reset(): void {
    this.total = 0;
    this.#kinds.clear();
  }
}
