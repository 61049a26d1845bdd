import { expect } from "chai";
import { FakeNode } from "./fake-node.js";

const failed = (name: string, reason: string) =>
  `-ERR CONFIG SET failed (possibly related to argument '${name}') - ${reason}\r\n`;

describe("CONFIG", () => {
  it("GET answers names as they were typed, patterns as they are, each once, and nothing for what is unknown", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONFIG GET TIMEOUT")).to.equal("*2\r\n$7\r\nTIMEOUT\r\n$1\r\n0\r\n");
    expect(await client.send("CONFIG GET [tx]imeou? timeout")).to.equal("*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
    expect(await client.send("CONFIG GET x")).to.equal("*0\r\n");
    await client.send("HELLO 3");
    expect(await client.send("CONFIG GET timeout x")).to.equal("%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n");
  });

  it("GET answers redis-benchmark and others what is true of Redis's own parameters", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONFIG GET save")).to.equal("*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    expect(await client.send("CONFIG GET appendonly")).to.equal("*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n");
    expect(await client.send("CONFIG GET maxmemory-policy")).to.equal("*2\r\n$16\r\nmaxmemory-policy\r\n$10\r\nnoeviction\r\n");
    expect(await client.send("CONFIG GET databases")).to.equal("*2\r\n$9\r\ndatabases\r\n$2\r\n16\r\n");
    expect(await client.send("CONFIG GET *")).to.contain("$14\r\nmax-pair-bytes\r\n$5\r\n10240\r\n");
  });

  it("SET changes all or nothing", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CONFIG SET timeout 5 max-pair-bytes 2048")).to.equal("+OK\r\n");
    expect(node.settings.values.get("timeout")).to.equal("5");
    expect(await client.send("CONFIG SET timeout 6 max-pair-bytes x")).to.equal(
      failed("max-pair-bytes", "argument couldn't be parsed into an integer"),
    );
    expect(await client.send("CONFIG SET timeout 6 maxmemory 1")).to.equal(failed("maxmemory", "can't set immutable config"));
    expect(await client.send("CONFIG SET timeout 6 foo 1")).to.equal(
      "-ERR Unknown option or number of arguments for CONFIG SET - 'foo'\r\n",
    );
    expect(await client.send("CONFIG SET timeout 6 TIMEOUT 7")).to.equal(failed("timeout", "duplicate parameter"));
    expect(node.settings.values.get("timeout")).to.equal("5");
  });

  it("SET accepts for an inert parameter only what it is, and for the number of databases nothing", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONFIG", "SET", "save", "")).to.equal("+OK\r\n");
    expect(await client.send("CONFIG SET maxmemory 0 appendonly yes")).to.equal("+OK\r\n");
    const unknown = "Kindred does not have keyspace notifications yet";
    expect(await client.send("CONFIG SET notify-keyspace-events KEA")).to.equal(failed("notify-keyspace-events", unknown));
    expect(await client.send("CONFIG SET appendonly no")).to.equal(failed("appendonly", "can't set immutable config"));
    expect(await client.send("CONFIG SET databases 16")).to.equal(failed("databases", "can't set immutable config"));
  });

  it("GET answers what Redis does not list only where it is named", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONFIG GET key-load-delay")).to.equal("*2\r\n$14\r\nkey-load-delay\r\n$1\r\n0\r\n");
    expect(await client.send("CONFIG GET key-load-*")).to.equal("*0\r\n");
  });

  it("SET with a value missing is a wrong number of arguments", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONFIG SET timeout")).to.equal("-ERR wrong number of arguments for 'config|set' command\r\n");
    expect(await client.send("CONFIG SET timeout 1 port")).to.equal(
      "-ERR wrong number of arguments for 'config|set' command\r\n",
    );
  });

  it("REWRITE needs a file", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CONFIG REWRITE")).to.equal(
      "-ERR Kindred does not write its configuration file: what CONFIG SET changed is gone with the next start\r\n",
    );
    node.settings.rewriteOutcome = "written";
    expect(await client.send("CONFIG REWRITE")).to.equal("+OK\r\n");
  });

  it("RESETSTAT sets the counters of INFO back", async () => {
    const client = new FakeNode().connect();
    await client.pipeline("GET a", "NOPE", "GET");
    expect(await client.send("CONFIG RESETSTAT")).to.equal("+OK\r\n");
    const text = await client.send("INFO commandstats errorstats stats");
    expect(text).to.not.contain("cmdstat_get");
    expect(text).to.not.contain("errorstat_ERR");
    expect(text).to.contain("total_error_replies:0\r\n");
    expect(text).to.contain("total_commands_processed:1\r\n");
    expect(text).to.contain("cmdstat_config|resetstat:calls=1,");
  });
});
