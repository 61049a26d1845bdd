import { expect } from "chai";
import { slotOf } from "../../lib/bytes/slot.js";
import type { ClusterMember, ClusterStatus, ClusterView, RingReply, SlotRange } from "../../lib/commands/cluster-view.js";
import { OperatingError } from "../../lib/errors.js";
import { decode } from "./decode.js";
import { FakeNode } from "./fake-node.js";

describe("CLUSTER on a ring of one", () => {
  const id = "ab".repeat(20);

  it("lists the node itself with all slots, under an address", async () => {
    const client = new FakeNode().connect();
    const member = `*4\r\n$9\r\n127.0.0.1\r\n:6379\r\n$40\r\n${id}\r\n`;
    expect(await client.send("CLUSTER SLOTS")).to.equal(`*1\r\n*3\r\n:0\r\n:16383\r\n${member}*0\r\n`);
    const line = `${id} 127.0.0.1:6379@16379 myself,master - 0 0 0 connected 0-16383\n`;
    expect(await client.send("CLUSTER NODES")).to.equal(`$${line.length}\r\n${line}\r\n`);
    expect(await client.send("CLUSTER MYID")).to.equal(`$40\r\n${id}\r\n`);
    expect(await client.send("CLUSTER INFO")).to.match(/^\$\d+\r\ncluster_state:ok\r\ncluster_slots_assigned:16384\r\n/);
    await client.send("HELLO 3");
    expect(await client.send("CLUSTER SLOTS")).to.equal(`*1\r\n*3\r\n:0\r\n:16383\r\n${member}%0\r\n`);
    expect(await client.send("CLUSTER NODES")).to.equal(`=${line.length + 4}\r\ntxt:${line}\r\n`);
    expect(await client.send("CLUSTER SHARDS")).to.equal(
      `*1\r\n%2\r\n$5\r\nslots\r\n*2\r\n:0\r\n:16383\r\n$5\r\nnodes\r\n*1\r\n%7\r\n$2\r\nid\r\n$40\r\n${id}\r\n$4\r\nport\r\n:6379\r\n` +
        "$2\r\nip\r\n$9\r\n127.0.0.1\r\n$8\r\nendpoint\r\n$9\r\n127.0.0.1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n" +
        "$18\r\nreplication-offset\r\n:0\r\n$6\r\nhealth\r\n$6\r\nonline\r\n",
    );
  });

  it("counts and lists keys by slot", async () => {
    const client = new FakeNode().connect();
    await client.send("SET a 1");
    expect(await client.send("CLUSTER KEYSLOT a")).to.equal(":15495\r\n");
    expect(await client.send("CLUSTER COUNTKEYSINSLOT 15495")).to.equal(":1\r\n");
    expect(await client.send("CLUSTER GETKEYSINSLOT 15495 10")).to.equal("*1\r\n$1\r\na\r\n");
    expect(await client.send("CLUSTER COUNTKEYSINSLOT 99999")).to.equal("-ERR Invalid slot\r\n");
    expect(await client.send("CLUSTER COUNTKEYSINSLOT x")).to.equal("-ERR value is not an integer or out of range\r\n");
    for (const bad of ["CLUSTER GETKEYSINSLOT 1 -1", "CLUSTER GETKEYSINSLOT 99999 1"]) {
      expect(await client.send(bad)).to.equal("-ERR Invalid slot or number of keys\r\n");
    }
  });
});

describe("CLUSTER BACKUP", () => {
  it("begins one, tells how far it is, and says why it does not", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CLUSTER BACKUP /backups/one")).to.equal("+OK\r\n");
    expect(node.operations.backups).to.deep.equal(["/backups/one"]);
    expect(JSON.parse(String(decode(await client.send("CLUSTER BACKUP STATUS"))))).to.include({
      state: "running",
      filesDone: 2,
    });
    node.operations.objection = "a backup to /backups/one is under way";
    expect(await client.send("CLUSTER BACKUP /backups/two")).to.equal("-ERR a backup to /backups/one is under way\r\n");
  });
});

describe("CLUSTER REPAIR", () => {
  it("begins what it is asked for, and says how far it is", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CLUSTER REPAIR")).to.equal("+OK\r\n");
    expect(await client.send("CLUSTER REPAIR FULL SLOT 7 MEMBER node-b")).to.equal("+OK\r\n");
    expect(node.operations.repairs).to.deep.equal([
      { slot: null, member: null, sums: "kept" },
      { slot: 7, member: "node-b", sums: "full" },
    ]);
    const status = String(decode(await client.send("CLUSTER REPAIR STATUS")));
    expect(JSON.parse(status)).to.include({ state: "comparing", members: 2, taken: 4 });
  });

  it("says what is wrong, and why nothing is begun", async () => {
    const node = new FakeNode();
    const client = node.connect();
    for (const bad of ["SLOT 16384", "SLOT x", "SLOT -1", "SLOT"]) {
      expect(await client.send(`CLUSTER REPAIR ${bad}`)).to.equal("-ERR Invalid slot: it may be 0 to 16383\r\n");
    }
    expect(await client.send("CLUSTER REPAIR MEMBER")).to.equal("-ERR syntax error: MEMBER wants a name or an id\r\n");
    expect(await client.send("CLUSTER REPAIR ALL")).to.match(/^-ERR syntax error: CLUSTER REPAIR \[SLOT slot\]/);
    for (const twice of ["FULL FULL", "SLOT 1 SLOT 2", "MEMBER a MEMBER b", "STATUS FULL"]) {
      expect(await client.send(`CLUSTER REPAIR ${twice}`)).to.match(/^-ERR syntax error: CLUSTER REPAIR \[SLOT slot\]/);
    }
    expect(node.operations.repairs).to.deep.equal([]);
    node.operations.objection = "there is no other member called x";
    expect(await client.send("CLUSTER REPAIR MEMBER x")).to.equal("-ERR there is no other member called x\r\n");
  });
});

describe("CLUSTER LEAVE", () => {
  it("has this member leave, where it is said only as long as the ring has a version", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CLUSTER LEAVE")).to.equal("+OK\r\n");
    expect(await client.send("CLUSTER LEAVE ifversion 12")).to.equal("+OK\r\n");
    expect(await client.send("CLUSTER LEAVE force IFVERSION 12")).to.equal("+OK\r\n");
    expect(await client.send("CLUSTER LEAVE IFVERSION 11")).to.equal("-ERR the ring has version 12 by now\r\n");
    const syntax = "-ERR syntax error: CLUSTER LEAVE [FORCE] [IFVERSION version]\r\n";
    for (const bad of ["NOW", "IFVERSION", "IFVERSION x", "IFVERSION 12 12", "FORCE FORCE"]) {
      expect(await client.send(`CLUSTER LEAVE ${bad}`)).to.equal(syntax);
    }
    expect(node.operations.leaves).to.have.length(3);
  });
});

describe("CLUSTER LEAVE and REMOVE", () => {
  it("do what they are asked for, and say for whom they wait, or why they do nothing", async () => {
    const node = new FakeNode();
    const client = node.connect();
    expect(await client.send("CLUSTER LEAVE")).to.equal("+OK\r\n");
    expect(await client.send("CLUSTER LEAVE force")).to.equal("+OK\r\n");
    expect(node.operations.leaves).to.deep.equal([
      { isForced: false, ifVersion: null },
      { isForced: true, ifVersion: null },
    ]);
    expect(await client.send("CLUSTER REMOVE b c")).to.match(
      /^-ERR several members are taken out at once by force only: CLUSTER REMOVE name-or-id name-or-id \.\.\. FORCE/,
    );
    node.operations.note = "it waits for c, which is down";
    expect(await client.send("CLUSTER REMOVE b")).to.equal("+OK, but it waits for c, which is down\r\n");
    expect(await client.send("CLUSTER REMOVE b c FORCE")).to.match(/^\+OK/);
    expect(await client.send("CLUSTER REMOVE force")).to.match(/^\+OK/);
    expect(node.operations.removals).to.deep.equal([
      { members: ["b"], isForced: false },
      { members: ["b", "c"], isForced: true },
      { members: ["force"], isForced: false },
    ]);
    node.operations.objection = "nobody would be left";
    expect(await client.send("CLUSTER LEAVE")).to.equal("-ERR nobody would be left\r\n");
  });
});

/** Three members: a and b begin lists of slots, c begins none. */
class FakeView implements ClusterView {
  readonly a = member("a", 7_000);
  b = member("b", 7_001);
  readonly c = member("c", 7_002);
  shown: readonly SlotRange[];
  rangesAsked = 0;
  readonly asked: string[] = [];

  constructor() {
    this.shown = [
      { first: 0, last: 99, members: [this.a, this.b, this.c] },
      { first: 100, last: 100, members: [this.b, this.c, this.a] },
      { first: 101, last: 16_383, members: [this.a, this.c, this.b] },
    ];
  }

  self(): ClusterMember {
    return this.a;
  }

  members(): readonly ClusterMember[] {
    return [this.a, this.b, this.c];
  }

  ranges(): readonly SlotRange[] {
    this.rangesAsked++;
    return this.shown;
  }

  version(): number {
    return 12;
  }

  status(): ClusterStatus {
    return STATUS;
  }

  ringDocument(): RingReply {
    return RING;
  }

  readonly where: ClusterView["where"] = async (database, key) => {
    this.asked.push(`${database} ${Buffer.from(key).toString()}`);
    return { slot: slotOf(key), members: [{ ...TARGET, answer: "absent" }] };
  };
}

const TARGET = { id: "a".repeat(16), name: "node-ä", dc: "dc1", role: "replica", rank: 1, state: "up" } as const;
const STATUS: ClusterStatus = {
  ringVersion: 12,
  clusterId: "00ff",
  replicas: { default: 3, dcs: {} },
  members: [],
  pending: [],
  transfers: [],
  warnings: ["node-ä is down"],
};
const RING: RingReply = {
  version: 12,
  clusterId: "00ff",
  replicas: { default: 3 },
  pending: [],
  removed: [],
  ownership: [],
  tokens: 192,
  slotsChanging: 0,
};

function member(letter: string, port: number): ClusterMember {
  return { id: letter.repeat(40), ip: "10.0.0.1", port, peerPort: port + 10_000, health: "online" };
}

/** The text of a bulk reply whose bytes are UTF-8. */
function json(reply: string): unknown {
  return JSON.parse(Buffer.from(String(decode(reply)), "latin1").toString("utf8"));
}

describe("CLUSTER on a ring of three", () => {
  it("SLOTS answers the ranges with the first of each list as master, in both protocols", async () => {
    const client = new FakeNode({ cluster: new FakeView() }).connect();
    const node = ({ ip, port, id }: ClusterMember, metadata: unknown) => [ip, port, id, metadata];
    const expected = (metadata: unknown) =>
      new FakeView().shown.map(({ first, last, members }) => [first, last, ...members.map((each) => node(each, metadata))]);
    expect(decode(await client.send("CLUSTER SLOTS"))).to.deep.equal(expected([]));
    await client.send("HELLO 3");
    expect(decode(await client.send("CLUSTER SLOTS"))).to.deep.equal(expected(new Map()));
  });

  it("SLOTS follows the ring: a new one is answered at once, to both protocols", async () => {
    const view = new FakeView();
    const node = new FakeNode({ cluster: view });
    const [old, modern] = [node.connect(), node.connect()];
    await modern.send("HELLO 3");
    const before = await old.send("CLUSTER SLOTS");
    expect(await old.send("CLUSTER SLOTS")).to.equal(before);
    await modern.send("CLUSTER SLOTS");
    view.shown = [{ first: 0, last: 16_383, members: [view.c] }];
    const only = ["10.0.0.1", 7_002, view.c.id];
    expect(decode(await old.send("CLUSTER SLOTS"))).to.deep.equal([[0, 16_383, [...only, []]]]);
    expect(decode(await modern.send("CLUSTER SLOTS"))).to.deep.equal([[0, 16_383, [...only, new Map()]]]);
  });

  it("NODES lists each member as a master with its slots, failed ones too", async () => {
    const view = new FakeView();
    view.b = { ...view.b, health: "failed" };
    const client = new FakeNode({ cluster: view }).connect();
    expect(String(decode(await client.send("CLUSTER NODES"))).split("\n")).to.deep.equal([
      `${view.a.id} 10.0.0.1:7000@17000 myself,master - 0 0 12 connected 0-99 101-16383`,
      `${view.b.id} 10.0.0.1:7001@17001 master,fail - 0 0 12 disconnected 100`,
      `${view.c.id} 10.0.0.1:7002@17002 master - 0 0 12 connected`,
      "",
    ]);
  });

  it("SHARDS has a shard for each member, also for one that begins no list", async () => {
    const view = new FakeView();
    const client = new FakeNode({ cluster: view }).connect();
    await client.send("HELLO 3");
    const shards = decode(await client.send("CLUSTER SHARDS")) as Map<string, unknown>[];
    const shown = shards.map((shard) => [
      shard.get("slots"),
      (shard.get("nodes") as Map<string, unknown>[]).map((each) => `${String(each.get("id"))[0]} ${each.get("role")}`),
    ]);
    expect(shown).to.deep.equal([
      [
        [0, 99, 101, 16_383],
        ["a master", "b replica", "c replica"],
      ],
      [
        [100, 100],
        ["b master", "c replica", "a replica"],
      ],
      [[], ["c master"]],
    ]);
  });

  it("NODES and SHARDS join ranges of one master that touch, though their replicas differ", async () => {
    const view = new FakeView();
    const { a, b, c } = view;
    view.shown = [
      { first: 0, last: 9, members: [a, b] },
      { first: 10, last: 19, members: [a, c] },
      { first: 20, last: 16_383, members: [b, a] },
    ];
    const client = new FakeNode({ cluster: view }).connect();
    expect(await client.send("CLUSTER NODES")).to.include("myself,master - 0 0 12 connected 0-19\n");
    await client.send("HELLO 3");
    const [shard] = decode(await client.send("CLUSTER SHARDS")) as Map<string, unknown>[];
    expect(shard!.get("slots")).to.deep.equal([0, 19]);
    expect(shard!.get("nodes")).to.have.lengthOf(3);
  });

  it("INFO counts the members and has the ring's version for an epoch", async () => {
    const client = new FakeNode({ cluster: new FakeView() }).connect();
    const info = String(decode(await client.send("CLUSTER INFO")));
    expect(info).to.include("cluster_state:ok\r\n").and.to.include("cluster_known_nodes:3\r\n");
    expect(info).to.include("cluster_current_epoch:12\r\n");
  });

  it("READONLY, READWRITE and ASKING are accepted", async () => {
    const client = new FakeNode({ cluster: new FakeView() }).connect();
    expect(await client.pipeline("READONLY", "READWRITE", "ASKING")).to.deep.equal(Array(3).fill("+OK\r\n"));
  });
});

describe("CLUSTER for operators", () => {
  it("STATUS answers the status as JSON, with the node's time", async () => {
    const node = new FakeNode({ cluster: new FakeView() });
    const client = node.connect();
    expect(json(await client.send("CLUSTER STATUS"))).to.deep.equal({ ...STATUS, nowMs: node.clock.nowMs });
  });

  it("RING answers the document as JSON", async () => {
    const client = new FakeNode({ cluster: new FakeView() }).connect();
    expect(json(await client.send("CLUSTER RING"))).to.deep.equal(RING);
  });

  it("WHERE asks for the key in the chosen database", async () => {
    const view = new FakeView();
    const client = new FakeNode({ cluster: view }).connect();
    await client.send("SELECT 2");
    expect(json(await client.send("CLUSTER WHERE {a}b"))).to.deep.equal({
      key: "{a}b",
      database: 2,
      slot: 15_495,
      members: [{ ...TARGET, answer: "absent" }],
    });
    expect(view.asked).to.deep.equal(["2 {a}b"]);
  });

  it("WHERE answers an error where the view has one", async () => {
    const view = new FakeView();
    const failing: ClusterView = Object.assign(view, {
      where: () => Promise.reject(new OperatingError("BUSY", "too much at once")),
    });
    const client = new FakeNode({ cluster: failing }).connect();
    expect(await client.send("CLUSTER WHERE a")).to.equal("-BUSY too much at once\r\n");
  });

  it("WHERE is no command for transactions, and names its key to clients that route", async () => {
    const client = new FakeNode({ cluster: new FakeView() }).connect();
    expect(decode(await client.send("COMMAND GETKEYS CLUSTER WHERE k"))).to.deep.equal(["k"]);
    await client.send("MULTI");
    expect(await client.send("CLUSTER WHERE k")).to.equal("-ERR Command not allowed inside a transaction\r\n");
  });

  it("they are documented, as commands of administrators", async () => {
    const client = new FakeNode({ cluster: new FakeView() }).connect();
    const help = JSON.stringify(decode(await client.send("CLUSTER HELP")));
    for (const usage of ["STATUS", "RING", "WHERE <key>"]) expect(help).to.include(`"${usage}"`);
    const names = decode(await client.send("COMMAND LIST FILTERBY ACLCAT admin")) as string[];
    expect(names).to.include.members(["cluster|status", "cluster|ring", "cluster|where"]);
    expect(names).not.to.include("cluster|slots");
  });

  it("a node alone answers them about itself", async () => {
    const node = new FakeNode();
    const client = node.connect();
    const status = json(await client.send("CLUSTER STATUS")) as ClusterStatus;
    expect(status.members.map(({ name, state, isSelf }) => [name, state, isSelf])).to.deep.equal([
      ["127.0.0.1:6379", "up", true],
    ]);
    expect((json(await client.send("CLUSTER RING")) as RingReply).ownership[0]).to.deep.include({ slots: 16_384 });
    expect(json(await client.send("CLUSTER WHERE a"))).to.have.nested.property("members[0].answer", "absent");
    await client.send("SET a 12345 PX 1000");
    const where = json(await client.send("CLUSTER WHERE a"));
    expect(where).to.have.nested.property("members[0].answer", "holds");
    expect(where)
      .to.have.nested.property("members[0].versions[0]")
      .that.deep.equals({
        valueBytes: 5,
        clock: "node-a:1",
        dot: "node-a:1",
        stampMs: node.clock.nowMs,
        isTombstone: false,
        expiryMs: node.clock.nowMs + 1_000,
      });
  });

  it("a node alone shows siblings, a removal among them, though the connection takes them for conflicts", async () => {
    const node = new FakeNode();
    const client = node.connect();
    await client.send("CONSISTENCY CONFLICTS ERROR");
    node.keyspace.siblingsOf = {
      context: "c",
      versions: [
        { value: null, clock: "node-b:2", stampMs: 2, dot: "node-b:2" },
        { value: "abc", clock: "node-a:1", stampMs: 1, dot: "node-a:1" },
      ],
    };
    const where = json(await client.send("CLUSTER WHERE a")) as { members: { versions: { valueBytes: number }[] }[] };
    expect(where.members[0]!.versions).to.deep.equal([
      { valueBytes: 0, clock: "node-b:2", dot: "node-b:2", stampMs: 2, isTombstone: true, expiryMs: null },
      { valueBytes: 3, clock: "node-a:1", dot: "node-a:1", stampMs: 1, isTombstone: false, expiryMs: null },
    ]);
    expect(new Set(node.keyspace.consistencies.map(({ conflicts }) => conflicts))).to.deep.equal(new Set(["newest"]));
  });
});
