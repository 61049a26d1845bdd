import { expect } from "chai";
import { type Effect, KEEP, NOT_IN_MEMORY, REMOVE } from "../../lib/coordinator/keyspace.js";
import { bytes, liveValueOf, scopeOf, World } from "../model/world.js";

const SCOPE = scopeOf();
const KEY = bytes("k");
const OTHER = bytes("other");

function putting(value: string): Effect {
  return { kind: "put", value, expiryMs: 0 };
}

describe("the coordinator", () => {
  it("takes pairs of exactly max-pair-bytes and refuses one byte more in every form", async () => {
    const world = await World.start({ settings: { maxPairBytes: 10 } });
    const { coordinator } = world;
    const fits = bytes("123456789");
    const large = bytes("1234567890");
    expect(coordinator.tryPut(SCOPE, KEY, fits, 0)).to.equal(true);
    expect(coordinator.tryUpdate(SCOPE, KEY, () => putting("123456789"))).to.equal(true);
    expect(() => coordinator.tryPut(SCOPE, KEY, large, 0)).to.throw("max-pair-bytes");
    expect(() => coordinator.tryUpdate(SCOPE, KEY, () => putting("1234567890"))).to.throw("max-pair-bytes");
    expect((await world.failureOf(coordinator.put(SCOPE, KEY, large, 0))).code).to.equal("ARGUMENT");
    const many = coordinator.updateMany([SCOPE, SCOPE], [OTHER, KEY], () => [putting("x"), putting("1234567890")]);
    expect((await world.failureOf(many)).code).to.equal("ARGUMENT");
    expect(coordinator.peek(SCOPE, OTHER)).to.equal(null);
  });

  it("takes keys as long as the engine has a place for, and refuses longer ones in every form", async () => {
    const world = await World.start({ settings: { maxPairBytes: 2 ** 20 } });
    const { coordinator } = world;
    const [longest, tooLong] = [Buffer.alloc(65_519, "k"), Buffer.alloc(65_520, "k")];
    // Its place in the index of expiries is longer still.
    expect(coordinator.tryPut(SCOPE, longest, bytes("v"), world.clock.wallMs() + 1_000)).to.equal(true);
    expect(liveValueOf(await world.run(coordinator.read(SCOPE, longest)))).to.equal("v");
    const limit = "the key takes 65520 bytes; the limit is 65519";
    expect(() => coordinator.tryPut(SCOPE, tooLong, bytes("v"), 0)).to.throw(limit);
    expect(() => coordinator.tryUpdate(SCOPE, tooLong, () => putting("v"))).to.throw(limit);
    expect((await world.failureOf(coordinator.put(SCOPE, tooLong, bytes("v"), 0))).message).to.equal(limit);
    const many = coordinator.updateMany([SCOPE, SCOPE], [OTHER, tooLong], () => [putting("x"), putting("v")]);
    expect((await world.failureOf(many)).message).to.equal(limit);
    expect(await world.run(coordinator.read(SCOPE, tooLong))).to.equal(null);
  });

  it("lets a write behind a waiting one wait, and a read too", async () => {
    const world = await World.start();
    const { coordinator } = world;
    const first = coordinator.put(SCOPE, KEY, bytes("1"), 0);
    expect(coordinator.tryPut(SCOPE, KEY, bytes("2"), 0)).to.equal(false);
    expect(coordinator.tryRemove(SCOPE, KEY)).to.equal(NOT_IN_MEMORY);
    expect(coordinator.peek(SCOPE, KEY)).to.equal(NOT_IN_MEMORY);
    const read = coordinator.read(SCOPE, KEY);
    await world.run(first);
    expect(liveValueOf(await world.run(read))).to.equal("1");
  });

  it("tells TIMEOUT at the deadline, and what was told so never takes effect", async () => {
    const world = await World.start({ settings: { requestTimeoutMs: 100 } });
    const { coordinator, store } = world;
    store.backlogNow = "stopped";
    const late = coordinator.put(SCOPE, KEY, bytes("late"), 0);
    const failure = await world.failureOf(late);
    expect(failure.code).to.equal("TIMEOUT");
    expect(world.clock.monotonicMs()).to.be.closeTo(100, 5);
    store.backlogNow = "open";
    await world.clock.advance(1_000);
    expect(coordinator.peek(SCOPE, KEY)).to.equal(null);
  });

  it("applies nothing in the very millisecond of the deadline", async () => {
    const world = await World.start({ settings: { requestTimeoutMs: 100 } });
    const { coordinator, store, clock } = world;
    store.backlogNow = "slow";
    // The pause for a slow backlog ends with the deadline: the thread stood still meanwhile.
    const late = coordinator.put(SCOPE, KEY, bytes("late"), 0);
    const settled = world.failureOf(late);
    await Promise.resolve();
    clock.stall(100);
    expect((await settled).code).to.equal("TIMEOUT");
    await clock.advance(10);
    store.backlogNow = "open";
    expect(coordinator.peek(SCOPE, KEY)).to.equal(null);
  });

  it("shows another fingerprint of a key that came and went, and of one that came again after it had expired", async () => {
    const world = await World.start();
    const { coordinator, clock } = world;
    const fingerprint = () => world.run(coordinator.fingerprint(SCOPE, KEY));
    const absent = await fingerprint();
    expect(await fingerprint()).to.equal(absent);
    coordinator.tryPut(SCOPE, KEY, bytes("1"), 0);
    expect(await fingerprint()).not.to.equal(absent);
    coordinator.tryRemove(SCOPE, KEY);
    const afterRemoval = await fingerprint();
    expect(afterRemoval).not.to.equal(absent);

    coordinator.tryPut(SCOPE, KEY, bytes("2"), clock.wallMs() + 10);
    await clock.advance(10);
    const expired = await fingerprint();
    expect(expired).not.to.equal(afterRemoval);
    coordinator.tryPut(SCOPE, KEY, bytes("3"), clock.wallMs() + 10);
    await clock.advance(10);
    expect(await fingerprint()).not.to.equal(expired);
  });

  it("refuses with BUSY what is over requests-queued-max, and forgets it", async () => {
    const world = await World.start({ settings: { queuedMax: 2 } });
    const { coordinator } = world;
    const first = coordinator.put(SCOPE, KEY, bytes("1"), 0);
    const second = coordinator.put(SCOPE, KEY, bytes("2"), 0);
    expect((await world.failureOf(coordinator.put(SCOPE, KEY, bytes("3"), 0))).code).to.equal("BUSY");
    await world.run(Promise.all([first, second]));
    await world.run(coordinator.put(SCOPE, KEY, bytes("4"), 0));
    expect(liveValueOf(coordinator.peek(SCOPE, KEY))).to.equal("4");
  });

  it("applies the effects of one step in order, on one key twice and in several databases", async () => {
    const world = await World.start();
    const { coordinator } = world;
    const one = scopeOf({ database: 1 });
    const effects = [putting("a"), REMOVE, putting("b"), putting("c")];
    await world.run(coordinator.updateMany([SCOPE, SCOPE, SCOPE, one], [KEY, KEY, KEY, KEY], () => effects));
    expect(liveValueOf(coordinator.peek(SCOPE, KEY))).to.equal("b");
    expect(liveValueOf(coordinator.peek(one, KEY))).to.equal("c");
    expect([coordinator.size(0), coordinator.size(1)]).to.deep.equal([1, 1]);
  });

  it("goes on with what a FLUSHALL has left when it comes between the read and the change", async () => {
    const world = await World.start();
    const { coordinator, store } = world;
    coordinator.tryPut(SCOPE, KEY, bytes("old"), 0);
    store.commit();
    store.coldness = 1;
    store.readMsMax = 10;
    const change = coordinator.update(SCOPE, KEY, (entry) => putting(liveValueOf(entry) ?? "new"));
    await Promise.resolve();
    const flush = coordinator.flush(SCOPE, "all");
    store.commit();
    await world.run(flush);
    await world.run(change);
    expect(liveValueOf(await world.run(coordinator.read(SCOPE, KEY)))).to.equal("new");
    expect(coordinator.size(0)).to.equal(1);
  });

  it("removes exactly the keys of a database, also while a client writes on", async () => {
    const world = await World.start();
    const { coordinator } = world;
    const one = scopeOf({ database: 1 });
    coordinator.tryPut(one, KEY, bytes("stays"), 0);
    for (let at = 0; at < 200; at++) coordinator.tryPut(SCOPE, bytes(`{s}${at}`), bytes("v"), at % 2);
    let isOver = false;
    const flush = coordinator.flush(SCOPE, "database").then(() => {
      isOver = true;
    });
    for (let at = 0; !isOver; at++) {
      expect(at).to.be.lessThan(1_000);
      coordinator.tryPut(SCOPE, bytes(`{s}new${at % 100}`), bytes("w"), 0);
      await world.clock.advance(1);
    }
    await flush;
    for (let at = 0; at < 200; at++) expect(coordinator.peek(SCOPE, bytes(`{s}${at}`))).to.equal(null);
    expect(coordinator.expiringSize(0)).to.equal(0);
    expect(coordinator.size(1)).to.equal(1);
  });
});

describe("a hold", () => {
  it("keeps others waiting and lets its holder's operations on one key keep their order", async () => {
    const world = await World.start();
    const { coordinator, store } = world;
    const hold = await world.run(coordinator.hold([SCOPE], [KEY]));
    const held = scopeOf({ hold });
    const other = coordinator.put(SCOPE, KEY, bytes("other"), 0);
    store.coldness = 0.5;
    store.readMsMax = 10;
    const writes = ["1", "2", "3", "4"].map((value) => coordinator.put(held, KEY, bytes(value), 0));
    await world.run(Promise.all(writes));
    expect(liveValueOf(await world.run(coordinator.read(held, KEY)))).to.equal("4");
    expect(coordinator.size(0)).to.equal(1);
    hold.release();
    await world.run(other);
    expect(liveValueOf(await world.run(coordinator.read(SCOPE, KEY)))).to.equal("other");
  });

  it("of several databases lets one step change keys of both, and takes turns for what it does not cover", async () => {
    const world = await World.start();
    const { coordinator } = world;
    const one = scopeOf({ database: 1 });
    const two = scopeOf({ database: 2 });
    const hold = await world.run(coordinator.hold([SCOPE, one], [KEY, KEY]));
    const waiting = coordinator.put(two, KEY, bytes("before"), 0);
    const scopes = [
      { ...one, hold },
      { ...SCOPE, hold },
      { ...two, hold },
    ];
    const seen: (string | null)[] = [];
    await world.run(
      coordinator.updateMany(scopes, [KEY, KEY, KEY], (entries) => {
        seen.push(liveValueOf(entries[2]!));
        return [putting("x"), KEEP, putting("y")];
      }),
    );
    await waiting;
    expect(seen).to.deep.equal(["before"]);
    expect(liveValueOf(coordinator.peek({ ...one, hold }, KEY))).to.equal("x");
    hold.release();
  });

  it("keeps FLUSHALL waiting, which the next hold then waits for", async () => {
    const world = await World.start({ settings: { requestTimeoutMs: 100 } });
    const { coordinator, clock } = world;
    const hold = await world.run(coordinator.hold([SCOPE], [KEY]));
    await world.run(coordinator.put(scopeOf({ hold }), KEY, bytes("v"), 0));
    const flush = coordinator.flush(SCOPE, "all");
    const next = coordinator.hold([SCOPE], [OTHER]);
    await clock.advance(50);
    expect(coordinator.size(0)).to.equal(1);
    hold.release();
    await world.run(flush);
    expect(coordinator.size(0)).to.equal(0);
    (await world.run(next)).release();

    const long = await world.run(coordinator.hold([SCOPE], [KEY]));
    await world.run(coordinator.put(scopeOf({ hold: long }), KEY, bytes("v"), 0));
    expect((await world.failureOf(coordinator.flush(SCOPE, "database"))).code).to.equal("TIMEOUT");
    expect((await world.failureOf(coordinator.hold([SCOPE], [OTHER]))).code).to.equal("TIMEOUT");
    long.release();
    await clock.advance(10);
    expect(coordinator.size(0)).to.equal(1);
    await world.run(coordinator.flush(SCOPE, "all"));
    expect(coordinator.size(0)).to.equal(0);
  });

  it("does not keep its own FLUSHDB waiting", async () => {
    const world = await World.start();
    const { coordinator } = world;
    coordinator.tryPut(SCOPE, KEY, bytes("v"), 0);
    coordinator.tryPut(scopeOf({ database: 1 }), KEY, bytes("v"), 0);
    const hold = await world.run(coordinator.hold([SCOPE], [KEY]));
    await world.run(coordinator.flush({ ...SCOPE, hold }, "database"));
    expect(coordinator.size(0)).to.equal(0);
    hold.release();
  });
});
