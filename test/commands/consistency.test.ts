import { expect } from "chai";
import type { Siblings } from "../../lib/coordinator/keyspace.js";
import { DEFAULTS, FakeNode } from "./fake-node.js";

const settings = (level: string, [n, r, w]: readonly number[], standIns = "sloppy", conflicts = "newest") => {
  const bulk = (text: string) => `$${text.length}\r\n${text}\r\n`;
  return (
    `*12\r\n$5\r\nlevel\r\n${bulk(level)}$1\r\nn\r\n:${n}\r\n$1\r\nr\r\n:${r}\r\n$1\r\nw\r\n:${w}\r\n` +
    `$9\r\nstand-ins\r\n${bulk(standIns)}$9\r\nconflicts\r\n${bulk(conflicts)}`
  );
};

describe("CONSISTENCY", () => {
  it("accepts every level on a ring of one, where each means one of one", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONSISTENCY")).to.equal(settings("QUORUM", [1, 1, 1]));
    for (const level of ["ONE", "QUORUM", "ALL", "LOCAL_ONE", "LOCAL_QUORUM", "EACH_QUORUM"]) {
      expect(await client.send(`consistency ${level.toLowerCase()}`)).to.equal("+OK\r\n");
      expect(await client.send("CONSISTENCY")).to.equal(settings(level, [1, 1, 1]));
    }
  });

  it("keeps numbers and reports what they come to with the copies there are", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CONSISTENCY READ 1 WRITE 3")).to.equal("+OK\r\n");
    expect(await client.send("CONSISTENCY")).to.equal(settings("READ 1 WRITE 3", [1, 1, 1]));
    node.copies = { local: 3, elsewhere: [] };
    expect(await client.send("CONSISTENCY")).to.equal(settings("READ 1 WRITE 3", [3, 1, 3]));
  });

  it("combines settings, leaves the others as they were, and is a map in RESP3", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONSISTENCY STRICT CONFLICTS ERROR ALL")).to.equal("+OK\r\n");
    expect(await client.send("CONSISTENCY ONE")).to.equal("+OK\r\n");
    expect(await client.send("CONSISTENCY")).to.equal(settings("ONE", [1, 1, 1], "strict", "error"));
    await client.send("HELLO 3");
    expect(await client.send("CONSISTENCY")).to.equal(settings("ONE", [1, 1, 1], "strict", "error").replace("*12", "%6"));
  });

  it("refuses what it does not know and says what it does", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONSISTENCY FOO")).to.match(/^-ERR unknown setting 'FOO'; use ONE, QUORUM, /);
    expect(await client.send("CONSISTENCY GET k")).to.match(/^-ERR unknown setting 'GET'; /);
    for (const bad of ["READ 1", "READ 0 WRITE 1", "READ 1 WRITE 4", "READ 1 WRITE x", "READ WRITE 1"]) {
      expect(await client.send(`CONSISTENCY ${bad}`)).to.equal(
        "-ERR use READ <r> WRITE <w> with numbers from 1 to 3 (replicas)\r\n",
      );
    }
    expect(await client.send("CONSISTENCY CONFLICTS")).to.equal("-ERR CONFLICTS is followed by NEWEST or ERROR\r\n");
    expect(await client.send("CONSISTENCY")).to.equal(settings("QUORUM", [1, 1, 1]));
  });

  it("before a command holds for that command only, whether it answers at once or later", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.send("SET k v");
    node.keyspace.consistencies.length = 0;
    const lines = ["CONSISTENCY ONE GET k", "GET k", "CONSISTENCY ALL STRICT SLOWGET k", "GET k"];
    expect(await client.pipeline(...lines)).to.deep.equal(lines.map(() => "$1\r\nv\r\n"));
    const levels = node.keyspace.consistencies.map(({ quorum }) => (quorum.kind === "level" ? quorum.level : ""));
    expect(levels).to.have.members(["ONE", "QUORUM", "ALL", "QUORUM"]);
    expect(levels[0]).to.equal("ONE");
    expect(client.session.scope.consistency).to.equal(DEFAULTS);
  });

  it("before a command answers that command's own errors", async () => {
    const client = new FakeNode().connect();
    expect(await client.send("CONSISTENCY ONE GET")).to.equal("-ERR wrong number of arguments for 'get' command\r\n");
    expect(await client.send("CONSISTENCY ONE NOPE x")).to.equal(
      "-ERR unknown command 'NOPE', with args beginning with: 'x' \r\n",
    );
    expect(await client.send("CONSISTENCY ONE SELECT 1")).to.equal(
      "-ERR CONSISTENCY goes before commands that read or write keys, not before 'select'\r\n",
    );
    expect(await client.send("CONSISTENCY ONE CONSISTENCY ALL GET k")).to.match(/not before 'consistency'\r\n$/);
  });

  it("begins with the database's default, which SELECT follows until something was chosen", async () => {
    const node = new FakeNode();
    node.settings.consistencyByDatabase.set(1, { ...DEFAULTS, quorum: { kind: "level", level: "ONE" } });
    const client = node.connect();
    await client.send("SELECT 1");
    expect(await client.send("CONSISTENCY")).to.equal(settings("ONE", [1, 1, 1]));
    await client.send("SELECT 0");
    expect(await client.send("CONSISTENCY")).to.equal(settings("QUORUM", [1, 1, 1]));
    await client.pipeline("CONSISTENCY ALL", "SELECT 1");
    expect(await client.send("CONSISTENCY")).to.equal(settings("ALL", [1, 1, 1]));
  });
});

describe("SIBLINGS", () => {
  const two: Siblings = {
    context: "ctx",
    versions: [
      { value: "v2", clock: "node-a:2", stampMs: 20, dot: "node-a:2" },
      { value: null, clock: "node-a:1", stampMs: 10, dot: "node-a:1" },
    ],
  };

  it("answers the context and each version with its clock, stamp and dot", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("SIBLINGS k")).to.equal("$-1\r\n");
    node.keyspace.siblingsOf = two;
    expect(await client.send("SIBLINGS k")).to.equal(
      "*2\r\n$3\r\nctx\r\n*2\r\n*4\r\n$2\r\nv2\r\n$8\r\nnode-a:2\r\n:20\r\n$8\r\nnode-a:2\r\n" +
        "*4\r\n$-1\r\n$8\r\nnode-a:1\r\n:10\r\n$8\r\nnode-a:1\r\n",
    );
  });

  it("names everything in RESP3", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.send("HELLO 3");
    expect(await client.send("SIBLINGS k")).to.equal("_\r\n");
    node.keyspace.siblingsOf = { context: "ctx", versions: two.versions.slice(0, 1) };
    expect(await client.send("SIBLINGS k")).to.equal(
      "%2\r\n$7\r\ncontext\r\n$3\r\nctx\r\n$8\r\nversions\r\n*1\r\n%4\r\n$5\r\nvalue\r\n$2\r\nv2\r\n" +
        "$5\r\nclock\r\n$8\r\nnode-a:2\r\n$8\r\nstamp-ms\r\n:20\r\n$3\r\ndot\r\n$8\r\nnode-a:2\r\n",
    );
  });

  it("RESOLVE replaces what the context covers", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("SIBLINGS k RESOLVE ctx merged")).to.equal("+OK\r\n");
    expect(node.keyspace.contexts).to.deep.equal(["ctx"]);
    expect(await client.send("GET k")).to.equal("$6\r\nmerged\r\n");
    expect(client.writes).to.equal(1);
    for (const bad of ["SIBLINGS k RESOLVE ctx", "SIBLINGS k FOO ctx v", "SIBLINGS k RESOLVE ctx v x"]) {
      expect(await client.send(bad)).to.equal("-ERR syntax error\r\n");
    }
  });
});
