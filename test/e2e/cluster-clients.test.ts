/** Clients that go by slots, unchanged and with their defaults, against three members as real processes. */
import { expect } from "chai";
import { Cluster as IoRedisCluster } from "ioredis";
import { Cluster as IoValkeyCluster } from "iovalkey";
import { createCluster } from "redis";
import { ClusterProcesses } from "./cluster-processes.js";
import { isInstalled, run, skip } from "./program.js";
import { hasRedisPy, PYTHON, RedisPy } from "./redis-py.js";
import { serversOfTest } from "./server-process.js";
import { plain, siblingsIn } from "./tour.js";
import { until, within } from "./until.js";

/** One command, with the key that it is about. */
type KeyedCall = (key: string, ...args: readonly string[]) => Promise<unknown>;

interface Connected {
  readonly call: KeyedCall;
  /** Two commands on one key as a transaction, its replies. */
  readonly transaction: ((key: string) => Promise<unknown>) | null;
  close(): Promise<unknown>;
}

const HOST = "127.0.0.1";
const KEYS = Array.from({ length: 100 }, (_, at) => `key:${at}`);
/** How long a client may take to find that a member is gone. */
const NOTICES_MS_MAX = 15_000;
const ANSWER_MS_MAX = 10_000;

const clients: readonly {
  readonly name: string;
  readonly missing?: () => string | null;
  connect(port: number): Promise<Connected>;
}[] = [
  { name: "ioredis Cluster", connect: ioredis },
  { name: "iovalkey Cluster", connect: iovalkey },
  { name: "node-redis createCluster in RESP3, its default", connect: (port) => nodeRedis(port, 3) },
  { name: "node-redis createCluster in RESP2", connect: (port) => nodeRedis(port, 2) },
  {
    name: "redis-py RedisCluster",
    missing: () => (hasRedisPy() ? null : `${PYTHON} has no module redis (Debian: python3-redis)`),
    connect: redisPy,
  },
];

describe("cluster clients of three members", function () {
  this.timeout(60_000);
  const servers = serversOfTest();

  for (const { name, missing, connect } of clients) {
    it(`${name} finds all members through one, uses them, and goes on when one is killed`, async function () {
      const reason = missing?.() ?? null;
      if (reason !== null) return skip(this, reason);
      const cluster = await ClusterProcesses.start(servers);
      const client = await connect(cluster.port(0));
      try {
        await useAll(client);
        const before = await connectionsOf(cluster);
        expect(Math.min(...before), "clients of each member").to.be.above(0);
        const victim = await lastListed(cluster);
        await cluster.kill(victim);
        await goesOn(client, "after");
        // Whoever comes now is told of the members that are left.
        const late = await connect(cluster.port((victim + 1) % 3));
        await goesOn(late, "late");
        await late.close();
      } finally {
        await client.close();
      }
    });
  }

  it("redis-cli -c is never sent elsewhere, before and after a member is killed", async function () {
    if (!isInstalled("redis-cli")) return skip(this, "redis-cli is not installed (Debian: redis-tools)");
    const cluster = await ClusterProcesses.start(servers);
    const ask = async (at: number, ...lines: readonly string[]): Promise<readonly string[]> => {
      const { stdout, stderr, code } = await run("redis-cli", ["-c", "-p", `${cluster.port(at)}`], { input: lines.join("\n") });
      expect(code, stderr).to.equal(0);
      return stdout.trimEnd().split("\n");
    };
    const sets = KEYS.map((key) => `SET ${key} of-${key}`);
    const gets = KEYS.map((key) => `GET ${key}`);
    expect(await ask(0, ...sets)).to.deep.equal(KEYS.map(() => "OK"));
    expect(await ask(1, ...gets)).to.deep.equal(KEYS.map((key) => `of-${key}`));
    expect(await ask(2, "MSET a 1 b 2 c 3", "MGET a b c", "INCR a")).to.deep.equal(["OK", "1", "2", "3", "2"]);
    await cluster.kill(1);
    expect(await ask(2, ...gets, ...sets)).to.deep.equal([...KEYS.map((key) => `of-${key}`), ...KEYS.map(() => "OK")]);
  });

  it("redis-cli --cluster check finds all slots served and agreed on", async function () {
    if (!isInstalled("redis-cli")) return skip(this, "redis-cli is not installed (Debian: redis-tools)");
    const cluster = await ClusterProcesses.start(servers);
    const { stdout } = await run("redis-cli", ["--cluster", "check", `${HOST}:${cluster.port(0)}`]);
    expect(stdout).to.include("[OK] All nodes agree about slots configuration.");
    expect(stdout).to.include("[OK] All 16384 slots covered.");
  });

  it("redis-benchmark --cluster spreads over all members, and over those left after one is killed", async function () {
    if (!isInstalled("redis-benchmark")) return skip(this, "redis-benchmark is not installed (Debian: redis-tools)");
    const cluster = await ClusterProcesses.start(servers);
    const measure = async (): Promise<string> => {
      const args = ["--cluster", "-p", `${cluster.port(0)}`, "-t", "set,get", "-n", "3000", "-c", "12", "-r", "1000", "-q"];
      const { stdout, stderr, code } = await run("redis-benchmark", args, { withinMs: 30_000 });
      expect(code, stdout + stderr).to.equal(0);
      expect(stdout)
        .to.match(/SET: [\d.]+ requests per second/)
        .and.to.match(/GET: [\d.]+ requests per second/);
      return stdout;
    };
    expect(await measure()).to.include("Cluster has 3 master nodes");
    await cluster.kill(1);
    await until({ what: "the member that is gone is given no slots any more", withinMs: NOTICES_MS_MAX }, async () => {
      const nodes = String(await cluster.ask(0, "CLUSTER", "NODES"));
      const gone = nodes.split("\n").find((line) => line.includes(`:${cluster.port(1)}@`));
      return gone === undefined || gone.split(" ").length === 8 ? true : null;
    });
    expect(await measure()).to.include("Cluster has 2 master nodes");
  });
});

/** A script of operations, each to the member that its key leads to. */
async function useAll({ call, transaction }: Connected): Promise<void> {
  const of = async (key: string, ...args: readonly string[]): Promise<unknown> => plain(await call(key, ...args));
  for (const key of KEYS) expect(isOk(await call(key, "SET", key, `of ${key}`)), key).to.equal(true);
  for (const key of KEYS) expect(await of(key, "GET", key)).to.equal(`of ${key}`);
  expect(await of("{t}n", "INCR", "{t}n")).to.equal(1);
  expect(await of("{t}n", "INCRBY", "{t}n", "41")).to.equal(42);
  expect(isOk(await call("{t}a", "MSET", "{t}a", "1", "{t}b", "2"))).to.equal(true);
  expect(await of("{t}a", "MGET", "{t}a", "{t}b", "{t}c")).to.deep.equal(["1", "2", null]);
  expect(await of("{t}a", "EXPIRE", "{t}a", "100")).to.equal(1);
  expect(await of("{t}a", "TTL", "{t}a")).to.be.within(98, 100);
  expect(await of("{t}b", "APPEND", "{t}b", "3")).to.equal(2);
  expect(await of("{t}b", "DEL", "{t}a", "{t}b")).to.equal(2);
  expect(await of("{t}b", "EXISTS", "{t}a", "{t}b")).to.equal(0);
  expect(siblingsIn(plain(await call("key:1", "SIBLINGS", "key:1"))).values).to.deep.equal(["of key:1"]);
  expect(await of("key:1", "CONSISTENCY", "ALL", "GET", "key:1")).to.equal("of key:1");
  if (transaction !== null) expect(plain(await transaction("{t}m"))).to.deep.equal(["OK", 2]);
}

/** Once the client has noticed that a member is gone every key is written and read. */
async function goesOn({ call }: Connected, value: string): Promise<void> {
  const write = async (key: string): Promise<boolean> => {
    const reply = await within({ what: `SET ${key}`, withinMs: ANSWER_MS_MAX }, call(key, "SET", key, value)).catch(() => null);
    return isOk(reply);
  };
  await until({ what: "the client has noticed, and writes all keys", withinMs: NOTICES_MS_MAX }, async () => {
    for (const key of KEYS) if (!(await write(key))) return null;
    return true;
  });
  for (const key of KEYS) expect(await call(key, "GET", key)).to.equal(value);
}

/** Connections of clients at each member, without the one that asks. */
async function connectionsOf(cluster: ClusterProcesses): Promise<readonly number[]> {
  const counts = cluster.members.map(async (_, at) =>
    String(await cluster.ask(at, "CLIENT", "LIST"))
      .trimEnd()
      .split("\n"),
  );
  return (await Promise.all(counts)).map((lines) => lines.length - 1);
}

/**
 * The member that CLUSTER SLOTS names last. A client asks those before it first when it looks for the slots again; redis-py
 * 4.3 has to, because it cannot dial one again (it fails to copy locks of its own).
 */
async function lastListed(cluster: ClusterProcesses): Promise<number> {
  const ranges = (await cluster.ask(0, "CLUSTER", "SLOTS")) as readonly (readonly (number | readonly [string, number])[])[];
  const ports = ranges.flatMap((range) => range.slice(2).map((member) => (member as readonly [string, number])[1]));
  const last = [...new Set(ports)].at(-1);
  return cluster.members.findIndex((_, at) => cluster.port(at) === last);
}

function isOk(reply: unknown): boolean {
  return reply === "OK" || reply === true || reply === 1;
}

async function ioredis(port: number): Promise<Connected> {
  const client = new IoRedisCluster([{ host: HOST, port }]);
  client.on("error", () => undefined);
  return {
    call: (_, name, ...args) => client.call(name!, args),
    transaction: (key) => client.multi().set(key, "1").incr(key).exec().then(valuesOf),
    close: async () => client.disconnect(),
  };
}

async function iovalkey(port: number): Promise<Connected> {
  const client = new IoValkeyCluster([{ host: HOST, port }]);
  client.on("error", () => undefined);
  return {
    call: (_, name, ...args) => client.call(name!, args),
    transaction: (key) => client.multi().set(key, "1").incr(key).exec().then(valuesOf),
    close: async () => client.disconnect(),
  };
}

function valuesOf(replies: readonly (readonly [error: Error | null, result: unknown])[] | null): readonly unknown[] {
  return (replies ?? []).map(([error, result]) => error ?? result);
}

async function nodeRedis(port: number, protocol: 2 | 3): Promise<Connected> {
  const client = createCluster({ rootNodes: [{ url: `redis://${HOST}:${port}` }], RESP: protocol });
  client.on("error", () => undefined);
  await client.connect();
  return {
    call: (key, ...args) => client.sendCommand(key, false, [...args]),
    transaction: (key) => client.multi().set(key, "1").incr(key).exec(),
    close: async () => client.destroy(),
  };
}

async function redisPy(port: number): Promise<Connected> {
  const client = new RedisPy(port, "cluster");
  return { call: (_, ...args) => client.call(...args), transaction: null, close: () => client.close() };
}
