/** Commands on several keys, some of which the node that decides may not keep, and what comes right behind them. */
import { expect } from "chai";
import type { OperatingError } from "../../lib/errors.js";
import { RingWorld } from "./ring-world.js";

const OWN_OR_NOT = [
  ["another key without a copy", 5],
  ["a key of the node's own", 4],
] as const;

describe("a command on several keys", () => {
  for (const [what, owner] of OWN_OR_NOT) {
    it(`is not overtaken by what was called behind it: a key without a copy and ${what}`, async () => {
      const world = await RingWorld.start({ nodes: 5 });
      const [a, b] = [world.key(1, 2, 3), world.key(owner)];
      const client = world.client(4);
      const answered: string[] = [];
      const works = [
        client.msetnx(a, "m", b, "m").then((answer) => void answered.push(`MSETNX ${answer}`)),
        client.set(a, "s").then(() => void answered.push("SET")),
        client.set(b, "s").then(() => void answered.push("SET")),
      ];
      await world.runAll(works);
      expect(answered).to.include("MSETNX 1");
      for (const key of [a, b]) expect(await world.run(world.client(1, "ALL").values(key))).to.deep.equal(["s"]);
    });

    it(`has one winner of two through one node: a key without a copy and ${what}`, async () => {
      const world = await RingWorld.start({ nodes: 5 });
      const [a, b] = [world.key(1, 2, 3), world.key(owner)];
      const client = world.client(4);
      expect(await world.runAll([client.msetnx(a, "x", b, "x"), client.msetnx(b, "y", a, "y")])).to.deep.equal([1, 0]);
      for (const key of [a, b]) expect(await world.run(world.client(1, "ALL").values(key))).to.deep.equal(["x"]);
    });
  }

  it("has the turn of keys of its node's own no longer than it takes to decide: crossed ones do not wait for each other", async () => {
    const world = await RingWorld.start({ nodes: 6 });
    for (let round = 0; round < 10; round++) {
      const [a, b] = [world.key(1, 2, 3), world.key(4, 5, 6)];
      const works = [world.client(1).msetnx(a, "1", b, "1"), world.client(4).msetnx(b, "4", a, "4")];
      expect(await world.timeOf(Promise.all(works))).to.be.below(100);
      await world.runAll(works);
    }
  });

  it("is not made again, nor answered otherwise, by a node without a copy that finds it made by another", async () => {
    const world = await RingWorld.start({ nodes: 5 });
    const key = world.key(1, 2, 3);
    const { scope, node } = world.client(4);
    const forwarded = { writeId: "0123456789", deadlineMs: node.clock.monotonicMs() + 1_000, stamp: node.replica.nextStamp() };
    const decided: string[] = [];
    const next = (): Promise<void> =>
      node.keyspace.update({ ...scope, forwarded }, Buffer.from(key), (entry) => {
        decided.push(`${entry === null ? 1 : Number(Buffer.from(entry.value).toString()) + 1}`);
        return { kind: "put", value: decided.at(-1)!, expiryMs: 0 };
      });
    await world.run(next());
    const again = await world.run(next().catch((error: OperatingError) => error));
    expect(again).to.include({ code: "QUORUM" }).and.have.property("message").that.contains("took effect");
    expect(decided).to.deep.equal(["1"]);
    expect(await world.run(world.client(1, "ALL").values(key))).to.deep.equal(["1"]);
  });

  it("is made by stand-ins where no owner can be reached, also crossed through each of them", async () => {
    const world = await RingWorld.start({ nodes: 6, replicas: 2 });
    // Of each key another of those that are left is the first that stands in.
    const [a, b] = [world.key(1, 2), world.key(4, 5)];
    for (const owner of [1, 2, 4, 5]) await world.kill(owner);
    await world.pass(100);
    for (const key of [a, b]) await world.run(world.client(3).set(key, "before"));
    const overwrite = (number: number, keys: readonly string[]): Promise<void> => {
      const { scope, node } = world.client(number);
      const put = { kind: "put", value: `of ${number}`, expiryMs: 0 } as const;
      return node.keyspace.updateMany(
        [scope, scope],
        keys.map((key) => Buffer.from(key)),
        () => [put, put],
      );
    };
    const works = [overwrite(3, [a, b]), overwrite(6, [b, a])];
    expect(await world.timeOf(Promise.all(works))).to.be.below(100);
    await world.runAll(works);
    for (const key of [a, b]) expect(await world.run(world.client(3).get(key))).to.be.oneOf(["of 3", "of 6"]);
  });

  for (const through of [2, 3]) {
    it(`is run by node ${through} where it waited for its turn while the members before that died`, async () => {
      const world = await RingWorld.start({ nodes: 3, replicas: 3 });
      const [a, b] = [world.key(1, 2, 3), world.key(1, 2, 3)];
      const client = world.client(through, "ONE");
      const first = client.msetnx(a, "x", b, "x").catch((error: OperatingError) => error.code);
      const second = client.msetnx(b, "y", a, "y");
      for (let number = 1; number < through; number++) await world.kill(number);
      // What was passed on to the first before that may have been made there; nobody knows.
      expect(await world.run(first)).to.equal("QUORUM");
      expect(await world.run(second)).to.equal(1);
      for (const key of [a, b]) expect(await world.run(client.values(key))).to.deep.equal(["y"]);
    });
  }
});
