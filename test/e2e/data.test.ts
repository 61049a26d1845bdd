/** What clients see of the data through a whole server: scans, contexts and siblings across restarts, the limit of a pair. */
import { expect } from "chai";
import { type ServerProcess, serversOfTest } from "./server-process.js";
import { type Plain, siblingsIn } from "./tour.js";
import { encodeRequest, type WireClient } from "./wire-client.js";

const KEYS = Number(process.env.E2E_SCAN_KEYS ?? 100_000);
const KEYS_PER_REQUEST = 500;
const LOADS_IN_FLIGHT = 8;

describe("the data of a server", function () {
  this.timeout(120_000);
  const servers = serversOfTest();

  it(`SCAN of ${KEYS} keys during writes returns every key that stayed, and none that never was`, async () => {
    const server = await servers.start({
      settings: { "memory-table-bytes": "1mb", "table-bytes": "1mb", "level-bytes-base": "4mb" },
    });
    const client = await server.connect();
    await load(client);
    let isOver = false;
    const churn = churnUntil(server, () => isOver);
    const seen = new Set<string>();
    let pages = 0;
    for (let cursor = "0"; cursor !== "0" || pages === 0; pages++) {
      const [next, keys] = (await client.call("SCAN", cursor, "COUNT", "1000")) as [string, string[]];
      for (const key of keys) seen.add(key);
      cursor = next;
      expect(pages, "pages").to.be.below(KEYS);
    }
    isOver = true;
    const rounds = await churn;
    expect(rounds, "rounds of writes during the scan").to.be.above(0);
    const missing = Array.from({ length: KEYS }, (_, at) => `stays:${at}`).filter((key) => !seen.has(key));
    expect(missing.slice(0, 10), `${missing.length} missing`).to.deep.equal([]);
    const strange = [...seen].filter((key) => !/^(stays|churned):\d+$/.test(key));
    expect(strange).to.deep.equal([]);
    expect(await client.call("DBSIZE")).to.equal(KEYS);
    await client.close();
  });

  it("stops in order on one Ctrl-C, though the terminal and npm both pass it on", async () => {
    const server = await servers.start();
    const client = await server.connect();
    await client.call("SET", "k", "v");
    // Kept waiting for its turn by the load, the server sees the second before it has stopped.
    const load = Array.from({ length: 2_000 }, (_, at) => client.send("SET", `k${at}`, "v".repeat(1_000)).catch(() => null));
    for (const signal of ["SIGINT", "SIGINT", "SIGTERM"] as const) process.kill(server.pid, signal);
    await Promise.all(load);
    expect(await server.terminate()).to.deep.equal({ code: 0, signal: null });
    await server.restart();
    expect(server.log.findLast(({ lastStop }) => lastStop !== undefined)).to.include({ lastStop: "clean" });
    expect(await (await server.connect()).call("GET", "k")).to.equal("v");
  });

  for (const stop of ["terminate", "kill"] as const) {
    it(`a context from before a restart (${stop}) still supersedes what it saw, and only that`, async () => {
      const server = await servers.start();
      let client = await server.connect();
      await client.call("SET", "read", "first");
      await client.call("SET", "changed", "first");
      const read = await contextOf(client, "read");
      const stale = await contextOf(client, "changed");
      await client.call("SET", "changed", "second");
      client = await restart(server, stop);

      expect(await client.call("SET", "read", "second", "CONTEXT", read)).to.equal("OK");
      expect(await valuesOf(client, "read")).to.deep.equal(["second"]);
      expect(await client.call("SET", "changed", "from first", "CONTEXT", stale)).to.equal("OK");
      expect(await valuesOf(client, "changed")).to.deep.equal(["from first", "second"]);
      expect(await client.refusal("SET", "changed", "x", "CONTEXT", read)).to.equal("ERR context is not of this key");

      client = await restart(server, stop);
      expect(await valuesOf(client, "changed")).to.deep.equal(["from first", "second"]);
      await client.call("CONSISTENCY", "CONFLICTS", "ERROR");
      expect(await client.refusal("GET", "changed")).to.match(/^CONFLICT 2 siblings/);
      const both = await contextOf(client, "changed");
      expect(await client.call("SIBLINGS", "changed", "RESOLVE", both, "merged")).to.equal("OK");
      expect(await client.call("GET", "changed")).to.equal("merged");

      client = await restart(server, stop);
      expect(await valuesOf(client, "changed")).to.deep.equal(["merged"]);
      await client.close();
    });
  }

  it("a deleted key stays deleted across restarts, and a context from before the deletion adds a version", async () => {
    const server = await servers.start();
    let client = await server.connect();
    await client.call("SET", "k", "v");
    const before = await contextOf(client, "k");
    expect(await client.call("DEL", "k")).to.equal(1);
    client = await restart(server, "kill");
    expect(await client.call("GET", "k")).to.equal(null);
    expect(await client.call("DBSIZE")).to.equal(0);
    expect(await client.call("SET", "k", "again", "CONTEXT", before)).to.equal("OK");
    expect(await client.call("GET", "k")).to.equal("again");
    await client.close();
  });

  it("expiry goes on across a restart, and what expired meanwhile is gone", async () => {
    const server = await servers.start();
    let client = await server.connect();
    await client.call("SET", "short", "v", "PX", "20");
    await client.call("SET", "long", "v", "EX", "1000");
    client = await restart(server, "kill");
    expect(await client.call("TTL", "long")).to.be.within(900, 1_000);
    // A restart takes longer than 20 ms.
    expect(await client.call("GET", "short")).to.equal(null);
    expect(await client.call("DEL", "short")).to.equal(0);
    await client.close();
  });

  it("databases keep their keys apart across a restart, and counts hold", async () => {
    const server = await servers.start();
    let client = await server.connect();
    for (const database of ["0", "7", "15"]) {
      await client.call("SELECT", database);
      await client.call("MSET", "a", database, "b", database);
    }
    await client.call("FLUSHDB");
    client = await restart(server, "kill");
    const sizes: Plain[] = [];
    for (const database of ["0", "7", "15"]) {
      await client.call("SELECT", database);
      sizes.push([(await client.call("GET", "a")) as Plain, (await client.call("DBSIZE")) as Plain]);
    }
    expect(sizes).to.deep.equal([
      ["0", 2],
      ["7", 2],
      [null, 0],
    ]);
    await client.close();
  });

  it("FLUSHALL holds across a kill, and what is written after it too", async () => {
    const server = await servers.start({ settings: { appendfsync: "always" } });
    let client = await server.connect();
    await client.call("MSET", "a", "1", "b", "2");
    expect(await client.call("FLUSHALL")).to.equal("OK");
    await client.call("SET", "c", "3");
    client = await restart(server, "kill");
    expect(await client.call("DBSIZE")).to.equal(1);
    expect(await client.call("MGET", "a", "b", "c")).to.deep.equal([null, null, "3"]);
    await client.close();
  });

  it("a pair above max-pair-bytes is refused with the limit, nothing is stored, and the connection stays up", async () => {
    const server = await servers.start();
    const client = await server.connect();
    const value = "x".repeat(10_240);
    const text = "ERR key and value take 10241 bytes together; the limit is 10240 (max-pair-bytes)";
    expect(await client.refusal("SET", "k", value)).to.equal(text);
    expect(await client.refusal("MSET", "a", "1", "k", value, "b", "2")).to.equal(text);
    expect(await client.call("EXISTS", "k", "a", "b")).to.equal(0);
    expect(await client.call("SET", "k", value.slice(1))).to.equal("OK");
    expect(await client.refusal("APPEND", "k", "y")).to.equal(text);
    expect(await client.refusal("SETRANGE", "k", "10239", "y")).to.equal(text);
    expect(await client.refusal("SETRANGE", "fresh", "536870911", "y")).to.match(/^ERR /);
    expect(await client.refusal("SET", "k", value, "CONTEXT", await contextOf(client, "k"))).to.equal(text);
    expect(await client.call("STRLEN", "k")).to.equal(10_239);
    expect(await client.call("CONFIG", "SET", "max-pair-bytes", "1mb")).to.equal("OK");
    expect(await client.call("SET", "k", value)).to.equal("OK");
    expect(await client.call("GET", "k")).to.equal(value);
    await client.close();
  });
});

async function contextOf(client: WireClient, key: string): Promise<string> {
  return siblingsIn((await client.call("SIBLINGS", key)) as Plain).context;
}

async function valuesOf(client: WireClient, key: string): Promise<readonly Plain[]> {
  return [...siblingsIn((await client.call("SIBLINGS", key)) as Plain).values].sort();
}

async function restart(server: ServerProcess, stop: "terminate" | "kill"): Promise<WireClient> {
  await server[stop]();
  await server.restart();
  return server.connect();
}

async function load(client: WireClient): Promise<void> {
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < KEYS) {
      const from = next;
      next += KEYS_PER_REQUEST;
      const pairs = Array.from({ length: Math.min(KEYS_PER_REQUEST, KEYS - from) }, (_, at) => [`stays:${from + at}`, "v"]);
      expect(await client.sendRequest(encodeRequest(["MSET", ...pairs.flat()]))).to.equal("OK");
    }
  };
  await Promise.all(Array.from({ length: LOADS_IN_FLIGHT }, lane));
}

/** Overwrites keys that stay, and adds and removes others, until told to end. Resolves with how many rounds there were. */
async function churnUntil(server: ServerProcess, isOver: () => boolean): Promise<number> {
  const client = await server.connect();
  let round = 0;
  for (; !isOver(); round++) {
    const churned = Array.from({ length: 100 }, (_, at) => `churned:${round * 100 + at}`);
    const overwritten = Array.from({ length: 100 }, (_, at) => `stays:${(round * 7_919 + at * 31) % KEYS}`);
    await client.call("MSET", ...churned.flatMap((key) => [key, "x".repeat(50)]));
    await client.call("MSET", ...overwritten.flatMap((key) => [key, `w${round}`]));
    expect(await client.call("DEL", ...churned)).to.equal(100);
  }
  await client.close();
  return round;
}
