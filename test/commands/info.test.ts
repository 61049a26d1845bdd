import { expect } from "chai";
import { humanBytes } from "../../lib/commands/info-sections.js";
import { FakeNode } from "./fake-node.js";

const headings = (text: string) => [...text.matchAll(/^# (\w+)\r$/gm)].map(([, name]) => name);

const DEFAULT = [
  "Server",
  "Clients",
  "Memory",
  "Persistence",
  "Stats",
  "Replication",
  "CPU",
  "Modules",
  "Errorstats",
  "Cluster",
  "Keyspace",
  "Storage",
  "Hints",
  "Peers",
];

describe("INFO", () => {
  it("shows the default sections in Redis's order, and all with `all` or `everything`", async () => {
    const client = new FakeNode().connect();
    expect(headings(await client.send("INFO"))).to.deep.equal(DEFAULT);
    expect(headings(await client.send("INFO default"))).to.deep.equal(DEFAULT);
    for (const word of ["all", "EVERYTHING"]) {
      expect(headings(await client.send(`INFO ${word}`))).to.have.members([...DEFAULT, "Commandstats", "Latencystats"]);
    }
  });

  it("shows the sections that are named, in any case, once, and nothing for unknown ones", async () => {
    const client = new FakeNode().connect();
    expect(headings(await client.send("INFO CPU commandSTATS cpu sentinel"))).to.deep.equal(["CPU", "Commandstats"]);
    expect(headings(await client.send("INFO default commandstats"))).to.include("Commandstats");
    expect(await client.send("INFO nope")).to.equal("$0\r\n\r\n");
  });

  it("separates sections by an empty line and ends lines with CRLF", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("INFO modules cluster")).to.equal(
      "$43\r\n# Modules\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n",
    );
  });

  it("is verbatim text in RESP3", async () => {
    const client = new FakeNode().connect();
    await client.send("HELLO 3");
    expect(await client.send("INFO modules")).to.equal("=15\r\ntxt:# Modules\r\n\r\n");
  });

  it("has the fields that clients read", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.pipeline("SET a 1", "SELECT 3", "MSET a 1 b 2");
    const text = await client.send("INFO");
    for (const line of [
      "redis_version:7.2.4",
      "kindred_version:0.1.0",
      "redis_mode:standalone",
      "arch_bits:64",
      "tcp_port:6379",
      "uptime_in_seconds:0",
      "connected_clients:1",
      "blocked_clients:0",
      "used_memory_human:1.00M",
      "maxmemory:0",
      "maxmemory_policy:noeviction",
      "loading:0",
      "rdb_bgsave_in_progress:0",
      "aof_enabled:1",
      "total_connections_received:1",
      "total_commands_processed:3",
      "keyspace_hits:0",
      "expired_keys:0",
      "role:master",
      "connected_slaves:0",
      "master_repl_offset:0",
      "used_cpu_user:1.000000",
      "cluster_enabled:0",
      "db0:keys=1,expires=0,avg_ttl=0",
      "db3:keys=2,expires=0,avg_ttl=0",
      "storage_tables:0",
      "command_timing_one_in:16",
    ]) {
      expect(text).to.contain(`${line}\r\n`);
    }
  });

  it("measures commands per second over the last seconds", async () => {
    const node = new FakeNode();
    const client = node.connect();
    node.built.rate.start();
    for (let n = 0; n < 100; n++) await client.send("PING");
    node.clock.advance(500);
    expect(await client.send("INFO stats")).to.contain("instantaneous_ops_per_sec:200\r\n");
    for (let n = 0; n < 5; n++) node.clock.advance(500);
    expect(await client.send("INFO stats")).to.contain("instantaneous_ops_per_sec:0\r\n");
    node.built.rate.stop();
  });

  it("prints bytes as people read them", () => {
    expect([0, 1_023, 1_024, 1_572_864, 3 * 1_024 ** 4].map(humanBytes)).to.deep.equal([
      "0B",
      "1023B",
      "1.00K",
      "1.50M",
      "3.00T",
    ]);
  });
});
