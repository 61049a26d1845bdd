/** How fast is the storage engine alone? Kindred's beside LevelDB (classic-level), a new process and directory each round. */
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Sample, SampleSpec } from "./engine-sample.js";
import type { EngineName } from "./engine-store.js";
import type { Options } from "./options.js";
import { type Bar, publish, type Row, root } from "./report.js";
import { type Pair, summarize } from "./stats.js";

interface RowPlan {
  readonly metric: keyof Sample;
  readonly what: string;
  readonly unit: string;
  readonly scale?: number;
  readonly bar?: { readonly keys: number; readonly atLeast: number };
}

const MILLION = 1_000_000;

/** The rows of the table; a bar holds at the number of keys that it names. */
const PLAN: readonly RowPlan[] = [
  { metric: "put64", what: "puts, 64 in flight", unit: "1/s", bar: { keys: MILLION, atLeast: 2 } },
  { metric: "put64Settled", what: "the same until settled", unit: "1/s", bar: { keys: 10 * MILLION, atLeast: 1 } },
  { metric: "put1", what: "puts, 1 in flight", unit: "1/s" },
  { metric: "get64", what: "gets, 64 in flight", unit: "1/s", bar: { keys: 10 * MILLION, atLeast: 1 } },
  { metric: "get1", what: "gets, 1 in flight", unit: "1/s" },
  { metric: "absent64", what: "gets of absent keys, 64 in flight", unit: "1/s", bar: { keys: 10 * MILLION, atLeast: 2 } },
  { metric: "absent1", what: "gets of absent keys, 1 in flight", unit: "1/s" },
  { metric: "scan", what: "scans of 100 pairs", unit: "pairs/s" },
  { metric: "diskBytes", what: "on disk", unit: "MB", scale: 1e-6 },
  { metric: "writeAmplification", what: "written per byte put", unit: "times" },
];

export async function benchEngine(options: Options): Promise<void> {
  const rows: Row[] = [];
  for (const keys of options.keys) rows.push(...(await compare(keys, options.rounds)));
  const settings = {
    keyBytes: 16,
    valueBytes: 100,
    rounds: options.rounds,
    memoryTableBytes: 32 * 1024 * 1024,
    classicLevel: levelVersion(),
  };
  publish({ name: "engine", ours: "Kindred", peer: "classic-level", rows, settings });
}

async function compare(keys: number, rounds: number): Promise<Row[]> {
  const label = `${keys.toLocaleString("en-US")} keys`;
  const samples: { ours: Sample; peer: Sample }[] = [];
  for (let round = 0; round < rounds; round++) {
    const sides: { [side in EngineName]?: Sample } = {};
    const order: readonly EngineName[] = round % 2 === 0 ? ["kindred", "classic-level"] : ["classic-level", "kindred"];
    for (const engine of order) {
      const found = await takeSample({ engine, keys });
      if (typeof found === "string") return [{ kind: "skipped", what: label, reason: `${engine}: ${found}` }];
      sides[engine] = found;
    }
    samples.push({ ours: sides.kindred as Sample, peer: sides["classic-level"] as Sample });
    console.error(`engine, ${label}: round ${round + 1} of ${rounds}`);
  }
  return PLAN.map(({ metric, what, unit, scale = 1, bar }) => {
    const pairs: Pair[] = samples.map(({ ours, peer }) => ({ ours: ours[metric] * scale, peer: peer[metric] * scale }));
    const held: Bar | null = bar?.keys === keys ? { is: "at least", value: bar.atLeast } : null;
    return { kind: "measured", what: `${label}: ${what}`, unit, bar: held, summary: summarize(pairs) };
  });
}

/** The figures, or why there are none. */
async function takeSample(spec: SampleSpec): Promise<Sample | string> {
  const child = fork(join(root, "dist", "bench", "engine-sample.js"), [JSON.stringify(spec)], { silent: true });
  let complained = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    complained += chunk;
  });
  let sample: Sample | null = null;
  child.on("message", (message) => {
    sample = message as Sample;
  });
  const [code] = (await once(child, "close")) as [number | null];
  return sample ?? `its process ended with ${code}: ${/^.*Error.*$/m.exec(complained)?.[0] ?? "no message"}`;
}

function levelVersion(): string {
  const manifest = readFileSync(join(root, "node_modules", "classic-level", "package.json"), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}
