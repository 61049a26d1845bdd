/** FLUSHDB and FLUSHALL in a ring of simulated machines. */
import { expect } from "chai";
import { slotOf } from "../../lib/bytes/slot.js";
import { clientPort, nodeName } from "../sim/cluster/node-flags.js";
import type { WireReply } from "../sim/cluster/sim-client.js";
import { named, Ring } from "./ring-clients.js";

describe("a flush of a whole ring", () => {
  let ring: Ring;

  afterEach(() => ring?.world.close());

  async function expectEmpty(nodes: readonly number[], keys: readonly string[]): Promise<void> {
    for (const node of nodes) {
      expect(await ring.ask(node, "DBSIZE"), `size from ${node}`).to.equal(0);
      expect(await ring.ask(node, "KEYS", "*"), `keys from ${node}`).to.deep.equal([]);
      expect(await ring.ask(node, "RANDOMKEY"), `random key from ${node}`).to.equal(null);
      for (const key of keys) {
        expect(await ring.ask(node, "GET", key), `${key} from ${node}`).to.equal(null);
        expect(await ring.ask(node, "CONSISTENCY", "ONE", "GET", key), `${key} at ${node}`).to.equal(null);
      }
    }
  }

  it("removes everything on every node at once, and leaves what is written afterwards", async () => {
    ring = await Ring.start({ nodes: 4, seed: 21 });
    const keys = named(200);
    await ring.fill(keys);
    await ring.ask(1, "SET", "expiring", "x", "EX", "1000");
    expect(await ring.ask(2, "FLUSHALL")).to.equal("OK");
    await expectEmpty([0, 1, 2, 3], ["expiring", ...keys.slice(0, 10)]);
    await ring.ask(3, "SET", "key:3", "again");
    await ring.ask(0, "APPEND", "key:4", "new");
    expect(await ring.ask(1, "SETNX", "key:5", "first")).to.equal(1);
    for (let node = 0; node < 4; node++) {
      expect(await ring.ask(node, "MGET", "key:3", "key:4", "key:5", "key:6")).to.deep.equal(["again", "new", "first", null]);
      expect(await ring.ask(node, "KEYS", "*")).to.have.members(["key:3", "key:4", "key:5"]);
    }
    await ring.world.pass(5_000);
    for (let node = 0; node < 4; node++) expect(await ring.ask(node, "DBSIZE")).to.equal(3);
    expect(await ring.ask(0, "FLUSHALL")).to.equal("OK");
    await expectEmpty([0, 1, 2, 3], ["key:3", "key:4", "key:5"]);
  });

  it("of one database leaves the others", async () => {
    ring = await Ring.start({ seed: 22 });
    await ring.fill(named(30));
    await ring.ask(1, "SELECT", "5");
    await ring.ask(1, "SET", "other", "x");
    await ring.ask(0, "FLUSHDB");
    await expectEmpty([0, 2], named(5));
    expect(await ring.ask(1, "GET", "other")).to.equal("x");
    expect(await ring.ask(1, "DBSIZE")).to.equal(1);
    await ring.ask(1, "FLUSHDB");
    expect(await ring.ask(1, "DBSIZE")).to.equal(0);
  });

  it("holds for a node that was away: what it has is dead when it is back, and what it writes then is not", async () => {
    ring = await Ring.start({ seed: 23 });
    const { world } = ring;
    const keys = named(60);
    await ring.fill(keys);
    const machine = world.node(nodeName(2));
    machine.kill();
    await world.pass(200);
    expect(await ring.ask(0, "FLUSHALL")).to.equal("OK");
    await ring.ask(1, "SET", "key:1", "new");
    await world.bringUp(machine);
    await world.allJoined({ withinMs: 60_000 });
    expect(await ring.ask(2, "CONSISTENCY", "ONE", "GET", "key:7")).to.equal(null);
    expect(await ring.ask(2, "CONSISTENCY", "ALL", "GET", "key:1")).to.equal("new");
    await ring.ask(2, "SET", "key:2", "from it");
    for (let node = 0; node < 3; node++) {
      expect(await ring.ask(node, "KEYS", "*")).to.have.members(["key:1", "key:2"]);
      expect(await ring.ask(node, "CONSISTENCY", "ALL", "GET", "key:2")).to.equal("from it");
      expect(await ring.ask(node, "CONSISTENCY", "ALL", "MGET", "key:3", "key:4")).to.deep.equal([null, null]);
    }
  });

  it("holds for a node that was cut off and did not know", async () => {
    ring = await Ring.start({ seed: 24 });
    const { world } = ring;
    await ring.fill(named(40));
    const cut = nodeName(0);
    world.network.sim.cutOff([cut], [nodeName(1), nodeName(2)]);
    await world.pass(6_000);
    expect(await ring.ask(1, "FLUSHALL")).to.equal("OK");
    // It still answers what it has, as ONE asks for.
    expect(await ring.ask(0, "CONSISTENCY", "ONE", "GET", "key:3")).to.equal("value of key:3");
    world.network.sim.heal();
    await world.allJoined({ withinMs: 60_000 });
    await world.pass(10_000);
    await expectEmpty([0, 1, 2], named(40).slice(0, 8));
    await ring.ask(0, "SET", "key:3", "new");
    for (let node = 0; node < 3; node++) expect(await ring.ask(node, "GET", "key:3")).to.equal("new");
  });

  it("stays when nodes restart before they have swept, and is given back as space", async () => {
    ring = await Ring.start({ seed: 25 });
    const { world } = ring;
    await ring.fill(named(100));
    expect(await ring.ask(0, "FLUSHALL")).to.equal("OK");
    for (const machine of world.machines) machine.kill();
    for (const machine of world.machines) await world.bringUp(machine);
    await world.allJoined({ withinMs: 60_000 });
    expect(await ring.ask(1, "KEYS", "*")).to.deep.equal([]);
    await world.pass(5_000);
    await expectEmpty([0, 1, 2], named(5));
    const stored = world.ledger.keys.filter((key) => world.ledger.ofKey(key).records.some((record) => record !== null));
    expect(stored).to.deep.equal([]);
  });

  it("does nothing when no majority can be reached, and says so", async () => {
    ring = await Ring.start({ seed: 26 });
    await ring.fill(named(20));
    ring.kill(1);
    ring.kill(2);
    await ring.world.pass(3_000);
    const failure = await ring.ask(0, "FLUSHALL").catch((error: Error) => error.message);
    expect(failure).to.equal("QUORUM flush reached 1 of 2 members; nothing was removed");
    expect(await ring.ask(0, "CONSISTENCY", "ONE", "GET", "key:3")).to.equal("value of key:3");
    expect(await ring.ask(0, "DBSIZE")).to.equal(20);
  });

  it("leaves what is written while it is under way in one piece: there or not there, on every node", async () => {
    ring = await Ring.start({ nodes: 5, seed: 27 });
    const { world } = ring;
    const keys = named(120);
    await ring.fill(keys);
    const writes: Promise<WireReply>[] = [];
    const later: Promise<void>[] = [];
    for (let at = 0; at < 120; at++) {
      const write = async (): Promise<void> => {
        await new Promise<void>((resolve) => void world.clock.after(at / 8, resolve));
        writes.push(ring.send(at % 5, "SET", `key:${at}`, `new ${at}`));
      };
      later.push(write());
    }
    const flush = ring.send(3, "FLUSHALL");
    await world.run(Promise.all(later));
    await world.run(Promise.all(writes));
    expect(await world.run(flush)).to.equal("OK");
    await world.pass(10_000);
    const left: string[] = [];
    for (const [at, key] of keys.entries()) {
      const values = await Promise.all([0, 1, 2, 3, 4].map((node) => world.run(ring.send(node, "GET", key))));
      expect(new Set(values).size, `${key}: ${values.join()}`).to.equal(1);
      expect(values[0] === null || values[0] === `new ${at}`, `${key}: ${values[0]}`).to.equal(true);
      if (values[0] !== null) left.push(key);
    }
    expect(left).not.to.have.length(0);
    for (let node = 0; node < 5; node++) {
      expect(await ring.ask(node, "KEYS", "*")).to.have.members(left);
      expect(await ring.ask(node, "DBSIZE")).to.equal(left.length);
    }
  });

  it("does not come between the commands of an EXEC on its node", async () => {
    ring = await Ring.start({ seed: 28 });
    const { world } = ring;
    const other = new Ring(world);
    // An EXEC runs where its keys are decided on: keys that are decided on there.
    const ranges = (await ring.ask(0, "CLUSTER", "SLOTS")) as [number, number, [string, number]][];
    const isFirst = (key: string): boolean =>
      ranges.some(([first, last, [, port]]) => {
        const slot = slotOf(Buffer.from(key));
        return first <= slot && slot <= last && port === clientPort(0);
      });
    const tags = named(100, "{tag")
      .map((name) => `${name}}`)
      .filter((name) => isFirst(name))
      .slice(0, 12);
    expect(tags).to.have.length(12);
    for (const [round, tag] of tags.entries()) {
      const exec = (async (): Promise<WireReply> => {
        void ring.send(0, "MULTI");
        void ring.send(0, "SET", `${tag}a`, "x");
        for (let at = 0; at < 20; at++) void ring.send(0, "SET", `${tag}m${at}`, "x");
        void ring.send(0, "SET", `${tag}b`, "x");
        return ring.send(0, "EXEC");
      })();
      await world.pass(round / 6);
      const flush = other.send(0, "FLUSHALL");
      await world.run(Promise.all([exec, flush]));
      const [a, b] = (await ring.ask(1, "MGET", `${tag}a`, `${tag}b`)) as (string | null)[];
      expect(a, `round ${round}`).to.equal(b);
    }
  });
});
