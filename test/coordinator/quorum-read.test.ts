/** Reads at a quorum: what they find, whom they repair before they answer, and what they do while members are slow. */
import { expect } from "chai";
import { CONTEXT } from "../../lib/causality/record-format.js";
import { mintAt, RingWorld } from "./ring-world.js";

/** Has only these nodes store a value, acknowledged at ONE. */
async function setAt(world: RingWorld, number: number, key: string, value: string): Promise<void> {
  world.split(number);
  await world.run(world.client(number, "ONE").set(key, value));
  await world.pass(5);
}

describe("a read at a quorum", () => {
  it("sees every acknowledged write whichever single member fails before it and after it", async () => {
    for (const strictness of ["STRICT", "SLOPPY"]) {
      for (const before of [1, 2, 3]) {
        for (const after of [1, 2, 3]) {
          const world = await RingWorld.start({ nodes: 3, seed: 10 * before + after });
          const key = world.key(1, 2, 3);
          world.split(before);
          await world.pass(50);
          const writer = before === 1 ? 2 : 1;
          await world.run(world.client(writer, strictness).set(key, "v"));
          world.heal();
          world.split(after);
          for (const reader of [1, 2, 3]) {
            if (reader === after) continue;
            expect(await world.run(world.client(reader, strictness).get(key)), `${before} ${after} ${reader}`).to.equal("v");
          }
        }
      }
    }
  });

  it("repairs the stale replica before it answers, and only that one", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "old"));
    await setAt(world, 1, key, "new");
    world.heal();
    const stored = world.nodes.map(({ service }) => service.stored);
    // 1 is still marked as lacking links; let 3 read from 1 and itself.
    world.split(2);
    expect(await world.run(world.client(3, "STRICT").get(key))).to.equal("new");
    expect(await world.held(3, key)).to.deep.equal(["new"]);
    expect(await world.held(2, key)).to.deep.equal(["old"]);
    expect(world.node(1).service.stored).to.equal(stored[0]);
  });

  it("of a coordinator that keeps no copy repairs the stale replica before it answers", async () => {
    const world = await RingWorld.start({ nodes: 4 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "old"));
    await setAt(world, 2, key, "new");
    world.heal();
    await world.kill(3);
    await world.pass(100);
    expect(await world.run(world.client(4, "STRICT").get(key))).to.equal("new");
    expect(await world.held(1, key)).to.deep.equal(["new"]);
  });

  it("fails when what it found cannot be brought to as many as it asked", async () => {
    const world = await RingWorld.start({ nodes: 3, settings: { requestTimeoutMs: 500 } });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "old"));
    await setAt(world, 1, key, "new");
    world.heal();
    world.split(3);
    world.node(2).disk.faults.appendFailure = 1;
    const failure = await world.failureOf(world.client(1, "STRICT").get(key));
    expect(failure.code).to.equal("QUORUM");
    expect(failure.message).to.contain("too few could be brought up to date");
  });

  it("does not give a repair up while this node's own copy and another member are being brought up to date", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    // Each of the two that are asked lacks what the other has.
    for (const number of [1, 2]) mintAt(world, number, key, `at ${number}`);
    await world.pass(5);
    const { replica } = world.node(1);
    const { mergeRead } = replica;
    const [, second, third] = world.nodes.map(({ id }) => id);
    replica.mergeRead = async (...args) => {
      // It lasts: meanwhile 2 is late, 3 is brought there besides, and then 2 answers that its disk refused.
      world.node(2).disk.faults.appendFailure = 1;
      world.network.setDelay(second!, world.idOf(1), 200);
      world.network.setDelay(third!, world.idOf(1), 250);
      await new Promise<void>((resolve) => world.node(1).clock.after(600, resolve));
      return mergeRead.apply(replica, args);
    };
    const read = world.client(1).values(key);
    expect((await world.run(read)).sort()).to.deep.equal(["at 1", "at 2"]);
  });

  it("does not ask more members than it needs, nor repairs what agrees", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "v"));
    const given = world.nodes.map(({ service }) => service.given);
    const stored = world.nodes.map(({ service }) => service.stored);
    expect(await world.run(world.client(4).get(key))).to.equal("v");
    expect(await world.run(world.client(1).get(key))).to.equal("v");
    await world.pass(100);
    expect(world.nodes.map(({ service }, at) => service.given - given[at]!)).to.deep.equal([1, 2, 0, 0, 0]);
    expect(world.nodes.map(({ service }) => service.stored)).to.deep.equal(stored);
  });

  it("asks one more for each that is slow, not two", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "v"));
    world.freeze(2);
    const given = world.nodes.map(({ service }) => service.given);
    expect(await world.timeOf(world.client(1).get(key))).to.be.below(120);
    await world.pass(100);
    expect(world.nodes.map(({ service }, at) => service.given - given[at]!)).to.deep.equal([0, 0, 1, 0, 0]);
  });

  it("takes no longer than the hedge delay while one peer is frozen, and soon no longer than ever", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const keys = Array.from({ length: 50 }, () => world.key(1));
    for (const key of keys) await world.run(world.client(1).set(key, "v"));
    world.freeze(2);
    const times: number[] = [];
    for (const key of keys) times.push(await world.timeOf(world.client(1).get(key)));
    expect(Math.max(...times)).to.be.below(120);
    expect(times.sort((a, b) => a - b)[25]).to.be.below(5);
  });

  it("finds what only stand-ins keep when it is sloppy, and says so when it is strict", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    world.split(2, 3);
    await world.pass(10);
    await world.run(world.client(1).set(key, "v"));
    await world.kill(1);
    await world.pass(100);
    expect(await world.run(world.client(4).get(key))).to.equal("v");
    expect(await world.run(world.client(5).values(key))).to.deep.equal(["v"]);
    const failure = await world.failureOf(world.client(4, "STRICT").get(key));
    expect([failure.code, failure.message]).to.deep.equal(["QUORUM", "read reached 0 of 2 replicas"]);
  });

  it("waits for the only owner when the stand-in that was asked besides keeps nothing", async () => {
    const world = await RingWorld.start({ nodes: 3, replicas: 1 });
    const key = world.key(1);
    await world.run(world.client(2, "ONE").set(key, "v"));
    world.freeze(1);
    const read = world.client(2, "ONE SLOPPY").get(key);
    await world.pass(400);
    world.thaw(1);
    expect(await world.run(read)).to.equal("v");
  });

  it("asks another owner when this node's own disk hangs", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "v"));
    world.node(1).store.coldness = 1;
    world.node(1).store.readMsMax = 1e9;
    expect(await world.timeOf(world.client(1).get(key))).to.be.below(150);
    expect(await world.run(world.client(1).get(key))).to.equal("v");
  });

  it("asks another owner when the disk of one hangs", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "v"));
    world.node(2).store.coldness = 1;
    world.node(2).store.readMsMax = 1e9;
    expect(await world.timeOf(world.client(1).get(key))).to.be.below(150);
  });

  it("agrees where every look at the disk has to wait", async () => {
    const world = await RingWorld.start({ nodes: 5, seed: 3 });
    for (const node of world.nodes) {
      node.store.coldness = 0.7;
      node.store.readMsMax = 3;
    }
    for (let at = 0; at < 40; at++) {
      const key = world.key();
      await world.run(world.client((at % 5) + 1).set(key, `v${at}`));
      await world.run(world.client(((at + 2) % 5) + 1).set(key, `w${at}`));
      expect(await world.run(world.client(((at + 3) % 5) + 1).get(key))).to.equal(`w${at}`);
      expect((await world.run(world.client(((at + 4) % 5) + 1).values(key)))[0]).to.equal(`w${at}`);
    }
  });

  it("judges expiry by the answering node's clock alone, and causes no repair", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    const expiryMs = world.clock.wallMs() + 10_000;
    world.node(3).clock.wallAheadMs = 20_000;
    await world.run(world.client(1).set(key, "v", expiryMs));
    await world.pass(10);
    const stored = world.nodes.map(({ service }) => service.stored);
    expect(await world.run(world.client(1).get(key))).to.equal("v");
    expect(await world.run(world.client(2, "ALL").get(key))).to.equal("v");
    expect(await world.run(world.client(3, "ALL").get(key))).to.equal(null);
    expect(world.nodes.map(({ service }) => service.stored)).to.deep.equal(stored);
    await world.pass(10_000);
    expect(await world.run(world.client(1, "ALL").get(key))).to.equal(null);
  });

  it("is refused, and its node lives on, when a member gives a record that cannot be read", async () => {
    const world = await RingWorld.start({ nodes: 3, settings: { requestTimeoutMs: 300 } });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "v"));
    const { lsm } = world.node(2);
    const good = (await world.run(lsm.read(world.dataKey(key))))!;
    const ofLaterType = Buffer.from(good);
    ofLaterType[2]! |= 15;
    const withoutContext = Buffer.from(good);
    withoutContext[1]! |= CONTEXT;
    for (const bad of [Buffer.from("nonsense that is no record at all"), ofLaterType, withoutContext]) {
      lsm.put(world.dataKey(key), bad, 0, bad.length);
      await world.pass(5);
      const outcome = await world.run(
        world
          .client(3, "READ 3 WRITE 3 STRICT")
          .get(key)
          .catch((error: Error) => error.message),
      );
      expect(outcome).to.match(/reached 2 of 3|not known|cut off/);
      expect(await world.run(world.client(1, "ONE").get(key))).to.equal("v");
    }
  });

  it("is not shown what the disk of a member may still refuse", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "old"));
    const shown: (string | null)[] = [];
    const answers = world.client(1, "ALL").get(key);
    // Its READ is there when node 2 stores something in the same turn.
    world.network.freeze(world.idOf(2));
    await world.pass(1);
    world.node(2).disk.faults.appendFailure = 1;
    world.network.thaw(world.idOf(2));
    const refused = world.client(2, "ONE").set(key, "refused");
    expect((await world.failureOf(refused)).code).to.equal("IO");
    await world.run(
      answers.then(
        (value) => shown.push(value),
        () => undefined,
      ),
    );
    expect(shown).to.not.include("refused");
    expect(await world.held(3, key)).to.deep.equal(["old"]);
  });
});
