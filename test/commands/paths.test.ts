/** How commands meet the keyspace: within their call or later, in order, and what a refusal leaves behind. */
import { expect } from "chai";
import fc from "fast-check";
import { OperatingError } from "../../lib/errors.js";
import type { FakeClient } from "./fake-client.js";
import { MODES } from "./fake-keyspace.js";
import { FakeNode } from "./fake-node.js";
import { requests } from "./random-requests.js";

describe("the paths of commands", () => {
  it("commands on keys in memory answer within their call", async () => {
    const client = new FakeNode({ mode: "memory" }).connect();
    const hot = [
      ["SET", "k", "1"],
      ["GET", "k"],
      ["SET", "k", "1", "EX", "10", "XX"],
      ["SETEX", "k", "10", "1"],
      ["SETNX", "k", "1"],
      ["MSET", "a", "1", "b", "2"],
      ["MGET", "a", "b", "k"],
      ["INCR", "k"],
      ["INCRBYFLOAT", "k", "1.5"],
      ["APPEND", "k", "x"],
      ["SETRANGE", "k", "0", "y"],
      ["EXISTS", "a", "k"],
      ["EXPIRE", "k", "10"],
      ["TTL", "k"],
      ["DBSIZE"],
      ["DEL", "a", "b", "k"],
    ];
    await client.pipeline(...hot);
    expect(client.answeredAtOnce).to.deep.equal(hot.map(([name = ""]) => name.toLowerCase()));
  });

  it("any sequence of commands answers the same with everything in memory, with nothing, and pipelined", async () => {
    await fc.assert(
      fc.asyncProperty(requests, async (sequence) => {
        const inMemory = new FakeNode({ mode: "memory" }).connect();
        const elsewhere = new FakeNode({ mode: "elsewhere" }).connect();
        const pipelined = new FakeNode({ mode: "elsewhere" }).connect();
        const expected: string[] = [];
        for (const request of sequence) {
          const reply = await inMemory.run(...request);
          expected.push(reply);
          expect(await elsewhere.run(...request)).to.equal(reply);
        }
        expect(await pipelined.pipeline(...sequence)).to.deep.equal(expected);
      }),
      { numRuns: 300 },
    );
  });

  it("commands on the whole database wait for earlier requests and are not overtaken", async () => {
    const client = new FakeNode({ mode: "elsewhere" }).connect();
    const replies = await client.pipeline(
      ["SET", "k", "v"],
      ["DBSIZE"],
      ["KEYS", "*"],
      ["SCAN", "0"],
      ["RANDOMKEY"],
      ["FLUSHDB"],
      ["SET", "l", "w"],
      ["KEYS", "*"],
      ["FLUSHALL"],
      ["DBSIZE"],
    );
    expect(replies).to.deep.equal([
      "+OK\r\n",
      ":1\r\n",
      "*1\r\n$1\r\nk\r\n",
      "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n",
      "$1\r\nk\r\n",
      "+OK\r\n",
      "+OK\r\n",
      "*1\r\n$1\r\nl\r\n",
      "+OK\r\n",
      ":0\r\n",
    ]);
  });

  for (const mode of MODES) {
    it(`a value that the store refuses leaves the key as it was and answers the refusal alone (${mode})`, async () => {
      const node = new FakeNode({ mode });
      const client = node.connect();
      await client.run("SET", "k", "12345");
      node.keyspace.valueBytesMax = 8;
      const refused = "-ERR value too large\r\n";
      expect(await client.run("APPEND", "k", "6789")).to.equal(refused);
      expect(await client.run("SETRANGE", "k", "6", "789")).to.equal(refused);
      expect(await client.run("SETRANGE", "k", "500000000", "x")).to.equal(refused);
      expect(await client.run("GETSET", "k", "123456789")).to.equal(refused);
      expect(await client.run("MSET", "a", "1", "k", "123456789")).to.equal(refused);
      expect(await client.run("GET", "k")).to.equal("$5\r\n12345\r\n");
      node.keyspace.valueBytesMax = 4;
      expect(await client.run("RENAME", "k", "l")).to.equal(refused);
      expect(await client.run("EXISTS", "k", "l")).to.equal(":1\r\n");
    });
  }

  it("a command that stored a part within its call is told when that part is refused", async () => {
    const node = new FakeNode({ mode: "memory" });
    const client = node.connect();
    node.keyspace.coldKeys.add("cold");
    expect(await client.run("MSET", "a", "1", "cold", "2")).to.equal("+OK\r\n");
    node.keyspace.commitFailure = new OperatingError("IO", "no room");
    expect(await client.run("MSET", "cold", "1")).to.equal("+OK\r\n");
    expect(await client.run("MSET", "a", "1", "cold", "2")).to.equal("-IOERR 1 of 2 keys failed: no room\r\n");
    expect(await client.run("DEL", "a", "cold")).to.equal("-IOERR 1 of 2 keys failed: no room\r\n");
    expect(await client.pipeline("MULTI", "SET a 1", "EXEC")).to.deep.equal(["+OK\r\n", "+QUEUED\r\n", "-IOERR no room\r\n"]);
    await client.run("CLIENT", "PAUSE", "1000", "WRITE");
    const paused = client.run("SET", "a", "1").catch((error: unknown) => error);
    await node.connect().run("CLIENT", "UNPAUSE");
    // The connection turns it into the reply.
    expect(await paused).to.equal(node.keyspace.commitFailure);
  });

  for (const mode of MODES) {
    it(`each key's failure is heard, one of them is answered (${mode})`, async () => {
      const unheard: unknown[] = [];
      const listener = (reason: unknown) => unheard.push(reason);
      process.on("unhandledRejection", listener);
      const node = new FakeNode({ mode });
      const client = node.connect();
      await client.run("MSET", "a", "1", "b", "2");
      node.keyspace.disk = "full";
      node.keyspace.valueBytesMax = 4;
      // The second pair is refused while the first is on its way to its own failure.
      expect(await client.run("MSET", "a", "1", "b", "12345")).to.match(/^-(?:ERR value too large|IOERR no room)\r\n$/);
      expect(await client.run("DEL", "a", "b")).to.match(/^-IOERR (2 of 2 keys failed: )?no room\r\n$/);
      expect(await client.run("INCR", "a")).to.equal("-IOERR no room\r\n");
      expect(await client.run("RENAME", "a", "b")).to.equal("-IOERR no room\r\n");
      expect(await client.run("MGET", "a", "b")).to.equal("*2\r\n$1\r\n1\r\n$1\r\n2\r\n");
      await new Promise(setImmediate);
      process.off("unhandledRejection", listener);
      expect(unheard).to.deep.equal([]);
    });

    it(`MGET refuses an answer too large for one reply, others count such values without holding them (${mode})`, async () => {
      const node = new FakeNode({ mode });
      const client = node.connect();
      await client.run("SET", "k", Buffer.alloc(2 ** 20, "x"));
      const keys = new Array<string>(257).fill("k");
      expect(await client.run("MGET", ...keys)).to.match(/^-ERR the values are 269484032 bytes together/);
      expect(await client.run("EXISTS", ...keys)).to.equal(":257\r\n");
      expect(await client.run("MGET", "k", "none")).to.have.lengthOf(2 ** 20 + 21);
    });
  }

  it("SCAN pages through every key once and matches patterns page by page", async () => {
    const client = new FakeNode({ mode: "elsewhere" }).connect();
    const names = Array.from({ length: 500 }, (_, n) => `key:${n}`);
    for (const name of names) await client.run("SET", name, "v");
    expect(await scanAll(client)).to.have.members(names);
    expect(await scanAll(client, "COUNT", "7")).to.have.members(names);
    expect(await scanAll(client, "COUNT", "1000000")).to.have.members(names);
    expect(await scanAll(client, "MATCH", "key:?5")).to.have.members(names.filter((name) => /^key:.5$/.test(name)));
    expect(await scanAll(client, "TYPE", "hash")).to.deep.equal([]);
  });

  it("KEYS lets other work run between its pages", async () => {
    const client = new FakeNode({ mode: "elsewhere" }).connect();
    for (let n = 0; n < 2_000; n++) await client.run("SET", `key:${n}`, "v");
    let turns = 0;
    let isDone = false;
    const count = () => {
      turns++;
      if (!isDone) setImmediate(count);
    };
    setImmediate(count);
    const reply = await client.run("KEYS", "key:1*");
    isDone = true;
    expect(reply.startsWith("*1111\r\n")).to.equal(true);
    expect(turns).to.be.greaterThan(2);
  });

  it("a context reaches the keyspace as it was written, and its refusal is answered", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.run("SET", "k", "v", "CONTEXT", "abc", "PX", "5000")).to.equal("+OK\r\n");
    expect(await client.run("PTTL", "k")).to.equal(":5000\r\n");
    expect(await client.run("SET", "k", "v", "CONTEXT", "of-another-key")).to.equal("-ERR context is not of this key\r\n");
    expect(node.keyspace.contexts).to.deep.equal(["abc"]);
  });
});

async function scanAll(client: FakeClient, ...options: string[]): Promise<string[]> {
  const keys: string[] = [];
  let cursor = "0";
  do {
    const reply = await client.run("SCAN", cursor, ...options);
    const lines = reply.split("\r\n");
    cursor = lines[2]!;
    keys.push(...lines.slice(4).filter((line) => line.startsWith("key:")));
  } while (cursor !== "0");
  return keys;
}
