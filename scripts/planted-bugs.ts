/**
 * Shows that the simulator finds bugs that matter: plants each into a copy of the compiled code, by exact replacement, and runs
 * worlds there until one fails. The code that is shipped knows nothing of it. A replacement that no longer fits is an error:
 * the bug has to be planted anew.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { runSwarmSeed, SwarmOptions } from "../test/sim/cluster/swarm.js";

interface Replacement {
  /** Of the compiled code, from `lib` on. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

interface PlantedBug {
  readonly name: string;
  readonly replacements: readonly Replacement[];
  readonly worlds: SwarmOptions;
}

const bugs: readonly PlantedBug[] = [
  {
    name: "a merge is dropped",
    replacements: [
      {
        file: "lib/replica/replica.js",
        from: 'if (standing === "apart")\n            return this.#mergeDecoded(dataKey, old, decodeRecord(bytes, start, end), nowMs);',
        to: 'if (standing === "apart" && old !== null)\n            return this.#mergeNothing(old);\n        if (standing === "apart")\n            return this.#mergeDecoded(dataKey, old, decodeRecord(bytes, start, end), nowMs);',
      },
    ],
    worlds: { topology: "cluster", nodes: 3 },
  },
  {
    name: "a replica and its stand-in count twice between them",
    replacements: [
      {
        file: "lib/coordinator/quorum-tally.js",
        from: "return lacks === rest ? this.#verdict : this.#count(position, rest);",
        to: "return this.#count(position, rest);",
      },
    ],
    worlds: { topology: "cluster", nodes: 4, replicas: 3 },
  },
  {
    name: "a dot is given twice",
    replacements: [
      {
        file: "lib/replica/store-identity.js",
        from: "return this.#next++;",
        to: "return this.#next++ - (this.#next % 16 === 0 ? 1 : 0);",
      },
    ],
    worlds: { topology: "cluster", nodes: 3 },
  },
  {
    name: "a write that was passed on is made after its deadline",
    replacements: [
      {
        file: "lib/peer/incoming-link.js",
        from: "if (this.nowMs() >= deadlineMs)\n            return",
        to: "if (false)\n            return",
      },
      { file: "lib/coordinator/begin-limit.js", from: "    require() {\n", to: "    require() {\n        return;\n" },
      {
        file: "lib/coordinator/local-keyspace.js",
        from: "Math.max(0, forwarded.deadlineMs - this.#clock.monotonicMs())",
        to: "this.#settings.requestTimeoutMs",
      },
    ],
    worlds: { topology: "cluster", nodes: 3 },
  },
  {
    name: "each owner reaps its tombstones by their age",
    replacements: [
      {
        file: "lib/replica/agreed-reaping.js",
        from: "ring.current.replicas(slot)[0] === self && !ring.isChanging(slot)",
        to: "ring.current.isReplica(slot, self)",
      },
      {
        file: "lib/replica/agreed-reaping.js",
        from: "        this.#requireAll();\n",
        to: '        const byAge = { what: "remove", ringVersion, id: nextId(), live: new Map(), keys: candidates };\n        await this.#options.service.answer(byAge);\n        return;\n',
      },
    ],
    worlds: { topology: "cluster", nodes: 4, replicas: 3 },
  },
  {
    name: "a store that may have forgotten dots goes on in its old epoch",
    replacements: [
      {
        file: "lib/replica/store-identity.js",
        from: 'epoch: identity.epoch + 1, next: identity.leaseEnd }, "unclean"',
        to: 'epoch: identity.epoch, next: identity.leaseEnd }, "unclean"',
      },
    ],
    worlds: { topology: "cluster", nodes: 3 },
  },
  {
    name: "a change is completed though a member that gains slots by it has not taken them in",
    replacements: [
      {
        file: "lib/cluster/enrolment.js",
        from: "if (await hasTakenIn(id, prepared))\n                        waiting.delete(id);",
        to: "await hasTakenIn(id, prepared);\n                    waiting.delete(id);",
      },
    ],
    worlds: { topology: "cluster", nodes: 4, replicas: 1 },
  },
  {
    name: "an old owner drops a slot without a look at what the new ones have of it",
    replacements: [
      {
        file: "lib/replica/slot-release.js",
        from: "for (const owner of owners) {",
        to: "for (const owner of owners.slice(0, 0)) {",
      },
    ],
    worlds: { topology: "cluster", nodes: 4, replicas: 2 },
  },
];

/** Runs up to `seeds` worlds for each bug. Returns whether all were found. */
export async function runPlantedBugs(seeds: number, print: (line: string) => void): Promise<boolean> {
  let isFound = true;
  for (const bug of bugs) {
    const root = plant(bug);
    try {
      const found = await firstFailure(root, bug, seeds);
      isFound = isFound && found !== null;
      print(
        found === null ? `NOT FOUND in ${seeds} seeds: ${bug.name}` : `seed ${found.seed}: ${bug.name}\n    ${found.message}`,
      );
    } finally {
      rmSync(root, { recursive: true });
    }
  }
  return isFound;
}

/** A copy of the compiled code with the bug in it. */
function plant({ name, replacements }: PlantedBug): string {
  const dist = dirname(dirname(fileURLToPath(import.meta.url)));
  const root = mkdtempSync(join(tmpdir(), "kindred-planted-"));
  for (const folder of ["lib", "test"]) {
    cpSync(join(dist, folder), join(root, "dist", folder), { recursive: true, filter: (path) => !path.endsWith(".map") });
  }
  cpSync(join(dirname(dist), "package.json"), join(root, "package.json"));
  symlinkSync(join(dirname(dist), "node_modules"), join(root, "node_modules"));
  for (const { file, from, to } of replacements) {
    const path = join(root, "dist", file);
    const code = readFileSync(path, "utf8");
    if (code.split(from).length !== 2) throw new Error(`${name}: ${file} does not have exactly one\n${from}`);
    writeFileSync(
      path,
      code.replace(from, () => to),
    );
  }
  return root;
}

async function firstFailure(
  root: string,
  { worlds }: PlantedBug,
  seeds: number,
): Promise<{ readonly seed: number; readonly message: string } | null> {
  const code = pathToFileURL(join(root, "dist/test/sim/cluster/swarm.js")).href;
  const swarm = (await import(code)) as { readonly runSwarmSeed: typeof runSwarmSeed };
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      await swarm.runSwarmSeed(seed, worlds);
    } catch (error) {
      return { seed, message: error instanceof Error ? error.message.split("\n")[0]! : String(error) };
    }
  }
  return null;
}
