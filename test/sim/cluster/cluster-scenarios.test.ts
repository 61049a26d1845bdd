/**
 * Directed scenarios of clusters of three, N=3 unless they say otherwise. Each is judged by all checkers when all is healed, so
 * a scenario says only what is particular to it.
 */
import { expect } from "chai";
import { checkAll } from "./checks.js";
import type { Machine } from "./machine.js";
import { nodeName } from "./node-flags.js";
import { type RepairWay, World, type WorldOptions } from "./world.js";
import type { WorldClient } from "./world-client.js";

const CONVERGENCE_MS_MAX = 60_000;
/** Section 11 of the design: no request waits longer than this for a node that is gone or silent. */
const FAILOVER_MS_MAX = 500;
const SEEDS = 6;
const JOINS = 3;

describe("a simulated cluster", function () {
  this.timeout(60_000);
  let world: World;
  let x: WorldClient;
  let y: WorldClient;
  let z: WorldClient;

  async function start(options: WorldOptions = {}): Promise<void> {
    world = await World.start({ nodes: 3, topology: "cluster", ...options, settings: { replicas: "3", ...options.settings } });
    [x, y, z] = world.machines.map(({ name }) => world.client(name)) as [WorldClient, WorldClient, WorldClient];
  }

  afterEach(() => world?.close());

  /** Everything is healed, all replicas agree, and every promise of the history is kept. */
  async function judge(repair: RepairWay = "by itself"): Promise<void> {
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX, repair });
    checkAll(world);
  }

  /** Null for a tombstone. */
  async function valuesOf(client: WorldClient, key = "k"): Promise<readonly (string | null)[]> {
    const found = await world.run(client.siblings(key));
    return (found?.versions ?? []).map(({ value }) => value);
  }

  /** The machine that stores a write of this client first. */
  async function coordinatorOf(client: WorldClient, key: string): Promise<Machine> {
    await world.run(client.set(key, "who coordinates?"));
    return world.machines[world.ledger.ofKey(key).writes.at(-1)!.node]!;
  }

  it("holds D3 and D4 for siblings, and D5 for the successor of both", async () => {
    await start();
    await world.run(x.set("k", "D1"));
    await world.run(x.setContext("k", "D2", (await world.run(x.siblings("k")))!.context));
    const seen = (await world.run(x.siblings("k")))!.context;
    await world.run(y.setContext("k", "D3", seen));
    await world.run(z.setContext("k", "D4", seen));
    const both = (await world.run(y.siblings("k")))!;
    expect(both.versions.map(({ value }) => value)).to.have.members(["D3", "D4"]);
    await world.run(x.setContext("k", "D5", both.context));
    expect(await valuesOf(z)).to.deep.equal(["D5"]);
    await judge();
  });

  it("keeps exactly the two versions that both sides of a partition wrote", async () => {
    await start();
    await world.run(x.set("k", "before"));
    const split = world.network.split([0], [1, 2]);
    await world.run(x.at("ONE", "sloppy").set("k", "left"));
    await world.run(y.at("ONE", "sloppy").set("k", "right"));
    split.end();
    await judge("by hints");
    for (const client of [x, y, z]) expect(await valuesOf(client)).to.have.members(["left", "right"]);
    // Whoever has seen both ends it.
    await world.run(x.setContext("k", "both", (await world.run(x.siblings("k")))!.context));
    expect(await valuesOf(z)).to.deep.equal(["both"]);
  });

  it("hands over what a node missed, by hints alone", async () => {
    for (const how of ["killed", "without power", "cut off", "frozen"] as const) {
      await start();
      const away = world.machines[2]!;
      await world.run(x.at("ALL").set("gone", "value"));
      if (how === "killed") away.kill();
      else if (how === "without power") away.powerOff();
      else if (how === "frozen") away.freeze();
      else world.network.isolate(2);
      for (let at = 0; at < 20; at++) await world.run(x.set(`k${at}`, `value ${at}`));
      await world.run(x.del("gone"));
      // What the other has not acknowledged by then it is marked as lacking.
      await world.pass(3_000);
      expect(world.ledger.waitingHint, how).not.to.equal(null);
      await judge("by hints");
      expect(world.ledger.waitingHint).to.equal(null);
      // Its own copy, and what was deleted does not come back with it.
      expect(await world.run(z.at("ONE").get("k7"))).to.equal("value 7");
      expect(await world.run(z.at("ONE").get("gone"))).to.equal(null);
      world.close();
    }
  });

  it("keeps on a stand-in what an owner missed, and the stand-in hands it over", async () => {
    await start({ nodes: 5 });
    const owners = await world.owners("k");
    const away = world.machines[owners[0]!]!;
    away.freeze();
    const client = world.client(nodeName(owners[1]!));
    await world.run(client.at("ALL", "sloppy").set("k", "value"));
    expect(world.ledger.hints).to.be.greaterThan(0);
    await judge("by hints");
    expect(world.ledger.ofKey("k").records[away.index]).not.to.equal(null);
  });

  it("makes copies equal by itself where hints were dropped, and then nothing is sent any more", async () => {
    await start({ settings: { "hints-max-bytes": "0" } });
    await world.run(x.at("ALL").set("gone", "value"));
    const away = world.machines[2]!;
    away.kill();
    for (let at = 0; at < 30; at++) await world.run(x.set(`k${at}`, `value ${at}`));
    await world.run(x.del("gone"));
    await world.pass(3_000);
    expect(world.ledger.waitingHint).to.equal(null);
    expect(world.ledger.ofKey("k7").records[away.index] ?? null).to.equal(null);
    await judge("by itself");
    expect(await world.run(z.at("ONE").get("k7"))).to.equal("value 7");
    expect(await world.run(z.at("ONE").get("gone"))).to.equal(null);
  });

  it("repairs nothing where copies differ only because writes are on their way", async () => {
    await start({ settings: { "anti-entropy-interval": "1" }, delayMsMax: 10 });
    const untilMs = world.nowMs + 20_000;
    const write = async (client: WorldClient, name: string): Promise<void> => {
      for (let at = 0; world.nowMs < untilMs; at++) await client.set(`${name}${at % 20}`, `${name} ${at}`);
    };
    await world.run(Promise.all([write(x, "x"), write(y, "y"), write(z, "z")]));
    for (const client of [x, y, z]) {
      const section = await world.run(client.info("anti-entropy"));
      expect(section).to.match(/anti_entropy_exchanges:[1-9]/);
      expect(section)
        .to.match(/anti_entropy_keys_taken:0/)
        .and.match(/anti_entropy_keys_given:0/);
    }
    await judge("by itself");
  });

  describe("whose coordinator forgets (kv679)", () => {
    it("keeps what others hold, when a store that lost its unsynced tail writes again", async () => {
      let forgotten = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        await start({ seed, settings: { appendfsync: "everysec" } });
        await world.run(x.set("k", "first"));
        await world.pass(2_000);
        await world.run(x.at("ALL").set("k", "second"));
        const cut = world.network.isolate(0);
        world.machines[0]!.powerOff();
        await world.bringUp(world.machines[0]!);
        const held = await world.run(x.at("ONE", "sloppy").get("k"));
        await world.run(x.at("ONE", "sloppy").set("k", "third"));
        cut.end();
        await judge();
        if (held === "first") forgotten++;
        expect(await valuesOf(y)).to.have.members(held === "first" ? ["second", "third"] : ["third"]);
        world.close();
      }
      expect(forgotten).to.be.greaterThan(0).and.lessThan(SEEDS);
    });

    it("keeps what others hold, when a store that was restored from a copy writes again", async () => {
      await start();
      await world.run(x.at("ALL").set("k", "first"));
      const copy = world.machines[0]!.backup();
      await world.run(x.at("ALL").set("k", "second"));
      world.machines[0]!.kill();
      world.machines[0]!.restore(copy);
      const cut = world.network.isolate(0);
      await world.bringUp(world.machines[0]!);
      await world.run(x.at("ONE", "sloppy").set("k", "third"));
      cut.end();
      await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
      expect(await valuesOf(y)).to.have.members(["second", "third"]);
    });

    it("keeps a new value beside the removal that its store forgot, and not what was removed", async () => {
      await start();
      await world.run(x.at("ALL").set("k", "first"));
      const copy = world.machines[0]!.backup();
      await world.run(x.at("ALL").del("k"));
      world.machines[0]!.kill();
      world.machines[0]!.restore(copy);
      const cut = world.network.isolate(0);
      await world.bringUp(world.machines[0]!);
      await world.run(x.at("ONE", "sloppy").set("k", "second"));
      cut.end();
      await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
      expect(await valuesOf(y)).to.have.members(["second", null]);
      for (const client of [x, y, z]) expect(await world.run(client.get("k"))).to.equal("second");
    });

    it("keeps a value that is written after a removal which the store had with its unsynced tail", async () => {
      let forgotten = 0;
      for (let seed = 1; seed <= SEEDS; seed++) {
        await start({ seed, settings: { appendfsync: "everysec" } });
        await world.run(x.at("ALL").set("k", "first"));
        await world.pass(2_000);
        await world.run(x.at("ALL").del("k"));
        world.machines[0]!.powerOff();
        await world.bringUp(world.machines[0]!);
        if ((await world.run(x.at("ONE", "sloppy").get("k"))) === "first") forgotten++;
        await world.run(x.set("k", "second"));
        await judge();
        for (const client of [x, y, z]) expect(await world.run(client.get("k"))).to.equal("second");
        world.close();
      }
      expect(forgotten).to.be.greaterThan(0);
    });

    it("keeps both writes of a stand-in that handed over the first and forgot it", async () => {
      await start({ nodes: 5 });
      const owners = await world.owners("k");
      const [standIn, other] = world.machines.filter(({ index }) => !owners.includes(index));
      const client = world.client(standIn!.name).at("ONE", "sloppy");
      const writeAlone = async (value: string): Promise<void> => {
        const cut = world.network.split([standIn!.index], [...owners, other!.index]);
        // Its links are known to be broken a while later.
        await world.pass(10_000);
        await world.run(client.set("k", value));
        expect(world.ledger.ofKey("k").writes.at(-1)!.node).to.equal(standIn!.index);
        cut.end();
        await world.quiesce({ withinMs: CONVERGENCE_MS_MAX, repair: "by hints" });
      };
      await writeAlone("first");
      // What it has shown is forgotten with the process: it cannot know that the second comes after the first.
      standIn!.kill();
      await world.bringUp(standIn!);
      await writeAlone("second");
      expect(await valuesOf(world.client(nodeName(owners[0]!)))).to.have.members(["first", "second"]);
      // As long as it remembers, its third is above both.
      await world.run(client.get("k"));
      await writeAlone("third");
      expect(await valuesOf(world.client(nodeName(owners[0]!)))).to.deep.equal(["third"]);
      await judge("by hints");
    });
  });

  for (const how of ["stopped", "hung"] as const) {
    it(`goes on at QUORUM without an error while one of three is ${how}, and soon`, async () => {
      await start();
      await world.run(x.set("k", "before"));
      // Where INCR is decided.
      const missing = world.machines[(await world.owners("counter"))[0]!]!;
      const others = [x, y, z].filter((_, index) => index !== missing.index);
      if (how === "hung") missing.freeze();
      else missing.kill();
      for (let at = 0; at < 20; at++) {
        for (const client of others) {
          const startedMs = world.nowMs;
          await world.run(client.set("k", `value ${at}`));
          expect(world.nowMs - startedMs).to.be.lessThan(FAILOVER_MS_MAX);
          const writtenMs = world.nowMs;
          expect(await world.run(client.get("k"))).to.equal(`value ${at}`);
          await world.run(client.incr("counter"));
          expect(world.nowMs - writtenMs).to.be.lessThan(2 * FAILOVER_MS_MAX);
        }
      }
      await judge("by hints");
      expect(await world.run(world.client(missing.name).at("ONE").get("counter"))).to.equal("40");
    });

    it(`refuses QUORUM in time while two of three are ${how}, and goes on at ONE`, async () => {
      await start();
      await world.run(x.set("k", "before"));
      for (const missing of world.machines.slice(1)) how === "hung" ? missing.freeze() : missing.kill();
      const { outcome } = await world.run(x.at("QUORUM").trySet("k", "after"));
      expect(outcome.kind === "refused" && outcome.text).to.match(
        /^QUORUM write reached 1 of 2 replicas; it may still take effect$/,
      );
      const startedMs = world.nowMs;
      await world.run(x.at("ONE").set("k", "alone"));
      expect(await world.run(x.at("ONE").get("k"))).to.equal("alone");
      expect(world.nowMs - startedMs).to.be.lessThan(FAILOVER_MS_MAX);
      await judge();
    });
  }

  it("decides in the place of a member that hangs, in time and in the order of a connection's requests", async () => {
    await start();
    const [first, second] = await world.owners("counter");
    const client = world.client(nodeName(second!));
    await world.run(client.incr("counter"));
    world.machines[first!]!.freeze();
    const startedMs = world.nowMs;
    const [own, read] = await world.run(Promise.all([client.incr("counter"), client.get("counter")]));
    expect(own).to.equal(2);
    expect(read).to.equal("2");
    expect(world.nowMs - startedMs).to.be.lessThan(FAILOVER_MS_MAX);
    await judge("by hints");
  });

  it("does not wait for a replica whose disk is slow", async () => {
    await start({ settings: { appendfsync: "always" } });
    await world.run(x.set("k", "before"));
    world.machines[2]!.disk.faults.syncMsMax = 10_000;
    for (let at = 0; at < 20; at++) {
      const startedMs = world.nowMs;
      await world.run(x.set("k", `value ${at}`));
      expect(await world.run(y.get("k"))).to.equal(`value ${at}`);
      expect(world.nowMs - startedMs).to.be.lessThan(2 * FAILOVER_MS_MAX);
    }
    await judge();
  });

  it("shows nothing at a quorum of what a log that could not be synced will not keep", async () => {
    await start({ settings: { appendfsync: "always" } });
    const [a] = world.machines;
    await world.run(x.at("ALL").set("k", "before"));
    const alone = world.network.isolate(0);
    a!.disk.faults.syncFailure = 1;
    expect((await world.run(x.at("ONE").trySet("k", "lost"))).outcome.kind).to.equal("refused");
    alone.end();
    const away = world.network.isolate(2);
    await world.pass(5_000);
    // Only one other can be asked.
    expect((await world.run(x.tryGet("k"))).outcome.kind).to.equal("refused");
    away.end();
    world.network.isolate(1);
    a!.kill();
    await world.bringUp(a!);
    await world.pass(5_000);
    expect(await world.run(z.get("k"))).to.equal("before");
    await judge();
  });

  it("answers reads of a member whose log could not be synced from the others", async () => {
    await start({ settings: { appendfsync: "always" } });
    world.machines[0]!.disk.faults.syncFailure = 1;
    expect((await world.run(x.at("ONE").trySet("k", "value"))).outcome.kind).to.equal("refused");
    await world.run(y.set("k", "newer"));
    await world.run(y.del("other"));
    expect(await world.run(x.get("k"))).to.equal("newer");
    expect(await world.run(x.get("other"))).to.equal(null);
    await judge();
  });

  it("leaves nothing half there when a coordinator dies between its own store and those of the others", async () => {
    await start();
    await world.run(x.set("k", "before"));
    const coordinator = await coordinatorOf(x, "k");
    world.killWhenStored(coordinator, "k");
    const { outcome } = await world.run(world.client(coordinator.name).trySet("k", "lost?"));
    expect(outcome.kind).to.equal("unknown");
    expect(coordinator.state).to.equal("down");
    const survivor = coordinator.index === 1 ? x : y;
    await world.run(survivor.set("k", "after"));
    await judge();
    expect(await valuesOf(z)).to.have.members(["lost?", "after"]);
  });

  it("answers within request-timeout what first has to read from who is hard to reach", async () => {
    await start({ settings: { replicas: "2" } });
    const [first, second] = await world.owners("counter");
    const client = world.client(nodeName(first!)).at("ALL");
    await world.run(client.incr("counter"));
    // The read takes most of the time that there is, the write all of it.
    const cut = world.network.cutOneWay([second!], [first!]);
    world.clock.after(1_500, () => cut.end());
    world.clock.after(1_520, () => world.network.cutOneWay([second!], [first!]));
    const startedMs = world.nowMs;
    await world.run(client.tryIncr("counter"));
    expect(world.nowMs - startedMs).to.be.lessThan(2_100);
    // The second cut has begun by now, whatever came of the request.
    await world.pass(1_520);
    await judge();
  });

  for (const what of ["", "and one of those who give is killed meanwhile", "and is killed itself meanwhile"]) {
    it(`loses nothing when a member joins under load ${what}`.trim(), async () => {
      for (let seed = 1; seed <= JOINS; seed++) {
        await start({ seed, nodes: 4, latecomers: 1, settings: { replicas: "2" } });
        for (let at = 0; at < 30; at++) await world.run(x.set(`old${at}`, `value ${at}`));
        const joiner = world.machines[3]!;
        const joining = world.revive(joiner);
        const load = async (client: WorldClient, name: string): Promise<void> => {
          for (let at = 0; at < 100; at++) {
            await client.trySet(`old${at % 30}`, `${name} ${at}`);
            await client.tryIncr(`counter${at % 5}`);
          }
        };
        const loads = Promise.all([load(x, "x"), load(y, "y")]);
        if (what !== "") {
          await world.pass(20 + 40 * seed);
          const killed = what.includes("itself") ? joiner : world.machines[2]!;
          killed.kill();
          await world.pass(300);
          world.background(world.revive(killed));
        }
        await world.run(Promise.all([loads, joining]));
        await world.heal();
        await world.allJoined({ withinMs: CONVERGENCE_MS_MAX });
        await judge();
        const owned = Array.from({ length: 30 }, (_, at) => world.ownersOf(`old${at}`));
        expect(owned.some((owners) => owners.includes(joiner.index))).to.equal(true);
        world.close();
      }
    });
  }

  it("lets a member that is stopped while it fetches what it is to own stop soon, and join when it is back", async () => {
    await start({ nodes: 4, latecomers: 1, settings: { replicas: "3", "transfer-rate-bytes": "16384" } });
    for (let at = 0; at < 200; at++) await world.run(x.set(`old${at}`, `${at}`.padEnd(4_000, "-")));
    const joiner = world.machines[3]!;
    await world.bringUp(joiner);
    const count = (what: string): number => world.logLines.filter((line) => line.includes(what)).length;
    expect([count(`${joiner.name} joins: slots move`), count(`${joiner.name} joins: done`)]).to.deep.equal([1, 0]);
    const startedMs = world.nowMs;
    await world.run(joiner.stop());
    expect(world.nowMs - startedMs).to.be.lessThan(2_000);
    await world.bringUp(joiner);
    await world.allJoined({ withinMs: CONVERGENCE_MS_MAX });
    await judge();
  });

  for (const [replicas, away] of [
    ["1", "is handed what it missed"],
    ["2", "is handed what it missed"],
    ["2", "is away"],
  ] as const) {
    it(`loses nothing when a member joins while another ${away}, with ${replicas} of each key`, async () => {
      const written = (at: number): string => `value ${at} ${"v".repeat(80)}`;
      for (let seed = 1; seed <= JOINS; seed++) {
        // What waits is handed over slowly, so that the joiner has read the other's copies before that is done.
        await start({ seed, nodes: 5, latecomers: 1, settings: { replicas, "handoff-rate-bytes": "4kb" } });
        const missing = world.machines[2]!;
        missing.kill();
        await world.pass(1_000);
        for (let at = 0; at < 200; at++) await world.run(x.set(`k${at}`, written(at)));
        await world.pass(3_000);
        expect(world.ledger.waitingHint).not.to.equal(null);
        if (away !== "is away") await world.bringUp(missing);
        await world.bringUp(world.machines[4]!);
        // Longer than a joiner waits for one that it cannot read from.
        if (away === "is away") await world.pass(20_000);
        await world.heal();
        await world.allJoined({ withinMs: CONVERGENCE_MS_MAX });
        await judge("by hints");
        for (let at = 0; at < 200; at++) expect(await world.run(x.get(`k${at}`)), `k${at}`).to.equal(written(at));
        world.close();
      }
    });
  }
});
