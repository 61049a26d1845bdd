/** Sums of slots that are found out while records change, and what the audit says of them. */
import { expect } from "chai";
import { SLOTS, slotOf } from "../../lib/bytes/slot.js";
import { silentLog } from "../../lib/log.js";
import { slotOfDataKey } from "../../lib/replica/data-key.js";
import { DigestRebuild } from "../../lib/replica/digest-rebuild.js";
import type { World } from "../model/world.js";
import type { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { audited, dataKeyOf, member, put, remove, sent } from "./merging.js";

const MB = 2 ** 20;

function rebuildOf(world: World, repairRateBytes = 64 * MB): DigestRebuild {
  return new DigestRebuild({ records: world.replica, clock: world.clock, log: silentLog, settings: { repairRateBytes } });
}

/** How many records each page has that is read from now on. */
function pagesOf(world: World): number[] {
  const pages: number[] = [];
  const { replica } = world;
  const scan = replica.scan.bind(replica);
  Object.assign(replica, {
    async scan(range: Parameters<typeof scan>[0]) {
      const page = await scan(range);
      pages.push(page.entries.length);
      return page;
    },
  });
  return pages;
}

/** Tags of so many slots in a row. */
function adjacentTags(count: number): readonly string[] {
  const tags = new Map<number, string>();
  for (let at = 0; ; at++) {
    const slot = slotOf(Buffer.from(`t${at}`));
    tags.set(slot, `t${at}`);
    for (let first = slot - count + 1; first <= slot; first++) {
      const run = Array.from({ length: count }, (_, next) => tags.get(first + next));
      if (run.every((tag) => tag !== undefined)) return run;
    }
  }
}

async function whenDone(world: World, rebuild: DigestRebuild): Promise<void> {
  for (let at = 0; rebuild.isRunning && at < 1_000; at++) await world.clock.advance(50);
  expect(rebuild.isRunning).to.equal(false);
}

async function stopped(world: World): Promise<SimDisk> {
  await world.stop();
  return world.disk;
}

describe("sums of slots", () => {
  it("are not kept before they are known, and follow every change from then on", async () => {
    const world = await member(1);
    const keys = Array.from({ length: 300 }, (_, at) => dataKeyOf(world, `k${at}`));
    for (const key of keys) put(world, key, "before");
    expect(world.replica.digests.sumOf(slotOfDataKey(keys[0]!))).to.equal(null);
    const rebuild = rebuildOf(world);
    expect(rebuild.missing).to.equal(SLOTS);
    rebuild.start();
    await whenDone(world, rebuild);
    expect(rebuild.missing).to.equal(0);
    expect(rebuild.rebuilt).to.equal(SLOTS);
    expect(await audited(world)).to.deep.equal([]);
    for (const [at, key] of keys.entries()) {
      if (at % 3 === 0) put(world, key, "after", world.clock.wallMs() + 50);
      else if (at % 3 === 1) remove(world, key);
    }
    expect(await audited(world)).to.deep.equal([]);
    world.reaper.start();
    await world.clock.advance(1_000);
    expect(await audited(world)).to.deep.equal([]);
    expect(world.replica.digests.sumOf(slotOfDataKey(keys[0]!))).to.be.above(0);
  });

  it("are right though records change while they are found out, and batches are refused", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = new SimRandom(seed);
      const world = await member(seed);
      const keys = Array.from({ length: 40 }, (_, at) => dataKeyOf(world, `{${at % 5}}k${at}`));
      for (const key of keys) if (random.chance(0.7)) put(world, key, "x".repeat(random.below(2_000)));
      const rebuild = rebuildOf(world, 100_000);
      rebuild.start();
      for (let step = 0; step < 60; step++) {
        const key = random.pick(keys);
        world.disk.faults.capacityBytes = random.chance(0.1) ? 0 : Number.POSITIVE_INFINITY;
        if (random.chance(0.3)) remove(world, key);
        else put(world, key, "y".repeat(random.below(500)));
        await world.clock.advance(random.below(30));
        // What a refused batch has taken back makes all sums doubtful.
        if (rebuild.missing > 0) rebuild.start();
      }
      world.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
      rebuild.start();
      await whenDone(world, rebuild);
      expect(rebuild.missing).to.equal(0);
      expect(await audited(world), `seed ${seed}`).to.deep.equal([]);
    }
  });

  it("are given up where a slot changes so often that reading it again is cheaper", async () => {
    const world = await member(4);
    const key = dataKeyOf(world, "k");
    put(world, key, "value");
    const rebuild = rebuildOf(world);
    rebuild.start();
    await whenDone(world, rebuild);
    let followed = 0;
    for (; world.replica.digests.sumOf(slotOfDataKey(key)) !== null && followed < 1_000; followed++)
      put(world, key, `${followed}`);
    expect(followed).to.be.within(10, 50);
    expect(rebuild.missing).to.equal(1);
    rebuild.start();
    await whenDone(world, rebuild);
    expect(rebuild.missing).to.equal(0);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("of scattered slots are found out in few pages where slots are small", async () => {
    const world = await member(5);
    for (let at = 0; at < 2_000; at++) put(world, dataKeyOf(world, `k${at}`), "value");
    const pages = pagesOf(world);
    const rebuild = rebuildOf(world);
    rebuild.start();
    await whenDone(world, rebuild);
    pages.length = 0;
    for (let slot = 0; slot < SLOTS; slot += 10) rebuild.doubt(slot);
    await whenDone(world, rebuild);
    expect(rebuild.missing).to.equal(0);
    expect(pages.length).to.be.below(20);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("of large slots are found out without reading those in between", async () => {
    const world = await member(6);
    const tags = adjacentTags(3);
    for (const tag of tags) for (let at = 0; at < 100; at++) put(world, dataKeyOf(world, `{${tag}}${at}`), "value");
    const [first, , last] = tags.map((tag) => slotOf(Buffer.from(tag)));
    const pages = pagesOf(world);
    const rebuild = rebuildOf(world);
    rebuild.start();
    await whenDone(world, rebuild);
    // It knows how large they are from the one before.
    for (const slots of [[first!], [first!, last!]]) {
      pages.length = 0;
      for (const slot of slots) rebuild.doubt(slot);
      await whenDone(world, rebuild);
      expect(pages.reduce((sum, records) => sum + records, 0)).to.equal(100 * slots.length);
    }
    expect(await audited(world)).to.deep.equal([]);
  });

  it("survive a clean stop, and one that is doubted is found out anew", async () => {
    const world = await member(3);
    const key = dataKeyOf(world, "k");
    put(world, key, "value");
    const rebuild = rebuildOf(world);
    rebuild.start();
    await whenDone(world, rebuild);
    const sum = world.replica.digests.sumOf(slotOfDataKey(key));
    world.replica.digests.save(world.meta);
    const again = await member(3, { disk: await stopped(world) });
    expect(again.replica.digests.sumOf(slotOfDataKey(key))).to.equal(null);
    again.replica.digests.load(again.meta);
    expect(again.replica.digests.sumOf(slotOfDataKey(key))).to.equal(sum);
    // Once: what is stored is not what is there any more.
    again.replica.digests.forgetAll();
    again.replica.digests.load(again.meta);
    expect(again.replica.digests.sumOf(slotOfDataKey(key))).to.equal(null);
    again.replica.digests.learn(slotOfDataKey(key), sum!, 1);
    // As if a bit of it had flipped.
    again.replica.digests.learn(slotOfDataKey(key), 5, 1);
    expect(await audited(again)).to.have.length(1);
    const repaired = rebuildOf(again);
    repaired.doubt(slotOfDataKey(key));
    await whenDone(again, repaired);
    expect(again.replica.digests.sumOf(slotOfDataKey(key))).to.equal(sum);
    expect(sent(again, key)).not.to.equal(null);
  });

  it("of an earlier run are not taken for those of one that stopped without any", async () => {
    const world = await member(3);
    const slot = slotOfDataKey(dataKeyOf(world, "k"));
    world.replica.digests.learn(slot, 7, 1);
    world.replica.digests.save(world.meta);
    const second = await member(3, { disk: await stopped(world) });
    // What takes them away when they are loaded is refused.
    second.disk.faults.appendFailure = 1;
    second.replica.digests.load(second.meta);
    await second.clock.advance(1);
    second.disk.faults.appendFailure = 0;
    expect(second.replica.digests.sumOf(slot)).to.equal(null);
    second.replica.digests.save(second.meta);
    const third = await member(3, { disk: await stopped(second) });
    third.replica.digests.load(third.meta);
    expect(third.replica.digests.sumOf(slot)).to.equal(null);
  });
});
