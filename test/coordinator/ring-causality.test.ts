/** What supersedes what in a ring: sequential writes through any nodes, concurrent ones, contexts, and removals. */
import { expect } from "chai";
import { mintAt, RingWorld } from "./ring-world.js";

const NODES = [1, 2, 3, 4, 5];

describe("sequential writes", () => {
  it("through any two nodes leave GET answering the last, on every node", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (const first of NODES) {
      for (const second of NODES) {
        const key = world.key(1, 2, 3);
        await world.run(world.client(first).set(key, "first"));
        await world.run(world.client(second).set(key, "second"));
        for (const reader of NODES) {
          expect(await world.run(world.client(reader).get(key)), `${first} ${second} ${reader}`).to.equal("second");
        }
      }
    }
  });

  it("leave GET answering the last though the clock of the second coordinator is behind, and one replica missed the first", async () => {
    for (const seconds of [30, 3_600]) {
      for (const second of [1, 3, 4]) {
        const world = await RingWorld.start({ nodes: 5 });
        const key = world.key(1, 2, 3);
        for (const number of [1, 3, 4, 5]) world.node(number).clock.wallAheadMs = -1_000 * seconds;
        world.node(3).clock.wallAheadMs = -1_000 * seconds - 5_000;
        // 1 hears of the first write late, so that it does not know of it when it coordinates the second.
        world.network.setDelay(world.idOf(2), world.idOf(1), 30);
        await world.run(world.client(2).set(key, "first"));
        await world.run(world.client(second).set(key, "second"));
        await world.pass(200);
        for (const reader of NODES) expect(await world.run(world.client(reader).get(key))).to.equal("second");
        expect(await world.run(world.client(5).values(key))).to.deep.equal(["second"]);
      }
    }
  });

  it("leave GET answering the last though both have one stamp", async () => {
    // Actors break ties: either order of the two.
    for (const [first, second] of [
      [1, 2],
      [2, 1],
    ] as const) {
      const world = await RingWorld.start({ nodes: 3, delayMs: 0.1 });
      const key = world.key(1, 2, 3);
      world.network.setDelay(world.idOf(first), world.idOf(second), 30);
      await world.pass(1 - (world.clock.monotonicMs() % 1));
      await world.run(world.client(first).set(key, "first"));
      await world.run(world.client(second).set(key, "second"));
      for (const reader of [1, 2, 3]) expect(await world.run(world.client(reader).get(key))).to.equal("second");
    }
  });

  it("leave GET answering the last though the second coordinator has to read it to make it so", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "before"));
    for (const number of [2, 3]) {
      world.node(number).clock.wallAheadMs = 10_000;
      mintAt(world, number, key, `at ${number}`);
    }
    await world.pass(5);
    const { store } = world.node(1);
    store.readMsMax = 5;
    const written = world.client(1).set(key, "last");
    store.coldness = 1;
    await world.run(written);
    store.coldness = 0;
    for (const reader of [1, 2, 3]) expect(await world.run(world.client(reader).get(key))).to.equal("last");
  });

  it("through one node leave one version, whether it keeps a copy or not", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (const number of NODES) {
      const key = world.key(1, 2, 3);
      const client = world.client(number);
      await world.run(client.set(key, "a"));
      await world.run(client.set(key, "b"));
      world.split(number === 1 ? 3 : 1);
      await world.run(client.set(key, "c"));
      world.heal();
      await world.pass(3_000);
      await world.run(client.set(key, "d"));
      await world.pass(50);
      expect(await world.run(world.client(2).values(key)), `through ${number}`).to.deep.equal(["d"]);
    }
  });

  it("supersede what was read before through the same node, whether it keeps a copy or not", async () => {
    for (const number of [1, 3, 4]) {
      const world = await RingWorld.start({ nodes: 4 });
      const key = world.key(1, 2, 3);
      world.split(2);
      await world.run(world.client(2, "ONE").set(key, "alone"));
      await world.pass(5);
      await world.run(world.client(number, "ONE").set(key, "others"));
      world.heal();
      await world.pass(3_000);
      const client = world.client(number, "ALL");
      expect(await world.run(client.values(key))).to.deep.equal(["others", "alone"]);
      await world.run(client.set(key, "resolved"));
      await world.pass(50);
      expect(await world.run(world.client(2, "ALL").values(key)), `through ${number}`).to.deep.equal(["resolved"]);
    }
  });
});

describe("concurrent writes", () => {
  it("through nodes that cannot see each other leave exactly two siblings, which heal into one record", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1).set(key, "before"));
    await world.pass(20);
    world.split(1, 4);
    await world.pass(10);
    await world.run(world.client(4).set(key, "left"));
    await world.run(world.client(5).set(key, "right"));
    world.heal();
    await world.pass(3_000);
    await world.untilNoHints();
    for (const reader of NODES) {
      expect((await world.run(world.client(reader, "ALL").values(key))).sort()).to.deep.equal(["left", "right"]);
    }
    await world.expectConverged([key]);
    expect((await world.failureOf(world.client(4, "CONFLICTS ERROR").get(key))).message).to.contain("2 siblings");
  });

  it("with a context keep what it has not seen, and supersede what it has, through every node", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (const number of NODES) {
      const key = world.key(1, 2, 3);
      await world.run(world.client(1).set(key, "seen"));
      const { context } = (await world.run(world.client(number).siblings(key)))!;
      await world.run(world.client(2).set(key, "unseen"));
      await world.run(world.client(number).setWithContext(key, "mine", context));
      await world.pass(20);
      expect((await world.run(world.client(3).values(key))).sort(), `through ${number}`).to.deep.equal(["mine", "unseen"]);
    }
  });

  it("that a stand-in makes stay beside what it made before and has handed over since", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "first"));
    const { context } = (await world.run(world.client(4).siblings(key)))!;
    const old = (await world.run(world.node(2).lsm.read(world.dataKey(key))))!;
    const { hints } = world.node(4);
    for (const value of ["a", "b"]) {
      world.split(4, 5);
      await world.pass(6_000);
      // What it keeps of the key for an owner, and others gave it, knows nothing of what it made itself.
      if (value === "b") hints.keep(world.idOf(2), world.dataKey(key), old, 0, old.length);
      await world.run(world.client(4).setWithContext(key, value, context));
      world.heal();
      await world.pass(5_000);
      await world.untilNoHints();
    }
    expect((await world.run(world.client(1, "ALL").values(key))).sort()).to.deep.equal(["a", "b"]);
  });

  it("follow the table of the design: D1 to D5", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    const clockOf = (record: { versions: readonly { clock: string; value: string | null }[] }, value: string): string[] =>
      record.versions
        .find((version) => version.value === value)!
        .clock.split(" ")
        .map((entry) => entry.split(":")[0]!);
    await world.run(world.client(1).set(key, "D1"));
    await world.run(world.client(1).get(key));
    await world.run(world.client(1).set(key, "D2"));
    const seen = (await world.run(world.client(3).siblings(key)))!;
    expect(seen.values).to.deep.equal(["D2"]);
    expect(clockOf(seen, "D2")).to.deep.equal(["n1"]);
    await world.run(world.client(2).setWithContext(key, "D3", seen.context));
    await world.run(world.client(3).setWithContext(key, "D4", seen.context));
    const both = (await world.run(world.client(1, "ALL").siblings(key)))!;
    expect([...both.values].sort()).to.deep.equal(["D3", "D4"]);
    expect(clockOf(both, "D3").sort()).to.deep.equal(["n1", "n2"]);
    expect(clockOf(both, "D4").sort()).to.deep.equal(["n1", "n3"]);
    await world.run(world.client(1).setWithContext(key, "D5", both.context));
    const last = (await world.run(world.client(2, "ALL").siblings(key)))!;
    expect(last.values).to.deep.equal(["D5"]);
    expect(clockOf(last, "D5").sort()).to.deep.equal(["n1", "n2", "n3"]);
  });

  it("do not make more siblings than siblings-max, whoever is asked", async () => {
    const world = await RingWorld.start({ nodes: 5, settings: { siblingsMax: 3 } });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1).set(key, "first"));
    const { context } = (await world.run(world.client(1).siblings(key)))!;
    for (const [at, number] of [1, 4, 2].entries()) {
      await world.run(world.client(number).setWithContext(key, `v${at}`, context));
      await world.pass(20);
    }
    for (const number of NODES) {
      const failure = await world.failureOf(world.client(number).setWithContext(key, "more", context));
      expect(failure.code, failure.message).to.equal("ARGUMENT");
      expect(failure.message).to.contain("siblings-max 3");
    }
    await world.pass(20);
    expect((await world.run(world.client(3, "ALL").values(key))).length).to.equal(3);
  });

  it("under one write id are one sibling, also to CONFLICTS ERROR", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    for (const number of [1, 2]) mintAt(world, number, key, "once", "the same");
    expect(await world.run(world.client(3, "ALL").values(key))).to.deep.equal(["once"]);
    expect(await world.run(world.client(3, "ALL CONFLICTS ERROR").get(key))).to.equal("once");
    expect(await world.run(world.client(1, "CONFLICTS ERROR").append(key, "!"))).to.equal(5);
    await world.pass(20);
    expect(await world.run(world.client(3, "ALL").values(key))).to.deep.equal(["once!"]);
  });
});

describe("a removal", () => {
  it("takes effect through every node, also where that lacks the key", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (const number of NODES) {
      const key = world.key(1, 2, 3);
      // 1 and 3 lack it.
      mintAt(world, 2, key, "v");
      const isRemoved = await world.run(world.client(number, "ALL").del(key));
      expect(isRemoved, `through ${number}`).to.equal(true);
      await world.pass(3_000);
      for (const reader of NODES) expect(await world.run(world.client(reader, "ALL").get(key))).to.equal(null);
      expect(await world.run(world.client(1, "ALL").values(key)), `through ${number}`).to.deep.equal([null]);
    }
  });

  it("of what is not there stores nothing and says so", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    for (const number of NODES) {
      const key = world.key(1, 2, 3);
      expect(await world.run(world.client(number).del(key))).to.equal(false);
      for (const owner of [1, 2, 3]) expect(await world.held(owner, key)).to.deep.equal([]);
    }
  });

  it("is not undone by an owner that was away", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "v"));
    await world.kill(3);
    await world.pass(50);
    expect(await world.run(world.client(2).del(key))).to.equal(true);
    await world.restart(3);
    await world.pass(1);
    for (const reader of [1, 2, 3]) expect(await world.run(world.client(reader).get(key))).to.equal(null);
    await world.untilNoHints();
    await world.expectConverged([key]);
  });
});
