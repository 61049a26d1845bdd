/** Hints in one store: what is kept, merged, found again, deleted and dropped. */
import { expect } from "chai";
import { silentLog } from "../../lib/log.js";
import type { Lsm } from "../../lib/lsm/lsm.js";
import { slotOfDataKey } from "../../lib/replica/data-key.js";
import { HINTS_END, HINTS_START, HintKind } from "../../lib/replica/hint-key.js";
import { type Hint, type HintSettings, Hints } from "../../lib/replica/hints.js";
import { MetaStore } from "../../lib/replica/meta-store.js";
import { Readdressing } from "../../lib/replica/readdressing.js";
import { ColdStore } from "../model/cold-store.js";
import { SimClock, settle } from "../sim/sim-clock.js";
import type { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { afterCrash, idOf, keyOf, openEngine, recordOf, valuesOf } from "./copies.js";

const AWAY = idOf(9);
const OTHER = idOf(8);
const NOBODY = idOf(7);

/** A store with hints, started anew as often as one likes. */
class Keeper {
  readonly clock = new SimClock();
  readonly settings = { hintsMaxBytes: 2 ** 30, hintsMaxAgeMs: 3_600_000 };
  lsm!: Lsm;
  disk!: SimDisk;
  hints!: Hints;

  static async start(settings: Partial<HintSettings> = {}): Promise<Keeper> {
    const keeper = new Keeper();
    Object.assign(keeper.settings, settings);
    await keeper.open();
    return keeper;
  }

  async open(disk?: SimDisk): Promise<void> {
    const opened = await openEngine({ clock: this.clock, ...(disk === undefined ? {} : { disk }) });
    this.lsm = opened.lsm;
    this.disk = opened.disk;
    const meta = await this.clock.run(MetaStore.open(this.lsm));
    const { lsm, clock, settings } = this;
    this.hints = await this.clock.run(Hints.open({ lsm, meta, clock, log: silentLog, settings }));
  }

  async crash(): Promise<void> {
    await this.open(afterCrash(this.disk, this.clock));
  }

  keep(target: string, key: string, record: Buffer): string {
    return this.hints.keep(target, key, record, 0, record.length);
  }

  async all(target: string): Promise<readonly Hint[]> {
    const { hints, next } = await this.clock.run(this.hints.page(target, null));
    expect(next).to.equal(null);
    return hints;
  }

  totals(): { [target: string]: number } {
    return Object.fromEntries(this.hints.totals().map(({ target, count }) => [target, count]));
  }
}

describe("hints", () => {
  it("are there after a crash as soon as their turn is on the disk", async () => {
    const keeper = await Keeper.start();
    const { clock } = keeper;
    const keptMs = clock.wallMs();
    expect(keeper.keep(AWAY, keyOf("a", 3), recordOf("x", 1, "one"))).to.equal("kept");
    await clock.advance(10);
    const tag = keeper.hints.mark(AWAY, keyOf("b"));
    keeper.keep(OTHER, keyOf("a", 3), recordOf("x", 1, "one"));
    keeper.lsm.syncNow();
    const { bytes } = keeper.hints;
    keeper.keep(AWAY, keyOf("lost"), recordOf("x", 2, "two"));
    await keeper.crash();
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 2, [OTHER]: 1 });
    expect([keeper.hints.bytes, keeper.hints.count]).to.deep.equal([bytes, 3]);
    expect(keeper.hints.totals().find(({ target }) => target === AWAY)?.oldestMs).to.equal(keptMs);
    const [record, mark] = await keeper.all(AWAY);
    expect(record).to.include({ kind: HintKind.record, dataKey: keyOf("a", 3), target: AWAY, createdMs: keptMs });
    expect(valuesOf(record!.record)).to.deep.equal(["one"]);
    expect(mark).to.include({ kind: HintKind.mark, dataKey: keyOf("b"), target: AWAY, tag, record: null });
    expect(keeper.hints.mark(AWAY, keyOf("c")), "a tag that no earlier run has given").to.be.above(tag + 1);
  });

  it("of one key for one target become one, which holds what both have seen", async () => {
    const keeper = await Keeper.start();
    const key = keyOf("k");
    keeper.keep(AWAY, key, recordOf("x", 1, "first"));
    const [before] = await keeper.all(AWAY);
    await keeper.clock.advance(1_000);
    keeper.keep(AWAY, key, recordOf("y", 1, "sibling"));
    expect(await keeper.clock.run(keeper.hints.read(key, [AWAY])).then(valuesOf)).to.deep.equal(["first", "sibling"]);
    keeper.keep(AWAY, key, recordOf("z", 1, "both", { x: 1, y: 1 }));
    const [after] = await keeper.all(AWAY);
    expect(valuesOf(after!.record)).to.deep.equal(["both"]);
    expect(after!.createdMs, "as old as the oldest write in it").to.equal(before!.createdMs);
    keeper.keep(AWAY, key, recordOf("x", 1, "first"));
    expect((await keeper.all(AWAY))[0]!.tag, "what says nothing new changes nothing").to.equal(after!.tag);
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1 });
    expect(keeper.hints.bytes).to.equal(after!.key.length + 12 + after!.record!.length);
  });

  it("are read merged, for whomever they are, and marks are not", async () => {
    const keeper = await Keeper.start();
    const key = keyOf("k");
    expect(keeper.hints.peek(key, [AWAY, OTHER, NOBODY])).to.equal(null);
    keeper.hints.mark(AWAY, key);
    expect(keeper.hints.peek(key, [AWAY, OTHER, NOBODY])).to.equal(null);
    keeper.keep(AWAY, key, recordOf("x", 1, "one"));
    keeper.keep(OTHER, key, recordOf("y", 1, "two"));
    keeper.keep(OTHER, keyOf("else"), recordOf("y", 2, "three"));
    const both = keeper.hints.peek(key, [AWAY, OTHER, NOBODY]);
    expect(valuesOf(both as Buffer)).to.deep.equal(["one", "two"]);
    expect(valuesOf(keeper.hints.peek(key, [OTHER]) as Buffer)).to.deep.equal(["two"]);
    expect(valuesOf(await keeper.clock.run(keeper.hints.read(key, [AWAY, OTHER])))).to.deep.equal(["one", "two"]);
    expect(await keeper.clock.run(keeper.hints.read(keyOf("absent"), [AWAY, OTHER]))).to.equal(null);
  });

  it("cost a read nothing where there are none", async () => {
    const keeper = await Keeper.start();
    const meta = await keeper.clock.run(MetaStore.open(keeper.lsm));
    const untouchable = new Proxy(keeper.lsm, {
      get: (lsm, name) => {
        if (name === "peek" || name === "read") throw new Error("the engine was asked");
        return Reflect.get(lsm, name);
      },
    });
    const scan = keeper.lsm.scan.bind(keeper.lsm);
    Object.assign(untouchable, { scan });
    const { clock, settings } = keeper;
    const hints = await clock.run(Hints.open({ lsm: untouchable, meta, clock, log: silentLog, settings }));
    expect(hints.peek(keyOf("k"), [AWAY, OTHER])).to.equal(null);
    expect(await clock.run(hints.read(keyOf("k"), [AWAY, OTHER]))).to.equal(null);
  });

  it("that have changed since their page was read are not removed", async () => {
    const keeper = await Keeper.start();
    const [a, b] = [keyOf("a"), keyOf("b")];
    keeper.keep(AWAY, a, recordOf("x", 1, "old"));
    keeper.hints.mark(AWAY, b);
    const stale = await keeper.all(AWAY);
    keeper.keep(AWAY, a, recordOf("x", 2, "new"));
    keeper.hints.mark(AWAY, b);
    for (const hint of stale) expect(await keeper.clock.run(keeper.hints.remove(hint))).to.equal(false);
    const fresh = await keeper.all(AWAY);
    expect(valuesOf(fresh[0]!.record)).to.deep.equal(["new"]);
    for (const hint of fresh) expect(await keeper.clock.run(keeper.hints.remove(hint))).to.equal(true);
    for (const hint of fresh) expect(await keeper.clock.run(keeper.hints.remove(hint))).to.equal(false);
    expect([keeper.totals(), keeper.hints.bytes]).to.deep.equal([{}, 0]);
  });

  it("a mark goes with the late acknowledgement of its own write only", async () => {
    const keeper = await Keeper.start();
    const key = keyOf("k");
    const older = keeper.hints.mark(AWAY, key);
    const newer = keeper.hints.mark(AWAY, key);
    keeper.hints.unmark(AWAY, key, older);
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1 });
    keeper.hints.unmark(AWAY, key, newer);
    expect(keeper.totals()).to.deep.equal({});
    expect(await keeper.all(AWAY)).to.deep.equal([]);
  });

  it("are dropped where there is no room, and their slots are known to be dirty even after a crash", async () => {
    const keeper = await Keeper.start();
    keeper.keep(AWAY, keyOf("a"), recordOf("x", 1, "v".repeat(100)));
    keeper.settings.hintsMaxBytes = keeper.hints.bytes + 40;
    expect(keeper.keep(OTHER, keyOf("b"), recordOf("x", 2, "v".repeat(100)))).to.equal("full");
    expect(keeper.keep(AWAY, keyOf("a"), recordOf("x", 3, "v".repeat(200)))).to.equal("full");
    expect(keeper.hints.mark(AWAY, keyOf("c"))).to.be.above(0);
    expect(keeper.hints.mark(AWAY, keyOf("d"))).to.equal(0);
    expect(keeper.hints.mark(AWAY, keyOf("c")), "a mark that is there needs no room").to.be.above(0);
    expect([keeper.hints.droppedFull, keeper.hints.count]).to.deep.equal([3, 2]);
    const dirtyOf = (target: string) => [...keeper.hints.dirtySlots.slotsOf(target)];
    const slots = [slotOfDataKey(keyOf("a")), slotOfDataKey(keyOf("d"))].sort((a, b) => a - b);
    await keeper.clock.advance(3_000);
    keeper.lsm.syncNow();
    await keeper.crash();
    expect(dirtyOf(AWAY)).to.deep.equal(slots);
    expect(dirtyOf(OTHER)).to.deep.equal([slotOfDataKey(keyOf("b"))]);
    keeper.hints.dirtySlots.clear(OTHER, slotOfDataKey(keyOf("b")));
    keeper.hints.stop();
    keeper.lsm.syncNow();
    await keeper.crash();
    expect(keeper.hints.dirtySlots.members()).to.deep.equal([AWAY]);
  });

  it("of a member that is about to leave may go to others in the place of their target, and are no new ones", async () => {
    const keeper = await Keeper.start();
    const { clock, hints } = keeper;
    const [moved, stays, away] = [keyOf("moved"), keyOf("stays"), idOf(6)];
    for (const key of [moved, stays]) keeper.keep(AWAY, key, recordOf("x", 1, "one"));
    hints.close();
    const owners: { [member: string]: readonly string[] } = { [AWAY]: [OTHER] };
    const readdressing = new Readdressing({
      hints,
      self: NOBODY,
      ring: {
        version: () => 1,
        changedAt: () => 1,
        ownersOf: () => [AWAY, OTHER],
        comingFor: (_, owner) => owners[owner] ?? [],
      },
      store: async () => undefined,
    });
    const hint = (await keeper.all(AWAY)).find(({ dataKey }) => dataKey === moved)!;
    expect(await clock.run(readdressing.delivered(hint))).to.equal("moved");
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1, [OTHER]: 1 });
    expect(keeper.keep(away, stays, recordOf("x", 1, "one"))).to.equal("full");
    expect(hints.mark(away, stays)).to.equal(0);
  });

  it("that are too old are dropped in one batch with the mark that their slots are dirty", async () => {
    const keeper = await Keeper.start({ hintsMaxAgeMs: 1_000 });
    keeper.keep(AWAY, keyOf("old"), recordOf("x", 1, "v"));
    keeper.hints.mark(AWAY, keyOf("older mark"));
    await keeper.clock.advance(1_500);
    keeper.keep(AWAY, keyOf("young"), recordOf("x", 2, "v"));
    const youngMs = keeper.clock.wallMs();
    const keptUntil = keeper.lsm.commitsTried;
    await keeper.clock.run(keeper.hints.dropOld(AWAY, () => false));
    await keeper.clock.advance(1);
    expect(keeper.lsm.commitsTried - keptUntil).to.be.at.most(2);
    expect((await keeper.all(AWAY)).map((hint) => hint.dataKey)).to.deep.equal([keyOf("young")]);
    expect(keeper.hints.droppedOld).to.equal(2);
    expect(keeper.hints.totals()[0]!.oldestMs).to.equal(youngMs);
    keeper.lsm.syncNow();
    await keeper.crash();
    const slots = [slotOfDataKey(keyOf("old")), slotOfDataKey(keyOf("older mark"))].sort((a, b) => a - b);
    expect([...keeper.hints.dirtySlots.slotsOf(AWAY)]).to.deep.equal(slots);
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1 });
  });

  it("that were marks, and that the disk refuses, leave their slots dirty", async () => {
    const keeper = await Keeper.start();
    keeper.hints.mark(AWAY, keyOf("kept"));
    await keeper.clock.advance(5);
    keeper.disk.faults.capacityBytes = keeper.disk.usedBytes;
    for (const name of ["kept", "refused"]) keeper.hints.mark(AWAY, keyOf(name));
    await keeper.clock.advance(5);
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1 });
    expect([...keeper.hints.dirtySlots.slotsOf(AWAY)]).to.deep.equal([slotOfDataKey(keyOf("refused"))]);
  });

  it("that the disk refuses are not counted, and those it refuses to remove are", async () => {
    const keeper = await Keeper.start();
    keeper.keep(AWAY, keyOf("a"), recordOf("x", 1, "v"));
    await keeper.clock.advance(1);
    const { bytes } = keeper.hints;
    const [hint] = await keeper.all(AWAY);
    keeper.disk.faults.capacityBytes = keeper.disk.usedBytes;
    keeper.keep(AWAY, keyOf("b"), recordOf("x", 2, "v"));
    keeper.hints.mark(OTHER, keyOf("b"));
    await keeper.clock.run(keeper.hints.remove(hint!));
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1, [OTHER]: 1 });
    expect(() => keeper.lsm.commit()).to.throw();
    await settle();
    expect([keeper.totals(), keeper.hints.bytes]).to.deep.equal([{ [AWAY]: 1 }, bytes]);
    keeper.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    await keeper.clock.advance(1);
    keeper.hints.mark(OTHER, keyOf("b"));
    await keeper.clock.advance(1);
    expect(keeper.totals()).to.deep.equal({ [AWAY]: 1, [OTHER]: 1 });
  });

  it("go when the whole store is emptied", async () => {
    const keeper = await Keeper.start();
    keeper.keep(AWAY, keyOf("a"), recordOf("x", 1, "v"));
    keeper.hints.mark(AWAY, keyOf("a"));
    keeper.lsm.clear();
    keeper.hints.cleared();
    expect([keeper.totals(), keeper.hints.bytes]).to.deep.equal([{}, 0]);
    expect(keeper.hints.peek(keyOf("a"), [AWAY])).to.equal(null);
  });

  it("agree with a model while the disk is slow, whoever changes what at the same time", async () => {
    for (let seed = 1; seed <= 40; seed++) await runSeed(seed);
  });
});

/** Random changes on a store whose reads take their time, a few at once; then the totals must be those of a scan. */
async function runSeed(seed: number): Promise<void> {
  const random = new SimRandom(seed);
  const clock = new SimClock();
  const { lsm } = await openEngine({ clock, seed });
  const store = new ColdStore(lsm, clock, random.fork());
  const meta = await clock.run(MetaStore.open(store.asLsm()));
  const settings = { hintsMaxBytes: 2 ** 30, hintsMaxAgeMs: 2 ** 40 };
  const hints = await clock.run(Hints.open({ lsm: store.asLsm(), meta, clock, log: silentLog, settings }));
  store.coldness = random.pick([0.2, 0.7]);
  store.readMsMax = 5;
  const names = ["a", "b", "c"];
  /** The last sequence kept of each key, and whether it was marked after its last removal began. */
  const kept = new Map<string, number>();
  const marked = new Map<string, number>();
  const work: Promise<unknown>[] = [];
  for (let step = 1; step <= 150; step++) {
    const target = random.pick([AWAY, OTHER]);
    const name = random.pick(names);
    const key = keyOf(name);
    const place = target + name;
    switch (random.below(4)) {
      case 0:
      case 1: {
        const record = recordOf("x", step, String(step));
        kept.set(place, step);
        const outcome = hints.keep(target, key, record, 0, record.length);
        if (outcome === "unread") work.push(hints.keepRead(target, key, record, 0, record.length));
        break;
      }
      case 2:
        marked.set(place, hints.mark(target, key));
        break;
      default:
        work.push(removeAll(hints, target, kept, marked));
    }
    if (random.chance(0.5)) await clock.advance(random.fraction() * 4);
    if (random.chance(0.5)) store.commit();
  }
  await clock.run(Promise.all(work));
  await clock.advance(100);
  const counts = new Map<string, { count: number; bytes: number }>();
  const page = await clock.run(lsm.scan({ from: HINTS_START, to: HINTS_END, limit: 1_000, values: "with" }));
  for (const { key, value } of page.entries) {
    const target = Buffer.from(key.slice(1, 9), "latin1").toString("hex");
    const before = counts.get(target) ?? { count: 0, bytes: 0 };
    counts.set(target, { count: before.count + 1, bytes: before.bytes + key.length + value!.length });
  }
  const totals = new Map(hints.totals().map(({ target, count, bytes }) => [target, { count, bytes }]));
  expect(Object.fromEntries(totals), `seed ${seed}`).to.deep.equal(Object.fromEntries(counts));
  for (const [place, sequence] of kept) {
    const held = await clock.run(hints.read(keyOf(place.slice(16)), [place.slice(0, 16)]));
    expect(valuesOf(held), `seed ${seed}: what was kept last of ${place}`).to.deep.equal([String(sequence)]);
  }
  for (const [place, tag] of marked) {
    const all = (await clock.run(hints.page(place.slice(0, 16), null))).hints;
    const mark = all.find((hint) => hint.kind === HintKind.mark && hint.dataKey === keyOf(place.slice(16)));
    expect(mark?.tag, `seed ${seed}: the mark of ${place}`).to.equal(tag);
  }
}

/** As the handover does: what was read a while ago is removed unless it has changed; then nothing of it may be missed. */
async function removeAll(hints: Hints, target: string, kept: Map<string, number>, marked: Map<string, number>): Promise<void> {
  const { hints: page } = await hints.page(target, null);
  for (const hint of page) {
    if (!(await hints.remove(hint))) continue;
    const name = hint.dataKey.slice(8);
    const place = target + name;
    if (hint.kind === HintKind.mark) {
      if (marked.get(place) === hint.tag) marked.delete(place);
    } else if (valuesOf(hint.record)[0] === String(kept.get(place))) kept.delete(place);
  }
}
