import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { FakeNode } from "./fake-node.js";

const ABORTED = "-EXECABORT Transaction discarded because of previous errors.\r\n";

describe("transactions", () => {
  it("run the queued commands in order and answer all of them at once", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.pipeline("MULTI", "SET a 1", "MSET b 2 c 3", "GET a", "SLOWGET b", "GET nope", "EXEC")).to.deep.equal([
      "+OK\r\n",
      "+QUEUED\r\n",
      "+QUEUED\r\n",
      "+QUEUED\r\n",
      "+QUEUED\r\n",
      "+QUEUED\r\n",
      "*5\r\n+OK\r\n+OK\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n",
    ]);
    expect(client.session.transaction).to.equal(null);
  });

  it("hold every key that the commands name, once, and release them", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.pipeline("MULTI", "SET a 1", "GET a", "SELECT 3", "MSET a 1 b 2", "CONSISTENCY ONE GET z", "EXEC");
    expect(node.keyspace.heldKeys).to.deep.equal(["0:a", "3:a", "3:b", "3:z"]);
    expect(node.keyspace.isHeld).to.equal(false);
    expect(client.session.scope.hold).to.equal(null);
    expect(client.session.scope.database).to.equal(3);
  });

  it("hold what COPY writes in another database", async () => {
    const node = new FakeNode();
    await node.connect().pipeline("MULTI", "COPY a b REPLACE DB 3", "COPY a c", "COPY a d DB x", "EXEC");
    expect(node.keyspace.heldKeys).to.deep.equal(["0:a", "0:b", "3:b", "0:c", "0:d"]);
  });

  it("answer an empty array when nothing was queued", async () => {
    expect(await new FakeNode().connect().pipeline("MULTI", "EXEC")).to.deep.equal(["+OK\r\n", "*0\r\n"]);
  });

  it("keep going after a command failed, and answer its error in its place", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.pipeline("MULTI", "SELECT 99", "SET a 1");
    expect(await client.send("EXEC")).to.equal("*2\r\n-ERR DB index is out of range\r\n+OK\r\n");
  });

  it("are refused as a whole when a command could not be queued", async () => {
    for (const bad of ["NOPE", "GET", "CONFIG FOO", "CONFIG GET", "SHUTDOWN"]) {
      const client = new FakeNode().connect();
      await client.send("MULTI");
      expect(await client.send(bad)).to.match(/^-ERR /);
      expect(await client.send("SET a 1")).to.equal("+QUEUED\r\n");
      expect(await client.send("EXEC")).to.equal(ABORTED);
      expect(await client.send("EXEC")).to.equal("-ERR EXEC without MULTI\r\n");
    }
  });

  it("say that SHUTDOWN cannot be part of them", async () => {
    const client = new FakeNode().connect();
    await client.send("MULTI");
    expect(await client.send("SHUTDOWN")).to.equal("-ERR Command not allowed inside a transaction\r\n");
  });

  it("end at an EXEC with arguments", async () => {
    const client = new FakeNode().connect();
    await client.send("MULTI");
    expect(await client.send("EXEC x")).to.equal(
      "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command\r\n",
    );
    expect(await client.send("EXEC")).to.equal("-ERR EXEC without MULTI\r\n");
    expect(await client.send("EXEC x")).to.match(/^-EXECABORT /);
  });

  it("do not nest, and refuse WATCH inside, without being lost", async () => {
    const client = new FakeNode().connect();
    await client.send("MULTI");
    expect(await client.send("MULTI")).to.equal("-ERR MULTI calls can not be nested\r\n");
    expect(await client.send("WATCH k")).to.equal("-ERR WATCH inside MULTI is not allowed\r\n");
    await client.send("SET a 1");
    expect(await client.send("EXEC")).to.equal("*1\r\n+OK\r\n");
  });

  it("are forgotten by DISCARD", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("DISCARD")).to.equal("-ERR DISCARD without MULTI\r\n");
    expect(await client.pipeline("MULTI", "SET a 1", "DISCARD", "GET a")).to.deep.equal([
      "+OK\r\n",
      "+QUEUED\r\n",
      "+OK\r\n",
      "$-1\r\n",
    ]);
  });

  it("do not happen when a watched key changed", async () => {
    const node = new FakeNode();
    const [client, other] = [node.connect(), node.connect()];
    await client.send("WATCH a b");
    await other.send("SET b 1");
    expect(await client.pipeline("MULTI", "SET a 2", "EXEC")).to.deep.equal(["+OK\r\n", "+QUEUED\r\n", "*-1\r\n"]);
    expect(await client.send("GET a")).to.equal("$-1\r\n");
    // A failed EXEC forgets what was watched.
    expect(await client.pipeline("MULTI", "SET a 2", "EXEC")).to.deep.equal(["+OK\r\n", "+QUEUED\r\n", "*1\r\n+OK\r\n"]);
  });

  it("answer the null of RESP3 when a watched key changed, even with nothing queued", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.send("HELLO 3");
    const answers = await client.pipeline("WATCH a", "SET a 1", "MULTI", "EXEC");
    expect(answers.at(-1)).to.equal("_\r\n");
  });

  it("happen when UNWATCH or DISCARD came before the change was looked at", async () => {
    for (const way of [["UNWATCH"], ["MULTI", "DISCARD"]]) {
      const client = new FakeNode().connect();
      const answers = await client.pipeline("WATCH a", "SET a 1", ...way, "MULTI", "GET a", "EXEC");
      expect(answers.at(-1)).to.equal("*1\r\n$1\r\n1\r\n");
    }
  });

  it("watch a key of the database in which it was named", async () => {
    const client = new FakeNode().connect();
    const answers = await client.pipeline("SELECT 1", "WATCH a", "SELECT 0", "SET a 1", "MULTI", "GET a", "EXEC");
    expect(answers.at(-1)).to.equal("*1\r\n$1\r\n1\r\n");
  });

  it("answer the error when their keys cannot be held, and hold nothing", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.pipeline("MULTI", "SET a 1");
    node.keyspace.failure = new OperatingError("BUSY", "too many wait for this key");
    expect(await client.send("EXEC")).to.equal("-BUSY too many wait for this key\r\n");
    expect(node.keyspace.isHeld).to.equal(false);
    expect(await client.send("SET a 1")).to.equal("+OK\r\n");
  });

  it("mark EXEC as a write when one of their commands is", async () => {
    const client = new FakeNode().connect();
    await client.pipeline("MULTI", "GET a", "EXEC");
    expect(client.writes).to.equal(0);
    await client.pipeline("MULTI", "GET a", "SET a 1", "EXEC");
    expect(client.writes).to.equal(1);
  });

  it("queue a bounded amount and say what the bound is", async () => {
    const client = new FakeNode().connect();
    await client.send("MULTI");
    const mebibyte = Buffer.alloc(1_048_576);
    const answers = new Set<string>();
    for (let n = 0; n < 64; n++) answers.add(await client.send("SET", "k", Buffer.from(mebibyte)));
    expect([...answers]).to.deep.equal([
      "+QUEUED\r\n",
      "-ERR a transaction may queue at most 67108864 bytes of arguments; use several\r\n",
    ]);
    expect(await client.send("EXEC")).to.equal(ABORTED);
  });

  it("are forgotten by RESET and by the end of the connection", async () => {
    const client = new FakeNode().connect();
    await client.pipeline("MULTI", "SET a 1");
    expect(await client.send("RESET")).to.equal("+RESET\r\n");
    expect(await client.send("EXEC")).to.equal("-ERR EXEC without MULTI\r\n");
    await client.pipeline("MULTI", "SET a 1");
    client.close();
    expect(client.session.transaction).to.equal(null);
  });
});
