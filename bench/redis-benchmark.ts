/** Runs redis-benchmark and reads what it prints: rates, and latencies as clients see them. */
import { spawn } from "node:child_process";
import { once } from "node:events";

export interface BenchmarkWork {
  readonly port: number;
  readonly test: "SET" | "GET";
  readonly clients: number;
  /** Requests that a client sends before it waits. */
  readonly depth: number;
  readonly requests: number;
  readonly keys: number;
  readonly valueBytes: number;
  /** Asks the server for its slots and spreads over the members by them. */
  readonly isByCluster: boolean;
}

export interface BenchmarkOutcome {
  /** Requests a second. */
  readonly rate: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Null where there were too few requests. */
  readonly p999Ms: number | null;
}

/** Rejects, with what it printed, when it fails. */
export async function runBenchmark(work: BenchmarkWork): Promise<BenchmarkOutcome> {
  const { port, test, clients, depth, requests, keys, valueBytes, isByCluster } = work;
  const numbers = { "-p": port, "-c": clients, "-P": depth, "-n": requests, "-r": keys, "-d": valueBytes };
  const flags = Object.entries(numbers).flatMap(([flag, value]) => [flag, `${value}`]);
  const args = ["-t", test.toLowerCase(), ...flags, ...(isByCluster ? ["--cluster"] : [])];
  const child = spawn("redis-benchmark", args, { stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      printed += chunk;
    });
  }
  const [code] = (await once(child, "close")) as [number | null];
  const outcome = outcomeIn(printed);
  if (code !== 0 || outcome === null)
    throw new Error(`redis-benchmark ${args.join(" ")} ended with ${code}:\n${printed.slice(-2_000)}`);
  return outcome;
}

/**
 * What redis-benchmark prints of one test without `--csv`, which leaves p99.9 out; null when it is not all there. Percentiles
 * are those of its distribution at which it looks: 99.902 is taken for 99.9.
 */
export function outcomeIn(printed: string): BenchmarkOutcome | null {
  const rate = Number(/throughput summary: ([\d.]+) requests per second/.exec(printed)?.[1]);
  const summary = /avg\s+min\s+p50\s+p95\s+p99\s+max\s+([\d.\s]+)/.exec(printed)?.[1]?.trim().split(/\s+/).map(Number);
  const p50Ms = summary?.[2];
  const p99Ms = summary?.[4];
  if (!(rate > 0) || p50Ms === undefined || p99Ms === undefined) return null;
  const p999 = /^99\.902% <= ([\d.]+) milliseconds/m.exec(printed)?.[1];
  return { rate, p50Ms, p99Ms, p999Ms: p999 === undefined ? null : Number(p999) };
}
