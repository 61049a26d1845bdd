/** Plain reads of one turn: they travel together while all goes well, and each by itself as soon as something does not. */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { TurnWork } from "../../lib/replica/turn-end.js";
import { mintAt, RingWorld } from "./ring-world.js";

const COUNT = 50;

describe("plain reads of one turn", () => {
  let world: RingWorld;
  let keys: string[];
  /** Requests that node 1 sent to others. */
  let sent: number;
  let given: number[];

  beforeEach(async () => {
    world = await RingWorld.start({ nodes: 3 });
    keys = Array.from({ length: COUNT }, () => world.key());
    await world.run(Promise.all(keys.map((key) => world.client(2, "ALL").set(key, `old ${key}`))));
    const { remote } = world.node(1).context;
    const { send, read } = remote;
    remote.send = (...args) => {
      sent++;
      send.apply(remote, args);
    };
    remote.read = (...args) => {
      sent++;
      read.apply(remote, args);
    };
    startCounting();
  });

  function startCounting(): void {
    sent = 0;
    given = world.nodes.map(({ service }) => service.given);
  }

  const givenSince = (): number => world.nodes.reduce((sum, { service }, at) => sum + service.given - given[at]!, 0);

  const getAll = (words = "QUORUM"): Promise<(string | null)[]> =>
    Promise.all(keys.map((key) => world.client(1, words).get(key)));

  const expected = (value: string): string[] => keys.map((key) => `${value} ${key}`);

  it("are one request to each member that is the nearest of some, and answered when it holds the same", async () => {
    expect(await world.run(getAll())).to.deep.equal(expected("old"));
    expect(sent).to.be.within(1, 2);
    expect(givenSince()).to.equal(COUNT);
  });

  it("find nothing where nothing is", async () => {
    const absent = Array.from({ length: 10 }, () => world.key());
    const found = await world.run(Promise.all(absent.map((key) => world.client(1).get(key))));
    expect(found).to.deep.equal(absent.map(() => null));
    expect(givenSince()).to.equal(10);
  });

  it("see what the other member alone holds, and only the reads that it concerns go on by themselves", async () => {
    world.split(1);
    await world.run(Promise.all([7, 30].map((at) => world.client(2).set(keys[at]!, `new ${keys[at]}`))));
    world.heal();
    await world.pass(1);
    startCounting();
    const wanted = expected("old");
    for (const at of [7, 30]) wanted[at] = `new ${keys[at]}`;
    expect(await world.run(getAll())).to.deep.equal(wanted);
    // What the member answered is not asked for once more.
    expect(givenSince()).to.equal(COUNT);
    for (const at of [7, 30]) expect(await world.held(1, keys[at]!)).to.deep.equal([wanted[at]]);
  });

  it("ask as many as the ring that came meanwhile says, where what their member holds differs", async () => {
    await world.addNode();
    const four = world.document(4, { replicas: { default: 4, dcs: [] }, version: 2 });
    mintAt(world, 1, keys[7]!, "new");
    const reads = getAll();
    await world.pass(0.3);
    world.pushRing(four);
    expect(await world.timeOf(reads)).to.be.below(50);
    const wanted = expected("old");
    wanted[7] = "new";
    expect(await world.run(reads)).to.deep.equal(wanted);
  });

  it("go to the other owners when a member has stopped, within the time of a hedge", async () => {
    world.freeze(2);
    startCounting();
    const begunMs = world.clock.monotonicMs();
    expect(await world.run(getAll())).to.deep.equal(expected("old"));
    expect(world.clock.monotonicMs() - begunMs).to.be.below(150);
    expect(await world.run(getAll())).to.deep.equal(expected("old"));
    world.thaw(2);
    await world.pass(100);
  });

  it("go on by themselves when their member dies", async () => {
    const reads = world.run(getAll());
    await world.kill(2);
    expect(await reads).to.deep.equal(expected("old"));
  });

  it("fail by themselves when too few can be asked, and say how many there were", async () => {
    world.freeze(2);
    world.freeze(3);
    const outcomes = await world.run(Promise.allSettled(keys.map((key) => world.client(1, "STRICT").get(key))));
    const messages = outcomes.map((outcome) => (outcome as PromiseRejectedResult).reason as OperatingError);
    expect(new Set(messages.map(({ code, message }) => `${code} ${message}`))).to.deep.equal(
      new Set(["QUORUM read reached 1 of 2 replicas"]),
    );
    expect(world.node(1).context.inFlight.grouped).to.equal(0);
  });

  it("are asked alone where the disk has to be looked at, there or here", async () => {
    for (const cold of [2, 1]) {
      world.node(cold).store.coldness = 0.5;
      expect(await world.run(getAll())).to.deep.equal(expected("old"));
      world.node(cold).store.coldness = 0;
    }
  });

  it("are not held up by writes of their turn that the disk refuses", async () => {
    world.node(1).disk.faults.appendFailure = 1;
    const write = world.failureOf(world.client(1).set(world.key(), "refused"));
    expect(await world.run(getAll())).to.deep.equal(expected("old"));
    expect((await write).code).to.equal("IO");
    world.node(1).disk.faults.appendFailure = 0;
  });

  it("of a turn that is lost once it was committed leave the next turn's requests alone", async () => {
    const { context } = world.node(1);
    const works: TurnWork[] = [];
    const add = context.turn.add.bind(context.turn);
    context.turn.add = (work) => {
      works.push(work);
      add(work);
    };
    await world.run(getAll());
    const first = [...works];
    const reads = getAll();
    // As when the sync of the first turn's log fails: its bytes are being filled by the second turn's reads.
    for (const work of first) work.lost(new OperatingError("IO", "the sync failed"));
    expect(await world.run(reads)).to.deep.equal(expected("old"));
    expect(await world.timeOf(getAll())).to.be.below(100);
  });

  it("are bounded as other requests are, and counted until they are told", async () => {
    const { inFlight } = world.node(1).context;
    await world.pass(100);
    const before = inFlight.count;
    const reads = getAll();
    await world.pass(0.1);
    expect(inFlight.count - before).to.equal(COUNT);
    await world.run(reads);
    await world.pass(100);
    expect(inFlight.count).to.equal(0);
    expect(inFlight.grouped).to.equal(0);
  });
});
