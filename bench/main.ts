/** `npm run bench [-- names and options]`: runs the benches that are named, or all; see README.md here. */
import { benchCluster } from "./cluster.js";
import { benchEngine } from "./engine.js";
import { benchFront } from "./front.js";
import { benchMemory } from "./memory.js";
import { type Options, parseOptions, USAGE, UsageError } from "./options.js";

const benches: Readonly<Record<string, (options: Options) => Promise<void>>> = {
  front: benchFront,
  cluster: benchCluster,
  engine: benchEngine,
  memory: benchMemory,
};

async function main(args: readonly string[]): Promise<void> {
  if (args.includes("--help") || args.includes("-h")) return console.log(USAGE);
  const { chosen, options } = parseOptions(args, Object.keys(benches));
  for (const name of chosen) await benches[name]?.(options);
}

main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(error instanceof UsageError ? `${error.message}\n\n${USAGE}` : error);
  process.exitCode = 1;
});
