/**
 * How fast does a server answer redis-benchmark? One Kindred and one redis-server side by side, the same work for one and
 * then the other in every round, the order changing from round to round.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import type { Options } from "./options.js";
import { type Bar, outputOf, publish, type Row } from "./report.js";
import { type Fsync, kindredServer, missingPrograms, redisServer, ServerProcess } from "./server-process.js";
import { type Pair, summarize } from "./stats.js";

const CLIENTS = 50;
const KEYS = 100_000;
const VALUE_BYTES = 100;
/** At depth 16 a request costs a fraction, so that a round asks for more of them. */
const DEPTHS: readonly { readonly depth: number; readonly factor: number }[] = [
  { depth: 1, factor: 1 },
  { depth: 16, factor: 5 },
];

type Mode = "SET" | "GET" | "mix";
const MODES: readonly Mode[] = ["SET", "GET", "mix"];

interface Work {
  readonly mode: Mode;
  readonly depth: number;
  readonly requests: number;
}

export async function benchFront(options: Options): Promise<void> {
  const missing = await missingPrograms();
  const rows: Row[] = [];
  for (const fsync of ["everysec", "always"] as const) {
    if (missing === null) rows.push(...(await compare(fsync, options)));
    else rows.push({ kind: "skipped", what: `fsync ${fsync}: SET, GET, mix`, reason: missing });
  }
  publish({
    name: "front",
    ours: "Kindred",
    peer: "redis-server",
    rows,
    settings: {
      clients: CLIENTS,
      keys: KEYS,
      valueBytes: VALUE_BYTES,
      requests: options.requests,
      rounds: options.rounds,
      redis: outputOf("redis-server", ["--version"]),
      redisBenchmark: outputOf("redis-benchmark", ["--version"]),
    },
  });
}

async function compare(fsync: Fsync, options: Options): Promise<Row[]> {
  const ours = await ServerProcess.start(kindredServer(fsync));
  try {
    const peer = await ServerProcess.start(redisServer(fsync));
    try {
      return await runRounds({ fsync, options, ours, peer });
    } finally {
      await peer.stop();
    }
  } finally {
    await ours.stop();
  }
}

async function runRounds(options: {
  fsync: Fsync;
  options: Options;
  ours: ServerProcess;
  peer: ServerProcess;
}): Promise<Row[]> {
  const { rounds, requests } = options.options;
  const works = DEPTHS.flatMap(({ depth, factor }) => MODES.map((mode) => ({ mode, depth, requests: requests * factor })));
  const pairs = new Map<Work, Pair[]>(works.map((work) => [work, []]));
  // Warm: every key exists and the hot code is compiled before anything is counted.
  for (const server of [options.ours, options.peer]) await rateOf(server, { mode: "SET", depth: 16, requests: 3 * KEYS });
  for (let round = 0; round < rounds; round++) {
    for (const work of works) {
      const pair = { ours: 0, peer: 0 };
      const order = round % 2 === 0 ? (["ours", "peer"] as const) : (["peer", "ours"] as const);
      for (const side of order) pair[side] = await rateOf(options[side], work);
      pairs.get(work)?.push(pair);
    }
    console.error(`front, fsync ${options.fsync}: round ${round + 1} of ${rounds}`);
  }
  return works.map((work) => ({
    kind: "measured",
    what: `${work.mode} -P ${work.depth}, fsync ${options.fsync}`,
    unit: "requests/s",
    bar: barOf(options.fsync, work),
    summary: summarize(pairs.get(work) ?? []),
  }));
}

function barOf(fsync: Fsync, { mode, depth }: Work): Bar | null {
  if (fsync !== "everysec" || mode === "mix") return null;
  return { is: "at least", value: depth === 1 ? 0.9 : 0.7 };
}

/** Requests a second. A mix is SETs and GETs at the same time, by half the clients each; both have to be done. */
async function rateOf(server: ServerProcess, { mode, depth, requests }: Work): Promise<number> {
  if (mode !== "mix") return await benchmark(server, { test: mode, clients: CLIENTS, depth, requests });
  const half = { clients: CLIENTS / 2, depth, requests: requests / 2 };
  const rates = await Promise.all(["SET", "GET"].map((test) => benchmark(server, { test, ...half })));
  return requests / Math.max(...rates.map((rate) => half.requests / rate));
}

interface BenchmarkRun {
  readonly test: string;
  readonly clients: number;
  readonly depth: number;
  readonly requests: number;
}

async function benchmark(server: ServerProcess, { test, clients, depth, requests }: BenchmarkRun): Promise<number> {
  const numbers = { "-p": server.port, "-c": clients, "-P": depth, "-n": requests, "-r": KEYS, "-d": VALUE_BYTES };
  const args = ["-t", test.toLowerCase(), "--csv", ...Object.entries(numbers).flatMap(([flag, value]) => [flag, `${value}`])];
  const child = spawn("redis-benchmark", args, { stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  let complained = "";
  child.stdout.on("data", (chunk: Buffer) => {
    printed += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    complained += chunk;
  });
  const [code] = (await once(child, "close")) as [number | null];
  const rate = rateIn(printed, test);
  if (code !== 0 || rate === null)
    throw new Error(`redis-benchmark ${args.join(" ")} ended with ${code}:\n${printed}${complained}`);
  return rate;
}

/** The requests a second that redis-benchmark's `--csv` output gives for a test; null when it gives none. */
export function rateIn(csv: string, test: string): number | null {
  for (const line of csv.split("\n")) {
    const [name, rate] = line.split(",").map((cell) => cell.replace(/^"|"$/g, ""));
    if (name === test && Number(rate) > 0) return Number(rate);
  }
  return null;
}
