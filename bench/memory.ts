/**
 * What does a server take that holds so many pairs: memory, disk, time to start; and how long does one GET wait? Loaded by
 * pipelined SETs, Kindred with its heap capped; a redis-server beside it.
 */
import { getLatencies, type Latencies } from "./latency.js";
import { load } from "./loader.js";
import type { Options } from "./options.js";
import { type Bar, outputOf, publish, type Row } from "./report.js";
import { isInstalled, isKindredBuilt, kindredServer, redisServer, type ServerKind, ServerProcess } from "./server-process.js";

/** design.md, section 11: highest resident memory at 10 M pairs, compaction included. */
const HIGHEST_MB_MAX = 600;
const HEAP_MB_MAX = 512;
const MB = 1_000_000;
/** GETs of each kind, one after the other. */
const GETS = 20_000;

interface Reading {
  readonly pairs: number;
  readonly nowMb: number;
  readonly highestMb: number;
  readonly pairsPerSecond: number;
  readonly storedMb: number;
  readonly present: Latencies;
  readonly absent: Latencies;
  /** Seconds from the start of the process to its first answer, after an orderly stop and after kill -9. */
  readonly startSeconds: number;
  readonly recoverSeconds: number;
}

export async function benchMemory(options: Options): Promise<void> {
  const rows: Row[] = [];
  if (isKindredBuilt())
    rows.push(
      ...rowsOf("Kindred", await readings(kindredServer("everysec", [`--max-old-space-size=${HEAP_MB_MAX}`]), options.pairs)),
    );
  else rows.push({ kind: "skipped", what: "Kindred", reason: "this tree has no server: dist/lib/main.js does not exist" });
  if (await isInstalled("redis-server")) {
    rows.push(...rowsOf("redis-server", await readings(redisServer("everysec"), options.pairs)));
  } else rows.push({ kind: "skipped", what: "redis-server", reason: "it is not installed (Debian: redis-server)" });
  const settings = {
    keyBytes: 16,
    valueBytes: 100,
    heapMbMax: HEAP_MB_MAX,
    gets: GETS,
    fsync: "everysec",
    redis: outputOf("redis-server", ["--version"]),
  };
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
      found.push({
        pairs,
        nowMb: nowBytes / MB,
        highestMb: highestBytes / MB,
        pairsPerSecond: (pairs - loaded) / seconds,
        storedMb: server.storedBytes() / MB,
        present: await getLatencies(server.port, { from: 0, to: pairs, count: GETS }),
        absent: await getLatencies(server.port, { from: pairs, to: 2 * pairs, count: GETS }),
        startSeconds: await server.restart("SIGTERM"),
        recoverSeconds: await server.restart("SIGKILL"),
      });
      console.error(`memory: ${kind.name} holds ${pairs} pairs`);
      loaded = pairs;
    }
    return found;
  } finally {
    await server.stop();
  }
}

function rowsOf(name: string, found: readonly Reading[]): Row[] {
  return found.flatMap((reading) => {
    const pairs = `${name}, ${reading.pairs.toLocaleString("en-US")} pairs`;
    const isHeld = name === "Kindred" && reading.pairs === 10_000_000;
    const highest = isHeld ? ({ is: "at most", value: HIGHEST_MB_MAX } as const) : null;
    const row = (what: string, unit: string, value: number, bar: Bar | null = null): Row => {
      return { kind: "alone", what: `${pairs}: ${what}`, unit, bar, value };
    };
    return [
      row("resident after loading", "MB", reading.nowMb),
      row("resident at the highest", "MB", reading.highestMb, highest),
      row("load rate", "pairs/s", reading.pairsPerSecond),
      row("on disk", "MB", reading.storedMb),
      row("GET of a present key, p50", "us", reading.present.p50Micros),
      row("GET of a present key, p99", "us", reading.present.p99Micros),
      row("GET of an absent key, p50", "us", reading.absent.p50Micros),
      row("GET of an absent key, p99", "us", reading.absent.p99Micros),
      row("start after a stop", "s", reading.startSeconds),
      row("start after kill -9", "s", reading.recoverSeconds),
    ];
  });
}
