/** The checkers must be able to fail: real histories with one thing altered. */
import { expect } from "chai";
import { checkAcknowledgedWrites, checkAnswers, checkCounters, checkOneEffect, checkReach } from "./checks.js";
import type { Needed, Operation } from "./history.js";
import { checkReads } from "./read-checks.js";
import type { WireReply } from "./sim-client.js";
import { World } from "./world.js";
import type { WorldClient } from "./world-client.js";

const KEY = "n0-k";

describe("the checkers of a history", () => {
  let world: World;
  let client: WorldClient;

  beforeEach(async () => {
    world = await World.start({ settings: { appendfsync: "always" } });
    client = world.client("node-a");
  });

  afterEach(() => world.close());

  function run<Result>(work: Promise<Result>): Promise<Result> {
    return world.run(work);
  }

  function alter(operation: Operation, reply: string | number | null): void {
    operation.outcome = { kind: "answered", reply };
  }

  it("find a read that misses an acknowledged write", async () => {
    await run(client.set(KEY, "one"));
    await run(client.set(KEY, "two"));
    const read = await run(client.tryGet(KEY));
    checkReads(world);
    alter(read, "one");
    expect(() => checkReads(world)).to.throw("is stale: it misses #1");
    alter(read, null);
    expect(() => checkReads(world)).to.throw("is stale");
    alter(read, "three");
    expect(() => checkReads(world)).to.throw("answers what nobody wrote");
  });

  it("find a deleted key that is seen again", async () => {
    await run(client.set(KEY, "one"));
    await run(client.del(KEY));
    const read = await run(client.tryGet(KEY));
    checkReads(world);
    alter(read, "one");
    expect(() => checkReads(world)).to.throw("is stale: it misses #1");
  });

  it("find an expired key that is seen again", async () => {
    await run(client.set(KEY, "one", "PX", "10"));
    await world.pass(20);
    const read = await run(client.tryGet(KEY));
    checkReads(world);
    alter(read, "one");
    expect(() => checkReads(world)).to.throw("answers what has expired");
  });

  it("find a sibling that is not shown", async () => {
    await run(client.set(KEY, "one"));
    const stale = (await run(client.siblings(KEY)))!.context;
    await run(client.set(KEY, "two"));
    await run(client.setContext(KEY, "three", stale));
    const read = await run(client.trySiblings(KEY));
    checkReads(world);
    const [context, [three, two]] = siblingsIn(read);
    read.outcome = { kind: "answered", reply: [context, [three]] };
    expect(() => checkReads(world)).to.throw("does not show");
    read.outcome = { kind: "answered", reply: [context, [three, two, ["one", "", 0, ""]]] };
    expect(() => checkReads(world)).to.throw("shows one, which was superseded");
  });

  it("find an acknowledged write that no store ever had, or that was lost", async () => {
    const lost = await run(client.trySet(KEY, "one"));
    checkAcknowledgedWrites(world);
    world.ledger.restarted(0, { records: new Map(), hints: [] });
    expect(() => checkAcknowledgedWrites(world)).to.throw("node 0 has lost it: #0");
    (lost as { value: string }).value = "another";
    expect(() => checkAcknowledgedWrites(world)).to.throw("acknowledged and never stored");
  });

  it("find a write that was acknowledged before enough replicas had it", async () => {
    const early = await run(client.trySet(KEY, "one"));
    checkReach(world);
    (early as { needed: Needed }).needed = { copies: 3, read: 2, write: 2, standIns: "strict" };
    expect(() => checkReach(world)).to.throw("acknowledged by 1 of 2 replicas");
  });

  it("find a refused request that had an effect", async () => {
    const refused = await run(client.trySet(KEY, "one"));
    checkOneEffect(world.history, world.ledger);
    refused.outcome = { kind: "refused", text: "BUSY too much" };
    expect(() => checkOneEffect(world.history, world.ledger)).to.throw("had an effect that it must not have");
  });

  it("find a write that was applied twice", async () => {
    await run(client.set(KEY, "one"));
    const before = (await run(client.siblings(KEY)))!.context;
    await run(client.setContext(KEY, "two", before));
    // As a late retry of another node would.
    await run(client.setContext(KEY, "three", before));
    const [, two, three] = world.ledger.ofKey(KEY).writes;
    (three as { value: string | null }).value = two!.value;
    expect(() => checkOneEffect(world.history, world.ledger)).to.throw("applied twice");
  });

  it("find an increment that was applied twice, and one that was not applied", async () => {
    await run(client.incr("n0-counter"));
    const second = await run(client.tryIncr("n0-counter"));
    checkCounters(world);
    second.outcome = { kind: "unsent" };
    expect(() => checkCounters(world)).to.throw("1 increments were tried and 2 took effect");
    world.history.begin({ ...second });
    world.history.end(world.history.begin({ ...second }), { kind: "answered", reply: 3 });
    alter(second, 2);
    expect(() => checkCounters(world)).to.throw("3 increments were acknowledged and 2 took effect");
  });

  it("find a request that an undisturbed node did not answer", async () => {
    // Not in the moment in which the node came up.
    await world.pass(10);
    const silent = await run(client.tryGet(KEY));
    checkAnswers(world);
    silent.outcome = { kind: "unknown", why: "no answer" };
    expect(() => checkAnswers(world)).to.throw("not answered in time by an undisturbed node");
  });
});

function siblingsIn({ outcome }: Operation): [string, [WireReply, WireReply]] {
  if (outcome.kind !== "answered") throw new Error("it was not answered");
  return outcome.reply as unknown as [string, [WireReply, WireReply]];
}
