/** Two data centres of three nodes, 25 ms one way between them: 1, 3, 5 in dc1 and 2, 4, 6 in dc2. */
import { expect } from "chai";
import { RingWorld } from "./ring-world.js";

const NEAR = [1, 3, 5];
const FAR = [2, 4, 6];

describe("two data centres", () => {
  const start = (nodes = 6): Promise<RingWorld> => RingWorld.start({ nodes, centres: 2 });

  const value = "v".repeat(1_000);

  for (const words of ["LOCAL_ONE", "LOCAL_QUORUM"]) {
    it(`writes and reads at ${words} wait for nothing across the link, from owners and through others`, async () => {
      const world = await start(10);
      for (const number of [1, 2, 3]) {
        const client = world.client(number, words);
        for (let count = 0; count < 5; count++) {
          const key = world.key();
          expect(await world.timeOf(client.set(key, "a"))).to.be.below(10);
          expect(await world.timeOf(client.get(key))).to.be.below(10);
          expect(await world.run(client.incr(world.key()))).to.equal(1);
          expect(await world.timeOf(client.incr(world.key()))).to.be.below(10);
          expect(await world.timeOf(client.setnx(key, "b"))).to.be.below(10);
          expect(await world.timeOf(client.del(key))).to.be.below(10);
        }
      }
    });
  }

  it("QUORUM takes one round across the link, EACH_QUORUM too, and ONE none", async () => {
    const world = await start();
    const key = world.key();
    expect(await world.timeOf(world.client(1, "QUORUM").set(key, "a"))).to.be.within(50, 60);
    expect(await world.timeOf(world.client(1, "EACH_QUORUM").set(key, "b"))).to.be.within(50, 60);
    expect(await world.timeOf(world.client(1, "QUORUM").get(key))).to.be.within(50, 60);
    expect(await world.timeOf(world.client(1, "EACH_QUORUM").get(key))).to.be.within(50, 60);
    expect(await world.timeOf(world.client(1, "ONE").set(key, "c"))).to.be.below(5);
    expect(await world.timeOf(world.client(1, "ONE").get(key))).to.be.below(5);
  });

  for (const words of ["LOCAL_QUORUM", "QUORUM", "EACH_QUORUM", "ALL"]) {
    it(`a write at ${words} crosses the link once, whether alone or one of many, and reaches all copies`, async () => {
      const world = await start();
      for (const count of [1, 20]) {
        await world.pass(1_000);
        const before = FAR.reduce((sum, number) => sum + world.node(number).relays.relayed, 0);
        const keys = Array.from({ length: count }, () => world.key());
        const bytesBefore = world.bytesCrossed;
        await world.runAll(keys.map((key) => world.client(1, words).set(key, value)));
        await world.pass(200);
        const bytes = world.bytesCrossed - bytesBefore;
        expect(bytes).to.be.within(1_000 * count, 1_200 * count + 1_500);
        expect(FAR.reduce((sum, number) => sum + world.node(number).relays.relayed, 0)).to.be.above(before);
        for (const key of keys)
          for (const number of [...NEAR, ...FAR]) expect(await world.held(number, key)).to.deep.equal([value]);
        expect(world.nodes.map(({ hints }) => hints.count)).to.deep.equal([0, 0, 0, 0, 0, 0]);
      }
    });
  }

  it("it crosses once also where the members over there have to look at their disks first", async () => {
    const world = await start();
    for (const number of FAR) world.node(number).store.coldness = 1;
    for (const number of FAR) world.node(number).store.readMsMax = 5;
    const before = world.bytesCrossed;
    const keys = Array.from({ length: 20 }, () => world.key());
    await world.runAll(keys.map((key) => world.client(1, "EACH_QUORUM").set(key, value)));
    await world.pass(200);
    expect(world.bytesCrossed - before).to.be.within(20_000, 26_000);
    for (const number of FAR) world.node(number).store.coldness = 0;
    for (const key of keys) for (const number of FAR) expect(await world.held(number, key)).to.deep.equal([value]);
  });

  it("a record too long to travel with others crosses once, too", async () => {
    const world = await RingWorld.start({ nodes: 6, centres: 2, settings: { maxPairBytes: 131_072 } });
    const before = world.bytesCrossed;
    const key = world.key();
    await world.run(world.client(1, "ALL").set(key, "x".repeat(100_000)));
    expect(world.bytesCrossed - before).to.be.within(100_000, 103_000);
    for (const number of FAR) expect(await world.held(number, key)).to.deep.equal(["x".repeat(100_000)]);
  });

  it("a relay that dies between leaves no owner without the record, and fails no request", async () => {
    // Each is the relay of some writes.
    for (const [words, relay] of FAR.flatMap(
      (number) =>
        [
          ["LOCAL_QUORUM", number],
          ["QUORUM", number],
        ] as const,
    )) {
      const world = await start();
      const keys = Array.from({ length: 30 }, () => world.key());
      const writes = keys.map((key) => world.client(1, words).set(key, value));
      // What was sent is under way.
      await world.pass(10);
      await world.kill(relay);
      await world.runAll(writes);
      await world.pass(3_000);
      await world.restart(relay);
      await world.untilNoHints();
      await world.pass(1_000);
      await world.expectConverged(keys);
    }
  });

  it("a member that the relay cannot reach is reported, and gets the record by its hint", async () => {
    const world = await start();
    world.cut([2], [4, 6]);
    const keys = Array.from({ length: 10 }, () => world.key());
    for (const key of keys) expect(await world.timeOf(world.client(1, "LOCAL_QUORUM").set(key, value))).to.be.below(10);
    await world.pass(3_000);
    for (const key of keys) await world.run(world.client(1, "EACH_QUORUM").set(key, "b"));
    world.heal();
    await world.pass(10_000);
    await world.untilNoHints();
    await world.expectConverged(keys);
  });

  it("a stopped member elsewhere delays no local write, and no EACH_QUORUM beyond the others there", async () => {
    const world = await start();
    await world.run(world.client(1, "EACH_QUORUM").set(world.key(), "a"));
    for (const stopped of FAR) {
      world.freeze(stopped);
      for (let count = 0; count < 8; count++) {
        expect(await world.timeOf(world.client(1, "LOCAL_QUORUM").set(world.key(), "a"))).to.be.below(10);
        expect(await world.timeOf(world.client(3, "EACH_QUORUM").set(world.key(), "a"))).to.be.below(350);
        await world.pass(100);
      }
      world.thaw(stopped);
      await world.pass(5_000);
      await world.untilNoHints();
    }
  });

  it("with the link cut both go on at LOCAL_QUORUM at once, QUORUM and EACH_QUORUM fail, and all is equal when it is back", async () => {
    const world = await start();
    const keys = Array.from({ length: 10 }, () => world.key());
    for (const key of keys) await world.run(world.client(1, "ALL").set(key, "before"));
    world.split(...NEAR);
    for (const [at, key] of keys.entries()) {
      for (const [number, what] of [
        [1, "one"],
        [2, "other"],
      ] as const) {
        if (what === "other" && at >= 5) continue;
        const client = world.client(number, "LOCAL_QUORUM");
        expect(await world.timeOf(client.set(key, what))).to.be.below(10);
        expect(await world.timeOf(client.get(key))).to.be.below(10);
        expect(await world.run(client.get(key))).to.equal(what);
        const counter = `count-${key}-${what}`;
        expect(await world.timeOf(client.incr(counter))).to.be.below(10);
        expect(await world.run(client.incr(counter))).to.equal(2);
        await world.pass(500);
      }
    }
    expect((await world.failureOf(world.client(1, "QUORUM").set(keys[0]!, "c"))).code).to.equal("QUORUM");
    expect((await world.failureOf(world.client(1, "EACH_QUORUM").get(keys[0]!))).code).to.equal("QUORUM");
    world.heal();
    await world.pass(10_000);
    await world.untilNoHints();
    await world.expectConverged(keys);
    for (const [at, key] of keys.entries()) {
      const values = await world.run(world.client(3, "QUORUM").values(key));
      if (at === 0) expect(values).to.include("other");
      else expect(values.sort()).to.deep.equal(at < 5 ? ["one", "other"] : ["one"]);
    }
  });

  it("decisions at LOCAL levels are made in each data centre, and at all others at one place for both", async () => {
    const world = await start();
    const local = world.key();
    const both = await world.runAll([1, 2].map((number) => world.client(number, "LOCAL_QUORUM").incr(local)));
    expect(both).to.deep.equal([1, 1]);
    await world.pass(500);
    expect(await world.run(world.client(1, "QUORUM").values(local))).to.deep.equal(["1", "1"]);
    for (const words of ["QUORUM", "EACH_QUORUM", "ONE"]) {
      const shared = world.key();
      const numbers = await world.runAll([1, 2, 3, 4, 5, 6].map((number) => world.client(number, words).incr(shared)));
      expect(numbers.sort()).to.deep.equal([1, 2, 3, 4, 5, 6]);
      expect(await world.run(world.client(5, "QUORUM").values(shared))).to.deep.equal(["6"]);
    }
  });

  it("a stand-in of the same data centre counts at LOCAL levels, one elsewhere for QUORUM and ONE only", async () => {
    const world = await start(8);
    const key = world.key();
    const spare = NEAR.concat(7).find((number) => !world.ownersOf(key).includes(number))!;
    const owners = world.ownersOf(key).filter((number) => world.centreOf(number) === "dc1");
    for (const number of owners.slice(0, 2)) await world.kill(number);
    const asked = owners[2]!;
    await world.run(world.client(asked, "LOCAL_QUORUM").set(key, "a"));
    expect((await world.hinted(spare, key, ...owners.slice(0, 2))).length).to.be.above(0);
    await world.kill(spare);
    await world.pass(3_000);
    const failure = await world.failureOf(world.client(asked, "LOCAL_QUORUM").set(key, "b"));
    expect([failure.code, failure.message]).to.deep.equal([
      "QUORUM",
      "write reached 1 of 2 replicas (too few in dc1); it may still take effect",
    ]);
    const each = await world.failureOf(world.client(asked, "EACH_QUORUM").set(key, "b"));
    expect(each.message).to.equal("write reached 3 of 4 replicas (too few in dc1); it may still take effect");
    expect((await world.failureOf(world.client(asked, "EACH_QUORUM").get(key))).message).to.equal(
      "read reached 3 of 4 replicas (too few in dc1)",
    );
    await world.run(world.client(asked, "QUORUM").set(key, "c"));
    expect(await world.run(world.client(2, "LOCAL_QUORUM").get(key))).to.equal("c");
  });

  it("QUORUM survives a lost data centre where enough nodes of the other are no replicas", async () => {
    const world = await start(10);
    const lost = [2, 4, 6, 8, 10];
    for (const number of lost) await world.kill(number);
    await world.pass(3_000);
    for (let count = 0; count < 5; count++) {
      const key = world.key();
      await world.run(world.client(1, "QUORUM SLOPPY").set(key, "a"));
      expect(await world.run(world.client(3, "QUORUM SLOPPY").get(key))).to.equal("a");
      expect((await world.failureOf(world.client(1, "QUORUM STRICT").set(key, "b"))).code).to.equal("QUORUM");
    }
  });
});
