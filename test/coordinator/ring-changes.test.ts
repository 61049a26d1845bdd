/** Requests while the ring changes: what an older ring is refused for is done by the newer, and pairs of owners count as one. */
import { expect } from "chai";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import { encodedRecordOf } from "../../lib/replica/encoded-record.js";
import { AnswerStatus, ReplicaKind, storeBytesMax, writeStore } from "../../lib/replica/replica-messages.js";
import { memberOf } from "../cluster/members.js";
import { recordOf } from "../replica/copies.js";
import { mintAt, RingWorld } from "./ring-world.js";

/** A ring of `count`, linked with one more node, and the document in which that is joining. */
async function joining(count: number, settings = {}): Promise<{ world: RingWorld; document: RingDocument }> {
  const world = await RingWorld.start({ nodes: count, settings });
  await world.addNode();
  const token = Math.floor(world.tokenOf(2, count) - 16_384 / count / 2);
  const member = memberOf(count + 1, { tokens: [token] });
  return { world, document: { ...world.ring.document, version: 2, pending: [{ kind: "join", member, since: 1 }] } };
}

/** A key in a place that the joiner takes over, by position; -1 where none is. */
function keyWithPair(world: RingWorld, position: number): string {
  for (;;) {
    const key = world.key();
    if (
      (world
        .node(1)
        .plans.of(world.slotOf(key))
        .partners.findIndex((id) => id !== null) ?? -1) === position
    )
      return key;
  }
}

describe("while the ring changes", () => {
  it("a write counts a pair of old and new owner when both have it", async () => {
    for (const awaited of [true, false]) {
      const { world, document } = await joining(3, { requestTimeoutMs: 500 });
      world.pushRing(document);
      const key = keyWithPair(world, 2);
      const [first, second, third] = world.ownersOf(key) as [number, number, number];
      world.freeze(awaited ? 4 : third);
      await world.run(world.client(first, "QUORUM STRICT").set(key, "v"));
      const failure = await world.failureOf(world.client(first, "ALL STRICT").set(key, "w"));
      expect(failure.message).to.equal("write reached 2 of 3 replicas; it may still take effect");
      world.thaw(awaited ? 4 : third);
      await world.pass(50);
      await world.run(world.client(second, "ALL STRICT").set(key, "x"));
      expect(await world.held(4, key)).to.deep.equal(["x"]);
      expect(await world.held(third, key)).to.deep.equal(["x"]);
    }
  });

  it("a stand-in for one of a pair does not count for the other", async () => {
    const { world, document } = await joining(4, { requestTimeoutMs: 500 });
    world.pushRing(document);
    const key = keyWithPair(world, 2);
    const [first, , third] = world.ownersOf(key) as [number, number, number];
    // One of the pair is stood in for by the only other node; nothing is heard of the other.
    await world.kill(third);
    await world.pass(50);
    world.freeze(5);
    const failure = await world.failureOf(world.client(first, "ALL").set(key, "v"));
    expect(failure.message).to.equal("write reached 2 of 3 replicas; it may still take effect");
    world.thaw(5);
    await world.pass(50);
    await world.run(world.client(first, "ALL").set(key, "w"));
  });

  it("who is about to keep a key does not stand in for those who do, whether asked itself or through another", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const leaving = { kind: "leave", memberId: world.idOf(3), since: 1 } as const;
    world.pushRing({ ...world.ring.document, version: 2, pending: [leaving] });
    const key = world.key(1, 2, 3);
    expect(world.node(5).plans.of(world.slotOf(key)).partners).to.deep.equal([null, null, world.idOf(4)]);
    for (const owner of [1, 2, 3]) await world.kill(owner);
    await world.pass(50);
    for (const through of [4, 5]) {
      await world.run(world.client(through, "ONE").set(key, `through ${through}`));
      expect(await world.hinted(5, key, 1, 2, 3)).to.include(`through ${through}`);
      expect(await world.hinted(4, key, 1, 2, 3)).to.deep.equal([]);
    }
    await world.kill(5);
    await world.pass(50);
    const failure = await world.failureOf(world.client(4, "ONE").set(key, "nobody"));
    expect(failure.message).to.equal("write reached 0 of 1 replicas; it was not made");
  });

  it("requests of a node that has not heard of it are done by the newer ring", async () => {
    for (const count of [3, 5]) {
      const { world, document } = await joining(count);
      const keys = Array.from({ length: 40 }, () => world.key());
      for (const key of keys) await world.run(world.client(1).set(key, "1"));
      const late = [1, 2];
      const others = world.nodes.map(({ number }) => number).filter((number) => !late.includes(number));
      world.pushRing(document, others);
      for (const [at, key] of keys.entries()) {
        // Two at once, so that the second meets the first's asking for the ring.
        await world.runAll<unknown>([world.client(1).set(key, "2"), world.client(1).get(key), world.client(2).get(key)]);
        if (at % 4 === 0) expect(await world.run(world.client(2).incr(key))).to.equal(3);
        if (at % 4 === 1) expect(await world.run(world.client(2).del(key))).to.equal(true);
        if (at % 4 === 2) expect(await world.run(world.client(2, "ALL").get(key))).to.equal("2");
      }
      expect(world.node(1).plans.ring.document.version).to.equal(2);
    }
  });

  it("a merge that waited for the disk is refused when the slot has other owners since", async () => {
    const { world, document } = await joining(3);
    world.pushRing(document, []);
    let key = world.key();
    while (!world.ring.isChanging(world.slotOf(key))) key = world.key();
    const [sender, receiver] = [world.node(1), world.node(2)];
    const dataKey = world.dataKey(key);
    await world.run(world.client(2, "ALL").set(key, "before"));
    receiver.store.coldness = 1;
    receiver.store.readMsMax = 50;
    const store = async (ringVersion: number, sequence: number): Promise<number | undefined> => {
      const record = recordOf("s", sequence, `by ring ${ringVersion}`);
      const payload = Buffer.alloc(storeBytesMax(dataKey, record.length));
      const end = writeStore(payload, 0, { ringVersion, hintFor: null, dataKey }, encodedRecordOf(record));
      const deadlineMs = sender.clock.monotonicMs() + 1_000;
      const request = { to: receiver.id, kind: ReplicaKind.store, payload: payload.subarray(0, end), deadlineMs };
      return (await sender.peers.call(request))[0];
    };
    const late = store(1, 1);
    // It has come, and waits.
    await world.pass(1);
    // Whoever takes the slot over may read this copy from now on.
    world.pushRing(document, [2]);
    expect(await world.run(late)).to.equal(AnswerStatus.staleRing);
    expect(await world.held(2, key)).to.deep.equal(["before"]);
    expect(await world.run(store(2, 2))).to.equal(AnswerStatus.uncovered);
    expect(await world.held(2, key)).to.have.members(["before", "by ring 2"]);
  });

  it("a write that was passed on by an older ring is routed anew, whoever keeps the key by now", async () => {
    const world = await RingWorld.start({ nodes: 7 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(7).set(key, "1"));
    // The tokens of all members are dealt anew: other owners altogether.
    const { members } = world.ring.document;
    const dealt = members.map((member, at) => ({ ...member, tokens: members[(at + 4) % 7]!.tokens }));
    world.pushRing({ ...world.ring.document, version: 2, members: dealt }, [1, 2, 3, 4, 5, 6]);
    expect(world.ownersOf(key)).to.deep.equal([4, 5, 6]);
    await world.run(world.client(7).set(key, "2"));
    await world.pass(10);
    for (const owner of [4, 5, 6]) expect(await world.held(owner, key)).to.deep.equal(["2"]);
    expect(world.node(7).plans.ring.document.version).to.equal(2);
  });

  it("a command that was passed on by an older ring is decided where it is by the newer, and nowhere else", async () => {
    const world = await RingWorld.start({ nodes: 7 });
    const key = world.key(1, 2, 3);
    await world.run(world.client(7, "ALL").incr(key));
    const before = world.node(1).commandsRun;
    // Each member has the tokens of the one before it.
    const { members } = world.ring.document;
    const dealt = members.map((member, at) => ({ ...member, tokens: members[(at + 6) % 7]!.tokens }));
    world.pushRing({ ...world.ring.document, version: 2, members: dealt }, [1, 2, 3, 4, 5, 6]);
    expect(world.ownersOf(key)).to.deep.equal([2, 3, 4]);
    const answers = await world.runAll([7, 1, 6, 7].map((number) => world.client(number).incr(key)));
    expect(answers.sort()).to.deep.equal([2, 3, 4, 5]);
    expect(world.node(1).commandsRun).to.equal(before);
    expect(world.node(7).plans.ring.document.version).to.equal(2);
  });

  it("a read whose repair meets a newer ring begins anew by it", async () => {
    const { world, document } = await joining(3);
    const key = (() => {
      for (;;) {
        const candidate = world.key(1, 2, 3);
        world.pushRing(document, []);
        if (world.ring.isChanging(world.slotOf(candidate))) return candidate;
      }
    })();
    await world.run(world.client(1, "ALL").set(key, "old"));
    mintAt(world, 1, key, "new");
    const read = world.client(1).get(key);
    // The READ is under way; its answer shows a difference, and the repair comes to a member that knows better by then.
    await world.pass(0.3);
    world.pushRing(document, [2, 3, 4]);
    expect(await world.run(read)).to.equal("new");
    expect(world.node(1).ringsFetched).to.be.at.least(1);
  });

  it("a write that no ring will do for marks those who refused it", async () => {
    const { world, document } = await joining(3);
    const key = (() => {
      for (;;) {
        const candidate = world.key(1, 2, 3);
        world.pushRing(document, []);
        if (world.ring.isChanging(world.slotOf(candidate))) return candidate;
      }
    })();
    world.pushRing(document, [2, 3, 4]);
    world.node(1).isDeaf = true;
    const failure = await world.failureOf(world.client(1).set(key, "v"));
    expect(failure.code).to.equal("QUORUM");
    expect(world.hintsAt(1)).to.equal(2);
    world.node(1).isDeaf = false;
    world.pushRing(document, [1]);
    await world.untilNoHints();
    expect(await world.held(2, key)).to.deep.equal(["v"]);
    expect(await world.held(3, key)).to.deep.equal(["v"]);
  });
});
