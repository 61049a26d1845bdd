/** A replica that is told of flushes: what it drops, counts, refuses to merge, and mints afterwards. */
import { expect } from "chai";
import { silentLog } from "../../lib/log.js";
import { FlushSweeper } from "../../lib/replica/flush-sweeper.js";
import type { FlushContext } from "../../lib/replica/flushes.js";
import { MetaStore } from "../../lib/replica/meta-store.js";
import { bytes, liveValueOf, scopeOf, type World } from "../model/world.js";
import { audited, dataKeyOf, decoded, member, put, receive, remove, send, sent, storedKeys, valuesAt } from "./merging.js";

const SCOPE = scopeOf();

/** All that these members have minted so far, flushed from database 0. */
function contextOf(...worlds: readonly World[]): FlushContext[] {
  const entries = worlds.map(({ replica }) => replica.lastSequence).sort((a, b) => (a.storeId < b.storeId ? -1 : 1));
  return [{ database: 0, entries }];
}

async function sweeperOf(world: World): Promise<FlushSweeper> {
  const meta = await world.run(MetaStore.open(world.store.asLsm()));
  const { replica, clock, store } = world;
  const sweeper = new FlushSweeper({ replica, meta, clock, log: silentLog, commitsRefused: () => store.commitsRefused });
  sweeper.learn([]);
  return sweeper;
}

function fill(world: World, count: number, prefix = "key"): string[] {
  const names = Array.from({ length: count }, (_, at) => `${prefix}${at}`);
  for (const [at, name] of names.entries()) put(world, dataKeyOf(world, name), "v", at % 3 === 0 ? 2e12 + at : 0);
  return names;
}

describe("a replica that is told of a flush", () => {
  it("counts nothing at once, and sweeps until nothing is stored", async () => {
    const world = await member(1);
    const { replica } = world;
    fill(world, 700);
    for (let at = 0; at < 40; at++) remove(world, dataKeyOf(world, `key${at}`));
    put(world, replica.keys.of(1, bytes("other")), "v");
    const sweeper = await sweeperOf(world);
    sweeper.learn(contextOf(world));
    expect([replica.size(0), replica.size(1)]).to.deep.equal([0, 1]);
    put(world, dataKeyOf(world, "key50"), "new");
    put(world, dataKeyOf(world, "fresh"), "new");
    expect(replica.size(0)).to.equal(2);
    expect(valuesAt(world, dataKeyOf(world, "key60"))).to.deep.equal([]);
    await world.clock.advance(1_000);
    expect(await storedKeys(world)).to.have.length(3);
    expect([replica.size(0), replica.expiringSize(0), replica.size(1)]).to.deep.equal([2, 0, 1]);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("keeps what the flush has not seen, and counts it when it is swept", async () => {
    const world = await member(2);
    const { replica, coordinator } = world;
    fill(world, 300);
    const context = contextOf(world);
    put(world, dataKeyOf(world, "key5"), "later");
    put(world, dataKeyOf(world, "unseen"), "later");
    const sweeper = await sweeperOf(world);
    sweeper.learn(context);
    expect(liveValueOf(coordinator.peek(SCOPE, bytes("key5")))).to.equal("later");
    await world.clock.advance(1_000);
    expect(replica.size(0)).to.equal(2);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("sweeps what lies behind a damaged record, and still lets nothing be read of that one", async () => {
    const world = await member(4);
    const { replica, lsm } = world;
    const names = fill(world, 700);
    put(world, replica.keys.of(1, bytes("other")), "v");
    const keys = names.map((name) => dataKeyOf(world, name)).sort();
    const damaged = keys[5]!;
    const record = sent(world, damaged)!;
    const context = contextOf(world);
    put(world, keys[699]!, "later");
    const sweeper = await sweeperOf(world);
    lsm.put(damaged, bytes("damaged"), 0, 7);
    sweeper.learn(context);
    await world.clock.advance(5_000);
    expect(await storedKeys(world)).to.have.members([damaged, keys[699]!, replica.keys.of(1, bytes("other"))]);
    expect([replica.size(0), replica.size(1)], "the damaged one is counted").to.deep.equal([2, 1]);
    await world.run(sweeper.stop());
    lsm.put(damaged, record, 0, record.length);
    expect(valuesAt(world, damaged)).to.deep.equal([]);
  });

  it("sweeps again after a restart what it could not read before", async () => {
    const world = await member(5);
    const key = dataKeyOf(world, fill(world, 10)[3]!);
    const record = sent(world, key)!;
    const context = contextOf(world);
    world.lsm.put(key, bytes("damaged"), 0, 7);
    const sweeper = await sweeperOf(world);
    sweeper.learn(context);
    await world.clock.advance(1_000);
    expect(await storedKeys(world)).to.deep.equal([key]);
    await world.run(sweeper.stop());
    world.lsm.put(key, record, 0, record.length);
    await world.stop();
    const next = await world.restart();
    const { replica, clock, store } = next;
    const meta = await next.run(MetaStore.open(store.asLsm()));
    new FlushSweeper({ replica, meta, clock, log: silentLog, commitsRefused: () => store.commitsRefused }).learn(context);
    await next.clock.advance(1_000);
    expect(await storedKeys(next)).to.deep.equal([]);
  });

  it("drops what it reads from a slow disk just as well", async () => {
    for (let seed = 10; seed < 30; seed++) {
      const world = await member(seed);
      const { replica, coordinator, store } = world;
      const names = fill(world, 60);
      await world.run(replica.committed());
      store.coldness = 0.5;
      store.readMsMax = 5;
      const sweeper = await sweeperOf(world);
      sweeper.learn(contextOf(world));
      const reads = names.map((name) => coordinator.read(SCOPE, bytes(name)));
      const removals = names.slice(10, 20).map((name) => coordinator.remove(SCOPE, bytes(name)));
      const writes = names.slice(0, 10).map((name) => coordinator.put(SCOPE, bytes(name), bytes("new"), 0));
      const found = await world.run(Promise.all(reads));
      expect(found.filter((entry) => entry !== null && entry.value === "v")).to.deep.equal([]);
      expect(await world.run(Promise.all(removals))).to.deep.equal(new Array(10).fill(false));
      await world.run(Promise.all(writes));
      await world.clock.advance(5_000);
      store.coldness = 0;
      expect(replica.size(0)).to.equal(10);
      expect(await audited(world)).to.deep.equal([]);
      expect(replica.watched).to.equal(0);
    }
  });

  it("merges nothing that was flushed, ever, and what stands beside it only", async () => {
    const [a, b] = [await member(3), await member(4)];
    const key = dataKeyOf(a, "k");
    put(a, key, "old");
    const old = sent(a, key)!;
    send(a, b, key);
    const sweepers = [await sweeperOf(a), await sweeperOf(b)];
    const context = contextOf(a, b);
    for (const sweeper of sweepers) sweeper.learn(context);
    for (const world of [a, b]) await world.clock.advance(100);
    expect(receive(b, key, old).kind).to.equal("unchanged");
    expect(await storedKeys(b)).to.deep.equal([]);
    put(b, key, "new");
    expect(receive(b, key, old).kind).to.equal("unchanged");
    expect(valuesAt(b, key)).to.deep.equal(["new"]);
    // A member that has not heard of the flush has both, and sends both.
    const c = await member(5);
    receive(c, key, old);
    send(b, c, key);
    expect(valuesAt(c, key)).to.have.members(["old", "new"]);
    send(c, b, key);
    expect(valuesAt(b, key)).to.deep.equal(["new"]);
    send(c, a, key);
    expect(valuesAt(a, key)).to.deep.equal(["new"]);
    for (const world of [a, b]) expect(await audited(world)).to.deep.equal([]);
  });

  it("keeps a removal of something that was not flushed", async () => {
    const [a, b] = [await member(6), await member(7)];
    const key = dataKeyOf(a, "k");
    // The flush did not hear of what b wrote; a has removed it.
    put(b, key, "of b");
    const ofB = sent(b, key)!;
    receive(a, key, ofB);
    remove(a, key);
    const sweeper = await sweeperOf(a);
    sweeper.learn(contextOf(a));
    await a.clock.advance(100);
    expect(decoded(a, key)!.versions.map(({ type }) => type)).to.deep.equal(["tombstone"]);
    receive(a, key, ofB);
    expect(valuesAt(a, key)).to.deep.equal([null]);
    send(a, b, key);
    expect(valuesAt(b, key)).to.deep.equal([null]);
  });

  it("mints above what was flushed of its sequences without its knowledge", async () => {
    const world = await member(8);
    const { replica } = world;
    const key = dataKeyOf(world, "k");
    put(world, key, "before");
    const { storeId, sequence } = replica.lastSequence;
    const upTo = sequence + 2 ** 23;
    const sweeper = await sweeperOf(world);
    sweeper.learn([{ database: 0, entries: [{ storeId, sequence: upTo }] }]);
    put(world, key, "after");
    expect(replica.lastSequence.sequence).to.equal(upTo + 1);
    await world.clock.advance(100);
    expect(valuesAt(world, key)).to.deep.equal(["after"]);
    await world.stop();
    const again = await world.restart({ seed: 8 });
    const restarted = await sweeperOf(again);
    restarted.learn([{ database: 0, entries: [{ storeId, sequence: upTo }] }]);
    put(again, dataKeyOf(again, "next"), "v");
    expect(again.replica.lastSequence.sequence).to.be.above(upTo + 1);
    expect(valuesAt(again, key)).to.deep.equal(["after"]);
  });
});
