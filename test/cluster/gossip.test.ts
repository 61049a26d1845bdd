import { expect } from "chai";
import { contentsOf, GossipWorld, idOf } from "./gossip-world.js";

/** Nobody living holds another living one for anything but up, and all know each other. */
function isConverged(world: GossipWorld): boolean {
  const living = world.living();
  return living.every(
    (by) =>
      world.gossip(by).membership.size >= living.length &&
      living.every((of) => world.gossip(by).membership.get(idOf(of)) !== null && world.status(by, of) === "up"),
  );
}

function all(world: GossipWorld, of: number, status: string): boolean {
  return world.views(of).every((view) => view === status);
}

describe("gossip", () => {
  for (const count of [2, 3, 10, 40]) {
    it(`${count} members that know one seed soon know each other`, async () => {
      const world = GossipWorld.of(count, { seed: count });
      await world.until(() => isConverged(world), 10_000);
      await world.advance(10_000);
      expect(isConverged(world)).to.equal(true);
      expect(world.events).to.have.length(0);
    });
  }

  for (const count of [2, 3, 10]) {
    it(`of ${count} members a killed one is down everywhere in time, and up again in its new generation`, async () => {
      const world = GossipWorld.of(count, { seed: 7 * count });
      await world.advance(15_000);
      const victim = count - 1;
      world.kill(victim);
      const tookMs = await world.until(() => all(world, victim, "down"), 20_000);
      expect(tookMs).to.be.below(world.gossip(0).suspectAfterMs + 6_000);
      expect(tookMs).to.be.above(world.gossip(0).suspectAfterMs - 2_000);
      await world.advance(30_000);
      expect(all(world, victim, "down")).to.equal(true);
      const before = world.gossip(0).membership.get(idOf(victim))!.generation;
      world.start(victim);
      await world.until(() => isConverged(world), 10_000);
      expect(world.gossip(0).membership.get(idOf(victim))!.generation).to.be.above(before);
    });
  }

  it("a newcomer tells three of its seeds in its first round: they need not hear of it from each other", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = GossipWorld.of(3, { seed });
      await world.until(() => isConverged(world), 10_000);
      const newcomer = 3;
      world.passes = (from, to) => from === to || (from === newcomer) !== (to === newcomer);
      const gossip = world.start(newcomer, world.clock.wallMs(), [0, 1, 2]);
      await world.until(() => gossip.membership.self.heartbeat > 1, 2_000);
      await world.advance(100);
      for (const member of [0, 1, 2]) expect(world.gossip(member).membership.get(idOf(newcomer))).not.to.equal(null);
    }
  });

  it("a killed seed comes back to members that only it had introduced", async () => {
    const world = GossipWorld.of(4, { seed: 3 });
    await world.advance(10_000);
    world.kill(0);
    await world.until(() => all(world, 0, "down"), 20_000);
    world.start(0);
    await world.until(() => isConverged(world), 15_000);
  });

  it("a member stopped for 20 s is down for the others and marks nobody when it wakes", async () => {
    for (const seed of [1, 2, 3]) {
      const world = GossipWorld.of(6, { seed });
      await world.advance(15_000);
      world.pause(5);
      await world.advance(20_000);
      expect(world.living().filter((by) => by !== 5 && world.status(by, 5) === "down")).to.have.length(5);
      world.resume(5);
      await world.until(() => isConverged(world), 5_000);
      await world.advance(30_000);
      expect(world.events.filter(({ by }) => by === 5)).to.have.length(0);
      expect(isConverged(world)).to.equal(true);
    }
  });

  for (const { count, cut } of [
    { count: 2, cut: 1 },
    { count: 3, cut: 2 },
    { count: 7, cut: 6 },
  ]) {
    it(`of ${count} members one is cut off: each side holds the other for down, until it heals`, async () => {
      const world = GossipWorld.of(count, { seed: count });
      await world.advance(10_000);
      world.passes = (from, to) => (from === cut) === (to === cut);
      await world.advance(25_000);
      for (const other of world.living().filter((member) => member !== cut)) {
        expect(world.status(other, cut)).to.equal("down");
        expect(world.status(cut, other)).to.equal("down");
      }
      for (const a of world.living())
        for (const b of world.living()) if (a !== cut && b !== cut) expect(world.status(a, b)).to.equal("up");
      world.passes = () => true;
      await world.until(() => isConverged(world), 30_000);
    });
  }

  it("two members that cannot hear each other hear of each other through a third", async () => {
    const world = GossipWorld.of(3, { seed: 5 });
    await world.advance(10_000);
    world.passes = (from, to) => !(from !== 0 && to !== 0);
    await world.advance(60_000);
    expect(world.events).to.have.length(0);
  });

  it("a member that hears and is not heard is down, and takes nobody with it", async () => {
    const world = GossipWorld.of(5, { seed: 6 });
    await world.advance(10_000);
    world.passes = (from) => from !== 4;
    await world.advance(30_000);
    expect(all(world, 4, "down")).to.equal(true);
    for (const by of [0, 1, 2, 3]) for (const of of [0, 1, 2, 3]) expect(world.status(by, of)).to.equal("up");
  });

  it("a member that hears nobody makes nobody down, whatever it says of the others", async () => {
    const world = GossipWorld.of(5, { seed: 8 });
    await world.advance(10_000);
    world.passes = (_from, to) => to !== 4;
    await world.advance(30_000);
    for (const by of [0, 1, 2, 3]) for (const of of [0, 1, 2, 3]) expect(world.status(by, of)).to.equal("up");
    for (const of of [0, 1, 2, 3]) expect(world.status(4, of)).to.equal("down");
  });

  for (const count of [2, 10, 40]) {
    it(`of ${count} members each knows the load of all within some seconds`, async () => {
      const world = GossipWorld.of(count, { seed: 3 * count });
      await world.advance(15_000);
      world.requestsPerSecond = 4_200;
      const isKnown = (by: number, of: number): boolean =>
        world.gossip(by).membership.get(idOf(of))!.contents.load.requestsPerSecond === 4_200;
      const living = world.living();
      const tookMs = await world.until(() => living.every((by) => living.every((of) => isKnown(by, of))), 20_000);
      expect(tookMs).to.be.below(7_000);
    });
  }

  it("2% of lost messages make nobody suspect", async () => {
    for (const count of [2, 3, 20]) {
      const world = GossipWorld.of(count, { seed: 100 + count, loss: 0.02 });
      await world.advance(count === 20 ? 120_000 : 600_000);
      expect(world.downs()).to.equal(0);
    }
  });

  it("a newer ring document is fetched by all, from whoever has it", async () => {
    const world = GossipWorld.of(12, { seed: 9 });
    await world.advance(10_000);
    world.ringVersions.set(3, 8);
    await world.until(() => world.living().every((member) => world.ringVersions.get(member) === 8), 10_000);
    await world.until(
      () =>
        world.living().every((by) => world.gossip(by).membership.members.every(({ contents }) => contents.ringVersion === 8)),
      10_000,
    );
  });

  it("a member that lost its last generation goes on above it", async () => {
    const world = GossipWorld.of(4, { seed: 10 });
    await world.advance(10_000);
    const before = world.gossip(0).membership.get(idOf(3))!.generation;
    world.kill(3);
    await world.advance(2_000);
    world.start(3, before - 1_000_000);
    await world.until(() => world.raised.length > 0, 10_000);
    await world.until(() => world.gossip(0).membership.get(idOf(3))!.generation === world.raised[0], 10_000);
    await world.advance(10_000);
    expect(world.raised).to.have.length(1);
  });

  it("a removed member is forgotten and does not come back", async () => {
    const world = GossipWorld.of(4, { seed: 11 });
    await world.advance(10_000);
    for (const by of [0, 1, 2]) world.gossip(by).remove([idOf(3)]);
    await world.advance(10_000);
    for (const by of [0, 1, 2]) expect(world.gossip(by).membership.get(idOf(3))).to.equal(null);
  });

  it("what a member says of itself reaches everybody; nothing happens after it was stopped", async () => {
    const world = GossipWorld.of(8, { seed: 12 });
    await world.advance(10_000);
    world.gossip(2).update({ state: "leaving", sequenceLease: 131_072 });
    await world.until(
      () => world.living().every((by) => world.gossip(by).membership.get(idOf(2))!.contents.sequenceLease === 131_072),
      10_000,
    );
    for (const member of world.living()) world.gossip(member).stop();
    await world.advance(10_000);
    const { messages } = world;
    await world.advance(10_000);
    expect(world.messages).to.equal(messages);
    expect(() => world.gossip(0).receive(Buffer.alloc(20))).to.throw("not running");
    expect(contentsOf(0).name).to.equal("node-0");
  });

  it("one seed gives the same run twice", async () => {
    const runs: string[] = [];
    for (let run = 0; run < 2; run++) {
      const world = GossipWorld.of(10, { seed: 77, loss: 0.1 });
      await world.advance(10_000);
      world.kill(4);
      await world.advance(20_000);
      runs.push(JSON.stringify([world.bytes, world.messages, world.events]));
    }
    expect(runs[0]).to.equal(runs[1]);
  });
});
