import { expect } from "chai";
import { type Effect, type Entry, KEEP, REMOVE } from "../../lib/coordinator/keyspace.js";
import { bytes, liveValueOf, scopeOf, World } from "../model/world.js";

const SCOPE = scopeOf();
const STRICT = scopeOf({ conflicts: "error" });
const KEY = bytes("k");

async function put(world: World, value: string, context?: string): Promise<void> {
  if (context === undefined) await world.run(world.coordinator.put(SCOPE, KEY, bytes(value), 0));
  else await world.run(world.coordinator.putWithContext(SCOPE, KEY, bytes(value), 0, context));
}

async function contextOf(world: World): Promise<string> {
  return (await world.run(world.coordinator.siblings(SCOPE, KEY)))!.context;
}

async function values(world: World): Promise<(string | null)[] | null> {
  const found = await world.run(world.coordinator.siblings(SCOPE, KEY));
  return found?.versions.map(({ value }) => value) ?? null;
}

/** A key with the siblings `b` (newest) and `a`. */
async function withSiblings(): Promise<World> {
  const world = await World.start();
  await put(world, "first");
  const context = await contextOf(world);
  await put(world, "a", context);
  await put(world, "b", context);
  return world;
}

describe("siblings on one node", () => {
  it("arise from two writes with one stale context and are resolved by a write that saw both (D1 to D5)", async () => {
    const world = await World.start();
    await put(world, "D1");
    const first = await contextOf(world);
    await put(world, "D2", first);
    expect(await values(world)).to.deep.equal(["D2"]);
    const second = await contextOf(world);
    await put(world, "D3", second);
    await put(world, "D4", second);
    expect(await values(world)).to.deep.equal(["D4", "D3"]);
    await put(world, "D5", await contextOf(world));
    expect(await values(world)).to.deep.equal(["D5"]);
    await put(world, "D6", second);
    expect(await values(world)).to.deep.equal(["D6", "D5"]);
  });

  it("all go with a plain write", async () => {
    const world = await withSiblings();
    await put(world, "c");
    expect(await values(world)).to.deep.equal(["c"]);
  });

  it("stay when a read-modify-write replaces the one that it was shown", async () => {
    const world = await withSiblings();
    const shown: (string | null)[] = [];
    const decide = (entry: Entry | null): Effect => {
      shown.push(liveValueOf(entry));
      return { kind: "put", value: "c", expiryMs: 0 };
    };
    expect(world.coordinator.tryUpdate(SCOPE, KEY, decide)).to.equal(true);
    expect(shown).to.deep.equal(["b"]);
    expect(await values(world)).to.deep.equal(["c", "a"]);
  });

  it("stay when a read-modify-write removes the one that it was shown, and a read finds nothing", async () => {
    const world = await withSiblings();
    world.coordinator.tryUpdate(SCOPE, KEY, () => REMOVE);
    expect(await values(world)).to.deep.equal([null, "a"]);
    expect(world.coordinator.peek(SCOPE, KEY)).to.equal(null);
    expect([world.coordinator.size(0), world.replica.hiddenSize(0)]).to.deep.equal([0, 1]);
  });

  it("that no read finds are spared by the flush of another database, and not by that of their own", async () => {
    const world = await withSiblings();
    const { coordinator, replica } = world;
    coordinator.tryUpdate(SCOPE, KEY, () => REMOVE);
    const other = scopeOf({ database: 1 });
    coordinator.tryPut(other, bytes("x"), bytes("v"), 0);
    await world.run(coordinator.flush(other, "database"));
    expect(coordinator.size(1)).to.equal(0);
    expect(await values(world)).to.deep.equal([null, "a"]);
    coordinator.tryPut(other, bytes("x"), bytes("v"), 0);
    await world.run(coordinator.flush(SCOPE, "database"));
    expect(await values(world)).to.equal(null);
    expect([coordinator.size(1), replica.hiddenSize(0)]).to.deep.equal([1, 0]);
  });

  it("all go with a removal, whatever the scope says of conflicts", async () => {
    for (const form of ["at once", "later"] as const) {
      const world = await withSiblings();
      const { coordinator } = world;
      const wasLive =
        form === "at once" ? coordinator.tryRemove(STRICT, KEY) : await world.run(coordinator.remove(STRICT, KEY));
      expect(wasLive).to.equal(true);
      expect(await values(world)).to.equal(null);
      expect(coordinator.size(0)).to.equal(0);
    }
  });

  it("are answered with CONFLICT to reads and read-modify-writes of a scope that asks for it", async () => {
    const world = await withSiblings();
    const { coordinator } = world;
    expect(() => coordinator.peek(STRICT, KEY))
      .to.throw("2 siblings")
      .with.property("code", "CONFLICT");
    expect(() => coordinator.tryUpdate(STRICT, KEY, () => KEEP)).to.throw("2 siblings");
    expect((await world.failureOf(coordinator.read(STRICT, KEY))).code).to.equal("CONFLICT");
    expect((await world.failureOf(coordinator.updateMany([STRICT], [KEY], () => [KEEP]))).code).to.equal("CONFLICT");
    expect(coordinator.tryPut(STRICT, KEY, bytes("c"), 0)).to.equal(true);
  });

  it("are refused past siblings-max, and nothing is stored", async () => {
    const world = await World.start({ settings: { siblingsMax: 2 } });
    await put(world, "first");
    const context = await contextOf(world);
    await put(world, "a", context);
    await put(world, "b", context);
    const refused = world.coordinator.putWithContext(SCOPE, KEY, bytes("c"), 0, context);
    expect((await world.failureOf(refused)).message).to.contain("siblings-max 2");
    expect(await values(world)).to.deep.equal(["b", "a"]);
    // A further write that adds none is taken.
    world.coordinator.tryUpdate(SCOPE, KEY, () => ({ kind: "put", value: "d", expiryMs: 0 }));
    expect(await values(world)).to.deep.equal(["d", "a"]);
  });

  it("keep their order by newest write after a restart with a wall clock that has gone back", async () => {
    const world = await withSiblings();
    await world.stop();
    const later = await world.restart({ wallMs: world.clock.wallMs() - 1_000_000 });
    later.coordinator.tryUpdate(SCOPE, KEY, () => ({ kind: "put", value: "c", expiryMs: 0 }));
    expect(liveValueOf(later.coordinator.peek(SCOPE, KEY))).to.equal("c");
  });

  it("keep expiries of their own: the record goes with the last, and not before", async () => {
    const world = await World.start();
    const expiryMs = world.clock.wallMs() + 1_000;
    await put(world, "first");
    const context = await contextOf(world);
    await put(world, "a", context);
    await world.run(world.coordinator.putWithContext(SCOPE, KEY, bytes("b"), expiryMs, context));
    expect(world.coordinator.expiringSize(0)).to.equal(1);
    world.reaper.start();
    await world.clock.advance(2_000);
    expect(await values(world)).to.deep.equal([null, "a"]);
    world.coordinator.tryRemove(SCOPE, KEY);
    expect(world.coordinator.expiringSize(0)).to.equal(0);
  });
});

describe("a context", () => {
  it("of another key or database is refused", async () => {
    const world = await withSiblings();
    const context = await contextOf(world);
    const { coordinator } = world;
    const otherKey = coordinator.putWithContext(SCOPE, bytes("other"), bytes("v"), 0, context);
    expect((await world.failureOf(otherKey)).message).to.equal("context is not of this key");
    const otherDatabase = coordinator.putWithContext(scopeOf({ database: 1 }), KEY, bytes("v"), 0, context);
    expect((await world.failureOf(otherDatabase)).code).to.equal("ARGUMENT");
  });

  it("from before a clean or an unclean restart covers what it covered and nothing more", async () => {
    for (const end of ["clean", "unclean"] as const) {
      const world = await withSiblings();
      const context = await contextOf(world);
      if (end === "clean") await world.stop();
      else world.store.syncNow();
      const later = await world.restart();
      expect(later.identity.start).to.equal(end);
      await put(later, "c", context);
      expect(await values(later)).to.deep.equal(["c"]);
      await put(later, "d", context);
      expect(await values(later)).to.deep.equal(["d", "c"]);
    }
  });

  it("that covers dots the store does not know it gave begins a new epoch", async () => {
    const world = await withSiblings();
    world.store.syncNow();
    const { disk } = world;
    const old = disk.copy({ clock: world.clock, random: world.random.fork(), trace: { note() {} } as never });
    // The store goes on in another epoch, and is then restored from the old copy, twice as far back as it seems.
    const ahead = await world.restart();
    await put(ahead, "ahead");
    const later = await ahead.restart();
    await put(later, "later");
    const context = await contextOf(later);
    const restored = await World.start({ disk: old });
    expect(restored.identity.epoch).to.be.lessThan(later.identity.epoch);
    await put(restored, "new", context);
    expect(restored.identity.epoch).to.be.greaterThan(later.identity.epoch);
    await put(restored, "newer", context);
    expect(await values(restored)).to.deep.equal(["newer", "new"]);
  });
});
