/** Members come and go under load, in simulated worlds: nothing acknowledged is lost, and all copies agree afterwards. */
import { expect } from "chai";
import { pause } from "../../../lib/host/clock.js";
import { checkAll } from "./checks.js";
import { comeBack, forceOut, leave, memberIdOf, remove, replace } from "./departures.js";
import type { Machine } from "./machine.js";
import { DATA_DIRECTORY } from "./node-flags.js";
import { World, type WorldOptions } from "./world.js";
import type { WorldClient } from "./world-client.js";

const SEEDS = 2;
const KEYS = 30;
const AT_ONCE = 100;
/** Between two rounds of requests of a client after the first ones. */
const THINK_MS = 25;
const CONVERGENCE_MS_MAX = 60_000;
const JOIN_MS_MAX = 60_000;
/** Until a member that is silent is held for down. */
const DOWN_MS = 9_000;
/** From when one that was removed reaches the others until it has learnt of it and stopped. */
const RETURN_MS_MAX = 15_000;

/** As many machines as there are names for them. */
type Machines = [Machine, Machine, Machine, Machine, Machine, Machine];

describe("a simulated cluster whose members change", function () {
  this.timeout(120_000);
  let world: World;

  async function start(options: WorldOptions = {}): Promise<Machines> {
    world = await World.start({ nodes: 5, topology: "cluster", ...options });
    const client = world.client(world.machines[0]!.name);
    for (let at = 0; at < KEYS; at++) await world.run(client.set(`old${at}`, `value ${at}`));
    await world.run(client.del("old0"));
    return [...world.machines] as Machines;
  }

  afterEach(() => world?.close());

  /** Requests at these nodes, one after the other, until `until` is settled. */
  async function under<Result>(load: readonly Machine[], until: Promise<Result>): Promise<Result> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    until.then(over, over);
    const clients = load.map((machine) => [world.client(machine.name, `load-${machine.name}`), machine.name] as const);
    const write = async (client: WorldClient, name: string): Promise<void> => {
      for (let at = 0; !isOver; at++) {
        await client.trySet(`old${at % KEYS}`, `${name} ${at}`);
        await client.tryIncr(`counter${at % 5}`);
        await client.tryGet(`old${(at * 7) % KEYS}`);
        // Judging takes longer by the square of what was written.
        if (at > AT_ONCE) await pause(world.clock, THINK_MS);
      }
    };
    const writing = Promise.all(clients.map(([client, name]) => write(client, name)));
    return until.finally(() => writing);
  }

  async function judge(): Promise<void> {
    await world.heal();
    await world.allJoined({ withinMs: JOIN_MS_MAX });
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
    checkAll(world);
  }

  it("lets a member leave: the others hold all that it had, and it is refused when it comes back", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, d, leaver] = await start({ seed, settings: { replicas: String(1 + (seed % 3)) } });
      const left = leave(world, leaver);
      await world.run(under([a, b, c, d], left), CONVERGENCE_MS_MAX);
      await judge();
      const again = await world.run(leaver.start());
      expect(again).to.be.an("object").with.nested.property("failure.message").that.contains("was removed from its cluster");
      world.close();
    }
  });

  it("lets a member that has left join again in its cleared directory, where it is told to", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, d, leaver] = await start({ seed, settings: { replicas: "3", rejoin: "yes" } });
      await world.run(under([a, b, c, d], leave(world, leaver)), CONVERGENCE_MS_MAX);
      const mark = `${DATA_DIRECTORY}/left`;
      expect(leaver.disk.list(DATA_DIRECTORY)).to.include("left");
      world.gone.delete(leaver);
      world.ledger.reborn(leaver.index);
      expect(await world.run(under([a, b, c], leaver.start()), CONVERGENCE_MS_MAX)).to.equal("up");
      await world.allJoined({ withinMs: JOIN_MS_MAX });
      expect(leaver.disk.open(mark)).to.equal(null);
      expect(await world.run(world.client(leaver.name).get("old7"))).to.equal(
        await world.run(world.client(a.name).get("old7")),
      );
      world.close();
    }
  });

  for (const replicas of ["1", "2", "3"]) {
    it(`takes a dead member out where there are copies: ${replicas}; the others make up for it, and it is refused when it comes back`, async () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const [a, b, c, d, dead] = await start({ seed, settings: { replicas } });
        world.lose(dead, "kill");
        await world.pass(DOWN_MS);
        const removed = remove(world, { dead, by: a, id: await world.run(memberIdOf(world, dead)) });
        await world.run(under([a, b, c, d], removed), CONVERGENCE_MS_MAX);
        await judge();
        // It was away, and knows nothing of it.
        await world.run(comeBack(world, dead), RETURN_MS_MAX);
        world.close();
      }
    });
  }

  it("stops a member that was removed while it was cut off, and lives", async () => {
    const [a, b, c, d, cut] = await start({ settings: { replicas: "3" } });
    const partition = world.network.isolate(cut.index);
    const id = await world.run(memberIdOf(world, cut));
    world.noteGone(cut);
    await world.pass(DOWN_MS);
    await world.run(under([a, b, c, d], remove(world, { dead: cut, by: a, id })), CONVERGENCE_MS_MAX);
    expect(cut.state).to.equal("up");
    partition.end();
    expect(await world.until(() => cut.state === "down", RETURN_MS_MAX)).to.equal(true);
    await judge();
  });

  for (const killed of ["", "the one who leaves", "one who takes over"]) {
    it(`goes on with a leave in which ${killed === "" ? "nobody" : killed} is killed and comes back`, async () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const [a, b, c, d, leaver] = await start({ seed, settings: { replicas: "2", "transfer-rate-bytes": "2kb" } });
        const left = leave(world, leaver);
        const disturb = async (victim: Machine): Promise<void> => {
          await pause(world.clock, 100 + 150 * seed);
          victim.kill();
          await pause(world.clock, 500);
          await world.revive(victim);
        };
        const disturbed = killed === "" ? null : disturb(killed === "the one who leaves" ? leaver : d);
        await world.run(under([a, b, c], Promise.all([left, disturbed])), CONVERGENCE_MS_MAX);
        await judge();
        world.close();
      }
    });
  }

  it("has a newcomer wait until a majority has agreed that it joins, and not answer before", async () => {
    const [, b, c] = await start({ nodes: 3, latecomers: 1 });
    b.kill();
    const joined = world.revive(c);
    await world.pass(30_000);
    expect(c.state).to.equal("starting");
    await world.run(world.revive(b));
    await world.run(joined);
    expect(c.state).to.equal("up");
    await judge();
  });

  it("takes members in and lets others go at once, one after the other", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, d, e, f] = await start({ seed, nodes: 6, latecomers: 2, settings: { replicas: "3" } });
      const changes = Promise.all([world.revive(e), world.revive(f), leave(world, d)]);
      await world.run(under([a, b, c], changes), CONVERGENCE_MS_MAX);
      await judge();
      world.close();
    }
  });

  it("lets a member leave by force while another is down, which has what it missed when it is back", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, down, leaver] = await start({ seed, settings: { replicas: "3" } });
      await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
      down.kill();
      const waiting = leave(world, leaver);
      await world.pass(15_000);
      expect(leaver.state, "it waits").to.equal("up");
      const left = Promise.all([waiting, leave(world, leaver, "FORCE")]);
      await world.run(under([a, b, c], left), CONVERGENCE_MS_MAX);
      await judge();
      world.close();
    }
  });

  it("takes out two dead members one by one by force, although most owners of some slots are among them", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, one, two] = await start({ seed, settings: { replicas: "3" } });
      await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
      one.kill();
      two.kill();
      const removed = forceOut(world, { dead: [one], by: a }).then(() => forceOut(world, { dead: [two], by: b }));
      await world.run(removed, CONVERGENCE_MS_MAX);
      const seen = await world.run(world.sight.newestRing([c.index]));
      expect(seen?.members.map(({ name }) => name)).to.have.members([a, b, c].map(({ name }) => name));
      await judge();
      world.close();
    }
  });

  it("goes on as two when three of five are gone for good and are named", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, ...dead] = (await start({ seed, settings: { replicas: "4" } })).slice(0, 5) as Machine[];
      await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
      for (const machine of dead) machine.kill();
      await world.run(forceOut(world, { dead, by: a! }), CONVERGENCE_MS_MAX);
      // With four copies of each key two of five members hold all that was quiet.
      for (let at = 1; at < KEYS; at++) {
        for (const machine of [a!, b!]) {
          const value = await world.run(world.client(machine.name).get(`old${at}`));
          expect(value, `old${at} at ${machine.name}`).to.equal(`value ${at}`);
        }
      }
      // What the checkers know of quorums is that of four copies: here is looked at the copies themselves.
      for (let at = 0; at < KEYS; at++) expect(await world.run(world.client(b!.name).set(`new${at}`, "later"))).to.equal("OK");
      await world.pass(15_000);
      const compared = await world.run(world.sight.compared(a!.index));
      expect(compared).to.deep.include({ members: 1, failed: 0, slotsDiffering: 0 });
      for (const machine of dead) world.noteGone(machine);
      world.close();
    }
  });

  it("of two builds answers, waits in words with what the older one lacks, and does it when that is upgraded", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, older, leaver] = await start({ seed, settings: { replicas: "3" } });
      older.kill();
      older.protocol = { min: 1, max: 1 };
      await world.bringUp(older);
      await world.run(under([a, b, c, older, leaver], pause(world.clock, 5_000)));
      const objection = await world.run(world.sight.tell(leaver.index, "LEAVE"));
      expect(objection).to.include(`member ${older.name} speaks protocol 1`).and.include("upgrade it first");
      const repair = await world.run(world.sight.compared(a.index));
      expect(repair).to.deep.include({ state: "done", failed: 1 });
      expect(repair?.complaint).to.equal("it speaks protocol 1, this call is of protocol 2: upgrade it first");
      const said = world.logLines.filter((line) => line.includes(`${a.name} warn: copies are not compared with ${older.name}`));
      expect(said).to.have.length(1);
      older.kill();
      older.protocol = null;
      await world.bringUp(older);
      await world.run(under([a, b, c], leave(world, leaver)), CONVERGENCE_MS_MAX);
      await judge();
      world.close();
    }
  });

  for (const replicas of ["1", "2", "3"]) {
    it(`replaces a dead member by one that takes over its tokens, where there are copies: ${replicas}`, async () => {
      for (let seed = 1; seed <= SEEDS; seed++) {
        const [a, b, c, dead, heir] = await start({ seed, latecomers: 1, settings: { replicas } });
        const deadId = await world.run(memberIdOf(world, dead));
        world.lose(dead, "kill");
        await world.run(under([a, b, c], replace(world, { dead, deadId, heir })), CONVERGENCE_MS_MAX);
        await judge();
        world.close();
      }
    });
  }

  it("replaces a member whose disk is lost by the same machine with an empty one", async () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const [a, b, c, d, dead] = await start({ seed, settings: { replicas: "3" } });
      const deadId = await world.run(memberIdOf(world, dead));
      world.lose(dead, "power loss");
      world.renew(dead, [a, b]);
      await world.run(under([a, b, c, d], replace(world, { dead, deadId, heir: dead })), CONVERGENCE_MS_MAX);
      await judge();
      world.close();
    }
  });
});
