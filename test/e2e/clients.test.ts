/** Client libraries, unchanged and with their defaults, against a real server. */
import { expect } from "chai";
import { Redis as IoRedis } from "ioredis";
import { Redis as IoValkey } from "iovalkey";
import { createClient } from "redis";
import { freePorts } from "./ports.js";
import { run, skip } from "./program.js";
import { BRIDGE, hasRedisPy, PYTHON, RedisPy } from "./redis-py.js";
import { type ServerProcess, serversOfSuite } from "./server-process.js";
import { type RawCall, tour } from "./tour.js";
import { within } from "./until.js";

interface Connected {
  readonly call: RawCall;
  close(): Promise<unknown>;
}

const clients: readonly { readonly name: string; connect(port: number): Promise<Connected> }[] = [
  { name: "ioredis 6", connect: ioredis },
  { name: "iovalkey", connect: iovalkey },
  { name: "node-redis 6 in RESP3, its default", connect: (port) => nodeRedis(port, 3) },
  { name: "node-redis 6 in RESP2", connect: (port) => nodeRedis(port, 2) },
];

describe("client libraries", function () {
  this.timeout(30_000);
  const servers = serversOfSuite();
  let server: ServerProcess;
  before(async () => {
    server = await servers.start();
  });

  for (const [at, { name, connect }] of clients.entries()) {
    it(`${name} uses each command family`, async () => {
      const client = await connect(server.port);
      try {
        await tour(client.call, `tour${at}`);
      } finally {
        await client.close();
      }
    });
  }

  it("redis-py uses each command family", async function () {
    if (!hasRedisPy()) return skip(this, `${PYTHON} has no module redis (Debian: python3-redis)`);
    const client = new RedisPy(server.port);
    try {
      await tour(client.call, "redis-py");
    } finally {
      await client.close();
    }
  });

  it("redis-py makes of replies what it makes of Redis's", async function () {
    if (!hasRedisPy()) return skip(this, `${PYTHON} has no module redis (Debian: python3-redis)`);
    const { code, stdout, stderr } = await run(PYTHON, [BRIDGE, `${server.port}`, "natives"]);
    expect(code, stderr).to.equal(0);
    expect(stdout).to.equal("natives pass\n");
  });

  it("ioredis makes of replies what it makes of Redis's, in a database of its own", async () => {
    const client = new IoRedis(server.port, { db: 5, connectionName: "io" });
    try {
      expect(await client.set("k", "1", "EX", 100)).to.equal("OK");
      expect(await client.multi().incr("k").get("k").exec()).to.deep.equal([
        [null, 2],
        [null, "2"],
      ]);
      const many = Array.from({ length: 100 }, (_, at) => `k${at}`);
      const pipeline = client.pipeline();
      for (const key of many) pipeline.set(key, "v");
      expect((await pipeline.exec())?.every(([error, reply]) => error === null && reply === "OK")).to.equal(true);
      const seen = new Set<string>();
      for await (const page of client.scanStream({ match: "k*", count: 9 })) for (const key of page as string[]) seen.add(key);
      expect(seen.size).to.equal(101);
      expect(await client.getBuffer("k")).to.deep.equal(Buffer.from("2"));
      expect(await client.dbsize()).to.equal(101);
      expect(await client.flushdb()).to.equal("OK");
      expect(await client.client("GETNAME")).to.equal("io");
    } finally {
      await client.quit();
    }
  });

  for (const protocol of [2, 3] as const) {
    it(`node-redis makes of replies what it makes of Redis's, in RESP${protocol}`, async () => {
      const client = createClient({ url: `redis://127.0.0.1:${server.port}/6`, RESP: protocol, name: "nr" });
      await client.connect();
      try {
        expect(await client.set("k", "1", { expiration: { type: "EX", value: 100 } })).to.equal("OK");
        expect(await client.multi().incr("k").get("k").exec()).to.deep.equal([2, "2"]);
        await client.mSet(Object.fromEntries(Array.from({ length: 50 }, (_, at) => [`k${at}`, "v"])));
        const seen = new Set<string>();
        for await (const keys of client.scanIterator({ MATCH: "k*", COUNT: 9 })) for (const key of keys) seen.add(key);
        expect(seen.size).to.equal(51);
        expect({ ...(await client.configGet("maxclients")) }).to.deep.equal({ maxclients: "10000" });
        expect((await client.clientInfo()).name).to.equal("nr");
        expect((await client.command()).some(({ name }) => name === "siblings")).to.equal(true);
        await client.watch("k");
        await client
          .duplicate()
          .connect()
          .then(async (other) => {
            await other.set("k", "changed");
            other.destroy();
          });
        const failed = await client
          .multi()
          .get("k")
          .exec()
          .catch((error: Error) => error.constructor.name);
        expect(failed).to.equal("WatchError");
        expect(await client.flushDb()).to.equal("OK");
      } finally {
        client.destroy();
      }
    });
  }

  it("a client finds its server again after a restart", async () => {
    const own = await servers.start({ settings: { port: `${await freePorts(1)}` } });
    const client = new IoRedis(own.port, { retryStrategy: () => 20, maxRetriesPerRequest: null });
    client.on("error", () => undefined);
    try {
      await client.set("k", "before");
      await own.kill();
      const later = client.get("k");
      await own.restart();
      expect(await within({ what: "the answer after the restart", withinMs: 10_000 }, later)).to.equal("before");
    } finally {
      client.disconnect();
    }
  });
});

async function ioredis(port: number): Promise<Connected> {
  const client = new IoRedis(port);
  return { call: (name, ...args) => client.call(name!, ...args), close: () => client.quit() };
}

async function iovalkey(port: number): Promise<Connected> {
  const client = new IoValkey(port);
  return { call: (name, ...args) => client.call(name!, ...args), close: () => client.quit() };
}

async function nodeRedis(port: number, protocol: 2 | 3): Promise<Connected> {
  const client = createClient({ socket: { port, host: "127.0.0.1" }, RESP: protocol });
  await client.connect();
  return { call: (...args) => client.sendCommand([...args]), close: () => client.close() };
}
