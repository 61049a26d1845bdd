/** Plain writes of one turn: they travel together while all goes well, and each by itself as soon as something does not. */
import { expect } from "chai";
import type { OperatingError } from "../../lib/errors.js";
import { ReplicaKind } from "../../lib/replica/replica-messages.js";
import { RingWorld } from "./ring-world.js";

const COUNT = 50;

describe("plain writes of one turn", () => {
  let world: RingWorld;
  let keys: string[];
  /** Requests that node 1 sent to others, by kind. */
  let sent: number[];

  beforeEach(async () => {
    world = await RingWorld.start({ nodes: 3 });
    keys = Array.from({ length: COUNT }, () => world.key());
    sent = [];
    const { remote } = world.node(1).context;
    const send = remote.send.bind(remote);
    remote.send = (call, payload) => {
      sent.push(call.kind);
      send(call, payload);
    };
  });

  const setAll = (value: string, words = "QUORUM"): Promise<void>[] =>
    keys.map((key) => world.client(1, words).set(key, `${value} ${key}`));

  async function expectEverywhere(value: string): Promise<void> {
    for (const number of [1, 2, 3])
      for (const key of keys) expect(await world.held(number, key), `${key} at ${number}`).to.deep.equal([`${value} ${key}`]);
  }

  it("are one request a member, and told when enough have stored them", async () => {
    for (const words of ["ONE", "QUORUM", "ALL"]) {
      sent = [];
      await world.run(Promise.all(setAll(words, words)));
      await world.pass(10);
      expect(sent).to.deep.equal([ReplicaKind.batch, ReplicaKind.batch]);
      await expectEverywhere(words);
    }
  });

  it("are above what one of the others held alone, and only those that it concerns go on by themselves", async () => {
    await world.run(Promise.all(setAll("old")));
    await world.pass(10);
    world.split(3);
    world.node(3).clock.wallAheadMs = 5_000;
    await world.run(world.client(3, "ONE").set(keys[7]!, "ahead"));
    await world.pass(10);
    world.heal();
    await world.pass(2_000);
    sent = [];
    await world.run(Promise.all(setAll("new", "ALL")));
    await world.pass(50);
    expect(await world.run(world.client(2, "ALL").get(keys[7]!))).to.equal(`new ${keys[7]}`);
    await world.untilNoHints();
    await world.expectConverged(keys);
    for (const key of keys) expect((await world.held(2, key))[0]).to.equal(`new ${key}`);
  });

  it("leave a mark for each that a stopped member did not store, and are told without it", async () => {
    world.freeze(3);
    await world.run(Promise.all(setAll("v")));
    await world.pass(3_000);
    expect(world.hintsAt(1)).to.equal(COUNT);
    world.thaw(3);
    await world.untilNoHints();
    await world.pass(100);
    await expectEverywhere("v");
  });

  it("fail by themselves when too few store them, and say how many did", async () => {
    world.freeze(2);
    world.freeze(3);
    const outcomes = await world.run(Promise.allSettled(setAll("v", "STRICT")));
    const messages = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason as OperatingError);
    expect(new Set(messages.map(({ code, message }) => `${code} ${message}`))).to.deep.equal(
      new Set(["QUORUM write reached 1 of 2 replicas; it may still take effect"]),
    );
  });

  it("are nowhere when the disk refuses their turn", async () => {
    world.node(1).disk.faults.appendFailure = 1;
    const outcomes = await world.run(Promise.allSettled(setAll("v")));
    world.node(1).disk.faults.appendFailure = 0;
    await world.pass(1_000);
    expect(outcomes.every((outcome) => outcome.status === "rejected" && outcome.reason.code === "IO")).to.equal(true);
    expect(sent).to.deep.equal([]);
    for (const number of [1, 2, 3]) expect(await world.held(number, keys[0]!)).to.deep.equal([]);
  });

  it("are told once, whatever becomes of the member that stores last", async () => {
    world.freeze(3);
    const told = keys.map(() => 0);
    const writes = setAll("v").map((write, at) =>
      write.then(() => {
        told[at]!++;
      }),
    );
    await world.run(Promise.all(writes));
    world.network.dropAll();
    await world.kill(3);
    await world.pass(3_000);
    expect(new Set(told)).to.deep.equal(new Set([1]));
    expect(world.hintsAt(1)).to.equal(COUNT);
    await world.restart(3);
    await world.untilNoHints();
    await world.pass(100);
    await expectEverywhere("v");
  });
});
