/**
 * The "kv679" family (Riak): a store that has forgotten what it gave out mints a clock that others take for one they have seen,
 * and its acknowledged write is dropped. In none of these may a merge drop what it had not seen.
 */
import { expect } from "chai";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import type { World } from "../model/world.js";
import { SimRandom } from "../sim/sim-random.js";
import { Trace } from "../sim/trace.js";
import { dataKeyOf, decoded, member, put, receive, recordAt, remove, send, sent, valuesAt } from "./merging.js";

/** A copy of a world's disk as it is now, as an operator would make one. */
function diskOf(world: World): World["disk"] {
  return world.disk.copy({ clock: world.clock, random: new SimRandom(77), trace: new Trace() });
}

/** A member that goes on after a clean stop, and a copy of its files as they were at that stop. */
async function restoredCopy(world: World): Promise<{ original: World; disk: World["disk"] }> {
  await world.stop();
  const disk = diskOf(world);
  const original = await world.restart();
  original.replica.keepTombstones();
  return { original, disk };
}

/** Exchanges a key until both hold the same. */
function exchange(a: World, b: World, key: string): void {
  send(a, b, key);
  send(b, a, key);
  expect(sent(a, key)).to.deep.equal(sent(b, key));
}

describe("no acknowledged write is dropped unseen (kv679)", () => {
  it("when a store that lost its data takes a new id", async () => {
    const [a, b] = [await member(1), await member(2)];
    const key = dataKeyOf(a, "k");
    for (const value of ["1", "2", "3"]) put(a, key, value);
    send(a, b, key);
    const anew = await member(3);
    expect(anew.identity.storeId).not.to.equal(a.identity.storeId);
    put(anew, key, "new");
    exchange(anew, b, key);
    expect(valuesAt(b, key)).to.have.members(["new", "3"]);
  });

  it("when a crash took what others have seen", async () => {
    const [a, b] = [await member(1), await member(2)];
    const key = dataKeyOf(a, "k");
    // What a crash leaves of it: nothing that came later is on the disk.
    a.lsm.syncNow();
    const disk = diskOf(a);
    for (const value of ["1", "2", "3"]) put(a, key, value);
    a.lsm.commit();
    send(a, b, key);
    const restarted = await member(1, { disk, wallMs: a.clock.wallMs() });
    expect(recordAt(restarted, key)).to.equal(null);
    expect([restarted.identity.storeId, restarted.identity.start]).to.deep.equal([a.identity.storeId, "unclean"]);
    put(restarted, key, "new");
    exchange(restarted, b, key);
    expect(valuesAt(b, key)).to.have.members(["new", "3"]);
  });

  it("when a store restored from an older copy is shown its own later dots by a merge, of that key or of another", async () => {
    for (const shown of ["k", "another"]) {
      const [a, b] = [await member(1), await member(2)];
      const [key, other] = [dataKeyOf(a, "k"), dataKeyOf(a, shown)];
      put(a, key, "old");
      const { original, disk } = await restoredCopy(a);
      const { epoch } = original.identity;
      for (const value of ["later", "last"]) put(original, key, value);
      put(original, other, "last");
      for (const each of new Set([key, other])) send(original, b, each);
      const restored = await member(1, { disk });
      // Started in good order, it takes itself for what it was.
      expect([restored.identity.epoch, restored.identity.storeId]).to.deep.equal([epoch, original.identity.storeId]);
      send(b, restored, other);
      expect(restored.identity.epoch).to.equal(epoch + 1);
      put(restored, key, "new");
      exchange(restored, b, key);
      // Shown the key itself, the plain write has seen all; shown another one, it has not.
      expect(valuesAt(b, key)).to.have.members(shown === "k" ? ["new"] : ["new", "last"]);
    }
  });

  it("when it is shown them by the context of a client", async () => {
    const [a, b] = [await member(1), await member(2)];
    const [key, other] = [dataKeyOf(a, "k"), dataKeyOf(a, "another")];
    put(a, key, "old");
    const { original, disk } = await restoredCopy(a);
    for (const each of [key, other]) {
      for (const value of ["later", "last"]) put(original, each, value);
      send(original, b, each);
    }
    const restored = await member(1, { disk });
    const { epoch } = restored.identity;
    const context = decoded(b, key)!.context;
    restored.replica.goBeyond(context);
    expect(restored.identity.epoch).to.equal(epoch + 1);
    restored.replica.reserve(2);
    const fresh = { value: Buffer.from("new"), expiryMs: 0, writeId: "id" };
    restored.replica.mint(key, recordAt(restored, key), { kind: "all", seen: context }, fresh);
    expect(decodeRecord(sent(restored, key)!).versions[0]!.writeId).to.equal("id");
    put(restored, other, "blind");
    for (const each of [key, other]) exchange(restored, b, each);
    expect(valuesAt(b, key)).to.deep.equal(["new"]);
    expect(valuesAt(b, other)).to.have.members(["blind", "last"]);
  });

  it("when a tombstone was removed here and the key written again", async () => {
    for (const remover of ["a", "b"]) {
      const [a, b] = [await member(1), await member(2)];
      const key = dataKeyOf(a, "k");
      put(a, key, "1");
      exchange(a, b, key);
      put(b, key, "2");
      exchange(a, b, key);
      const [deleting, other] = remover === "a" ? [a, b] : [b, a];
      remove(deleting, key);
      exchange(a, b, key);
      recordAt(deleting, key);
      deleting.replica.remove(key);
      expect(recordAt(deleting, key)).to.equal(null);
      put(deleting, key, "new");
      exchange(a, b, key);
      expect(valuesAt(other, key).filter((value) => value !== null)).to.deep.equal(["new"]);
      expect(valuesAt(other, key)[0]).to.equal("new");
    }
  });

  it("when the tombstone was removed and written over on both sides", async () => {
    const [a, b] = [await member(1), await member(2)];
    const key = dataKeyOf(a, "k");
    put(a, key, "1");
    exchange(a, b, key);
    remove(b, key);
    exchange(a, b, key);
    for (const world of [a, b]) {
      recordAt(world, key);
      world.replica.remove(key);
      put(world, key, world === a ? "of a" : "of b");
    }
    exchange(a, b, key);
    expect(valuesAt(a, key)).to.have.members(["of a", "of b"]);
  });

  it("when a stand-in has handed over what it kept and stands in again, because that is another epoch", async () => {
    for (const isNewEpoch of [true, false]) {
      const [primary, standIn] = [await member(1), await member(2)];
      const key = dataKeyOf(primary, "k");
      for (const value of ["first", "second"]) {
        if (isNewEpoch) standIn.identity.beginEpoch();
        put(standIn, key, value);
        send(standIn, primary, key);
        recordAt(standIn, key);
        standIn.replica.remove(key);
      }
      // The second had not seen the first; with the same actor its clock says that it had.
      expect(valuesAt(primary, key)).to.have.members(isNewEpoch ? ["first", "second"] : ["second"]);
    }
  });

  it("when an old hand-over arrives after newer writes, or twice", async () => {
    const [primary, standIn, other] = [await member(1), await member(2), await member(3)];
    const key = dataKeyOf(primary, "k");
    put(primary, key, "base");
    send(primary, other, key);
    standIn.identity.beginEpoch();
    put(standIn, key, "handed over");
    const handover = sent(standIn, key)!;
    put(other, key, "of other");
    send(other, primary, key);
    receive(primary, key, handover);
    expect(valuesAt(primary, key)).to.have.members(["handed over", "of other"]);
    send(primary, other, key);
    put(other, key, "resolved");
    send(other, primary, key);
    const { kind, uncoveredStamp } = receive(primary, key, handover);
    expect([kind, uncoveredStamp > 0]).to.deep.equal(["unchanged", true]);
    expect(valuesAt(primary, key)).to.deep.equal(["resolved"]);
  });

  it("when a store regains a slot that it had given up, because that is another epoch", async () => {
    for (const isNewEpoch of [true, false]) {
      const [a, b] = [await member(1), await member(2)];
      const key = dataKeyOf(a, "k");
      put(a, key, "of old");
      send(a, b, key);
      recordAt(a, key);
      a.replica.remove(key);
      if (isNewEpoch) a.identity.beginEpoch();
      put(a, key, "new");
      exchange(a, b, key);
      expect(valuesAt(b, key)).to.have.members(isNewEpoch ? ["of old", "new"] : ["new"]);
    }
  });
});
