/** Backups of running members, and what becomes of what is restored from them, with real processes. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { expect } from "chai";
import { pause } from "./cluster-load.js";
import { ClusterProcesses } from "./cluster-processes.js";
import { type Outcome, runKindred } from "./program.js";
import { serversOfTest } from "./server-process.js";
import { until } from "./until.js";

const KEYS = 400;

/** Writes and counts through one member until it is stopped; every answer is an OK. */
class Load {
  readonly written = new Map<string, string>();
  count = 0;
  #isStopped = false;
  readonly #running: Promise<void>;

  constructor(cluster: ClusterProcesses, at: number) {
    this.#running = this.#run(cluster, at);
  }

  async #run(cluster: ClusterProcesses, at: number): Promise<void> {
    const client = await cluster.connect(at);
    for (let turn = 0; !this.#isStopped; turn++) {
      const key = `key:${turn % KEYS}`;
      if ((await client.call("SET", key, `${turn}`)) === "OK") this.written.set(key, `${turn}`);
      const counted = await client.call("INCR", "counter");
      if (typeof counted === "number") {
        expect(counted, "INCR goes on").to.equal(this.count + 1);
        this.count = counted;
      }
      await pause(1);
    }
    await client.close();
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }
}

async function backup(port: number, to: string): Promise<Outcome> {
  return runKindred(["backup", "--port", `${port}`, "--to", to]);
}

async function restore(...args: readonly string[]): Promise<void> {
  const outcome = await runKindred(["restore", ...args]);
  expect(outcome.code, `${outcome.stdout}${outcome.stderr}`).to.equal(0);
}

describe("backups", function () {
  this.timeout(120_000);
  const servers = serversOfTest();

  it("bring a member of three back that is gone with its directory: nothing acknowledged is lost, and counters go on", async () => {
    const backups = servers.makeDirectory();
    const settings = { replicas: "3", "backup-dir": backups, "hints-max-bytes": "0" };
    const cluster = await ClusterProcesses.start(servers, { settings });
    await cluster.ask(0, "SET", "deleted", "before the backup");
    await cluster.ask(0, "SET", "only:one", "x");
    const load = new Load(cluster, 0);
    await until({ what: "there is something to keep", withinMs: 20_000 }, () =>
      load.count > 300 ? true : pause(20).then(() => null),
    );
    const path = join(backups, "node-c");
    const taken = await backup(cluster.port(2), path);
    expect(taken.stdout, taken.stderr).to.match(
      /^\S+node-c is whole: \d+ files?, \S+ \S+ linked, 0 B copied, in \d+\.\d\d s\n$/,
    );
    expect((await runKindred(["check", path])).stdout).to.include("is whole");
    const note = (await runKindred(["inspect", join(path, "backup.json"), "--json"])).stdout;
    expect(JSON.parse(note))
      .to.include({ is: "backup", member: "node-c" })
      .and.to.deep.include({ members: ["node-a", "node-b", "node-c"].sort() });
    const id = String(await cluster.ask(2, "CLUSTER", "MYID"));
    const { directory } = cluster.members[2]!.server;
    await cluster.ask(0, "DEL", "deleted");
    await cluster.kill(2);
    rmSync(directory, { recursive: true });
    await cluster.ask(0, "DEL", "only:one");
    await pause(500);
    await restore(path, "--dir", directory);
    await cluster.restart(2);
    await cluster.agreed();
    await load.stop();
    expect(String(await cluster.ask(2, "CLUSTER", "MYID")), "a new member").to.not.equal(id);
    expect(load.count).to.be.greaterThan(300);
    // Of its own copy.
    const client = await cluster.connect(2);
    const read = (key: string) => client.call("CONSISTENCY", "ONE", "GET", key);
    for (const [key, value] of load.written) expect(await read(key), key).to.equal(value);
    for (const key of ["deleted", "only:one"]) expect(await read(key), key).to.equal(null);
    expect(await client.call("INCR", "counter")).to.equal(load.count + 1);
    await client.close();
    // The same backup once more, beside the member that runs.
    const other = join(servers.makeDirectory(), "again");
    await restore(path, "--dir", other);
  });

  it("bring a whole cluster back on its ports, taken one after the other", async () => {
    const backups = servers.makeDirectory();
    const cluster = await ClusterProcesses.start(servers, { settings: { replicas: "3", "backup-dir": backups } });
    for (let at = 0; at < KEYS; at++) await cluster.ask(0, "SET", `key:${at}`, `value ${at}`);
    await cluster.ask(0, "INCRBY", "counter", "41");
    await cluster.ask(0, "SET", "deleted", "once");
    await cluster.ask(0, "DEL", "deleted");
    const client = await cluster.connect(1);
    await client.call("SELECT", "5");
    await client.call("SET", "flushed", "value");
    const take = async (at: number) => expect((await backup(cluster.port(at), join(backups, `${at}`))).code).to.equal(0);
    await take(0);
    await take(2);
    // The ring changes between two backups: those of before have not heard of it.
    expect(await client.call("FLUSHDB")).to.equal("OK");
    await client.close();
    await take(1);
    const ids = await Promise.all([0, 1, 2].map((at) => cluster.ask(at, "CLUSTER", "MYID")));
    await cluster.ask(0, "SET", "key:0", "of after the backups");
    for (const [at, { server }] of cluster.members.entries()) {
      await cluster.kill(at);
      rmSync(server.directory, { recursive: true });
      await restore(join(backups, `${at}`), "--dir", server.directory, "--whole-cluster");
    }
    // A majority that has not heard of it is there first, and would like to change the ring.
    await Promise.all([0, 2].map((at) => cluster.restart(at)));
    await pause(2_000);
    await cluster.restart(1);
    await cluster.agreed();
    expect(await Promise.all([0, 1, 2].map((at) => cluster.ask(at, "CLUSTER", "MYID")))).to.deep.equal(ids);
    for (let at = 0; at < KEYS; at++) expect(await cluster.ask(at % 3, "GET", `key:${at}`)).to.equal(`value ${at}`);
    expect(await cluster.ask(0, "GET", "deleted")).to.equal(null);
    expect(await cluster.ask(2, "INCR", "counter")).to.equal(42);
    const other = await cluster.connect(0);
    await other.call("SELECT", "5");
    expect(await other.call("GET", "flushed"), "what one of the backups says was flushed").to.equal(null);
    // The ring changes again: it names the stores as they are.
    await until({ what: "all members name their new stores", withinMs: 30_000 }, () => {
      const logs = cluster.members.map(({ server }) => server.log);
      const isNamed = logs.every((log) => log.some(({ msg }) => msg === "the ring names this member as it is now"));
      return isNamed ? true : pause(50).then(() => null);
    });
    for (const { server } of cluster.members) expect(server.output).to.not.include("forked");
    // Stores that nobody mints in any more are flushed, too.
    await other.call("SELECT", "0");
    expect(await other.call("FLUSHALL")).to.equal("OK");
    expect(await other.call("DBSIZE")).to.equal(0);
    await other.close();
  });

  it("make a cluster of its own of one member's, which has nothing to do with the other", async () => {
    const backups = servers.makeDirectory();
    const cluster = await ClusterProcesses.start(servers, { settings: { replicas: "3", "backup-dir": backups } });
    for (let at = 0; at < 100; at++) await cluster.ask(0, "SET", `key:${at}`, "value");
    const path = join(backups, "one");
    expect((await backup(cluster.port(1), path)).code).to.equal(0);
    const directory = join(servers.makeDirectory(), "alone");
    await restore(path, "--dir", directory, "--alone");
    const seeds = cluster.members.map(({ ports }) => `127.0.0.1:${ports.peer}`).join(",");
    const alone = await servers.start({ directory, settings: { seeds } });
    const client = await alone.connect();
    expect(await client.call("DBSIZE")).to.equal(100);
    expect(await client.call("GET", "key:7")).to.equal("value");
    expect(await client.call("SET", "key:7", "of the copy")).to.equal("OK");
    const status = JSON.parse(String(await client.call("CLUSTER", "STATUS"))) as { members: readonly unknown[] };
    expect(status.members.length).to.equal(1);
    await client.close();
    expect(alone.output).to.not.include("does not say of which cluster");
    expect(await cluster.ask(0, "GET", "key:7")).to.equal("value");
    await alone.terminate();
    await alone.restart();
    const later = await alone.connect();
    expect(await later.call("GET", "key:7")).to.equal("of the copy");
    await later.close();
    await cluster.agreed();
  });

  it("are refused where they may not be, and do not start as they are", async () => {
    const root = servers.makeDirectory();
    const directory = join(root, "data");
    const server = await servers.start({ directory });
    const client = await server.connect();
    await client.call("SET", "key", "value");
    const refusal = async (path: string): Promise<string> =>
      String(await client.call("CLUSTER", "BACKUP", path).catch((error: unknown) => error));
    expect(await refusal("one")).to.include('"one" is no absolute path');
    expect(await refusal(join(directory, "one"))).to.include("lies within the data directory");
    expect(await refusal("/etc/one")).to.include(
      `does not lie below ${directory}-backups, where this node may put backups (backup-dir)`,
    );
    expect(await refusal(join(`${directory}-backups`, "..", "one"))).to.include("does not lie below");
    const path = join(`${directory}-backups`, "one");
    expect((await backup(server.port, path)).code).to.equal(0);
    const again = await backup(server.port, path);
    expect(again).to.include({ code: 1 }).and.to.have.property("stderr").that.includes("holds a backup already");
    expect(await refusal(join(path, "two"))).to.include(`lies within the backup ${path}`);
    const within = await runKindred(["restore", path, "--dir", join(path, "data")]);
    expect(within).to.include({ code: 1 }).and.to.have.property("stderr").that.includes("lies within the backup");
    await client.close();
    await server.kill();
    const asData = await runKindred(["server", "--port", "0", "--dir", path]);
    expect(asData.code).to.equal(1);
    expect(asData.stderr).to.include("is a backup: make a data directory of it with kindred restore");
    const onto = await runKindred(["restore", path, "--dir", directory]);
    expect(onto.stderr).to.include("is not empty");
    const fresh = join(root, "fresh");
    await restore(path, "--dir", fresh);
    // The only member of its ring is the whole of it.
    const restored = await servers.start({ directory: fresh });
    const other = await restored.connect();
    expect(await other.call("GET", "key")).to.equal("value");
    expect(await other.call("INCR", "count")).to.equal(1);
    await other.close();
  });
});
