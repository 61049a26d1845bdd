/** What a world's machines do to real nodes. Scenarios of single nodes; those of clusters are in cluster-scenarios.ts. */
import { expect } from "chai";
import { checkAll } from "./checks.js";
import type { WireReply } from "./sim-client.js";
import { ANSWER_MS_MAX, World, type WorldOptions } from "./world.js";
import type { WorldClient } from "./world-client.js";

describe("a world of simulated machines", () => {
  let world: World;

  async function start(options: WorldOptions = {}): Promise<{ client: WorldClient; machine: World["machines"][number] }> {
    world = await World.start(options);
    return { client: world.client("node-a"), machine: world.machines[0]! };
  }

  /** Everything healed, every promise checked. */
  async function judge(): Promise<void> {
    await world.quiesce({ withinMs: 10_000 });
    checkAll(world);
  }

  function read(key: string): Promise<WireReply> {
    return world.run(world.client("node-a").get(key));
  }

  afterEach(() => world?.close());

  it("serves clients of several nodes, each a ring of its own", async () => {
    const { client } = await start({ nodes: 2 });
    expect(await world.run(client.set("n0-k", "one"))).to.equal("OK");
    expect(await world.run(client.get("n0-k"))).to.equal("one");
    expect(await world.run(world.client("node-b").get("n0-k"))).to.equal(null);
  });

  it("loses nothing by kill -9, whatever was synced", async () => {
    const { client, machine } = await start({ settings: { appendfsync: "no" } });
    await world.run(client.set("n0-k", "one"));
    machine.kill();
    await world.bringUp(machine);
    expect(await read("n0-k")).to.equal("one");
    await judge();
  });

  it("loses nothing acknowledged when the power fails under appendfsync always", async () => {
    const { client, machine } = await start({ settings: { appendfsync: "always" } });
    for (let at = 0; at < 20; at++) {
      await world.run(client.set("n0-k", `value ${at}`));
      machine.powerOff();
      await world.bringUp(machine);
      expect(await read("n0-k")).to.equal(`value ${at}`);
    }
    await judge();
  });

  it("may lose the last second when the power fails under everysec, and knows that it did", async () => {
    let lost = 0;
    for (let seed = 1; seed <= 10; seed++) {
      const { client, machine } = await start({ seed, settings: { appendfsync: "everysec" } });
      await world.run(client.set("n0-k", "one"));
      machine.powerOff();
      await world.bringUp(machine);
      if ((await read("n0-k")) === null) lost++;
      await judge();
      world.close();
    }
    expect(lost).to.be.greaterThan(0).and.lessThan(10);
  });

  it("answers nothing while it is frozen, and goes on where it was", async () => {
    const { client, machine } = await start();
    await world.run(client.set("n0-k", "one"));
    machine.freeze();
    const silent = await world.run(client.trySet("n0-k", "two"));
    expect(silent.outcome).to.deep.equal({ kind: "unknown", why: "no answer" });
    machine.thaw();
    await world.pass(100);
    // Its system had taken the request, and nobody can tell a stopped process how old that is.
    expect(await read("n0-k")).to.equal("two");
    await judge();
  });

  it("does nothing any more once it is killed while frozen", async () => {
    const { client, machine } = await start();
    machine.freeze();
    const work = client.trySet("n0-k", "one");
    await world.pass(100);
    machine.kill();
    expect((await world.run(work)).outcome.kind).to.equal("unknown");
    await world.bringUp(machine);
    expect(await read("n0-k")).to.equal(null);
    await judge();
  });

  it("answers late requests of a client that was cut off at most once", async () => {
    const { client } = await start();
    expect(await world.run(client.incr("n0-counter"))).to.equal(1);
    const disturbance = world.disturbances.begin(0, "client cut");
    const cut = world.network.cutClient("client", 0);
    const lost = await world.run(client.tryIncr("n0-counter"));
    expect(lost.outcome.kind).to.equal("unknown");
    cut.end();
    world.disturbances.end(disturbance);
    await world.pass(ANSWER_MS_MAX);
    expect(Number(await world.run(client.incr("n0-counter")))).to.be.within(2, 3);
    await judge();
  });

  it("refuses writes on a full disk, answers reads, and goes on when there is room", async () => {
    const { client, machine } = await start();
    await world.run(client.set("n0-k", "one"));
    machine.disk.faults.capacityBytes = machine.disk.usedBytes;
    const refused = await world.run(client.trySet("n0-k", "two"));
    expect(refused.outcome.kind === "refused" && refused.outcome.text).to.match(/^IOERR /);
    expect(await read("n0-k")).to.equal("one");
    machine.healDisk();
    await world.run(client.set("n0-k", "three"));
    await judge();
  });

  it("keeps the last write the newest when the wall clock goes back", async () => {
    const { client, machine } = await start();
    await world.run(client.set("n0-k", "one"));
    machine.clock.jump(-3_600_000);
    await world.run(client.set("n0-k", "two"));
    await world.run(machine.stop());
    await world.bringUp(machine);
    await world.run(client.set("n0-k", "three"));
    expect(await read("n0-k")).to.equal("three");
    await judge();
  });

  it("makes no more siblings than there are writers who interleave stale contexts", async () => {
    const { client } = await start();
    await world.run(client.set("n0-k", "0"));
    const writers = ["x", "y"].map((name) => ({ client: world.client("node-a", name), union: ["0"], token: "" }));
    for (const writer of writers) writer.token = (await world.run(writer.client.siblings("n0-k")))!.context;
    for (let round = 1; round < 50; round++) {
      const writer = writers[round % 2]!;
      writer.union.push(String(round));
      await world.run(writer.client.setContext("n0-k", writer.union.join(), writer.token));
      const found = (await world.run(writer.client.siblings("n0-k")))!;
      expect(found.versions.length).to.be.at.most(2);
      writer.token = found.context;
      writer.union = [...new Set(found.versions.flatMap(({ value }) => value!.split(",")))];
    }
    const last = (await world.run(client.siblings("n0-k")))!;
    const union = new Set(last.versions.flatMap(({ value }) => value!.split(",")));
    expect(union.size).to.equal(50);
    await judge();
  });
});
