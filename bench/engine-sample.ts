/**
 * One round of one engine, in a process of its own: fills a new directory, lets it settle, reads, scans and writes, and sends
 * the figures to its parent. Started by engine.ts with the spec as its argument.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pauseMs } from "node:timers/promises";
import type { EngineName, EngineSettings, EngineStore } from "./engine-store.js";
import { KEY_BYTES, pairKey, pairValue, scramble, VALUE_BYTES } from "./workload.js";

export interface SampleSpec {
  readonly engine: EngineName;
  readonly keys: number;
}

/** Rates are a second; the names are those of the rows. */
export interface Sample {
  readonly put64: number;
  /** The same puts, timed until nothing was compacted any more. */
  readonly put64Settled: number;
  readonly get1: number;
  readonly get64: number;
  readonly absent1: number;
  readonly absent64: number;
  /** Pairs read by scans of 100. */
  readonly scan: number;
  readonly put1: number;
  readonly diskBytes: number;
  /** Bytes written per byte of key and value put, the log included. */
  readonly writeAmplification: number;
}

const MEMORY_TABLE_BYTES = 32 * 1024 * 1024;
const READS = 200_000;
const SCANS = 2_000;
const SCAN_LENGTH = 100;
/** A process that wrote nothing for so long has compacted all there was. */
const QUIET_MS = 500;

async function sample({ engine, keys }: SampleSpec): Promise<Sample> {
  const directory = mkdtempSync(join(tmpdir(), "kindred-bench-"));
  const pairBytes = KEY_BYTES + VALUE_BYTES;
  try {
    const blockCacheBytes = Math.round((keys * pairBytes) / 10);
    const store = await open(engine, { directory, memoryTableBytes: MEMORY_TABLE_BYTES, blockCacheBytes });
    const writtenBefore = writtenBytes();
    const startMs = performance.now();
    await store.put({ from: 0, to: keys, inFlight: 64 });
    const putMs = performance.now() - startMs;
    await settle();
    const settledMs = performance.now() - startMs - QUIET_MS;
    const filled = {
      put64: perSecond(keys, putMs),
      put64Settled: perSecond(keys, settledMs),
      diskBytes: sizeOf(directory),
      writeAmplification: (writtenBytes() - writtenBefore) / (keys * pairBytes),
    };
    const read = { ...(await reads(store, keys)), scan: await scans(store) };
    const put1 = await rate(keys / 10, () => store.put({ from: keys, to: keys + keys / 10, inFlight: 1 }));
    await store.close();
    return { ...filled, ...read, put1 };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function open(engine: EngineName, settings: EngineSettings): Promise<EngineStore> {
  if (engine === "kindred") return (await import("./kindred-store.js")).KindredStore.open(settings);
  return (await import("./level-store.js")).LevelStore.open(settings);
}

async function reads(store: EngineStore, keys: number): Promise<Pick<Sample, "get1" | "get64" | "absent1" | "absent64">> {
  const present = (salt: number) => Uint32Array.from({ length: READS }, (_, n) => scramble(salt * READS + n) % keys);
  // Indexes past all that is ever put have keys between the present ones.
  const absent = (salt: number) =>
    Uint32Array.from({ length: READS }, (_, n) => 2 * keys + (scramble(salt * READS + n) % keys));
  const timed = (indexes: Uint32Array, inFlight: number, expected: number) =>
    rate(READS, async () => {
      const found = await store.get(indexes, inFlight);
      if (found !== expected) throw new Error(`${found} of ${READS} keys were found; ${expected} are there`);
    });
  await timed(present(0), 64, READS);
  return {
    get1: await timed(present(1), 1, READS),
    get64: await timed(present(2), 64, READS),
    absent1: await timed(absent(3), 1, 0),
    absent64: await timed(absent(4), 64, 0),
  };
}

async function scans(store: EngineStore): Promise<number> {
  return await rate(SCANS * SCAN_LENGTH, async () => {
    for (let n = 0; n < SCANS; n++) {
      // The keys' first digit "f" is left out, so that every scan finds its hundred.
      const from = `${(n % 15).toString(16)}${pairKey(n).slice(1)}`;
      const found = await store.scan(from, SCAN_LENGTH);
      if (found !== SCAN_LENGTH) throw new Error(`a scan from ${from} found ${found} pairs instead of ${SCAN_LENGTH}`);
    }
  });
}

async function rate(count: number, work: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await work();
  return perSecond(count, performance.now() - startMs);
}

function perSecond(count: number, ms: number): number {
  return (count * 1_000) / ms;
}

/** Resolves when this process, whichever of its threads, has written nothing for `QUIET_MS`. */
async function settle(): Promise<void> {
  let seen = writtenBytes();
  let quietSinceMs = performance.now();
  while (performance.now() - quietSinceMs < QUIET_MS) {
    await pauseMs(10);
    const now = writtenBytes();
    if (now === seen) continue;
    seen = now;
    quietSinceMs = performance.now();
  }
}

/** Bytes that this process handed to the system to write; the same measure for every engine. */
function writtenBytes(): number {
  const found = /^wchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"));
  if (found === null) throw new Error("/proc/self/io does not tell how much was written");
  return Number(found[1]);
}

function sizeOf(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .map((name) => statSync(join(directory, name)))
    .reduce((sum, stat) => sum + (stat.isFile() ? stat.size : 0), 0);
}

if (pairValue(0).length !== VALUE_BYTES || pairKey(0).length !== KEY_BYTES) throw new Error("the workload is not what it says");
const result = await sample(JSON.parse(process.argv[2] ?? "") as SampleSpec);
process.send?.(result);
