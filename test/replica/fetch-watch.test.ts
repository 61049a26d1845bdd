import { expect } from "chai";
import { actorOf } from "../../lib/causality/actor.js";
import { COVERS_ALL, NO_FIELDS, supersede } from "../../lib/causality/record.js";
import { encodeRecord } from "../../lib/causality/record-encoding.js";
import { KEEP } from "../../lib/coordinator/keyspace.js";
import { OperatingError } from "../../lib/errors.js";
import { FetchWatch, type Records } from "../../lib/replica/fetch-watch.js";
import { bytes, liveValueOf, scopeOf, type World } from "../model/world.js";
import { settle } from "../sim/sim-clock.js";
import { dataKeyOf, member, put, remove, valuesAt } from "./merging.js";

const SCOPE = scopeOf();
const KEY = bytes("k");
const IN_TIME = { isPast: false, error: () => new OperatingError("TIMEOUT", "it is not past") };

/** A record of another store that has seen nothing. */
const FOREIGN = encodeRecord(
  supersede(null, COVERS_ALL, {
    dot: { actor: actorOf("store-xx", 1), sequence: 3 },
    stamp: 3,
    expiryMs: 0,
    type: "string",
    value: bytes("merged"),
    writeId: null,
    fields: NO_FIELDS,
  }),
);

/** A member with a committed value under KEY which only the disk knows, and reads that wait until they are let go. */
async function slow(): Promise<{ world: World; reads: (() => void)[]; release: (at: number) => Promise<void> }> {
  const world = await member(1);
  put(world, dataKeyOf(world, "k"), "first");
  world.store.syncNow();
  world.store.coldness = 1;
  const reads: (() => void)[] = [];
  world.store.read = async (key) => {
    const found = await world.lsm.read(key);
    await new Promise<void>((resolve) => reads.push(resolve));
    return found;
  };
  const release = async (at: number): Promise<void> => {
    reads[at]!();
    await settle();
    // What was stored is committed, so that memory does not know of it any longer.
    await world.clock.advance(1);
  };
  return { world, reads, release };
}

describe("what was fetched from a slow disk", () => {
  it("is fetched again when a merge has come meanwhile, so that no write drops what it has not seen", async () => {
    const { world, reads, release } = await slow();
    const { coordinator, replica } = world;
    const key = dataKeyOf(world, "k");
    const seen: (string | null)[] = [];
    const update = coordinator.update(SCOPE, KEY, (entry) => {
      seen.push(liveValueOf(entry));
      return { kind: "put", value: "updated", expiryMs: 0 };
    });
    await settle();
    const merging = replica.mergeRead(key, FOREIGN, 0, FOREIGN.length, IN_TIME);
    await settle();
    expect(reads).to.have.length(2);
    await release(1);
    expect((await world.run(merging)).kind).to.equal("stored");
    await release(0);
    expect([reads.length, seen]).to.deep.equal([3, []]);
    await release(2);
    await world.run(update);
    world.store.coldness = 0;
    // It was computed from the newest, and the merged sibling is still there.
    expect([seen, valuesAt(world, key)]).to.deep.equal([["first"], ["updated", "merged"]]);
    expect(replica.watched).to.equal(0);
  });

  it("is fetched again by a merge when a write has come meanwhile", async () => {
    const { world, reads, release } = await slow();
    const key = dataKeyOf(world, "k");
    const merging = world.replica.mergeRead(key, FOREIGN, 0, FOREIGN.length, IN_TIME);
    const putting = world.coordinator.put(SCOPE, KEY, bytes("second"), 0);
    await settle();
    await release(1);
    await world.run(putting);
    await release(0);
    await release(2);
    expect((await world.run(merging)).kind).to.equal("stored");
    world.store.coldness = 0;
    expect([reads.length, valuesAt(world, key)]).to.deep.equal([3, ["second", "merged"]]);
    expect(world.replica.watched).to.equal(0);
  });

  it("is fetched again when all was cleared, or the key removed and put again", async () => {
    for (const change of ["clear", "remove"]) {
      const { world, reads, release } = await slow();
      const key = dataKeyOf(world, "k");
      const merging = world.replica.mergeRead(key, FOREIGN, 0, FOREIGN.length, IN_TIME);
      await settle();
      world.store.coldness = 0;
      if (change === "clear") world.replica.clear();
      else remove(world, key);
      put(world, key, "second");
      world.store.syncNow();
      world.store.coldness = 1;
      await release(0);
      await release(1);
      await world.run(merging);
      world.store.coldness = 0;
      expect([reads.length, valuesAt(world, key)]).to.deep.equal([2, ["second", "merged"]]);
    }
  });

  it("is used as it is when nothing was stored under the key itself", async () => {
    const { world, reads, release } = await slow();
    const update = world.coordinator.update(SCOPE, KEY, () => ({ kind: "put", value: "updated", expiryMs: 0 }));
    await settle();
    const other = world.replica.mergeRead(dataKeyOf(world, "other"), FOREIGN, 0, FOREIGN.length, IN_TIME);
    await settle();
    await release(1);
    await world.run(other);
    await release(0);
    await world.run(update);
    expect(reads).to.have.length(2);
  });

  it("is watched no longer when it was used, even if nothing came of it", async () => {
    const { world, release } = await slow();
    const update = world.coordinator.update(SCOPE, KEY, () => KEEP);
    await settle();
    expect(world.replica.watched).to.equal(1);
    await release(0);
    await world.run(update);
    expect(world.replica.watched).to.equal(0);
  });

  it("is watched no longer when the disk fails", async () => {
    const { world } = await slow();
    world.store.read = () => Promise.reject(new OperatingError("IO", "the disk is broken"));
    const key = dataKeyOf(world, "k");
    const merging = world.replica.mergeRead(key, FOREIGN, 0, FOREIGN.length, IN_TIME);
    expect((await world.failureOf(merging)).code).to.equal("IO");
    expect(world.replica.watched).to.equal(0);
  });
});

describe("the watch over fetches", () => {
  it("takes a changed key out of every fetch that has it, and keeps out what is still being read", () => {
    const watch = new FetchWatch();
    const [one, two]: [Records, Records] = [new Map(), new Map()];
    watch.begin("a", one);
    watch.begin("a", two);
    watch.begin("b", two);
    watch.add("a", one, bytes("old"));
    watch.noteChange("a");
    watch.add("a", two, bytes("old"));
    watch.add("b", two, null);
    expect([[...one.keys()], [...two.keys()], watch.size]).to.deep.equal([[], ["b"], 1]);
    watch.begin("a", two);
    watch.add("a", two, bytes("new"));
    watch.noteChange("c");
    expect([...two.keys()]).to.deep.equal(["b", "a"]);
    watch.end(two.keys(), two);
    expect(watch.size).to.equal(0);
  });

  it("goes on for the others when one of the fetches of a key has ended", () => {
    const watch = new FetchWatch();
    const [one, two]: [Records, Records] = [new Map(), new Map()];
    for (const fetched of [one, two]) {
      watch.begin("a", fetched);
      watch.add("a", fetched, bytes("old"));
    }
    watch.end(["a"], one);
    watch.noteChangeOfAll();
    expect([one.size, two.size, watch.size]).to.deep.equal([1, 0, 0]);
  });
});
