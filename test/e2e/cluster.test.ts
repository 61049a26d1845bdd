/** Three members, and five, as real processes: what clients may rely on while nothing fails. */
import { expect } from "chai";
import { createClient } from "redis";
import { ClusterProcesses } from "./cluster-processes.js";
import { runKindred } from "./program.js";
import { serversOfSuite } from "./server-process.js";
import { plain, siblingsIn, tour } from "./tour.js";
import { until } from "./until.js";
import type { WireClient } from "./wire-client.js";

const DATABASES = '{"1": {"consistency": "ONE"}, "2": {"conflicts": "error"}}';
const INCREMENTS = 1_000;
/** With five members most of them pass each one on. */
const INCREMENTS_OF_FIVE = 300;
const INCREMENTING_CLIENTS = 8;
const RACES = 200;
const NODES = [0, 1, 2] as const;

describe("three members that keep every key", function () {
  this.timeout(60_000);
  const servers = serversOfSuite();
  let cluster: ClusterProcesses;
  let clients: readonly WireClient[];
  before(async () => {
    cluster = await ClusterProcesses.start(servers, { settings: { databases: DATABASES } });
  });
  beforeEach(async () => {
    clients = await Promise.all(NODES.map((at) => cluster.connect(at)));
  });
  afterEach(() => Promise.all(clients.map((client) => client.close())));

  it("what is SET on one is read on the others at once, and what is deleted on one is gone on the others", async () => {
    for (const writer of NODES) {
      const key = `from:${writer}`;
      expect(await clients[writer]!.call("SET", key, `${writer}`)).to.equal("OK");
      for (const client of clients) expect(await client.call("GET", key)).to.equal(`${writer}`);
      expect(await clients[(writer + 1) % 3]!.call("DEL", key)).to.equal(1);
      for (const client of clients) expect(await client.call("GET", key)).to.equal(null);
    }
  });

  it("of SETs one after the other through any members the last is read, and no sibling is newer", async () => {
    for (let turn = 0; turn < 300; turn++) {
      await clients[turn % 3]!.call("SET", "in turn", `${turn}`);
      expect(await clients[(turn + 1) % 3]!.call("GET", "in turn")).to.equal(`${turn}`);
    }
  });

  for (const at of NODES) {
    it(`member ${at + 1} answers each command family`, () =>
      tour((...args) => clients[at]!.call(...args), `tour${at}`, { n: 3, quorum: 2 }));
  }

  it("CONSISTENCY shows and sets levels, numbers, stand-ins and conflicts, for a connection or one command", async () => {
    const [client] = clients as [WireClient];
    const shown = async (): Promise<string> => ((await client.call("CONSISTENCY")) as readonly string[]).join(" ");
    expect(await shown()).to.equal("level QUORUM n 3 r 2 w 2 stand-ins sloppy conflicts newest");
    for (const [level, sizes] of [
      ["ONE", "n 3 r 1 w 1"],
      ["ALL", "n 3 r 3 w 3"],
      ["LOCAL_ONE", "n 3 r 1 w 1"],
      ["LOCAL_QUORUM", "n 3 r 2 w 2"],
      ["EACH_QUORUM", "n 3 r 2 w 2"],
    ]) {
      expect(await client.call("CONSISTENCY", level!)).to.equal("OK");
      expect(await shown()).to.equal(`level ${level} ${sizes} stand-ins sloppy conflicts newest`);
    }
    await client.call("CONSISTENCY", "READ", "1", "WRITE", "3", "STRICT", "CONFLICTS", "ERROR");
    expect(await shown()).to.equal("level READ 1 WRITE 3 n 3 r 1 w 3 stand-ins strict conflicts error");
    expect(await client.call("CONSISTENCY", "ALL", "SET", "c", "v")).to.equal("OK");
    expect(await client.call("CONSISTENCY", "READ", "3", "WRITE", "1", "GET", "c")).to.equal("v");
    expect(await shown(), "after a prefix").to.include("level READ 1 WRITE 3");
    expect(await client.refusal("CONSISTENCY", "READ", "4", "WRITE", "1")).to.include("numbers from 1 to 3 (replicas)");
    expect(await client.refusal("CONSISTENCY", "ONE", "PING")).to.include("before commands that read or write keys");
    expect(await client.call("RESET")).to.equal("RESET");
    expect(await shown()).to.equal("level QUORUM n 3 r 2 w 2 stand-ins sloppy conflicts newest");
    await client.call("SELECT", "1");
    expect(await shown()).to.include("level ONE n 3 r 1 w 1");
    await client.call("SELECT", "2");
    expect(await shown()).to.include("conflicts error");
  });

  it("RESP3 connections get CONSISTENCY and SIBLINGS as maps, RESP2 connections as lists", async () => {
    await clients[0]!.call("SET", "shape", "v");
    const reply = (await clients[1]!.call("SIBLINGS", "shape")) as readonly [string, readonly (readonly unknown[])[]];
    expect(reply).to.have.lengthOf(2);
    expect(reply[1][0]).to.have.lengthOf(4);
    const client = createClient({ socket: { port: cluster.port(2), host: "127.0.0.1" }, RESP: 3 });
    await client.connect();
    try {
      expect(Object.keys(await client.sendCommand(["CONSISTENCY"]))).to.deep.equal([
        "level",
        "n",
        "r",
        "w",
        "stand-ins",
        "conflicts",
      ]);
      const map = (await client.sendCommand(["SIBLINGS", "shape"])) as unknown as {
        readonly context: string;
        readonly versions: readonly Record<string, unknown>[];
      };
      expect(map.context).to.equal(reply[0]);
      const names = ["value", "clock", "stamp-ms", "dot"];
      expect(map.versions.map((version) => names.map((name) => version[name]))).to.deep.equal(reply[1]);
    } finally {
      client.destroy();
    }
  });

  it("versions D1 to D5 of the Dynamo paper are ordered as there: D1 < D2 < D3 and D4, which are concurrent, < D5", async () => {
    const [x, y, z] = clients as [WireClient, WireClient, WireClient];
    await x.call("SET", "D", "D1");
    const first = await versionsOf(y, "D");
    expect([...first.clocks.keys()]).to.deep.equal(["D1"]);
    await x.call("SET", "D", "D2", "CONTEXT", first.context);
    const second = await versionsOf(z, "D");
    expect([...second.clocks.keys()]).to.deep.equal(["D2"]);
    // Two clients that have both read D2.
    await y.call("SET", "D", "D3", "CONTEXT", second.context);
    await z.call("SET", "D", "D4", "CONTEXT", second.context);
    const both = await versionsOf(x, "D");
    expect([...both.clocks.keys()].sort()).to.deep.equal(["D3", "D4"]);
    expect(await x.call("GET", "D")).to.equal(await y.call("GET", "D"));
    expect(await z.refusal("CONSISTENCY", "CONFLICTS", "ERROR", "GET", "D")).to.equal(
      "CONFLICT 2 siblings; read them with SIBLINGS",
    );
    await x.call("SIBLINGS", "D", "RESOLVE", both.context, "D5");
    const last = await versionsOf(y, "D");
    expect([...last.clocks.keys()]).to.deep.equal(["D5"]);

    const d1 = first.clocks.get("D1")!;
    const d2 = second.clocks.get("D2")!;
    const d3 = both.clocks.get("D3")!;
    const d4 = both.clocks.get("D4")!;
    const d5 = last.clocks.get("D5")!;
    expect(order(d1, d2)).to.equal("before");
    expect(order(d2, d3)).to.equal("before");
    expect(order(d2, d4)).to.equal("before");
    expect(order(d3, d4)).to.equal("concurrent");
    expect(order(d3, d5)).to.equal("before");
    expect(order(d4, d5)).to.equal("before");
    // The merged version has seen exactly what each of the two added.
    expect(entryOf(d5, "node-b")).to.be.a("string").and.to.equal(entryOf(d3, "node-b"));
    expect(entryOf(d5, "node-c")).to.be.a("string").and.to.equal(entryOf(d4, "node-c"));
  });

  it(`INCR by ${INCREMENTING_CLIENTS} clients of all members counts each of ${INCREMENTS} increments`, () =>
    countsExactly(cluster, INCREMENTS));

  it(`of clients that race with SETNX for one of ${RACES} keys exactly one wins`, () => hasOneWinner(cluster));

  it("kindred status and where show the members, and one answer of all three", async () => {
    await clients[1]!.call("SET", "shown", "12345");
    const status = await runKindred(["status", "--port", `${cluster.port(2)}`]);
    expect(status.code, status.stderr).to.equal(0);
    for (const name of ["node-a ", "node-b ", "node-c "]) expect(status.stdout).to.match(new RegExp(`^${name}.* up `, "m"));
    expect(status.stdout).to.include("3 copies of each key").and.not.to.include("warning");
    const where = await until({ what: "all three hold it", withinMs: 5_000 }, async () => {
      const outcome = await runKindred(["where", "shown", "--port", `${cluster.port(0)}`]);
      return outcome.stdout.includes("all hold the same") ? outcome : null;
    });
    expect(where.stdout.match(/ replica +up +holds .* 5 B +never$/gm)).to.have.lengthOf(3);
  });
});

describe("five members, of which three keep a key", function () {
  this.timeout(60_000);
  const servers = serversOfSuite();
  let cluster: ClusterProcesses;
  before(async () => {
    cluster = await ClusterProcesses.start(servers, { nodes: 5 });
  });

  for (let at = 0; at < 5; at++) {
    it(`member ${at + 1} answers each command family, whoever keeps the keys`, async () => {
      const client = await cluster.connect(at);
      await tour((...args) => client.call(...args), `tour${at}`, { n: 3, quorum: 2, keys: "not listed" });
      await client.close();
    });
  }

  it("each of 100 keys is written on one member, read on another, and kept by three", async () => {
    const clients = await Promise.all(Array.from({ length: 5 }, (_, at) => cluster.connect(at)));
    for (let turn = 0; turn < 100; turn++) {
      const key = `k${turn}`;
      await clients[turn % 5]!.call("SET", key, `${turn}`);
      expect(await clients[(turn + 1 + (turn % 4)) % 5]!.call("GET", key)).to.equal(`${turn}`);
    }
    const where = JSON.parse(String(await clients[0]!.call("CLUSTER", "WHERE", "k1"))) as { members: readonly unknown[] };
    expect(where.members).to.have.lengthOf(3);
    await Promise.all(clients.map((client) => client.close()));
  });

  it(`INCR by ${INCREMENTING_CLIENTS} clients of all members counts each of ${INCREMENTS_OF_FIVE} increments`, () =>
    countsExactly(cluster, INCREMENTS_OF_FIVE));

  it(`of clients that race with SETNX for one of ${RACES} keys exactly one wins`, () => hasOneWinner(cluster));
});

let counters = 0;

async function countsExactly(cluster: ClusterProcesses, increments: number): Promise<void> {
  const counter = `counter:${counters++}`;
  const clients = await Promise.all(
    Array.from({ length: INCREMENTING_CLIENTS }, (_, at) => cluster.connect(at % cluster.members.length)),
  );
  const answers = await Promise.all(
    clients.map(async (client) => {
      const own: number[] = [];
      for (let turn = 0; turn < increments; turn++) own.push(Number(await client.call("INCR", counter)));
      return own;
    }),
  );
  const total = INCREMENTING_CLIENTS * increments;
  expect(new Set(answers.flat()).size, "no two increments had one answer").to.equal(total);
  for (const client of clients) expect(await client.call("GET", counter)).to.equal(`${total}`);
  await Promise.all(clients.map((client) => client.close()));
}

async function hasOneWinner(cluster: ClusterProcesses): Promise<void> {
  const clients = await Promise.all(cluster.members.map((_, at) => cluster.connect(at)));
  for (let race = 0; race < RACES; race++) {
    const answers = await Promise.all(clients.map((client, at) => client.call("SETNX", `race:${race}`, `${at}`)));
    expect(answers.filter((answer) => answer === 1)).to.have.lengthOf(1);
    const winner = `${answers.indexOf(1)}`;
    for (const client of clients) expect(await client.call("GET", `race:${race}`)).to.equal(winner);
  }
  await Promise.all(clients.map((client) => client.close()));
}

type ReadableClock = ReadonlyMap<string, number>;

/** SIBLINGS: the context, and the clock of each value. */
async function versionsOf(
  client: WireClient,
  key: string,
): Promise<{ readonly context: string; readonly clocks: ReadonlyMap<string, ReadableClock> }> {
  const reply = plain(await client.call("SIBLINGS", key));
  const versions = (reply as readonly [string, readonly (readonly [string, string])[]])[1];
  return { context: siblingsIn(reply).context, clocks: new Map(versions.map(([value, clock]) => [value, clockIn(clock)])) };
}

/** `node-a:3 node-b#2:1`: an actor is a name, with the store's epoch where it is not the first. */
function clockIn(text: string): ReadableClock {
  return new Map(
    text.split(" ").map((entry): [string, number] => {
      const colon = entry.lastIndexOf(":");
      return [entry.slice(0, colon), Number(entry.slice(colon + 1))];
    }),
  );
}

/** The entry of a member, whatever its epoch. */
function entryOf(clock: ReadableClock, name: string): string | undefined {
  return [...clock].find(([actor]) => actor.split("#")[0] === name)?.join(":");
}

function order(a: ReadableClock, b: ReadableClock): "before" | "after" | "equal" | "concurrent" {
  const isWithin = (inner: ReadableClock, outer: ReadableClock): boolean =>
    [...inner].every(([name, sequence]) => sequence <= (outer.get(name) ?? 0));
  if (isWithin(a, b)) return isWithin(b, a) ? "equal" : "before";
  return isWithin(b, a) ? "after" : "concurrent";
}
