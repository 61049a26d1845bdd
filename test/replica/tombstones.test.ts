import { expect } from "chai";
import { ContextTokens } from "../../lib/causality/context-token.js";
import { hashOf } from "../../lib/causality/record.js";
import { ExpiryTrimmer } from "../../lib/causality/record-expiry.js";
import { REMOVE } from "../../lib/coordinator/keyspace.js";
import { LocalKeyspace } from "../../lib/coordinator/local-keyspace.js";
import { bytes, liveValueOf, scopeOf, World } from "../model/world.js";
import { audited, dataKeyOf, decoded, member, put, recordAt, remove, send, sent, storedKeys, valuesAt } from "./merging.js";

const SCOPE = scopeOf();

function counts({ replica }: World): readonly number[] {
  return [replica.size(0), replica.expiringSize(0), replica.hiddenSize(0)];
}

describe("a replica in a ring that has other members", () => {
  it("keeps a tombstone of what is removed, and of nothing where there is nothing", async () => {
    const world = await member(1);
    const { coordinator } = world;
    expect(coordinator.tryRemove(SCOPE, bytes("never"))).to.equal(false);
    expect(await world.run(coordinator.remove(SCOPE, bytes("never")))).to.equal(false);
    expect(await storedKeys(world)).to.have.length(0);
    for (const removal of ["at once", "later", "update"]) {
      const key = bytes(removal);
      coordinator.tryPut(SCOPE, key, bytes("v"), 0);
      const before = decoded(world, dataKeyOf(world, removal))!;
      if (removal === "at once") expect(coordinator.tryRemove(SCOPE, key)).to.equal(true);
      else if (removal === "later") expect(await world.run(coordinator.remove(SCOPE, key))).to.equal(true);
      else expect(coordinator.tryUpdate(SCOPE, key, () => REMOVE)).to.equal(true);
      const after = decoded(world, dataKeyOf(world, removal))!;
      expect(after.versions.map(({ type }) => type)).to.deep.equal(["tombstone"]);
      expect(before.context.compare(after.context)).to.equal("before");
      expect(coordinator.peek(SCOPE, key)).to.equal(null);
      expect(coordinator.tryRemove(SCOPE, key)).to.equal(false);
    }
    expect(await storedKeys(world)).to.have.length(3);
    expect(counts(world)).to.deep.equal([0, 0, 0]);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("removes at once until it has been told of others, and from then on does not", async () => {
    const world = await World.start();
    const key = dataKeyOf(world, "k");
    put(world, key, "v");
    remove(world, key);
    expect(recordAt(world, key)).to.equal(null);
    put(world, key, "w");
    world.replica.keepTombstones();
    remove(world, key);
    expect(valuesAt(world, key)).to.deep.equal([null]);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("counts a key exactly while its newest version is a value, in every change", async () => {
    const [here, there] = [await member(1), await member(2)];
    const key = dataKeyOf(here, "k");
    const expiryMs = here.clock.wallMs() + 1_000;
    const expected: readonly (readonly [() => void, readonly number[]])[] = [
      [() => put(here, key, "a"), [1, 0, 0]],
      [() => remove(here, key), [0, 0, 0]],
      [() => remove(here, key), [0, 0, 0]],
      [() => put(here, key, "b", expiryMs), [1, 1, 0]],
      [() => put(here, key, "c"), [1, 0, 0]],
      [() => send(here, there, key), [1, 0, 0]],
      [() => remove(there, key), [1, 0, 0]],
      [() => send(there, here, key), [0, 0, 0]],
      [() => put(there, key, "d", expiryMs), [0, 0, 0]],
      [() => put(here, key, "e"), [1, 0, 0]],
      [() => send(there, here, key), [1, 1, 0]],
      [() => here.replica.mintOverNewest(key, null, 0), [0, 0, 1]],
      [() => put(here, key, "f"), [1, 0, 0]],
      [() => send(here, there, key), [1, 0, 0]],
    ];
    for (const [at, [change, wanted]] of expected.entries()) {
      here.replica.reserve(1);
      recordAt(here, key);
      change();
      expect(counts(here), `after change ${at}`).to.deep.equal(wanted);
    }
    for (const world of [here, there]) expect(await audited(world)).to.deep.equal([]);
    here.replica.clear();
    expect(counts(here)).to.deep.equal([0, 0, 0]);
    expect(await audited(here)).to.deep.equal([]);
  });

  it("makes tombstones of expired versions, with the same dots, and says that they expired", async () => {
    const world = await member(1);
    const { coordinator, reaper, clock } = world;
    const key = dataKeyOf(world, "k");
    const expiryMs = clock.wallMs() + 500;
    put(world, key, "v", expiryMs);
    put(world, dataKeyOf(world, "stays"), "v");
    const { context } = (await world.run(coordinator.siblings(SCOPE, bytes("k"))))!;
    await world.run(coordinator.putWithContext(SCOPE, bytes("k"), bytes("later"), expiryMs + 1_000, context));
    put(world, dataKeyOf(world, "single"), "v", expiryMs);
    const before = decoded(world, key)!;
    reaper.start();
    await clock.advance(700);
    expect(counts(world)).to.deep.equal([2, 1, 0]);
    expect(liveValueOf(coordinator.peek(SCOPE, bytes("k")))).to.equal("later");
    await clock.advance(1_000);
    expect(counts(world)).to.deep.equal([1, 0, 0]);
    expect(reaper.expiredKeys).to.equal(2);
    const after = decoded(world, key)!;
    expect(after.versions.map(({ type }) => type)).to.deep.equal(["tombstone"]);
    expect(hashOf(after)).to.deep.equal(hashOf(before));
    expect(after.versions[0]).to.deep.include({ dot: before.versions[0]!.dot, stamp: before.versions[0]!.stamp });
    expect(after.versions[0]!.expiryMs).to.equal(expiryMs + 1_000);
    expect(coordinator.peek(SCOPE, bytes("k"))).to.equal(null);
    expect(await storedKeys(world)).to.have.length(3);
    expect(await audited(world)).to.deep.equal([]);
    await world.run(reaper.stop());
  });

  it("makes a tombstone of one expired sibling and leaves the other", async () => {
    const [here, there] = [await member(1), await member(2)];
    const key = dataKeyOf(here, "k");
    const expiryMs = here.clock.wallMs() + 500;
    put(there, key, "older");
    await here.clock.advance(100);
    put(here, key, "newer", expiryMs);
    send(there, here, key);
    expect(counts(here)).to.deep.equal([1, 1, 0]);
    here.reaper.start();
    await here.clock.advance(700);
    expect(valuesAt(here, key)).to.deep.equal([null, "older"]);
    expect(counts(here)).to.deep.equal([0, 0, 1]);
    expect(await audited(here)).to.deep.equal([]);
    await here.run(here.reaper.stop());
  });

  it("counts right whatever compaction has dropped of an expired value before the reaper or a write comes", async () => {
    for (const next of ["reap", "put", "remove", "merge"]) {
      const [world, other] = [await member(1), await member(2)];
      const key = dataKeyOf(world, "k");
      put(world, key, "v", world.clock.wallMs() + 500);
      send(world, other, key);
      put(other, key, "w");
      await world.clock.advance(1_000);
      const stored = sent(world, key)!;
      const trimmed = new ExpiryTrimmer({ safetyMarginMs: 0 }).trim(stored, 0, stored.length, world.clock.wallMs())!;
      world.lsm.put(key, trimmed, 0, trimmed.length);
      expect(counts(world)).to.deep.equal([1, 1, 0]);
      expect(await audited(world)).to.deep.equal([]);
      recordAt(world, key);
      if (next === "reap") expect(world.replica.reap(key)).to.equal(true);
      else if (next === "put") put(world, key, "w");
      else if (next === "remove") remove(world, key);
      else send(other, world, key);
      expect(counts(world), next).to.deep.equal([next === "put" || next === "merge" ? 1 : 0, 0, 0]);
      expect(await audited(world)).to.deep.equal([]);
    }
  });

  it("reads a removed key without a turn for the reaper, and an expired one with it", async () => {
    const world = await member(1);
    const { replica, clock, random, settings, reaper } = world;
    const tokens = new ContextTokens({ clusterId: "c", clusterKey: Buffer.alloc(32, 7) });
    const keyspace = new LocalKeyspace({ replica, clock, random, tokens, names: () => "node-a", settings, reaper });
    const [removed, expired] = [dataKeyOf(world, "removed"), dataKeyOf(world, "expired")];
    put(world, removed, "v");
    remove(world, removed);
    put(world, expired, "v", clock.wallMs() + 10);
    await clock.advance(100);
    expect(keyspace.peek(SCOPE, bytes("removed"))).to.equal(null);
    expect(replica.queues.isTaken(removed)).to.equal(false);
    expect(keyspace.peek(SCOPE, bytes("expired"))).to.equal(null);
    expect(replica.queues.isTaken(expired)).to.equal(true);
    await clock.advance(1);
    expect(counts(world)).to.deep.equal([0, 0, 0]);
    expect(reaper.expiredKeys).to.equal(1);
  });

  it("finds the keys among thousands of tombstones of their slot", async () => {
    const world = await member(1);
    const { coordinator } = world;
    const names = Array.from({ length: 3_000 }, (_, at) => `{s}${at}`);
    for (const name of names) put(world, dataKeyOf(world, name), "v");
    const kept = new Set(["{s}17", "{s}2000"]);
    for (const name of names) if (!kept.has(name)) remove(world, dataKeyOf(world, name));
    expect(counts(world)).to.deep.equal([2, 0, 0]);
    const found = new Set<string | null>();
    for (let times = 0; times < 40; times++) found.add(await world.run(coordinator.randomKey(SCOPE)));
    expect(found).to.deep.equal(kept);
    const slot = (dataKeyOf(world, "{s}").charCodeAt(1) << 8) | dataKeyOf(world, "{s}").charCodeAt(2);
    expect(await world.run(coordinator.countKeysInSlot(SCOPE, slot))).to.equal(2);
    expect(await world.run(coordinator.keysInSlot(SCOPE, slot, 10))).to.have.members([...kept]);
    expect(await world.run(coordinator.keysInSlot(SCOPE, slot, 1))).to.have.length(1);
    const scanned: string[] = [];
    let cursor = 0n;
    do {
      const page = await world.run(coordinator.scan(SCOPE, cursor, 10));
      scanned.push(...page.keys);
      cursor = page.cursor;
    } while (cursor !== 0n);
    expect(scanned).to.have.members([...kept]);
    for (const name of kept) remove(world, dataKeyOf(world, name));
    expect(await world.run(coordinator.randomKey(SCOPE))).to.equal(null);
  });

  it("writes tombstones where a database is emptied beside others, and none over tombstones", async () => {
    const world = await member(1);
    const { coordinator } = world;
    coordinator.tryPut(scopeOf({ database: 1 }), bytes("other"), bytes("v"), 0);
    for (let at = 0; at < 200; at++) coordinator.tryPut(SCOPE, bytes(`k${at}`), bytes("v"), at % 2 === 0 ? 0 : 2e12);
    coordinator.tryRemove(SCOPE, bytes("k7"));
    const removed = sent(world, dataKeyOf(world, "k7"));
    await world.run(coordinator.flush(SCOPE, "database"));
    expect(counts(world)).to.deep.equal([0, 0, 0]);
    expect(coordinator.size(1)).to.equal(1);
    expect(await storedKeys(world)).to.have.length(201);
    expect(sent(world, dataKeyOf(world, "k7"))).to.deep.equal(removed);
    expect(valuesAt(world, dataKeyOf(world, "k8"))).to.deep.equal([null]);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("is found out by the audit when a counter or the index is wrong", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    put(world, key, "v", world.clock.wallMs() + 500);
    const record = sent(world, key)!;
    world.lsm.remove(key);
    expect((await audited(world)).join())
      .to.include("expiring records")
      .and.include("live records")
      .and.include("index of expiries names none");
    world.lsm.put(key, record, 0, record.length);
    expect(await audited(world)).to.deep.equal([]);
    world.lsm.count(0, 1);
    expect((await audited(world)).join()).to.include("live records of slot 0, database 0");
  });
});
