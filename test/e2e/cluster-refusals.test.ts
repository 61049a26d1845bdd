/** Nodes that do not belong to a cluster: told why on both sides, and the cluster goes on as it was. */
import { expect } from "chai";
import { ClusterProcesses } from "./cluster-processes.js";
import { type Outcome, runKindred } from "./program.js";
import { type ServerProcess, serversOfSuite } from "./server-process.js";
import { until } from "./until.js";

describe("a cluster that a wrong node wants to join", function () {
  this.timeout(60_000);
  const servers = serversOfSuite();
  let cluster: ClusterProcesses;
  let seeds = "";
  before(async () => {
    cluster = await ClusterProcesses.start(servers, { settings: { "cluster-secret": "right" } });
    seeds = cluster.members.map(({ ports }) => `127.0.0.1:${ports.peer}`).join(",");
  });
  afterEach("the cluster is as it was", async () => {
    await cluster.agreed();
    expect((await cluster.status(0)).members).to.have.lengthOf(3);
  });

  /** Runs a node until it has said that; its output. */
  const joiner = (settings: Readonly<Record<string, string>>, says: RegExp): Promise<Outcome> => {
    const own = { port: "0", "peer-port": "0", dir: servers.makeDirectory(), name: "stray", host: "stray", seeds, ...settings };
    const flags = Object.entries(own).flatMap(([name, value]) => [`--${name}`, value]);
    return runKindred(["server", ...flags, "--log-format", "json"], { endAfter: says });
  };

  const saidBy = (server: ServerProcess, text: RegExp): Promise<true> =>
    until({ what: `it says ${text}`, withinMs: 10_000 }, () => (text.test(server.output) ? true : null));

  it("is told that the secret is another one, and that it needs one", async () => {
    const wrong = /refuses this node: wrong --cluster-secret: start the node with the secret of the cluster's members/;
    expect((await joiner({ "cluster-secret": "wrong" }, wrong)).stdout).to.match(wrong);
    const none = /refuses this node: this cluster needs --cluster-secret: start the node with the secret of its members/;
    expect((await joiner({}, none)).stdout).to.match(none);
    await saidBy(
      cluster.members[0]!.server,
      /a peer from 127\.0\.0\.1 was refused: (this cluster needs|wrong) --cluster-secret/,
    );
  });

  it("is told that --replicas is another one", async () => {
    const says = /refuses this node: \S+ has --replicas 3, \S+ has 2: start the node with the number that its cluster has/;
    expect((await joiner({ "cluster-secret": "right", replicas: "2" }, says)).stdout).to.match(says);
    await saidBy(cluster.members[0]!.server, /a peer from 127\.0\.0\.1 was refused: \S+ has --replicas 3, \S+ has 2/);
  });

  it("is told that it has a cluster of its own, and how it may join, and serves its own data meanwhile", async () => {
    const own = { "cluster-secret": "right", name: "stray", host: "stray", "peer-port": "0" };
    const directory = servers.makeDirectory();
    const alone = await servers.start({ settings: own, directory });
    const client = await alone.connect();
    await client.call("SET", "mine", "v");
    await client.close();
    await alone.terminate();
    const stray = await servers.start({ settings: { ...own, seeds }, directory });
    await saidBy(
      stray,
      /\S+ is of cluster [0-9a-f]{8}, \S+ of cluster [0-9a-f]{8}: only a node with an empty data directory joins\. stray is alone in its cluster: to join the other, stop it, clear its data directory \(--dir\) and start it again/,
    );
    const again = await stray.connect();
    expect(await again.call("GET", "mine")).to.equal("v");
    await again.close();
    await stray.terminate();
  });

  it("does not start a member again with another --replicas, and says what its cluster keeps", async () => {
    const { server, ports } = cluster.members[2]!;
    await server.terminate();
    const flags = { port: `${ports.client}`, "peer-port": `${ports.peer}`, dir: server.directory, "cluster-secret": "right" };
    const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]);
    const outcome = await runKindred(["server", ...args, "--replicas", "2"]);
    expect(outcome.code).to.be.oneOf([1, 2]);
    expect(outcome.stdout + outcome.stderr).to.include(
      "--replicas is 2, the cluster of this member keeps 3: start it with --replicas 3",
    );
    await server.restart();
  });
});
