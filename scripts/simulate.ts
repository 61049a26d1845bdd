/**
 * `npm run simulate -- --target lsm --seeds N [--first S]`: runs seeds of a simulation one after another and says what they
 * met. The first seed that breaks a promise ends it, with its number and how to run it alone.
 */
import { Command, InvalidArgumentError } from "commander";
import { runOwnershipSeed } from "../test/cluster/ownership-run.js";
import { runLsmSeed } from "../test/lsm/lsm-seed.js";
import { runModelSeed } from "../test/model/model-run.js";
import { printGossipFigures } from "./gossip-figures.js";

/** What one seed met, by name. */
type RunSeed = (seed: number) => Promise<{ readonly counts: Readonly<Record<string, number>> }>;

/** The engine alone; the keyspace (coordinator, replica, engine) against plain Maps; rings built up, and how even they are. */
const targets: ReadonlyMap<string, RunSeed> = new Map<string, RunSeed>([
  ["lsm", (seed) => runLsmSeed(seed)],
  ["keyspace", (seed) => runModelSeed(seed)],
  ["ownership", (seed) => runOwnershipSeed(seed, (line) => process.stdout.write(`${line}\n`))],
]);
/** Prints figures of gossip instead of looking for broken promises. */
const FIGURES_TARGET = "gossip";
const PROGRESS_EVERY_MS = 5_000;

const program = new Command("simulate")
  .description("run a simulation with seeded faults")
  .option("--target <name>", `what to simulate: ${[...targets.keys(), FIGURES_TARGET].join(", ")}`, "lsm")
  .option("--seeds <count>", "how many seeds", wholeNumber, 1_000)
  .option("--first <seed>", "the first seed", wholeNumber, 1)
  .parse();
const options = program.opts<{ target: string; seeds: number; first: number }>();
if (options.target === FIGURES_TARGET) {
  await printGossipFigures(options.first, (line) => process.stdout.write(`${line}\n`));
  process.exit(0);
}
const runSeed: RunSeed =
  targets.get(options.target) ??
  program.error(`--target ${options.target}: there is ${[...targets.keys(), FIGURES_TARGET].join(", ")}`);

const totals = new Map<string, number>();
const startedMs = performance.now();
let shownMs = startedMs;
for (let seed = options.first; seed < options.first + options.seeds; seed++) {
  let report: Awaited<ReturnType<RunSeed>>;
  try {
    report = await runSeed(seed);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.stderr.write(`\nAgain: npm run simulate -- --target ${options.target} --first ${seed} --seeds 1\n`);
    process.exit(1);
  }
  for (const [event, count] of Object.entries(report.counts)) totals.set(event, (totals.get(event) ?? 0) + count);
  if (performance.now() - shownMs > PROGRESS_EVERY_MS) {
    shownMs = performance.now();
    process.stderr.write(`seed ${seed}\n`);
  }
}
const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
process.stdout.write(`${options.seeds} seeds from ${options.first} in ${seconds} s, violations: 0\n`);
for (const [event, count] of totals) process.stdout.write(`  ${event.padEnd(20)} ${count.toLocaleString("en")}\n`);

function wholeNumber(text: string): number {
  if (!/^[1-9]\d{0,9}$/.test(text)) throw new InvalidArgumentError("a whole number from 1 on");
  return Number(text);
}
