/** The arguments of `npm run bench`. */
import { parseArgs } from "node:util";

export interface Options {
  /** Interleaved rounds of everything that is compared; at least 5 for a figure to quote. */
  readonly rounds: number;
  /** Requests of one run of redis-benchmark at depth 1; five times as many at depth 16. */
  readonly requests: number;
  /** Pairs that the engines hold. */
  readonly keys: readonly number[];
  /** Pairs that a server holds when its memory is read, ascending. */
  readonly pairs: readonly number[];
}

export const USAGE = `npm run bench [-- [front] [cluster] [engine] [memory] [options]]

  front    requests a second by redis-benchmark, beside redis-server
  cluster  the same of three members on this machine, three copies of each key
  engine   the storage engine alone, beside classic-level (LevelDB)
  memory   memory, disk, start and GET times of a loaded server

  --rounds N       interleaved rounds (5)
  --requests N     front, cluster: requests of one run at -P 1 (100000)
  --keys N[,N]     engine: pairs (1000000)
  --large          engine: 10000000 pairs too
  --pairs N[,N]    memory: pairs (1000000,10000000)
`;

export class UsageError extends Error {}

/** The names of the benches asked for (all where none is named) and their options. */
export function parseOptions(
  args: readonly string[],
  names: readonly string[],
): { readonly chosen: readonly string[]; readonly options: Options } {
  const { values, positionals } = parse(args);
  for (const name of positionals) {
    if (!names.includes(name)) throw new UsageError(`there is no bench "${name}"`);
  }
  const keys = numbers("keys", values.keys);
  return {
    chosen: positionals.length === 0 ? names : positionals,
    options: {
      rounds: number("rounds", values.rounds),
      requests: number("requests", values.requests),
      keys: values.large ? [...keys, 10_000_000] : keys,
      pairs: numbers("pairs", values.pairs).sort((a, b) => a - b),
    },
  };
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        rounds: { type: "string", default: "5" },
        requests: { type: "string", default: "100000" },
        keys: { type: "string", default: "1000000" },
        large: { type: "boolean", default: false },
        pairs: { type: "string", default: "1000000,10000000" },
      },
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function numbers(name: string, text: string): number[] {
  return text.split(",").map((part) => number(name, part));
}

function number(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new UsageError(`--${name} takes whole numbers above 0, not "${text}"`);
}
