import { expect } from "chai";
import fc from "fast-check";
import { actorOf } from "../../lib/causality/actor.js";
import { stampAt } from "../../lib/causality/hybrid-clock.js";
import {
  buryExpired,
  COVERS_ALL,
  hashOf,
  merge,
  NO_FIELDS,
  type Record,
  supersede,
  uncoveredStamp,
  type Version,
} from "../../lib/causality/record.js";
import { decodeRecord, encodeRecord, localAreaOf, withLocalArea } from "../../lib/causality/record-encoding.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { OperatingError } from "../../lib/errors.js";
import { pause } from "../../lib/host/clock.js";
import { encodedRecordOf, NO_PAIR } from "../../lib/replica/encoded-record.js";
import { History, steps } from "../causality/histories.js";
import { bytes, scopeOf } from "../model/world.js";
import { audited, carry, dataKeyOf, decoded, member, put, receive, recordAt, remove, sent, valuesAt } from "./merging.js";

const FOREIGN = actorOf("store-xx", 1);
const SCOPE = scopeOf();
const IN_TIME = {
  isPast: false,
  error(): never {
    throw new Error("it is not past");
  },
};

function version(sequence: number, changes: Partial<Version> = {}): Version {
  const dot = { actor: FOREIGN, sequence };
  return {
    dot,
    stamp: sequence,
    expiryMs: 0,
    type: "string",
    value: bytes(`f${sequence}`),
    writeId: null,
    fields: NO_FIELDS,
    ...changes,
  };
}

function foreign(sequence: number, changes: Partial<Version> = {}): Buffer {
  return encodeRecord(supersede(null, COVERS_ALL, version(sequence, changes)));
}

describe("merging a record from elsewhere", () => {
  it("takes over the pair that the sender's batch has, and passes it on as it is", async () => {
    const [one, two, three] = [await member(1), await member(2), await member(3)];
    const key = dataKeyOf(one, "k");
    for (const value of ["a", "b".repeat(200), ""]) {
      put(one, key, value);
      expect(one.replica.encodedAtHand().pairStart).to.be.at.least(0);
      expect(carry(one, two, key).kind).to.equal("stored");
      expect(two.replica.encodedAtHand().pairStart).to.be.at.least(0);
      expect(carry(two, three, key).kind).to.equal("stored");
      expect(carry(one, three, key).kind).to.equal("unchanged");
      const copies = [one, two, three].map((world) => sent(world, key));
      expect(copies).to.deep.equal([copies[0], copies[0], copies[0]]);
      expect(valuesAt(three, key)).to.deep.equal([value]);
    }
    for (const world of [one, two, three]) await audited(world);
  });

  it("sends what was stored last, whatever the engine's batch holds by then", async () => {
    const [one, two] = [await member(1), await member(2)];
    const key = dataKeyOf(one, "k");
    const others: (() => void)[] = [
      () => one.store.put("\x03other", bytes("longer than all of the pair that it is put over, and not a record"), 0, 60),
      () => one.store.commit(),
      () => {
        one.store.commit();
        one.store.put("\x03other", bytes("x".repeat(400)), 0, 400);
      },
    ];
    for (const [at, other] of others.entries()) {
      put(one, key, `value ${at}`);
      other();
      expect(one.replica.encodedAtHand().pairStart).to.equal(NO_PAIR);
      expect(carry(one, two, key).kind).to.equal("stored");
      expect(valuesAt(two, key)).to.deep.equal([`value ${at}`]);
    }
  });

  it("stores what is not there as it came, and nothing when it comes again", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    const record = foreign(7, { writeId: "w" });
    expect(receive(world, key, record)).to.deep.equal({ kind: "stored", uncoveredStamp: 0 });
    expect(sent(world, key)).to.deep.equal(record);
    let puts = 0;
    world.store.events = { ...world.store.events, onPut: () => void puts++ };
    expect(receive(world, key, record)).to.deep.equal({ kind: "unchanged", uncoveredStamp: 0 });
    expect(puts).to.equal(0);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("keeps what is newer here, and tells of what the sender has not seen", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    const old = foreign(7);
    receive(world, key, old);
    put(world, key, "newer");
    const stamp = recordAt(world, key)!.newestStamp();
    expect(receive(world, key, old)).to.deep.equal({ kind: "unchanged", uncoveredStamp: stamp });
    expect(valuesAt(world, key)).to.deep.equal(["newer"]);
    recordAt(world, key);
    world.replica.merge(key, world.replica.record, encodedRecordOf(old), world.clock.wallMs());
    expect(world.replica.contextAtHand().covers({ actor: FOREIGN, sequence: 7 })).to.equal(true);
    expect(world.replica.contextAtHand().sequenceOf(world.identity.actor)).to.be.greaterThan(0);
  });

  it("keeps both of two that have not seen each other, tombstones too", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    put(world, key, "own");
    remove(world, key);
    const stamp = recordAt(world, key)!.newestStamp();
    expect(receive(world, key, foreign(7))).to.deep.equal({ kind: "stored", uncoveredStamp: stamp });
    expect(valuesAt(world, key)).to.deep.equal([null, "f7"]);
    expect([world.replica.size(0), world.replica.hiddenSize(0)]).to.deep.equal([0, 1]);
    expect(world.replica.contextAtHand().size).to.equal(2);
    const newer = encodeRecord(supersede(decoded(world, key)!, COVERS_ALL, version(8, { stamp: stamp + 1 })));
    expect(receive(world, key, newer)).to.deep.equal({ kind: "stored", uncoveredStamp: 0 });
    expect(valuesAt(world, key)).to.deep.equal(["f8"]);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("comes to what decoding and merging come to, with the counters of what is stored", async () => {
    const world = await member(1);
    await world.run(
      fc.assert(
        fc.asyncProperty(steps, fc.array(fc.nat(), { minLength: 2, maxLength: 8 }), fc.string(), async (all, picks, name) => {
          const { records } = History.run(all);
          if (records.length === 0) return;
          const key = dataKeyOf(world, name);
          if (recordAt(world, key) !== null) world.replica.remove(key);
          let expected: Record | null = null;
          for (const pick of picks) {
            const incoming = records[pick % records.length]!;
            const fresh = buryExpired(incoming, world.clock.wallMs());
            const merged: Record = expected === null ? fresh : merge(expected, fresh);
            const result = receive(world, key, encodeRecord(incoming));
            expect(result.uncoveredStamp).to.equal(uncoveredStamp(merged, incoming.context));
            if (merged === expected) expect(result.kind).to.equal("unchanged");
            expect(sent(world, key)).to.deep.equal(encodeRecord(merged));
            expect(hashOf(decoded(world, key)!)).to.deep.equal(hashOf(merged));
            expected = merged;
          }
        }),
        { numRuns: 200 },
      ) as Promise<void>,
    );
    expect(await audited(world)).to.deep.equal([]);
  });

  it("moves the clock, so that what is minted next is newer, but not for a stamp too far ahead", async () => {
    const world = await member(1);
    const [near, far] = [dataKeyOf(world, "near"), dataKeyOf(world, "far")];
    const ahead = stampAt(world.clock.wallMs() + 50_000);
    receive(world, near, foreign(1, { stamp: ahead }));
    put(world, far, "own");
    const own = recordAt(world, far)!.newestStamp();
    expect(own).to.be.greaterThan(ahead);
    receive(world, far, foreign(2, { stamp: stampAt(world.clock.wallMs() + 3_600_000) }));
    expect(valuesAt(world, far)).to.deep.equal(["f2", "own"]);
    put(world, near, "own");
    expect(recordAt(world, near)!.newestStamp()).to.be.within(own, own + 10);
  });

  it("takes over no local area, and keeps its own through merges and writes", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    const areaOf = () => [
      ...localAreaOf(Buffer.from(recordAt(world, key)!.bytes.subarray(world.replica.record.start, world.replica.record.end))),
    ];
    const withArea = (record: Buffer, area: number[]) =>
      Buffer.from(withLocalArea(record, 0, record.length, Uint8Array.from(area)));
    receive(world, key, withArea(foreign(1), [6, 6, 6]));
    expect(sent(world, key)).to.deep.equal(foreign(1));
    expect(areaOf()).to.deep.equal([]);
    const own = withArea(foreign(1), [1, 2]);
    world.lsm.put(key, own, 0, own.length);
    expect(sent(world, key)).to.deep.equal(foreign(1));
    receive(world, key, withArea(encodeRecord(supersede(decodeRecord(foreign(1)), COVERS_ALL, version(2))), [6]));
    expect([areaOf(), valuesAt(world, key)]).to.deep.equal([[1, 2], ["f2"]]);
    receive(
      world,
      key,
      encodeRecord(supersede(null, COVERS_ALL, { ...version(3), dot: { actor: actorOf("store-yy", 1), sequence: 3 } })),
    );
    expect([areaOf(), valuesAt(world, key)]).to.deep.equal([
      [1, 2],
      ["f3", "f2"],
    ]);
    put(world, key, "own");
    expect([areaOf(), valuesAt(world, key)]).to.deep.equal([[1, 2], ["own"]]);
    expect(localAreaOf(sent(world, key)!)).to.have.length(0);
  });

  it("refuses what is damaged, and two records that supersede each other, and stores nothing", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    const damaged = foreign(7);
    damaged[0] = 9;
    expect(() => receive(world, key, damaged))
      .to.throw()
      .with.property("code", "CORRUPT");
    expect(recordAt(world, key)).to.equal(null);
    // A dot was given twice: each has seen the other's dot, under which it knows something else.
    const seen = (sequence: number) => VersionVector.of({ actor: FOREIGN, sequence });
    const other = { actor: actorOf("store-yy", 1), sequence: 5 };
    const one = encodeRecord(supersede(null, { kind: "all", seen: VersionVector.of(other) }, version(7)));
    const two = encodeRecord(
      supersede(null, { kind: "all", seen: seen(7) }, { ...version(1), dot: { ...other, sequence: 4 } }),
    );
    receive(world, key, one);
    expect(() => receive(world, key, two))
      .to.throw()
      .with.property("code", "CORRUPT");
    expect(sent(world, key)).to.deep.equal(one);
  });

  it("does not take back the value of what has expired, and gives it nothing to repair", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    const expiryMs = world.clock.wallMs() + 100;
    const record = foreign(7, { expiryMs });
    receive(world, key, record);
    const hash = hashOf(decoded(world, key)!);
    await world.clock.advance(200);
    recordAt(world, key);
    expect(world.replica.reap(key)).to.equal(true);
    expect(hashOf(decoded(world, key)!)).to.deep.equal(hash);
    expect(receive(world, key, record)).to.deep.equal({ kind: "unchanged", uncoveredStamp: 0 });
    expect(valuesAt(world, key)).to.deep.equal([null]);
    // A clock that was fast is set back: the value is good again, and this replica takes it.
    world.clock.jumpWall(-200);
    expect(receive(world, key, record)).to.deep.equal({ kind: "stored", uncoveredStamp: 0 });
    expect(valuesAt(world, key)).to.deep.equal(["f7"]);
    expect([world.replica.size(0), world.replica.expiringSize(0)]).to.deep.equal([1, 1]);
    expect(await audited(world)).to.deep.equal([]);
  });

  it("begins an epoch before it stores what has seen dots that this store does not know to have given", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    put(world, key, "own");
    const { storeId, epoch } = world.identity;
    const later = { actor: actorOf(storeId, epoch), sequence: 1_000_000 };
    const seen = (sequence: number) =>
      encodeRecord(supersede(null, { kind: "all", seen: VersionVector.of({ ...later, sequence }) }, version(7)));
    receive(world, key, seen(1));
    expect(world.identity.epoch).to.equal(epoch);
    receive(world, key, seen(later.sequence));
    expect(world.identity.epoch).to.equal(epoch + 1);
    // Decoded, because of a sibling: from an epoch that was never heard of.
    const foretold = { actor: actorOf(storeId, epoch + 5), sequence: 1 };
    const sibling = { ...version(9), dot: { actor: actorOf("store-yy", 1), sequence: 9 } };
    receive(world, key, encodeRecord(supersede(null, { kind: "all", seen: VersionVector.of(foretold) }, sibling)));
    expect(world.identity.epoch).to.equal(epoch + 6);
    expect(valuesAt(world, key)).to.deep.equal(["f9", "f7"]);
    world.lsm.syncNow();
    expect((await world.restart()).identity.epoch).to.equal(epoch + 7);
  });

  it("stores nothing when the disk refuses that epoch, says so, and tries again with the next", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    put(world, key, "own");
    world.lsm.commit();
    const { storeId, epoch } = world.identity;
    for (const sibling of [false, true]) {
      const seen = VersionVector.of({ actor: actorOf(storeId, epoch), sequence: 1_000_000 });
      const first = supersede(null, { kind: "all", seen }, version(7));
      const other = { ...version(9), dot: { actor: actorOf("store-yy", 1), sequence: 9 } };
      const record = encodeRecord(sibling ? supersede(first, { kind: "context", context: seen }, other) : first);
      const before = sent(world, key);
      world.disk.faults.capacityBytes = world.disk.usedBytes;
      expect(() => receive(world, key, record))
        .to.throw()
        .with.property("code", "IO");
      expect([world.identity.epoch, sent(world, key)]).to.deep.equal([epoch, before]);
      world.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
      await world.run(pause(world.clock, 1));
      if (!sibling) continue;
      receive(world, key, record);
      expect(world.identity.epoch).to.equal(epoch + 1);
      expect(valuesAt(world, key)).to.have.members(["f9", "f7"]);
    }
    expect(await audited(world)).to.deep.equal([]);
  });

  it("makes a WATCH of an absent key fail where the key came meanwhile, even if it went again", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    const fingerprint = () => world.run(world.coordinator.fingerprint(SCOPE, bytes("k")));
    const absent = await fingerprint();
    receive(world, key, foreign(1, { type: "tombstone", value: null }));
    expect(await fingerprint()).to.equal(absent);
    receive(world, key, encodeRecord(supersede(decoded(world, key)!, COVERS_ALL, version(2))));
    expect(await fingerprint()).not.to.equal(absent);
    remove(world, key);
    const removed = await fingerprint();
    expect(removed).not.to.equal(absent);
    put(world, key, "again");
    remove(world, key);
    expect(await fingerprint()).not.to.equal(removed);
  });

  it("reads first what memory says nothing of, and stores nothing past the deadline", async () => {
    const world = await member(1);
    const key = dataKeyOf(world, "k");
    put(world, key, "own");
    world.lsm.commit();
    await world.clock.advance(1);
    Object.assign(world.store, { coldness: 1, readMsMax: 10 });
    const record = foreign(7, { stamp: 1 });
    const stamp = decodeRecord((await world.run(world.lsm.read(key)))!).versions[0]!.stamp;
    const late = { isPast: true, error: () => new OperatingError("TIMEOUT", "late") };
    expect((await world.failureOf(world.replica.mergeRead(key, record, 0, record.length, late))).code).to.equal("TIMEOUT");
    const merging = world.replica.mergeRead(key, record, 0, record.length, IN_TIME);
    const copy = Buffer.from(record);
    record.fill(0);
    const { kind, uncovered } = await world.run(merging);
    expect([kind, uncovered?.stamp, uncovered?.context.size]).to.deep.equal(["stored", stamp, 2]);
    expect(await world.run(world.replica.mergeRead(key, copy, 0, copy.length, IN_TIME))).to.deep.include({ kind: "unchanged" });
    world.store.coldness = 0;
    expect(valuesAt(world, key)).to.deep.equal(["own", "f7"]);
    expect(world.replica.watched).to.equal(0);
  });

  it("lets no more records wait for the disk than requests may", async () => {
    const world = await member(1, { settings: { queuedMax: 2 } });
    const key = dataKeyOf(world, "k");
    Object.assign(world.store, { coldness: 1, readMsMax: 10 });
    const record = foreign(7);
    const merge = () => world.replica.mergeRead(key, record, 0, record.length, IN_TIME);
    const waiting = [merge(), merge()];
    expect((await world.failureOf(merge())).code).to.equal("BUSY");
    await world.run(Promise.all(waiting));
    expect((await world.run(merge())).kind).to.equal("unchanged");
  });
});
