import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { FakeNode } from "./fake-node.js";

describe("dispatch", () => {
  it("finds commands in any case", async () => {
    const client = new FakeNode().connect();
    for (const name of ["ping", "PING", "PiNg", "pINg"]) expect(await client.send(name)).to.equal("+PONG\r\n");
    expect(await client.send("cLiEnT iD")).to.equal(":1\r\n");
  });

  it("quotes the name and the arguments of an unknown command as they were typed", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("FoO", "a", "b c")).to.equal(
      "-ERR unknown command 'FoO', with args beginning with: 'a' 'b c' \r\n",
    );
    expect(await client.send("")).to.equal("-ERR unknown command '', with args beginning with: \r\n");
    expect(await client.send("foo", "a\r\nb")).to.equal("-ERR unknown command 'foo', with args beginning with: 'a  b' \r\n");
  });

  it("cuts a long unknown name and long arguments at 128 bytes", async () => {
    const client = new FakeNode().connect();
    const reply = await client.send("X".repeat(200), "y".repeat(100), "z".repeat(100), "w");
    const shown = `'${"y".repeat(100)}' '${"z".repeat(25)}' `;
    expect(reply).to.equal(`-ERR unknown command '${"X".repeat(128)}', with args beginning with: ${shown}\r\n`);
  });

  it("says of a command that is still to come what it belongs to, in words that probing clients match", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("SUBSCRIBE news")).to.equal(
      "-ERR unknown command 'SUBSCRIBE': Kindred does not have publish and subscribe yet\r\n",
    );
    for (const name of ["eval", "hset", "LPUSH", "zadd", "monitor", "xadd"]) {
      expect(await client.send(name, "x")).to.match(/^-ERR unknown command '\w+': Kindred does not have .+ yet\r\n$/);
    }
  });

  it("names the subcommand that is unknown and where to look", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("client FoO")).to.equal("-ERR unknown subcommand 'FoO'. Try CLIENT HELP.\r\n");
    expect(await client.send("command", "q".repeat(300))).to.equal(
      `-ERR unknown subcommand '${"q".repeat(128)}'. Try COMMAND HELP.\r\n`,
    );
  });

  it("refuses a wrong number of arguments under the full name", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("GET")).to.equal("-ERR wrong number of arguments for 'get' command\r\n");
    expect(await client.send("CONFIG")).to.equal("-ERR wrong number of arguments for 'config' command\r\n");
    expect(await client.send("CONFIG GET")).to.equal("-ERR wrong number of arguments for 'config|get' command\r\n");
    expect(await client.send("client SETNAME")).to.equal("-ERR wrong number of arguments for 'client|setname' command\r\n");
  });

  it("lets nobody in without the password but tells unknown commands apart first", async () => {
    const node = new FakeNode();
    node.settings.requirePassword = "secret";
    const client = node.connect();
    expect(await client.send("GET k")).to.equal("-NOAUTH Authentication required.\r\n");
    expect(await client.send("NOPE")).to.match(/^-ERR unknown command/);
    expect(await client.send("GET")).to.equal("-ERR wrong number of arguments for 'get' command\r\n");
    expect(await client.send("AUTH secret")).to.equal("+OK\r\n");
    expect(await client.send("GET k")).to.equal("$-1\r\n");
  });

  it("translates operating errors to the prefixes that clients know", async () => {
    const node = new FakeNode();
    const client = node.connect();
    const failWith = async (error: OperatingError, line: string): Promise<string> => {
      node.keyspace.failure = error;
      return client.send(line);
    };
    expect(await failWith(new OperatingError("IO", "disk full"), "SET k v")).to.equal("-IOERR disk full\r\n");
    expect(await failWith(new OperatingError("BUSY", "queue full"), "GET k")).to.equal("-BUSY queue full\r\n");
    expect(await failWith(new OperatingError("QUORUM", "1 of 2"), "SLOWGET k")).to.equal("-QUORUM 1 of 2\r\n");
    expect(await failWith(new OperatingError("TIMEOUT", "late"), "SLOWGET k")).to.equal("-QUORUM late\r\n");
    expect(await failWith(new OperatingError("CONFLICT", "2 siblings"), "GET k")).to.equal("-CONFLICT 2 siblings\r\n");
    expect(await failWith(new OperatingError("ARGUMENT", "too large"), "SET k v")).to.equal("-ERR too large\r\n");
  });

  it("takes back what a command began to answer before it failed", async () => {
    const node = new FakeNode();
    node.keyspace.failure = new OperatingError("IO", "disk failed");
    expect(await node.connect().send("MGET a b")).to.equal("-IOERR disk failed\r\n");
  });

  it("lets a bug end the process", async () => {
    const node = new FakeNode();
    const client = node.connect();
    node.keyspace.failure = new TypeError("a bug");
    const outcome = await client.send("GET k").catch((error: unknown) => error);
    expect(outcome).to.be.instanceOf(TypeError);
  });

  it("counts calls, refusals and failures by command and errors by kind", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.send("GET k");
    await client.send("GET");
    node.keyspace.failure = new OperatingError("IO", "disk failed");
    await client.send("SLOWGET k");
    const text = await client.send("INFO commandstats errorstats");
    expect(text).to.match(/cmdstat_get:calls=1,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=1,failed_calls=0\r\n/);
    expect(text).to.match(/cmdstat_slowget:calls=1,usec=\d+,usec_per_call=\d+\.\d\d,rejected_calls=0,failed_calls=1\r\n/);
    expect(text).to.contain("errorstat_ERR:count=1\r\n");
    expect(text).to.contain("errorstat_IOERR:count=1\r\n");
  });

  it("times one short call in sixteen, which stands for the others", async () => {
    const node = new FakeNode();
    const client = node.connect();
    node.clock.stepMs = 1;
    for (let n = 0; n < 33; n++) await client.send("PING");
    // Samples: calls 1, 17 and 33, a millisecond each; all 33 calls are accounted for.
    expect(await client.send("INFO commandstats")).to.contain("cmdstat_ping:calls=33,usec=33000,usec_per_call=1000.00,");
  });

  it("times every call that may take long: of commands that are not brief, and with many bytes", async () => {
    const node = new FakeNode();
    const client = node.connect();
    node.clock.stepMs = 20;
    for (let n = 0; n < 5; n++) await client.send("COMMAND COUNT");
    expect(await client.send("SLOWLOG LEN")).to.equal(":5\r\n");
    const large = Buffer.alloc(20_000, "x");
    for (let n = 0; n < 5; n++) await client.send("SET", "k", large);
    expect(await client.send("SLOWLOG GET 100")).to.satisfy((log: string) => log.split("\r\nSET\r\n").length === 6);
  });

  it("times the call after one that answered many bytes", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.send("SET", "large", Buffer.alloc(20_000, "x"));
    await client.send("GET small");
    node.clock.stepMs = 20;
    // Neither of the first two is timed, but the second answers much.
    for (const key of ["small", "large", "small", "small"]) await client.send("GET", key);
    const log = await client.send("SLOWLOG GET");
    expect(log.split("\r\nGET\r\n").length - 1).to.equal(1);
  });

  it("keeps the slow log exact once it asks for less than a millisecond", async () => {
    const node = new FakeNode();
    const client = node.connect();
    for (let n = 0; n < 5; n++) await client.send("PING");
    node.settings.slowlogSlowerThanMicros = 0;
    for (let n = 0; n < 5; n++) await client.send("PING", `m${n}`);
    expect(await client.send("SLOWLOG LEN")).to.equal(":5\r\n");
  });
});

describe("CLIENT PAUSE", () => {
  it("holds writes back until it ends, in order, and lets reads through", async () => {
    const node = new FakeNode();
    const [admin, client] = [node.connect(), node.connect()];
    await admin.send("CLIENT PAUSE 100 WRITE");
    expect(await client.send("GET k")).to.equal("$-1\r\n");
    const answers = client.pipeline("SET k 1", "SET k 2", "GET k");
    await Promise.resolve();
    expect(node.keyspace.size(0)).to.equal(0);
    node.clock.advance(100);
    expect(await answers).to.deep.equal(["+OK\r\n", "+OK\r\n", "$1\r\n2\r\n"]);
  });

  it("ends with CLIENT UNPAUSE from any connection", async () => {
    const node = new FakeNode();
    const [admin, client] = [node.connect(), node.connect()];
    await admin.send("CLIENT PAUSE 100000");
    const held = client.send("GET k");
    expect(await admin.send("CLIENT UNPAUSE")).to.equal("+OK\r\n");
    expect(await held).to.equal("$-1\r\n");
  });
});
