/** An upgrade as it is done: members of an older, this and a later build in one cluster, under load, one restarted after the other. */
import { expect } from "chai";
import { ClusterLoad, pause, plainClient } from "./cluster-load.js";
import { ADDED_TAG, makeOtherBuilds, type OtherBuilds } from "./other-builds.js";
import { type MemberPorts, memberPorts } from "./ports.js";
import { mainPath, runKindred } from "./program.js";
import { type ServerProcess, serversOfTest } from "./server-process.js";
import { until } from "./until.js";

const RATE = 200;
const KEYS = 500;
const SETTLED_MS_MAX = 30_000;
const SETTINGS = { consistency: "QUORUM", replicas: "3", "request-timeout": "1000" };

interface Status {
  readonly members: readonly { readonly name: string; readonly state: string; readonly protocolVersion: number | null }[];
  readonly pending: readonly unknown[];
  readonly warnings: readonly string[];
}

describe("a cluster that is upgraded", function () {
  this.timeout(180_000);
  const servers = serversOfTest();
  let builds: OtherBuilds;
  let ports: readonly MemberPorts[];
  let members: Map<string, ServerProcess>;

  before(() => {
    builds = makeOtherBuilds();
  });

  after(() => builds.remove());

  async function start(name: string, program: string): Promise<ServerProcess> {
    const { client, peer } = ports[members.size]!;
    const seeds = [...members.keys()].map((_, at) => `127.0.0.1:${ports[at]!.peer}`).join(",");
    const place = { port: `${client}`, "peer-port": `${peer}`, name, host: name, ...(seeds === "" ? {} : { seeds }) };
    const server = await servers.start({ settings: { ...SETTINGS, ...place }, program });
    members.set(name, server);
    return server;
  }

  async function ask(name: string, ...words: readonly string[]): Promise<string> {
    const client = await members.get(name)!.connect();
    try {
      return String(await client.call(...words));
    } finally {
      await client.close();
    }
  }

  const statusOf = async (name: string): Promise<Status> => JSON.parse(await ask(name, "CLUSTER", "STATUS")) as Status;

  /** All see all up, at these versions of the protocol, and nothing waits for anybody. */
  async function settled(versions: Readonly<Record<string, number>>): Promise<void> {
    const expected = JSON.stringify(Object.entries(versions).sort());
    await until({ what: `all see ${expected}`, withinMs: SETTLED_MS_MAX }, async () => {
      for (const name of Object.keys(versions)) {
        const { members: rows, pending } = await statusOf(name);
        const isUp = rows.every(({ state }) => state === "up") && pending.length === 0;
        const seen = JSON.stringify(rows.map((row) => [row.name, row.protocolVersion]).sort());
        if (!isUp || seen !== expected) return pause(50).then(() => null);
        if (!(await ask(name, "INFO", "hints")).includes("hints_waiting:0")) return pause(50).then(() => null);
      }
      return true;
    });
  }

  async function upgrade(name: string, program: string): Promise<void> {
    const server = members.get(name)!;
    expect(await server.terminate()).to.deep.equal({ code: 0, signal: null });
    server.program = program;
    await server.restart();
  }

  /** INCRs at a node until it is told to stop; resolves with how many were acknowledged, rejects with the first failure. */
  function count(name: string, key: string): { stop: () => Promise<number> } {
    let isOver = false;
    const work = async (): Promise<number> => {
      const client = plainClient(members.get(name)!.port);
      await client.connect();
      let acknowledged = 0;
      try {
        for (; !isOver; acknowledged++) await client.incr(key);
      } finally {
        client.disconnect();
      }
      return acknowledged;
    };
    const counting = work();
    counting.catch(() => undefined);
    return {
      stop: () => {
        isOver = true;
        return counting;
      },
    };
  }

  async function judge(load: ClusterLoad, at: string): Promise<void> {
    await load.stop();
    expect({ failures: Object.fromEntries(load.failures), stale: load.staleExamples }).to.deep.equal({
      failures: {},
      stale: [],
    });
    const client = plainClient(members.get(at)!.port);
    await client.connect();
    const lost: string[] = [];
    for (const key of load.history.keys) if (load.history.judge(key, await client.get(key)) !== "right") lost.push(key);
    client.disconnect();
    expect(lost).to.deep.equal([]);
  }

  it("answers every request and loses none while members of three builds run, die and are upgraded one by one", async () => {
    ports = await memberPorts(4);
    members = new Map();
    await start("node-a", mainPath);
    const older = await start("node-b", builds.older);
    const newer = await start("node-c", builds.newer);
    await settled({ "node-a": 2, "node-b": 1, "node-c": 3 });
    const portsOf = (...names: string[]): number[] => names.map((name) => members.get(name)!.port);

    // Three builds together: all that clients do.
    const exact = [count("node-a", "exact"), count("node-b", "exact"), count("node-c", "exact")];
    const first = await ClusterLoad.connect({ ports: portsOf("node-a", "node-c"), rate: RATE, keys: KEYS, seed: 1 });
    first.start();
    await pause(2_000);
    const acknowledged = (await Promise.all(exact.map((each) => each.stop()))).reduce((sum, each) => sum + each, 0);
    expect(Number(await ask("node-b", "GET", "exact"))).to.equal(acknowledged);

    // What the older one lacks is said, at once.
    const leave = await runKindred(["leave", "--port", `${newer.port}`]);
    expect(leave.code).not.to.equal(0);
    expect(leave.stderr).to.include("member node-b speaks protocol 1, and members leave").and.include("upgrade it first");
    const status = await runKindred(["status", "--port", `${newer.port}`]);
    expect(status.stdout).to.include(
      "warning: node-b speaks protocol 1: upgrade it; until then copies are not compared with it",
    );
    const repair = await runKindred(["repair", "--port", `${newer.port}`, "--json"]);
    expect(JSON.parse(repair.stdout)).to.include({ state: "done", failed: 1, members: 2 });
    const notGreeted = (peer: ServerProcess) =>
      newer.log.filter(({ msg, peer: id }) => msg.includes("was not greeted") && id === idOf(peer));
    const idOf = (server: ServerProcess): string => ids.get(server)!;
    const ids = new Map<ServerProcess, string>();
    for (const [name, server] of members) ids.set(server, (await ask(name, "CLUSTER", "MYID")).slice(0, 16));
    expect(notGreeted(older)[0]?.msg).to.include("it speaks protocol 1, this call is of protocol 3: upgrade it first");
    expect(notGreeted(members.get("node-a")!)[0]?.msg).to.include("it speaks protocol 2, this call is of protocol 3");
    // And what it does not know it passes on: the later one's field of the ring document.
    const ring = JSON.parse(await ask("node-b", "CLUSTER", "RING")) as {
      members: { name: string; unknownFields?: number[] }[];
    };
    expect(ring.members.find(({ name }) => name === "node-c")!.unknownFields).to.deep.equal([ADDED_TAG]);

    // The older one dies and comes back as it was; then it is upgraded.
    const during = count("node-a", "during");
    await older.kill();
    await pause(1_000);
    await older.restart();
    await settled({ "node-a": 2, "node-b": 1, "node-c": 3 });
    await upgrade("node-b", builds.newer);
    await settled({ "node-a": 2, "node-b": 3, "node-c": 3 });
    expect(await during.stop()).to.be.above(0);
    await judge(first, "node-b");

    // Now the other, while clients are at those that stay.
    const { history } = first;
    const second = await ClusterLoad.connect({ ports: portsOf("node-b", "node-c"), rate: RATE, keys: KEYS, seed: 2, history });
    second.start();
    await pause(500);
    await upgrade("node-a", builds.newer);
    await settled({ "node-a": 3, "node-b": 3, "node-c": 3 });
    await pause(500);
    await judge(second, "node-a");

    // All are of one build: what waited is done.
    const compared = await runKindred(["repair", "--port", `${members.get("node-a")!.port}`, "--json"]);
    expect(JSON.parse(compared.stdout)).to.include({ state: "done", failed: 0, members: 2 });
    await until({ what: "the upgraded ones know the added kind", withinMs: SETTLED_MS_MAX }, () =>
      newer.log.filter(({ msg }) => msg === "a peer answers greetings").length >= 2 ? true : null,
    );
    await start("node-d", builds.newer);
    await settled({ "node-a": 3, "node-b": 3, "node-c": 3, "node-d": 3 });
    const left = await runKindred(["leave", "--port", `${newer.port}`], { withinMs: SETTLED_MS_MAX });
    expect(left.code).to.equal(0);
    expect(left.stderr).to.match(/^(waiting for .*\n)*$/);
    await judge(second, "node-d");
  });
});
