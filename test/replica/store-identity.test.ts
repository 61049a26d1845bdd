import { expect } from "chai";
import { pause } from "../../lib/host/clock.js";
import { bytes, scopeOf, World } from "../model/world.js";

/** As many sequences as one lease holds. */
const LEASE = 2 ** 22;

describe("the identity of a store", () => {
  it("does not use sequences of a lease that the disk has refused", async () => {
    const world = await World.start();
    const { identity, disk } = world;
    while (identity.nextSequence() < LEASE - 1);
    disk.faults.capacityBytes = disk.usedBytes;
    for (let times = 0; times < 2; times++)
      expect(() => identity.reserve(2))
        .to.throw()
        .with.property("code", "IO");
    disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    await world.run(pause(world.clock, 1));
    identity.reserve(2);
    const given = [identity.nextSequence(), identity.nextSequence()];
    const later = await world.restart();
    later.identity.reserve(1);
    expect(later.identity.nextSequence()).to.be.greaterThan(given[1]!);
  });

  it("stays in its epoch when the disk refuses the next one", async () => {
    const world = await World.start();
    const scope = scopeOf();
    world.coordinator.tryPut(scope, bytes("k"), bytes("v"), 0);
    world.store.syncNow();
    const old = world.disk.copy({ clock: world.clock, random: world.random.fork(), trace: { note() {} } as never });
    const ahead = await (await world.restart()).restart();
    ahead.coordinator.tryPut(scope, bytes("k"), bytes("w"), 0);
    const { context } = (await ahead.run(ahead.coordinator.siblings(scope, bytes("k"))))!;
    const restored = await World.start({ disk: old });
    const { epoch } = restored.identity;
    restored.disk.faults.capacityBytes = restored.disk.usedBytes;
    const write = restored.coordinator.putWithContext(scope, bytes("k"), bytes("x"), 0, context);
    expect((await restored.failureOf(write)).code).to.equal("IO");
    expect(restored.identity.epoch).to.equal(epoch);
  });

  it("begins an epoch when it is asked to, for good, or not at all when the disk refuses", async () => {
    const world = await World.start();
    const { identity, disk } = world;
    const { epoch, actor } = identity;
    identity.beginEpoch();
    expect(identity.epoch).to.equal(epoch + 1);
    expect(identity.actor).not.to.equal(actor);
    expect([identity.hasGiven(epoch, 2 ** 40), identity.hasGiven(epoch + 1, 2 ** 40)]).to.deep.equal([true, false]);
    disk.faults.capacityBytes = disk.usedBytes;
    expect(() => identity.beginEpoch())
      .to.throw()
      .with.property("code", "IO");
    expect(() => identity.beginEpoch(0xffff_ffff))
      .to.throw()
      .with.property("code", "CORRUPT");
    expect(identity.epoch).to.equal(epoch + 1);
    disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    await world.run(pause(world.clock, 1));
    await world.stop();
    expect((await world.restart()).identity.epoch).to.equal(epoch + 1);
  });

  it("survives the removal of everything", async () => {
    const world = await World.start();
    const { storeId } = world.identity;
    await world.run(world.coordinator.flush(scopeOf(), "all"));
    world.store.syncNow();
    const later = await world.restart();
    expect(later.identity.storeId).to.equal(storeId);
    expect(later.identity.start).to.equal("unclean");
  });
});
