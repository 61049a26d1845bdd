import { expect } from "chai";
import type { RingChange } from "../../lib/cluster/cluster.js";
import { leaveChange, removeChange } from "../../lib/cluster/ring-changes.js";
import { encodeRingDocument, mintRingDocument } from "../../lib/cluster/ring-document.js";
import { decodeAcceptorState } from "../../lib/cluster/ring-messages.js";
import { OperatingError } from "../../lib/errors.js";
import { pause } from "../../lib/host/clock.js";
import { type ClusterRun, ClusterWorld } from "./cluster-world.js";

const NAMES = ["a", "b", "c"];

describe("a cluster", () => {
  let world: ClusterWorld;

  beforeEach(() => {
    world = new ClusterWorld(7);
  });

  afterEach(() => world.stopAll());

  describe("of one", () => {
    it("is founded in the turn in which its node starts, and talks to nobody", async () => {
      const run = await world.node("a");
      expect(world.clock.monotonicMs()).to.equal(0);
      expect(run.isMember).to.equal(true);
      expect(run.version).to.equal(1);
      expect(run.cluster.selfIndex).to.equal(0);
      const [member] = run.cluster.ring.document.members;
      expect(member).to.include({
        id: run.cluster.selfId,
        name: "a",
        storeId: "a-------",
        host: "host-a",
        dc: "dc1",
        rack: "r1",
      });
      expect(member!.tokens).to.have.length(16);
      const writes = world.records("a").writes;
      await world.advance(60_000);
      expect(world.records("a").writes, "writes after the start").to.equal(writes);
      expect(world.network.openEnds).to.equal(0);
      expect(run.version).to.equal(1);
      expect(run.logged.filter((line) => !line.includes("founded"))).to.deep.equal([]);
    });

    it("warns where the store has keys of a cluster that it does not know any more", async () => {
      const run = await world.node("a", { holdsKeys: true });
      expect(run.said("does not say of which cluster")).to.have.length(1);
      await world.stop(run);
      const again = await world.node("a", { holdsKeys: true });
      expect(again.said("does not say of which cluster"), "once it does").to.deep.equal([]);
    });

    it("is the same after a restart, in a higher generation although the clock went back", async () => {
      const first = await world.node("a");
      const { selfId, ring } = first.cluster;
      const generation = first.cluster.reports()[0]!.member.generation;
      await world.stop(first);
      world.clock.jumpWall(-86_400_000);
      const again = await world.node("a");
      expect(again.cluster.selfId).to.equal(selfId);
      expect(again.cluster.ring.document).to.deep.equal(ring.document);
      expect(again.cluster.reports()[0]!.member.generation).to.equal(generation + 1);
      expect(again.isMember).to.equal(true);
    });

    it("does not start when the disk does not take its generation", async () => {
      world.records("a").isFull = true;
      let error: unknown;
      await world.node("a").catch((thrown: unknown) => {
        error = thrown;
      });
      expect(error).to.be.instanceOf(OperatingError).and.to.include({ code: "IO" });
    });

    it("is written as its settings are when they change: its store, its name, its place, its copies", async () => {
      await world.stop(await world.node("a"));
      const settings = { name: () => "alpha", rack: "r2", weight: 2, replicas: { default: 2, dcs: [] } };
      const run = await world.node("a", { settings, storeId: "reminted" });
      await world.until(() => run.version === 2);
      expect(run.cluster.ring.document.replicas).to.deep.equal({ default: 2, dcs: [] });
      expect(run.cluster.ring.document.members[0]).to.include({ name: "alpha", rack: "r2", weight: 2, storeId: "reminted" });
      await world.advance(10_000);
      expect(run.version).to.equal(2);
    });

    for (const [what, bytes] of [
      ["without a version", Buffer.concat([Buffer.of(1), Buffer.alloc(16, 3), Buffer.alloc(32, 4)])],
      ["of version 0", encodeRingDocument(mintRingDocument((length) => Buffer.alloc(length, length === 16 ? 3 : 4)))],
    ] as const) {
      it(`keeps the cluster id and the key of a data directory that was always alone, its document ${what}`, async () => {
        world.records("a").putNow("ring", bytes);
        const run = await world.node("a");
        expect(run.version).to.equal(1);
        expect(run.cluster.ring.document.clusterId).to.deep.equal(Buffer.alloc(16, 3));
        expect(run.cluster.ring.document.clusterKey).to.deep.equal(Buffer.alloc(32, 4));
        await world.stop(run);
        const again = await world.node("a");
        expect(again.cluster.ring.document).to.deep.equal(run.cluster.ring.document);
        expect(decodeAcceptorState(world.records("a").get("ring-state")!).decided.version).to.equal(1);
        expect(world.records("a").get("ring")).to.deep.equal(bytes);
      });
    }
  });

  describe("that is joined", () => {
    async function changed({ cluster }: ClusterRun, change: RingChange): Promise<string> {
      const outcome = await world.clock.run(cluster.change(change, world.clock.monotonicMs() + 5_000));
      return outcome.kind;
    }

    it("takes in nodes that come at once, one after another, each once it holds what it is to own", async () => {
      const founder = await world.node("a");
      const joiners: ClusterRun[] = [];
      const takenIn = (): Promise<boolean> => pause(world.clock, 500).then(() => true);
      for (const name of ["b", "c", "d"]) joiners.push(await world.node(name, { seeds: ["a"], takenIn }));
      const all = [founder, ...joiners];
      await world.until(() => all.every((run) => run.isMember && run.memberNames.length === 4), 20_000);
      for (const run of all) {
        expect(run.memberNames).to.deep.equal(["a", "b", "c", "d"]);
        expect(run.cluster.ring.document.pending).to.deep.equal([]);
        expect(run.cluster.ring.document.clusterKey).to.deep.equal(founder.cluster.ring.document.clusterKey);
        expect(run.cluster.ring.members[run.cluster.selfIndex]!.id).to.equal(run.cluster.selfId);
      }
      expect(founder.asked).to.deep.equal([]);
      for (const { asked, cluster } of joiners) {
        expect(asked).to.have.length(1);
        const { change, next, current } = asked[0]!;
        expect(change).to.include({ kind: "join" }).and.to.have.nested.property("member.id", cluster.selfId);
        const index = asked[0]!.indexOf(cluster.selfId)!;
        expect(next!.ownedSlots()[index]).to.be.greaterThan(0);
        expect(current.ownedSlots()[index]).to.equal(0);
      }
    });

    it("completes a join only once its members know of it, however slowly they hear", async () => {
      const runs = await world.clusterOf(["a", "b", "c", "d"]);
      world.network.setDelay("e", "d", 700);
      const known: number[] = [];
      const joiner = await world.node("e", {
        seeds: ["a"],
        takenIn: async ({ document }) => {
          for (const { version } of runs) known.push(version - document.version);
          return true;
        },
      });
      await world.until(() => joiner.isMember);
      expect(known).to.deep.equal([0, 0, 0, 0]);
    });

    it("lets a joiner wait as long as slots have no majority of owners that know of the join", async () => {
      const runs = await world.clusterOf(NAMES);
      const joiner = await world.node("d", { seeds: ["a"] });
      // A majority decides on the join, and the way to two of the members ends before they are asked whether they know.
      while (!joiner.isKnowing || joiner.cluster.ring.document.pending.length === 0) await world.clock.step();
      world.network.cutOff(["b", "c"], ["d"]);
      await world.advance(30_000);
      expect(joiner.asked.length).to.equal(0);
      expect(joiner.said("2 of 4 members know of the change, which is no majority of the owners of")).to.not.deep.equal([]);
      world.network.heal();
      await world.until(() => joiner.isMember && runs.every((run) => run.memberNames.length === 4));
    });

    it("knows of all its members whether they are there, where, and what their stores are called", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.advance(3_000);
      for (const { cluster } of runs) {
        expect(
          cluster.reports().map(({ status, member }) => [member.contents.name, member.contents.state, status]),
        ).to.have.deep.members(NAMES.map((name) => [name, "up", "up"]));
        for (const name of NAMES) expect(cluster.nameOfStore(name.padEnd(8, "-"))).to.equal(name);
        expect(cluster.nameOfStore("unknown!")).to.equal(null);
        for (const other of runs) {
          expect(cluster.isUsable(other.cluster.selfId)).to.equal(true);
          expect(cluster.addressOf(other.cluster.selfId)).to.deep.equal(world.addressOf(other.name));
        }
      }
      await world.kill(runs[2]!);
      await world.advance(10);
      expect(runs[0]!.cluster.isUsable(runs[2]!.cluster.selfId)).to.equal(false);
      await world.until(() => runs[0]!.cluster.statusOf(runs[2]!.cluster.selfId) === "down");
    });

    it("tells a node whose members are waited for why it waits, and lets it in when they come", async () => {
      const joiner = await world.node("b", { seeds: ["a"] });
      await world.advance(20_000);
      expect(joiner.isKnowing).to.equal(false);
      expect(joiner.said("waiting for a ring to join")[0]).to.contain(`nothing listens on a:${world.addressOf("a").port}`);
      const founder = await world.node("a");
      await world.until(() => joiner.isMember && founder.memberNames.length === 2);
    });

    it("tells nodes that wait for each other that one of them has to found the ring", async () => {
      const [a, b] = [await world.node("a", { seeds: ["b"] }), await world.node("b", { seeds: ["a"] })];
      await world.advance(5_000);
      for (const run of [a, b]) expect(run.said("one node must found the ring")).to.have.length(1);
      const founder = await world.node("c");
      await world.stop(a);
      const again = await world.node("a", { seeds: ["b", "c"] });
      await world.until(() => again.isMember && b.isMember);
      expect(founder.memberNames).to.deep.equal(NAMES);
    });

    it("asks a joiner again until it has taken in what it is to own", async () => {
      await world.node("a");
      let asked = 0;
      const joiner = await world.node("b", {
        seeds: ["a"],
        takenIn: async () => {
          if (++asked === 2) throw new OperatingError("UNAVAILABLE", "it does not answer");
          return asked > 3;
        },
      });
      await world.until(() => joiner.isMember);
      expect(asked).to.equal(4);
    });

    it("gives up what it waits for when another change is under way", async () => {
      const founder = await world.node("a");
      const joiner = await world.node("b", { seeds: ["a"], takenIn: async () => false });
      const change = (make: RingChange): Promise<unknown> =>
        world.clock.run(founder.cluster.change(make, world.clock.monotonicMs() + 5_000));
      await world.until(() => joiner.asked.length > 2);
      const first = founder.cluster.ring.document.pending[0]!.since;
      await change((base) => ({ ...base, pending: [] }));
      // It has asked anew to join.
      await world.until(() => joiner.asked.at(-1)!.document.pending[0]!.since > first);
    });

    it("lets a joiner that was killed before it owned anything go on where it was", async () => {
      const founder = await world.node("a");
      const first = await world.node("b", { seeds: ["a"], takenIn: async () => false });
      await world.until(() => first.asked.length === 1);
      const before = founder.cluster.ring.document;
      await world.kill(first);
      await world.advance(20_000);
      expect(founder.cluster.ring.document).to.deep.equal(before);
      // Without seeds: it knows from its own disk whom to join.
      const again = await world.node("b");
      expect(again.isKnowing).to.equal(true);
      expect(again.cluster.selfId).to.equal(first.cluster.selfId);
      await world.until(() => again.isMember && founder.memberNames.length === 2);
      expect(again.asked).to.have.length(1);
      const [pending] = before.pending;
      const joined = founder.cluster.ring.document.members.find(({ name }) => name === "b")!;
      expect(pending).to.deep.include({ kind: "join", member: joined });
      expect(founder.version).to.equal(before.version + 1);
    });

    it("lets a member leave once all who take over have what is theirs, and it has given away what it kept for others", async () => {
      let isTakenIn = true;
      let hasRetired = false;
      const options = {
        takenIn: async () => isTakenIn,
        retire: async (): Promise<void> => {
          hasRetired = true;
        },
      };
      const runs = await world.clusterOf(["a", "b", "c", "d"], options);
      isTakenIn = false;
      const leaver = runs[1]!;
      expect(await changed(leaver, leaveChange(leaver.cluster.selfId))).to.equal("made");
      await world.advance(20_000);
      expect(leaver.memberNames).to.include("b");
      expect(hasRetired).to.equal(false);
      isTakenIn = true;
      const others = runs.filter((run) => run !== leaver);
      await world.until(() => others.every((run) => run.memberNames.join() === "a,c,d"));
      expect(hasRetired).to.equal(true);
      await world.until(() => leaver.wasRemoved);
      for (const run of others) expect(run.cluster.ring.document.removed).to.deep.equal([leaver.cluster.selfId]);
    });

    it("takes a dead member out while another change waits for it, whoever drives that", async () => {
      const runs = await world.clusterOf(["a", "b", "c", "d"]);
      const dead = runs[3]!;
      await world.kill(dead);
      await world.until(() => runs[0]!.cluster.statusOf(dead.cluster.selfId) === "down");
      const joiner = await world.node("e", { seeds: ["a"], takenIn: async () => false });
      await world.until(() => joiner.asked.length > 0);
      expect(await changed(runs[0]!, removeChange(dead.cluster.selfId))).to.equal("made");
      await world.until(() => runs.slice(0, 3).every((run) => run.memberNames.join() === "a,b,c"));
      expect(runs[0]!.cluster.ring.document.pending.map(({ kind }) => kind)).to.deep.equal(["join"]);
      // And a joiner that never gets there.
      expect(await changed(runs[0]!, removeChange(joiner.cluster.selfId))).to.equal("made");
      await world.until(() => joiner.wasRemoved && runs[1]!.cluster.ring.document.pending.length === 0);
    });

    it("takes in a node while one of its members cannot be reached, and tells that one when it can", async () => {
      const runs = await world.clusterOf(NAMES);
      world.network.cutOff(["c"], ["a", "b", "d"]);
      const joiner = await world.node("d", { seeds: ["a"] });
      await world.until(() => joiner.isMember, 60_000);
      expect(runs[2]!.memberNames).to.deep.equal(NAMES);
      world.network.heal();
      await world.until(() => runs[2]!.memberNames.length === 4, 10_000);
    });

    it("takes in nobody while a majority of its members cannot be reached, and does so when it can", async () => {
      const runs = await world.clusterOf(NAMES);
      world.network.cutOff(["b", "c"], ["a", "d"]);
      const joiner = await world.node("d", { seeds: ["a"] });
      await world.advance(60_000);
      expect(joiner.isMember).to.equal(false);
      expect(joiner.said("asking to join the ring failed")).to.not.deep.equal([]);
      world.network.heal();
      await world.until(() => runs.every((run) => run.memberNames.length === 4), 60_000);
    });
  });

  describe("whose nodes all have one list of seeds", () => {
    it("is founded by the first of them", async () => {
      for (const order of [NAMES, [...NAMES].reverse()]) {
        world = new ClusterWorld(3);
        for (const name of NAMES) world.addressOf(name);
        const runs: ClusterRun[] = [];
        for (const name of order) runs.push(await world.node(name, { seeds: NAMES }));
        await world.until(() => runs.every((run) => run.isMember && run.memberNames.length === 3));
        expect(runs.find(({ name }) => name === "a")!.said("founded a ring")).to.have.length(1);
        expect(runs.flatMap((run) => run.said("founded a ring"))).to.have.length(1);
        if (order === NAMES) await world.stopAll();
      }
    });

    it("is founded by a node that finds itself at its first seed under another name", async () => {
      for (const name of NAMES) world.addressOf(name);
      const run = await world.node("a", { seeds: NAMES, settings: { peerAddress: () => ({ host: "alias", port: 17_000 }) } });
      await world.until(() => run.isMember);
    });

    it("is joined by the first of them if that comes back without its data", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.kill(runs[0]!);
      world.loseData("a");
      const again = await world.node("a", { seeds: NAMES, storeId: "reminted" });
      await world.until(() => again.isMember);
      expect(again.said("founded")).to.deep.equal([]);
      expect(again.cluster.ring.document.clusterId).to.deep.equal(runs[1]!.cluster.ring.document.clusterId);
    });

    it("is not founded beside one that refuses the first of them", async () => {
      await world.node("b", { secret: "s3cret" });
      const run = await world.node("a", { seeds: ["a", "b"] });
      await world.advance(10_000);
      expect(run.isKnowing).to.equal(false);
      expect(run.said("waiting for a ring to join")[0]).to.contain("--cluster-secret");
    });
  });

  describe("that restarts", () => {
    it("meets again without seeds when all its members start at once, with the ids that they had", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.advance(2_000);
      const ids = runs.map(({ cluster }) => cluster.selfId);
      const generations = runs.map(
        ({ cluster }) => cluster.reports().find(({ member }) => member.id === cluster.selfId)!.member.generation,
      );
      const { version } = runs[0]!;
      for (const run of runs) await world.kill(run);
      await world.advance(10_000);
      const again: ClusterRun[] = [];
      for (const name of NAMES) again.push(await world.node(name));
      expect(again.map(({ cluster }) => cluster.selfId)).to.deep.equal(ids);
      const seesAll = ({ cluster }: ClusterRun): boolean =>
        cluster.reports().length === 3 && ids.every((id) => cluster.isUsable(id));
      await world.until(() => again.every(seesAll), 5_000);
      for (const [at, { cluster, version: known }] of again.entries()) {
        expect(cluster.reports().find(({ member }) => member.id === ids[at])!.member.generation).to.be.greaterThan(
          generations[at]!,
        );
        expect(known).to.equal(version);
      }
    });

    it("meets again although one of its members listens elsewhere now", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.advance(2_000);
      for (const run of runs) await world.stop(run);
      const again = [await world.node("a"), await world.node("b"), await world.node("c", { port: 18_000 })];
      const moved = again[2]!.cluster.selfId;
      await world.until(() => again.every(({ cluster }) => cluster.isUsable(moved) && cluster.reports().length === 3), 10_000);
      for (const { cluster } of again) expect(cluster.addressOf(moved)).to.deep.equal({ host: "c", port: 18_000 });
    });

    it("holds a member that did not come back for down once it could have been heard", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.advance(2_000);
      for (const run of runs) await world.stop(run);
      const again = [await world.node("a"), await world.node("b")];
      const missing = runs[2]!.cluster.selfId;
      expect(again[0]!.cluster.statusOf(missing)).to.equal("up");
      await world.advance(20_000);
      for (const { cluster } of again) expect(cluster.statusOf(missing)).to.equal("down");
    });

    it("writes the store that a member lost its data with into the ring", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.advance(2_000);
      await world.stop(runs[1]!);
      const again = await world.node("b", { storeId: "reminted" });
      const storeOf = (run: ClusterRun): string => run.cluster.ring.document.members.find(({ name }) => name === "b")!.storeId;
      await world.until(() => [runs[0]!, runs[2]!, again].every((run) => storeOf(run) === "reminted"));
      expect(runs[0]!.cluster.nameOfStore("reminted")).to.equal("b");
    });

    it("does not move a member in company that is started with another place, and says so", async () => {
      const runs = await world.clusterOf(NAMES);
      const { version } = runs[0]!;
      await world.stop(runs[1]!);
      const again = await world.node("b", { settings: { rack: "r9" } });
      await world.advance(5_000);
      expect(again.version).to.equal(version);
      expect(again.said("--rack is r9, the ring has r1")).to.have.length(1);
    });

    it("refuses to start a member in company with other numbers of copies, and says with which", async () => {
      const runs = await world.clusterOf(NAMES);
      await world.stop(runs[1]!);
      let error: unknown;
      await world.node("b", { settings: { replicas: { default: 5, dcs: [] } } }).catch((thrown: unknown) => {
        error = thrown;
      });
      expect(error).to.be.instanceOf(OperatingError).and.to.include({ code: "CONFIG" });
      expect((error as Error).message).to.equal(
        "--replicas is 5, the cluster of this member keeps 3: start it with --replicas 3",
      );
    });
  });

  describe("that changes", () => {
    it("tells all members, those that were cut off when they are back", async () => {
      const runs = await world.clusterOf(NAMES);
      const heard = runs.map(() => 0);
      for (const [at, { cluster }] of runs.entries()) cluster.onRing(() => heard[at]!++);
      world.network.cutOff(["c"], ["a", "b"]);
      const change = runs[0]!.cluster.change(
        (base) => (base.databases.length > 0 ? base : { ...base, databases: [{ database: 1, settings: "{}" }] }),
        world.clock.monotonicMs() + 10_000,
      );
      expect((await world.clock.run(change)).kind).to.equal("made");
      await world.advance(1_000);
      expect(heard).to.deep.equal([1, 1, 0]);
      world.network.heal();
      await world.until(() => heard[2] === 1, 10_000);
      expect(runs[2]!.version).to.equal(runs[0]!.version);
    });

    it("fetches a newer ring from a member that knows it, once for all who ask meanwhile", async () => {
      const [a, b, c] = (await world.clusterOf(NAMES)) as [ClusterRun, ClusterRun, ClusterRun];
      world.network.cutWay("a", "c");
      const change = a.cluster.change(
        (base) => (base.databases.length > 0 ? base : { ...base, databases: [{ database: 2, settings: "{}" }] }),
        world.clock.monotonicMs() + 10_000,
      );
      await world.clock.run(change);
      while (b.version < a.version) await world.clock.step();
      expect(c.version).to.equal(a.version - 1);
      const sinceMs = world.clock.monotonicMs();
      const fetch = c.cluster.fetchRing(b.cluster.selfId);
      expect(c.cluster.fetchRing(b.cluster.selfId)).to.equal(fetch);
      await world.clock.run(fetch);
      expect(world.clock.monotonicMs() - sinceMs).to.be.lessThan(50);
      expect(c.version).to.equal(a.version);
      // Nobody: it resolves all the same.
      await world.clock.run(c.cluster.fetchRing("f".repeat(16)));
    });

    it("forgets and refuses a member that was removed, which is told so", async () => {
      const runs = await world.clusterOf(NAMES);
      const gone = runs[2]!.cluster.selfId;
      await world.advance(2_000);
      await world.kill(runs[2]!);
      const change = runs[0]!.cluster.change(
        (base) =>
          base.removed.includes(gone)
            ? base
            : { ...base, members: base.members.filter(({ id }) => id !== gone), removed: [gone] },
        world.clock.monotonicMs() + 10_000,
      );
      await world.clock.run(change);
      await world.advance(3_000);
      for (const { cluster } of runs.slice(0, 2)) {
        expect(cluster.reports().map(({ member }) => member.contents.name)).to.deep.equal(["a", "b"]);
        expect(cluster.addressOf(gone)).to.equal(null);
      }
      const again = await world.node("c");
      await world.advance(5_000);
      expect(
        again.said(`member ${gone} was removed from this cluster; it may join anew with an empty data directory`),
      ).to.not.deep.equal([]);
      expect(runs[0]!.cluster.reports()).to.have.length(2);
    });
  });
});
