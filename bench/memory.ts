/** How much memory does a server take that holds so many pairs? Loaded by pipelined SETs; a redis-server beside it. */
import { load } from "./loader.js";
import type { Options } from "./options.js";
import { outputOf, publish, type Row } from "./report.js";
import { isInstalled, isKindredBuilt, kindredServer, redisServer, type ServerKind, ServerProcess } from "./server-process.js";

/** design.md, section 11: highest resident memory at 10 M pairs, compaction included. */
const HIGHEST_MB_MAX = 600;
const MB = 1_000_000;

interface Reading {
  readonly pairs: number;
  readonly nowMb: number;
  readonly highestMb: number;
  readonly pairsPerSecond: number;
}

export async function benchMemory(options: Options): Promise<void> {
  const rows: Row[] = [];
  if (isKindredBuilt()) rows.push(...rowsOf("Kindred", await readings(kindredServer("everysec"), options.pairs)));
  else rows.push({ kind: "skipped", what: "Kindred", reason: "this tree has no server: dist/lib/main.js does not exist" });
  if (await isInstalled("redis-server")) {
    rows.push(...rowsOf("redis-server", await readings(redisServer("everysec"), options.pairs)));
  } else rows.push({ kind: "skipped", what: "redis-server", reason: "it is not installed (Debian: redis-server)" });
  const settings = { keyBytes: 16, valueBytes: 100, fsync: "everysec", redis: outputOf("redis-server", ["--version"]) };
  publish({ name: "memory", ours: "figure", peer: "", rows, settings });
}

async function readings(kind: ServerKind, steps: readonly number[]): Promise<Reading[]> {
  const server = await ServerProcess.start(kind);
  try {
    const found: Reading[] = [];
    let loaded = 0;
    for (const pairs of steps) {
      const startMs = performance.now();
      await load(server.port, { from: loaded, to: pairs });
      const seconds = (performance.now() - startMs) / 1_000;
      const memory = server.memory();
      if (memory === null) throw new Error("this system has no /proc: resident memory cannot be read");
      const { nowBytes, highestBytes } = memory;
      found.push({ pairs, nowMb: nowBytes / MB, highestMb: highestBytes / MB, pairsPerSecond: (pairs - loaded) / seconds });
      console.error(`memory: ${kind.name} holds ${pairs} pairs`);
      loaded = pairs;
    }
    return found;
  } finally {
    await server.stop();
  }
}

function rowsOf(name: string, found: readonly Reading[]): Row[] {
  return found.flatMap(({ pairs, nowMb, highestMb, pairsPerSecond }) => {
    const what = `${name}, ${pairs.toLocaleString("en-US")} pairs`;
    const bar = name === "Kindred" && pairs === 10_000_000 ? ({ is: "at most", value: HIGHEST_MB_MAX } as const) : null;
    return [
      { kind: "alone", what: `${what}: resident after loading`, unit: "MB", bar: null, value: nowMb },
      { kind: "alone", what: `${what}: resident at the highest`, unit: "MB", bar, value: highestMb },
      { kind: "alone", what: `${what}: load rate`, unit: "pairs/s", bar: null, value: pairsPerSecond },
    ] satisfies Row[];
  });
}
