/**
 * How fast do three members on this machine answer redis-benchmark, with three copies of each key? Beside one redis-server:
 * in each round the same work for one side and at once for the other.
 *
 * Three coordinators are three redis-benchmarks at the same time, a third of the clients and of the requests each, one for
 * each member: their rate is that of all requests until the last of them is done, their latencies are those of the worst.
 */
import { ClusterProcesses } from "../test/e2e/cluster-processes.js";
import { Servers } from "../test/e2e/server-process.js";
import type { Options } from "./options.js";
import { untilQuiet } from "./quiet.js";
import { type BenchmarkOutcome, type BenchmarkWork, runBenchmark } from "./redis-benchmark.js";
import { type Bar, outputOf, publish, type Row } from "./report.js";
import { missingPrograms, redisServer, ServerProcess } from "./server-process.js";
import { type Pair, summarize } from "./stats.js";

const CLIENTS = 50;
const KEYS = 100_000;
const VALUE_BYTES = 100;
const MEMBERS = 3;
/** As in `front`: at depth 16 a request costs a fraction. */
const DEPTHS = [
  { depth: 1, factor: 1, bar: 0.4 },
  { depth: 16, factor: 5, bar: 0.35 },
] as const;
const TESTS = ["SET", "GET"] as const;

type Way = "one coordinator" | "three coordinators" | "redis-benchmark --cluster";

/** What is measured of members that run with one consistency level. */
const GROUPS = [
  { consistency: "ONE", shown: "R=W=1", ways: ["one coordinator"] },
  {
    consistency: "QUORUM",
    shown: "R=W=2",
    ways: ["one coordinator", "three coordinators", "redis-benchmark --cluster"],
  },
] as const satisfies readonly { consistency: string; shown: string; ways: readonly Way[] }[];

interface Work {
  readonly group: (typeof GROUPS)[number];
  readonly way: Way;
  readonly test: "SET" | "GET";
  readonly depth: number;
  readonly requests: number;
  /** Of the ratio of rates. */
  readonly bar: Bar | null;
}

type Sides = Readonly<Record<"ours" | "peer", BenchmarkOutcome>>;

export async function benchCluster(options: Options): Promise<void> {
  const missing = await missingPrograms();
  const rows: Row[] = [];
  if (missing === null) rows.push(...(await measure(options)));
  else rows.push({ kind: "skipped", what: "three members", reason: missing });
  publish({
    name: "cluster",
    ours: "Kindred",
    peer: "redis-server",
    rows,
    settings: {
      members: MEMBERS,
      replicas: MEMBERS,
      appendfsync: "everysec",
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

async function measure(options: Options): Promise<Row[]> {
  const peer = await ServerProcess.start(redisServer("everysec"));
  try {
    await warm(peer.port);
    const outcomes = new Map<Work, Sides[]>();
    for (const group of GROUPS) {
      const servers = new Servers();
      try {
        const settings = { replicas: `${MEMBERS}`, appendfsync: "everysec", consistency: group.consistency };
        const cluster = await ClusterProcesses.start(servers, { nodes: MEMBERS, settings });
        for (let at = 0; at < MEMBERS; at++) await warm(cluster.port(at));
        const works = worksOf(group, options.requests);
        for (const work of works) outcomes.set(work, []);
        for (let round = 0; round < options.rounds; round++) {
          for (const work of works)
            outcomes.get(work)!.push(await compare(work, { cluster, peer, isOursFirst: round % 2 === 0 }));
          console.error(`cluster, ${group.shown}: round ${round + 1} of ${options.rounds}`);
        }
      } finally {
        await servers.endAll();
      }
    }
    return [...outcomes].flatMap(([work, sides]) => rateRow(work, sides)).concat([...outcomes].flatMap(latencyRows));
  } finally {
    await peer.stop();
  }
}

function worksOf(group: (typeof GROUPS)[number], requests: number): Work[] {
  return group.ways.flatMap((way) =>
    DEPTHS.flatMap(({ depth, factor, bar }) =>
      TESTS.map((test): Work => {
        const isHeld = way === "one coordinator" && group.consistency === "QUORUM";
        return { group, way, test, depth, requests: requests * factor, bar: isHeld ? { is: "at least", value: bar } : null };
      }),
    ),
  );
}

/** Every key exists and the hot code is compiled before anything is counted. */
async function warm(port: number): Promise<void> {
  await runBenchmark({ ...shape("SET", 16, 3 * KEYS), port, isByCluster: false });
  await runBenchmark({ ...shape("GET", 16, KEYS), port, isByCluster: false });
}

async function compare(
  work: Work,
  { cluster, peer, isOursFirst }: { cluster: ClusterProcesses; peer: ServerProcess; isOursFirst: boolean },
): Promise<Sides> {
  const { test, depth, requests } = work;
  const ours = async (): Promise<BenchmarkOutcome> => {
    await untilQuiet();
    return runWay(work, cluster);
  };
  const theirs = async (): Promise<BenchmarkOutcome> => {
    await untilQuiet();
    return runBenchmark({ ...shape(test, depth, requests), port: peer.port, isByCluster: false });
  };
  if (isOursFirst) {
    const first = await ours();
    return { ours: first, peer: await theirs() };
  }
  const first = await theirs();
  return { ours: await ours(), peer: first };
}

async function runWay({ way, test, depth, requests }: Work, cluster: ClusterProcesses): Promise<BenchmarkOutcome> {
  const whole = shape(test, depth, requests);
  if (way !== "three coordinators")
    return runBenchmark({ ...whole, port: cluster.port(0), isByCluster: way === "redis-benchmark --cluster" });
  const part = Math.ceil(requests / MEMBERS);
  const parts = cluster.members.map((_, at) => {
    // 50 clients are 17, 17 and 16.
    const clients = Math.floor((CLIENTS + MEMBERS - 1 - at) / MEMBERS);
    return runBenchmark({ ...whole, clients, requests: part, port: cluster.port(at), isByCluster: false });
  });
  return together(await Promise.all(parts), part);
}

function shape(test: "SET" | "GET", depth: number, requests: number): Omit<BenchmarkWork, "port" | "isByCluster"> {
  return { test, depth, requests, clients: CLIENTS, keys: KEYS, valueBytes: VALUE_BYTES };
}

/** Several runs of so many requests each, at the same time, as one. */
export function together(outcomes: readonly BenchmarkOutcome[], requestsEach: number): BenchmarkOutcome {
  const seconds = Math.max(...outcomes.map(({ rate }) => requestsEach / rate));
  const worst = (of: (outcome: BenchmarkOutcome) => number): number => Math.max(...outcomes.map(of));
  const isWhole = outcomes.every(({ p999Ms }) => p999Ms !== null);
  return {
    rate: (outcomes.length * requestsEach) / seconds,
    p50Ms: worst(({ p50Ms }) => p50Ms),
    p99Ms: worst(({ p99Ms }) => p99Ms),
    p999Ms: isWhole ? worst(({ p999Ms }) => p999Ms!) : null,
  };
}

function nameOf({ group, way, test, depth }: Work): string {
  return `${group.shown}, ${way}, ${test} -P ${depth}`;
}

function rateRow(work: Work, sides: readonly Sides[]): Row {
  const pairs = sides.map(({ ours, peer }) => ({ ours: ours.rate, peer: peer.rate }));
  return { kind: "measured", what: nameOf(work), unit: "requests/s", bar: work.bar, summary: summarize(pairs) };
}

/** A ratio above 1 means slower than the peer. */
function latencyRows([work, sides]: readonly [Work, readonly Sides[]]): Row[] {
  const quantiles = [
    ["p50", (outcome: BenchmarkOutcome) => outcome.p50Ms],
    ["p99", (outcome: BenchmarkOutcome) => outcome.p99Ms],
    ["p99.9", (outcome: BenchmarkOutcome) => outcome.p999Ms],
  ] as const;
  return quantiles.flatMap(([name, of]): Row[] => {
    const pairs = sides.flatMap(({ ours, peer }): Pair[] => {
      const pair = { ours: of(ours), peer: of(peer) };
      return pair.ours === null || pair.peer === null || pair.peer === 0 ? [] : [{ ours: pair.ours, peer: pair.peer }];
    });
    if (pairs.length === 0) return [];
    return [{ kind: "measured", what: `${nameOf(work)}, ${name}`, unit: "ms", bar: null, summary: summarize(pairs) }];
  });
}
