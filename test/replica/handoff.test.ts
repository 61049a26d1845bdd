/** Hints on their way to those they are for, between members with an engine each, in virtual time. */
import { expect } from "chai";
import { HandoffWindow } from "../../lib/replica/handoff-window.js";
import { TokenBucket } from "../../lib/replica/token-bucket.js";
import { World } from "../peer/world.js";
import { CopyNode, idOf, keyOf, recordOf, startAll } from "./copies.js";

/** Keeps `count` records for a member, named after `prefix`. */
function keepMany(from: CopyNode, to: CopyNode, count: number, prefix = "key"): void {
  for (let at = 0; at < count; at++) keep(from, to, `${prefix}-${at}`, recordOf("s", at + 1, `value ${at}`));
}

function keep(from: CopyNode, to: CopyNode, name: string, record: Buffer): void {
  expect(from.hints.keep(to.id, keyOf(name), record, 0, record.length)).to.equal("kept");
}

/** What the coordinator does: its own record changes, and the other is to get it. */
function putAndMark(from: CopyNode, to: CopyNode, name: string, record: Buffer): void {
  from.put(keyOf(name), record);
  from.hints.mark(to.id, keyOf(name));
}

async function until(world: World, isSo: () => boolean, limitMs: number): Promise<number> {
  const startMs = world.clock.monotonicMs();
  while (!isSo()) {
    if (world.clock.monotonicMs() - startMs > limitMs) throw new Error("it did not come about in time");
    await world.pass(10);
  }
  return world.clock.monotonicMs() - startMs;
}

/** Nothing is sent any more. */
async function expectQuiet(world: World, nodes: readonly CopyNode[]): Promise<void> {
  const taken = nodes.map((node) => node.taken.length);
  const tried = nodes.map((node) => node.lsm.commitsTried);
  await world.pass(120_000);
  expect(nodes.map((node) => node.taken.length)).to.deep.equal(taken);
  expect(nodes.map((node) => node.lsm.commitsTried)).to.deep.equal(tried);
  for (const node of nodes) expect([node.hints.count, node.hints.bytes, node.handoff.inFlight]).to.deep.equal([0, 0, 0]);
}

describe("the handoff of hints", () => {
  it("gives a member all that it missed as soon as it is back, and is quiet then", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    world.network.cutOff([idOf(1)], [idOf(2)]);
    await world.pass(10_000);
    expect(a.node.peers.isUsable(b.id)).to.equal(false);
    keepMany(a, b, 300);
    for (let at = 0; at < 300; at++) putAndMark(a, b, `mark-${at}`, recordOf("a", at + 1, "first"));
    for (let at = 0; at < 300; at++) putAndMark(a, b, `mark-${at}`, recordOf("a", at + 301, "last"));
    await world.pass(5_000);
    expect([b.taken.length, a.hints.count]).to.deep.equal([0, 600]);
    world.network.heal();
    await until(world, () => a.node.peers.isUsable(b.id), 5_000);
    expect(await until(world, () => a.hints.count === 0, 2_000)).to.be.below(500);
    for (const at of [0, 299]) {
      expect(await b.valuesOf(keyOf(`key-${at}`))).to.deep.equal([`value ${at}`]);
      expect(await b.valuesOf(keyOf(`mark-${at}`))).to.deep.equal(["last"]);
    }
    expect([a.handoff.handedOver, b.taken.length]).to.deep.equal([600, 600]);
    await expectQuiet(world, [a, b]);
  });

  it("sends in the order of keys", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    keepMany(a, b, 500);
    await until(world, () => a.hints.count === 0, 2_000);
    expect(b.taken).to.deep.equal([...b.taken].sort());
  });

  it("does not lose what is written while its older state is under way", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    b.handoverMs = 200;
    keep(a, b, "record", recordOf("s", 1, "old"));
    putAndMark(a, b, "mark", recordOf("a", 1, "old"));
    await until(world, () => b.handling === 2, 2_000);
    keep(a, b, "record", recordOf("s", 2, "new"));
    putAndMark(a, b, "mark", recordOf("a", 2, "new"));
    await until(world, () => a.hints.count === 0, 2_000);
    expect(b.taken.length).to.equal(4);
    expect(await b.valuesOf(keyOf("record"))).to.deep.equal(["new"]);
    expect(await b.valuesOf(keyOf("mark"))).to.deep.equal(["new"]);
    await expectQuiet(world, [a, b]);
  });

  it("has ten thousand hints under way a bounded number at a time", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2, { settings: { handoffInFlight: 16 } })) as [CopyNode, CopyNode];
    b.handoverMs = 3;
    keepMany(a, b, 10_000);
    await until(world, () => a.hints.count === 0, 60_000);
    expect(b.handlingMax).to.equal(16);
    expect(b.taken.length).to.equal(10_000);
    expect(await b.valuesOf(keyOf("key-9999"))).to.deep.equal(["value 9999"]);
    await expectQuiet(world, [a, b]);
  });

  it("shares what may be under way among the members that are back, and has it all for one again", async () => {
    const world = new World();
    const [a, b, c] = (await startAll(world, 3, { settings: { handoffInFlight: 16 } })) as [CopyNode, CopyNode, CopyNode];
    for (const to of [b, c]) to.handoverMs = 3;
    keepMany(a, b, 4_000);
    keepMany(a, c, 1_000);
    await until(world, () => c.taken.length > 100 && b.taken.length > 100, 60_000);
    for (const to of [b, c]) to.handlingMax = 0;
    await world.pass(100);
    expect([b.handlingMax, c.handlingMax]).to.deep.equal([8, 8]);
    await until(world, () => a.hints.count === 0, 60_000);
    expect(b.handlingMax).to.equal(16);
  });

  it("keeps to its rate, to all members together", async () => {
    const world = new World();
    const [a, b, c] = (await startAll(world, 3, { settings: { handoffRateBytes: 100_000 } })) as [CopyNode, CopyNode, CopyNode];
    for (const to of [b, c]) {
      for (let at = 0; at < 50; at++) keep(a, to, `big-${at}`, recordOf("s", at + 1, "v".repeat(10_000)));
    }
    const tookMs = await until(world, () => a.hints.count === 0, 60_000);
    expect(tookMs).to.be.within(9_000, 11_500);
  });

  it("goes on where a flapping target left it, until all has arrived", async () => {
    const world = new World({ seed: 5 });
    const [a, b] = (await startAll(world, 2, { settings: { handoffInFlight: 8 } })) as [CopyNode, CopyNode];
    b.handoverMs = 20;
    keepMany(a, b, 1_000);
    for (let times = 0; times < 12; times++) {
      await world.pass(30 + 60 * world.random.fraction());
      if (times % 2 === 0) world.network.dropAll();
      else {
        world.network.cutOff([idOf(1)], [idOf(2)]);
        await world.pass(6_000 * world.random.fraction());
        world.network.heal();
      }
      await world.pass(300 * world.random.fraction());
    }
    expect(a.hints.count).to.be.within(1, 999);
    await until(world, () => a.hints.count === 0, 30_000);
    for (let at = 0; at < 1_000; at++) expect(await b.valuesOf(keyOf(`key-${at}`))).to.deep.equal([`value ${at}`]);
    await expectQuiet(world, [a, b]);
  });

  it("spares a target that is busy or does not answer", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    let refused = 0;
    b.onHandover = (request) => {
      if (++refused > 200) return false;
      request.refuse("BUSY");
      return true;
    };
    keepMany(a, b, 1_000);
    await world.pass(2_000);
    expect(refused, "it asks less and less").to.be.below(150);
    await until(world, () => a.hints.count === 0, 60_000);
    let forgotten = 0;
    b.onHandover = () => ++forgotten <= 40;
    keepMany(a, b, 100, "again");
    await until(world, () => a.hints.count === 0, 60_000);
    await expectQuiet(world, [a, b]);
  });

  it("waits while its target knows a newer ring, and asks for that", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    b.ringVersion = 2;
    keepMany(a, b, 100);
    await world.pass(2_500);
    expect(a.staleRings.length).to.be.within(1, 4);
    expect(a.staleRings[0]).to.equal(b.id);
    expect([a.hints.count, b.taken.length < 400]).to.deep.equal([100, true]);
    await world.pass(60_000);
    a.ringVersion = 2;
    await until(world, () => a.hints.count === 0, 1_200);
    await expectQuiet(world, [a, b]);
  });

  it("lets a hint that its target refuses not hold up the others, nor flood the target", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    const poison = keyOf("key-7");
    let tries = 0;
    b.onHandover = (request, dataKey) => {
      if (dataKey !== poison) return false;
      tries++;
      request.refuse("FAILED", "this one cannot be stored");
      return true;
    };
    keepMany(a, b, 100);
    await until(world, () => a.hints.count === 1, 2_000);
    await world.pass(600_000);
    expect(tries).to.be.within(5, 30);
    expect(a.node.logged).to.include("hints stay for now: this one cannot be stored");
    expect(a.hints.count).to.equal(1);
  });

  it("forgets a mark whose record is gone", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    a.hints.mark(b.id, keyOf("gone"));
    putAndMark(a, b, "there", recordOf("a", 1, "v"));
    await until(world, () => a.hints.count === 0, 2_000);
    expect(b.taken).to.deep.equal([keyOf("there")]);
  });

  it("goes on after a crash in the middle of it", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2, { settings: { handoffInFlight: 4 } })) as [CopyNode, CopyNode];
    b.handoverMs = 10;
    keepMany(a, b, 400);
    a.lsm.syncNow();
    await until(world, () => b.taken.length >= 100, 5_000);
    const again = await CopyNode.start(world, 1, { disk: await a.crash() });
    expect(again.hints.count).to.be.within(1, 400);
    again.knows(b);
    await until(world, () => again.hints.count === 0, 30_000);
    for (let at = 0; at < 400; at++) expect(await b.valuesOf(keyOf(`key-${at}`))).to.deep.equal([`value ${at}`]);
  });

  it("sends nothing that the disk refuses here, even if it was there when it was read", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    keep(a, b, "there", recordOf("s", 1, "v"));
    await world.pass(1);
    a.disk.faults.capacityBytes = a.disk.usedBytes;
    const { hints } = a;
    const page = hints.page.bind(hints);
    let tries = 0;
    hints.page = (target, from) => {
      keep(a, b, `refused-${tries++}`, recordOf("s", 2, "v"));
      return page(target, from);
    };
    await world.pass(20_000);
    expect([tries > 2, hints.count]).to.deep.equal([true, 1]);
    hints.page = page;
    a.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    await until(world, () => hints.count === 0, 60_000);
    expect(new Set(b.taken)).to.deep.equal(new Set([keyOf("there")]));
  });

  it("re-addresses the hints of a member that was removed to those who own their slots", async () => {
    const world = new World();
    const [a, b, c, d] = (await startAll(world, 4)) as [CopyNode, CopyNode, CopyNode, CopyNode];
    a.owners = [1, 2, 4];
    await d.stop();
    await world.pass(100);
    keep(a, d, "kept", recordOf("s", 1, "for d"));
    a.put(keyOf("kept"), recordOf("a", 1, "own"));
    putAndMark(a, d, "marked", recordOf("a", 2, "own"));
    a.hints.dirtySlots.mark(d.id, 5);
    await world.pass(2_000);
    expect(a.hints.has(d.id)).to.equal(true);
    a.members = [1, 2, 3];
    a.owners = [1, 2, 3];
    await until(world, () => a.hints.count === 0, 10_000);
    expect(a.handoff.readdressed).to.equal(2);
    expect(await a.valuesOf(keyOf("kept"))).to.deep.equal(["for d", "own"]);
    for (const owner of [b, c]) {
      expect(await owner.valuesOf(keyOf("kept"))).to.deep.equal(["for d"]);
      expect(await owner.valuesOf(keyOf("marked"))).to.deep.equal(["own"]);
    }
    await world.pass(2_000);
    expect(a.hints.dirtySlots.members()).to.deep.equal([]);
    await world.pass(5_000);
    await expectQuiet(world, [a, b, c]);
  });

  for (const target of ["up", "away"] as const) {
    it(`gives what a member missed that is ${target}, and keeps the slot no longer, to those who do`, async () => {
      const world = new World();
      const [a, b, c, d] = (await startAll(world, 4)) as [CopyNode, CopyNode, CopyNode, CopyNode];
      a.owners = [2, 4];
      world.network.cutOff([idOf(1)], [idOf(4)]);
      await world.pass(10_000);
      keep(a, d, "kept", recordOf("s", 1, "for d"));
      putAndMark(a, d, "marked", recordOf("a", 2, "own"));
      await world.pass(2_000);
      expect(a.hints.count).to.equal(2);
      // This node itself and another have come in its place.
      a.owners = [1, 2, 3];
      a.ringVersion++;
      if (target === "up") world.network.heal();
      await until(world, () => a.hints.count === 0, 10_000);
      for (const owner of [a, b, c]) {
        expect(await owner.valuesOf(keyOf("kept"))).to.deep.equal(["for d"]);
        expect(await owner.valuesOf(keyOf("marked"))).to.deep.equal(["own"]);
      }
      expect([d.taken.length, a.handoff.readdressed]).to.deep.equal([0, 2]);
      await expectQuiet(world, [a, b, c]);
    });
  }

  it("gives what a member missed that is about to give the slot up to who takes it over, too", async () => {
    const world = new World();
    const [a, b, c, d] = (await startAll(world, 4)) as [CopyNode, CopyNode, CopyNode, CopyNode];
    // Node 3 takes the place of node 2, node 4 comes in addition: they may have read node 2 before the hints came there.
    a.owners = [2, 3, 4];
    a.coming.set(2, [3, 4]);
    keepMany(a, b, 100);
    for (let at = 0; at < 100; at++) putAndMark(a, b, `mark-${at}`, recordOf("a", at + 1, "own"));
    await until(world, () => a.hints.count === 0, 10_000);
    for (const member of [b, c, d]) {
      for (let at = 0; at < 100; at++) {
        expect(await member.valuesOf(keyOf(`key-${at}`))).to.deep.equal([`value ${at}`]);
        expect(await member.valuesOf(keyOf(`mark-${at}`))).to.deep.equal(["own"]);
      }
    }
    expect([a.handoff.handedOver, a.handoff.readdressed]).to.deep.equal([600, 0]);
    await expectQuiet(world, [a, b, c, d]);
  });

  it("keeps itself what a member missed whose place it takes over", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    a.coming.set(2, [1]);
    keepMany(a, b, 10);
    await until(world, () => a.hints.count === 0, 10_000);
    for (const member of [a, b]) expect(await member.valuesOf(keyOf("key-7"))).to.deep.equal(["value 7"]);
    await expectQuiet(world, [a, b]);
  });

  it("stores once more what it took over while the ring changed: who reads its copy may have passed the key", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    a.coming.set(2, [1]);
    const { merge } = a;
    let merges = 0;
    a.merge = async (dataKey, record) => {
      if (++merges === 1) a.ringVersion = b.ringVersion = 2;
      await merge.call(a, dataKey, record);
    };
    keep(a, b, "key", recordOf("s", 1, "v"));
    await until(world, () => a.hints.count === 0, 10_000);
    expect([merges, b.taken.length]).to.deep.equal([2, 2]);
    await expectQuiet(world, [a, b]);
  });

  it("asks who owns the slot again when a hint was taken", async () => {
    for (const change of ["taken over", "about to be"] as const) {
      const world = new World();
      const [a, b, c] = (await startAll(world, 3)) as [CopyNode, CopyNode, CopyNode];
      b.handoverMs = 200;
      a.owners = [2];
      keep(a, b, "kept", recordOf("s", 1, "v"));
      putAndMark(a, b, "marked", recordOf("a", 1, "own"));
      await until(world, () => b.handling === 2, 2_000);
      a.owners = change === "taken over" ? [3] : [2, 3];
      if (change === "about to be") a.coming.set(2, [3]);
      a.ringVersion++;
      await until(world, () => a.hints.count === 0, 10_000);
      expect(b.taken.length).to.equal(2);
      expect(await c.valuesOf(keyOf("kept"))).to.deep.equal(["v"]);
      expect(await c.valuesOf(keyOf("marked"))).to.deep.equal(["own"]);
      await expectQuiet(world, [a, b, c]);
    }
  });

  it("keeps a hint for which others have to be given one while there is no room, and says so", async () => {
    const world = new World();
    const [a, b, c] = (await startAll(world, 3)) as [CopyNode, CopyNode, CopyNode];
    a.coming.set(2, [3]);
    keep(a, b, "key", recordOf("s", 1, "v"));
    a.settings.hintsMaxBytes = a.hints.bytes;
    await world.pass(60_000);
    expect([a.hints.has(b.id), b.taken.length < 10]).to.deep.equal([true, true]);
    expect(a.node.logged.join()).to.include("hints stay for now: there is no room");
    a.settings.hintsMaxBytes *= 2;
    await until(world, () => a.hints.count === 0, 60_000);
    for (const member of [b, c]) expect(await member.valuesOf(keyOf("key"))).to.deep.equal(["v"]);
  });

  it("drops what is older than hints may be, and says so", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2, { settings: { hintsMaxAgeMs: 60_000 } })) as [CopyNode, CopyNode];
    world.network.cutOff([idOf(1)], [idOf(2)]);
    await world.pass(10_000);
    keepMany(a, b, 20);
    await world.pass(55_000);
    keep(a, b, "younger", recordOf("s", 1, "v"));
    await world.pass(10_000);
    expect([a.hints.count, a.hints.droppedOld]).to.deep.equal([1, 20]);
    expect(a.node.logged.join()).to.include("hints for node-2 were too old");
    world.network.heal();
    await until(world, () => a.hints.count === 0, 10_000);
    expect(b.taken).to.deep.equal([keyOf("younger")]);
  });

  it("tells INFO what waits for whom", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2, { settings: { handoffInFlight: 3 } })) as [CopyNode, CopyNode];
    b.handoverMs = 100;
    keepMany(a, b, 10);
    const { bytes } = a.hints;
    await until(world, () => b.handling > 0, 2_000);
    const fields = Object.fromEntries(a.handoff.fields());
    expect(fields).to.include({ hints_waiting: 10, hints_bytes: bytes, hints_in_flight: 3, hints_handed_over: 0 });
    expect(fields["hints_for_node-2"]).to.equal(`count=10,bytes=${bytes}`);
    await until(world, () => a.hints.count === 0, 5_000);
    const after = Object.fromEntries(a.handoff.fields());
    expect(after).to.include({ hints_waiting: 0, hints_bytes: 0, hints_in_flight: 0, hints_handed_over: 10 });
    expect(after).not.to.have.property("hints_for_node-2");
  });

  it("ends at once when its node stops", async () => {
    const world = new World();
    const [a, b] = (await startAll(world, 2)) as [CopyNode, CopyNode];
    b.onHandover = () => true;
    keepMany(a, b, 1_000);
    await until(world, () => b.taken.length > 0, 2_000);
    const startMs = world.clock.monotonicMs();
    await world.clock.run(a.handoff.stop());
    expect(world.clock.monotonicMs() - startMs).to.be.below(200);
    const taken = b.taken.length;
    await world.pass(10_000);
    expect(b.taken.length).to.equal(taken);
  });
});

describe("the window of a handoff", () => {
  it("halves once for all that was sent before, and grows by one a window", () => {
    const window = new HandoffWindow(16);
    for (let times = 0; times < 16; times++) window.sent();
    expect(window.isOpen(10)).to.equal(false);
    for (let times = 0; times < 16; times++) window.troubled("slow", { sentMs: 1, nowMs: 10 });
    expect([window.size, window.inFlight]).to.deep.equal([8, 0]);
    for (let times = 0; times < 8 + 9; times++) {
      window.sent();
      window.acknowledged(16);
    }
    expect(window.size).to.equal(10);
    for (let round = 0; round < 9; round++) {
      window.sent();
      window.troubled("slow", { sentMs: 20 + round, nowMs: 20 + round });
    }
    expect(window.size).to.equal(1);
    window.sent();
    window.troubled("refused", { sentMs: 40, nowMs: 40 });
    expect([window.isOpen(41), window.restMs(41) > 0, window.isOpen(41 + window.restMs(41))]).to.deep.equal([
      false,
      true,
      true,
    ]);
  });
});

describe("a bucket of tokens", () => {
  it("lets through its rate over time, a burst after a pause, and something larger than itself on credit", () => {
    const bucket = new TokenBucket();
    expect(bucket.waitMs(0, 1_000)).to.equal(0);
    bucket.take(1_100);
    const waitMs = bucket.waitMs(0, 1_000);
    expect(waitMs).to.be.within(1_000, 1_002);
    expect(bucket.waitMs(waitMs, 1_000)).to.equal(0);
    bucket.take(1);
    expect(bucket.waitMs(100_000, 1_000)).to.equal(0);
    bucket.take(100);
    expect(bucket.waitMs(100_000, 1_000)).to.be.above(0);
  });
});
