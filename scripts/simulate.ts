/**
 * `npm run simulate -- --seeds N [--first S]`: runs seeds of a simulation one after another and says what they met: worlds of whole
 * nodes in one ring with everything that can happen to them, or with `--target` something smaller. The first seed that breaks a
 * promise ends it, with its number and how to run it alone; `--seed S` is one seed again. `--planted` shows that bugs are found.
 */
import { Command, Option } from "commander";
import { runOwnershipSeed } from "../test/cluster/ownership-run.js";
import { runLsmSeed } from "../test/lsm/lsm-seed.js";
import { runModelSeed } from "../test/model/model-run.js";
import type { Topology } from "../test/sim/cluster/node-flags.js";
import { runSwarmSeed, type SwarmOptions } from "../test/sim/cluster/swarm.js";
import { printGossipFigures } from "./gossip-figures.js";
import { runPlantedBugs } from "./planted-bugs.js";
import { wholeNumber } from "./run-options.js";

/** What one seed met, by name. */
type RunSeed = (seed: number) => Promise<{ readonly counts: Readonly<Record<string, number>> }>;

/**
 * The engine alone; the keyspace (coordinator, replica, engine) against plain Maps; rings built up, and how even they are;
 * worlds of whole nodes.
 */
const targets: ReadonlyMap<string, RunSeed> = new Map<string, RunSeed>([
  ["lsm", (seed) => runLsmSeed(seed)],
  ["keyspace", (seed) => runModelSeed(seed)],
  ["cluster", (seed) => runSwarmSeed(seed, swarmOptions())],
  ["ownership", (seed) => runOwnershipSeed(seed, (line) => process.stdout.write(`${line}\n`))],
]);
/** Prints figures of gossip instead of looking for broken promises. */
const FIGURES_TARGET = "gossip";
const PROGRESS_EVERY_MS = 5_000;

const program = new Command("simulate")
  .description("run a simulation with seeded faults")
  .option("--target <name>", `what to simulate: ${[...targets.keys(), FIGURES_TARGET].join(", ")}`, "cluster")
  .option("--seeds <count>", "how many seeds", wholeNumber, 1_000)
  .option("--first <seed>", "the first seed", wholeNumber, 1)
  .option("--seed <seed>", "this seed only", wholeNumber)
  .option("--nodes <count>", "nodes of each world; drawn from the seed by default", wholeNumber)
  .option("--planted", "plant known bugs into a copy of the code, and say in which seed each is found")
  .addOption(
    new Option("--topology <kind>", "are its nodes rings of one, or one ring?")
      .choices(["alone", "cluster"])
      .default("cluster"),
  )
  .parse();
const given = program.opts<Given>();
const first = given.seed ?? given.first;
const seeds = given.seed === undefined ? given.seeds : 1;
const { target } = given;
if (target === FIGURES_TARGET) {
  await printGossipFigures(first, (line) => process.stdout.write(`${line}\n`));
  process.exit(0);
}
if (given.planted === true) {
  const isFound = await runPlantedBugs(given.seeds, (line) => process.stdout.write(`${line}\n`));
  process.exit(isFound ? 0 : 1);
}
const runSeed: RunSeed =
  targets.get(target) ?? program.error(`--target ${target}: there is ${[...targets.keys(), FIGURES_TARGET].join(", ")}`);

const totals = new Map<string, number>();
const startedMs = performance.now();
let shownMs = startedMs;
for (let seed = first; seed < first + seeds; seed++) {
  let report: Awaited<ReturnType<RunSeed>>;
  try {
    report = await runSeed(seed);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.stderr.write(`\nAgain: npm run simulate -- --target ${target} --seed ${seed}${againOptions()}\n`);
    process.exit(1);
  }
  for (const [event, count] of Object.entries(report.counts)) totals.set(event, (totals.get(event) ?? 0) + count);
  if (performance.now() - shownMs > PROGRESS_EVERY_MS) {
    shownMs = performance.now();
    process.stderr.write(`seed ${seed}\n`);
  }
}
const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
process.stdout.write(`${seeds} seeds from ${first} in ${seconds} s, violations: 0\n`);
for (const [event, count] of totals) process.stdout.write(`  ${event.padEnd(20)} ${count.toLocaleString("en")}\n`);

interface Given {
  readonly target: string;
  readonly seeds: number;
  readonly first: number;
  readonly seed?: number;
  readonly nodes?: number;
  readonly topology: Topology;
  readonly planted?: boolean;
}

function swarmOptions(): SwarmOptions {
  const { nodes, topology } = given;
  return { topology, ...(nodes === undefined ? {} : { nodes }) };
}

function againOptions(): string {
  const { nodes, topology } = given;
  return `${nodes === undefined ? "" : ` --nodes ${nodes}`}${topology === "cluster" ? "" : ` --topology ${topology}`}`;
}
