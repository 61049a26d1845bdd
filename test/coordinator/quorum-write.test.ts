/** Writes at a quorum: who must have stored before the client is told, who stands in, and what is left behind for whom. */
import { expect } from "chai";
import type { Request } from "../../lib/coordinator/in-flight.js";
import type { OperatingError } from "../../lib/errors.js";
import { RingWorld } from "./ring-world.js";

describe("a write at a quorum", () => {
  it("is told once W owners have stored it, and reaches all of them", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    for (const [words, needed] of [
      ["ONE", 1],
      ["QUORUM", 2],
      ["ALL", 3],
      ["READ 1 WRITE 3", 3],
    ] as const) {
      const key = world.key(1);
      await world.run(world.client(1, words).set(key, "v"));
      const held = await Promise.all([1, 2, 3].map((number) => world.held(number, key)));
      expect(held.filter((values) => values[0] === "v").length, words).to.be.at.least(needed);
      await world.pass(10);
      await world.expectConverged([key]);
    }
  });

  it("is not told before the W-th owner has stored it", async () => {
    const world = await RingWorld.start({ nodes: 3, settings: { requestTimeoutMs: 500 } });
    const key = world.key(1);
    world.freeze(2);
    const failure = await world.failureOf(world.client(1, "ALL").set(key, "v"));
    expect([failure.code, failure.message]).to.deep.equal([
      "QUORUM",
      "write reached 2 of 3 replicas; it may still take effect",
    ]);
    await world.run(world.client(1, "QUORUM").set(key, "w"));
    expect(await world.held(3, key)).to.deep.equal(["w"]);
  });

  it("leaves marks for a dead member of three and nothing else, and they are handed over when it is back", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.kill(3);
    await world.pass(100);
    await world.run(world.client(1).set(key, "v"));
    await world.pass(3_000);
    expect([world.hintsAt(1), world.hintsAt(2)]).to.deep.equal([1, 0]);
    await world.restart(3);
    await world.untilNoHints();
    expect(await world.held(3, key)).to.deep.equal(["v"]);
    await world.expectConverged([key]);
  });

  it("counts no stand-in when it is strict, and does when it is sloppy", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.kill(2);
    await world.kill(3);
    await world.pass(100);
    const failure = await world.failureOf(world.client(1, "STRICT").set(key, "a"));
    expect(failure.message).to.equal("write reached 1 of 2 replicas; it may still take effect");
    await world.run(world.client(1, "SLOPPY").set(key, "b"));
    expect(world.hintsAt(4) + world.hintsAt(5)).to.be.at.least(2);
    expect(world.hintsAt(1)).to.equal(0);
    expect(await world.run(world.client(4).get(key))).to.equal("b");
    expect(await world.run(world.client(5).get(key))).to.equal("b");
    await world.restart(2);
    await world.restart(3);
    await world.untilNoHints();
    await world.expectConverged([key]);
  });

  it("counts an owner and its stand-in once between them", async () => {
    const world = await RingWorld.start({ nodes: 5, settings: { requestTimeoutMs: 500 } });
    const key = world.key(1, 2, 3);
    // 2 is slow enough to be stood in for, and answers then; 3 is frozen, and who would stand in for it is dead.
    await world.kill(5);
    await world.pass(100);
    world.freeze(3);
    world.network.setDelay(world.idOf(2), world.idOf(1), 150);
    const failure = await world.failureOf(world.client(1, "READ 1 WRITE 3").set(key, "v"));
    expect(failure.message).to.equal("write reached 2 of 3 replicas; it may still take effect");
    expect(world.hintsAt(4)).to.equal(1);
  });

  it("is answered within the hedge delay while an owner is frozen", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const keys = Array.from({ length: 60 }, () => world.key(1, 2, 3));
    for (const key of keys) await world.run(world.client(1).set(key, "v"));
    world.freeze(2);
    const times: number[] = [];
    for (const key of keys) times.push(await world.timeOf(world.client(1, "ALL").set(key, "w")));
    expect(Math.max(...times)).to.be.below(150);
    expect(times.sort((a, b) => a - b)[30]).to.be.below(20);
    for (const key of keys) expect(await world.held(3, key)).to.deep.equal(["w"]);
  });

  it("stored here by a disk that refuses is sent to nobody and answered IO", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1);
    await world.run(world.client(1).set(key, "old"));
    await world.pass(10);
    world.node(1).disk.faults.appendFailure = 1;
    const failure = await world.failureOf(world.client(1).set(key, "new"));
    expect(failure.code).to.equal("IO");
    await world.pass(100);
    for (const number of [1, 2, 3]) expect(await world.held(number, key)).to.deep.equal(["old"]);
    world.node(1).disk.faults.appendFailure = 0;
    await world.run(world.client(1).set(key, "newer"));
    expect(await world.run(world.client(2).values(key))).to.deep.equal(["newer"]);
  });

  it("reaches its quorum though the disk of one owner refuses", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1);
    world.node(2).disk.faults.appendFailure = 1;
    await world.run(world.client(1).set(key, "v"));
    expect((await world.failureOf(world.client(1, "ALL").set(key, "w"))).code).to.equal("QUORUM");
    world.node(2).disk.faults.appendFailure = 0;
    await world.untilNoHints();
    await world.expectConverged([key]);
  });

  it("is told under `always` only when W owners have synced it", async () => {
    const world = await RingWorld.start({ nodes: 3, settings: { fsync: "always" } });
    const key = world.key(1);
    for (const node of world.nodes) node.disk.faults.syncMsMax = 0;
    await world.run(world.client(1).set(key, "first"));
    for (const [slow, isTold] of [
      [[1], false],
      [[2, 3], false],
      [[3], true],
    ] as const) {
      for (const node of world.nodes) node.disk.faults.syncMsMax = (slow as readonly number[]).includes(node.number) ? 1e9 : 0;
      let told = false;
      const work = world
        .client(1)
        .set(key, "v")
        .then(
          () => {
            told = true;
          },
          () => undefined,
        );
      await world.pass(300);
      // Who coordinates answers nobody while its own disk hangs, since its replies wait for it.
      expect(told, `slow: ${slow}`).to.equal(isTold);
      if (slow[0] === 3) await world.run(work);
      else break;
    }
  });

  it("whose coordinator dies between its own store and the others' was acknowledged to nobody and leaves one history", async () => {
    const world = await RingWorld.start({ nodes: 3 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1).set(key, "old"));
    await world.pass(10);
    world.split(1);
    let outcome = "none";
    world
      .client(1)
      .set(key, "half")
      .then(
        () => (outcome = "told"),
        () => (outcome = "failed"),
      );
    await world.pass(5);
    expect(outcome).to.equal("none");
    await world.kill(1);
    // What was under way is lost with the connections.
    world.network.dropAll();
    world.heal();
    await world.pass(200);
    expect(await world.run(world.client(2).get(key))).to.equal("old");
    await world.restart(1);
    await world.pass(3_000);
    await world.run(world.client(1).set(key, "new"));
    await world.untilNoHints();
    await world.pass(100);
    expect(await world.run(world.client(3).values(key))).to.deep.equal(["new"]);
    await world.expectConverged([key]);
  });

  it("is refused with BUSY past the bound, before anything of it is done", async () => {
    const world = await RingWorld.start({ nodes: 3, settings: { queuedMax: 10 } });
    world.freeze(2);
    world.freeze(3);
    const keys = Array.from({ length: 12 }, () => world.key(1));
    const outcomes = await world.run(Promise.allSettled(keys.map((key) => world.client(1).set(key, "v"))));
    const codes = outcomes.map((outcome) => (outcome.status === "rejected" ? (outcome.reason as OperatingError).code : "OK"));
    expect(codes.filter((code) => code === "BUSY").length).to.equal(2);
    expect(await world.held(1, keys[11]!)).to.deep.equal([]);
  });

  it("hedges with nothing that the disk may still refuse", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(1, "ALL").set(key, "first"));
    for (const number of [2, 3]) world.freeze(number);
    const { inFlight } = world.node(1).context;
    const requests: Request[] = [];
    inFlight.add = (request: Request) => void requests.push(request);
    world
      .client(1)
      .set(key, "second")
      .catch(() => undefined);
    await world.pass(100);
    // In one turn: a write that the disk will refuse, and the hedge of the one before.
    world.node(1).disk.faults.appendFailure = 1;
    const refused = world.failureOf(world.client(1).set(key, "refused"));
    expect(requests[0]!.hedge(() => true)).to.equal(true);
    expect((await refused).code).to.equal("IO");
    await world.pass(5);
    const hinted = await Promise.all([4, 5].map((number) => world.hinted(number, key, 2, 3)));
    expect(hinted.flat().sort()).to.deep.equal(["second", "second"]);
  });

  it("of the longest key is kept for who is away, and a longer one is refused by whoever is asked", async () => {
    const world = await RingWorld.start({ nodes: 4, settings: { maxPairBytes: 2 ** 20 } });
    const longest = `{${world.key(1, 2, 3)}}`.padEnd(65_519, "k");
    await world.kill(2);
    await world.pass(100);
    for (const number of [1, 4]) {
      await world.run(world.client(number).set(longest, `of ${number}`));
      const failure = await world.failureOf(world.client(number).set(`${longest}k`, "v"));
      expect(failure.message).to.equal("the key takes 65520 bytes; the limit is 65519");
      expect(await world.run(world.client(number).get(`${longest}k`))).to.equal(null);
    }
    await world.restart(2);
    await world.untilNoHints();
    expect(await world.held(2, longest)).to.deep.equal(["of 4"]);
  });
});
