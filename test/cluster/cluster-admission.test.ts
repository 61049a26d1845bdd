import { expect } from "chai";
import {
  decodeHelloSettings,
  encodeHelloSettings,
  type HelloSettings,
  helloSettings,
  objectionTo,
} from "../../lib/cluster/hello-settings.js";
import type { PeerHello } from "../../lib/peer/peer.js";
import { ClusterWorld } from "./cluster-world.js";
import { THREE } from "./members.js";

const OURS = "0a".repeat(16);
const THEIRS = "0b".repeat(16);

function settingsNamed(name: string, members: number): HelloSettings {
  return helloSettings({ replicas: THREE, name, members, runs: { settled: 10, generations: [20, 30] } });
}

function admissionOf(differences: Partial<Parameters<typeof objectionTo>[1]> = {}): Parameters<typeof objectionTo>[1] {
  return {
    settings: settingsNamed("here", 3),
    clusterId: OURS,
    removed: new Set(),
    knownRuns: [0],
    ...differences,
  };
}

function helloOf(differences: Partial<PeerHello> = {}): PeerHello {
  return {
    peerId: "00000000000000b0",
    clusterId: OURS,
    settings: encodeHelloSettings(settingsNamed("there", 3)),
    remoteAddress: "10.0.0.2",
    direction: "accepted",
    version: 1,
    ...differences,
  };
}

function settingsOf(differences: Partial<ReturnType<typeof helloSettings>>): Buffer {
  return encodeHelloSettings({ ...settingsNamed("there", 3), ...differences });
}

describe("who is let in", () => {
  it("are members of the same cluster, and nodes of none", () => {
    expect(objectionTo(helloOf(), admissionOf())).to.equal(null);
    expect(objectionTo(helloOf({ clusterId: null }), admissionOf())).to.equal(null);
    expect(objectionTo(helloOf(), admissionOf({ clusterId: null }))).to.equal(null);
    expect(objectionTo(helloOf({ clusterId: null }), admissionOf({ clusterId: null }))).to.equal(null);
  });

  it("is told from a hello that reads as it was written, fields of later versions passed over", () => {
    const replicas = { default: 2, dcs: [{ dc: "eu", replicas: 3 }] };
    const settings = helloSettings({ replicas, name: "näme", members: 7, runs: { settled: 5, generations: [6, 300] } });
    const bytes = encodeHelloSettings(settings);
    const silent = { ...settings, runs: null };
    expect(decodeHelloSettings(encodeHelloSettings(silent))).to.deep.equal(silent);
    expect(decodeHelloSettings(bytes)).to.deep.equal(settings);
    expect(decodeHelloSettings(Buffer.concat([bytes, Buffer.of(99, 2, 1, 2)]))).to.deep.equal(settings);
    // Without the last field it is one of a version before.
    const before = encodeHelloSettings(silent).length;
    for (let length = 0; length < bytes.length; length++) {
      if (length === before) continue;
      expect(() => decodeHelloSettings(bytes.subarray(0, length)), `${length} bytes`).to.throw();
    }
  });

  for (const [what, hello, ours, text] of [
    ["of another version's greeting", helloOf({ settings: Buffer.of(9) }), {}, "format 9 there, 1 here"],
    ["whose greeting is cut off", helloOf({ settings: Buffer.of(1, 1) }), {}, "run the same version on all members"],
    [
      "with keys in other slots",
      helloOf({ settings: settingsOf({ slotScheme: 2 }) }),
      {},
      "here hashes keys to slots by scheme 1, there by 2",
    ],
    ["that is no member by its id", helloOf({ peerId: "somebody" }), {}, "16 hexadecimal digits"],
    [
      "with other numbers of copies",
      helloOf({ settings: settingsOf({ replicas: { default: 2, dcs: [{ dc: "eu", replicas: 1 }] } }) }),
      {},
      "here has --replicas 3, there has 2,eu:1: start the node with the number that its cluster has",
    ],
    [
      "that was removed",
      helloOf(),
      { removed: new Set(["00000000000000b0"]) },
      "member 00000000000000b0 was removed from this cluster",
    ],
    [
      "of another cluster",
      helloOf({ clusterId: THEIRS }),
      {},
      "here is of cluster 0a0a0a0a, there of cluster 0b0b0b0b: only a node with an empty data directory joins",
    ],
  ] as const) {
    it(`is no node ${what}, and why is said`, () => {
      expect(objectionTo(hello, admissionOf(ours))!.text).to.contain(text);
    });
  }

  it("are members that know of their last run here, of later ones, and of none since they were restored", () => {
    for (const knownRuns of [[5], [10], [20], [30, 20], [30, 0, 20]]) {
      expect(objectionTo(helloOf(), admissionOf({ knownRuns })), knownRuns.join()).to.equal(null);
    }
    const settings = settingsOf({ runs: null });
    expect(objectionTo(helloOf({ settings }), admissionOf({ knownRuns: [25] }))).to.equal(null);
  });

  it("is no member whose data directory is of a time before a run that is known here", () => {
    for (const knownRuns of [[25], [11], [40], [30, 25]]) {
      expect(objectionTo(helloOf(), admissionOf({ knownRuns })), knownRuns.join()).to.deep.equal({
        reason: "past",
        text: "here knows a later run of there than its data directory does: it is an earlier copy of itself",
      });
    }
  });

  it("is no node that is alone in another cluster, and what to do with it is said", () => {
    const lone = { clusterId: THEIRS, settings: settingsOf({ members: 1 }) };
    const advice = "is alone in its cluster: to join the other, stop it, clear its data directory (--dir) and start it again";
    expect(objectionTo(helloOf(lone), admissionOf())!.text).to.contain(`. there ${advice}`);
    const weAreLone = admissionOf({ settings: settingsNamed("here", 1) });
    expect(objectionTo(helloOf({ clusterId: THEIRS }), weAreLone)!.text).to.contain(`. here ${advice}`);
    // Of two that are alone it is the one that looks for others.
    expect(objectionTo(helloOf(lone), weAreLone)!.text).to.contain(`. there ${advice}`);
    expect(objectionTo(helloOf({ ...lone, direction: "dialled" }), weAreLone)!.text).to.contain(`. here ${advice}`);
    const longest = { ...lone, settings: settingsOf({ members: 1, name: "x".repeat(255) }) };
    expect(objectionTo(helloOf(longest), admissionOf())!.text.length).to.be.lessThan(300);
  });

  describe("between nodes", () => {
    let world: ClusterWorld;

    beforeEach(() => {
      world = new ClusterWorld(11);
    });

    afterEach(() => world.stopAll());

    for (const [what, founding, joining, text] of [
      ["without the secret", { secret: "s3cret" }, {}, "this cluster needs --cluster-secret"],
      ["with another secret", { secret: "s3cret" }, { secret: "other" }, "wrong --cluster-secret"],
      ["with other numbers of copies", {}, { settings: { replicas: { default: 2, dcs: [] } } }, "a has --replicas 3, b has 2"],
    ] as const) {
      it(`a node ${what} does not join, and both log why`, async () => {
        const founder = await world.node("a", founding);
        const joiner = await world.node("b", { seeds: ["a"], ...joining });
        await world.advance(10_000);
        expect(joiner.isKnowing).to.equal(false);
        expect(joiner.said(text)).to.not.deep.equal([]);
        expect(founder.said(text)).to.not.deep.equal([]);
        expect(founder.cluster.reports()).to.have.length(1);
        // It is not told again and again.
        expect(joiner.logged.length).to.be.lessThan(4);
        expect(founder.logged.length).to.be.lessThan(4);
      });
    }

    it("a ring of one that is given seeds of another cluster stays what it is, and is told what to do", async () => {
      const [a] = await world.clusterOf(["a", "b"]);
      await world.stop(await world.node("c"));
      const lone = await world.node("c", { seeds: ["a"] });
      expect(lone.isMember).to.equal(true);
      await world.advance(10_000);
      const advice =
        "c is alone in its cluster: to join the other, stop it, clear its data directory (--dir) and start it again";
      expect(lone.said(advice)).to.have.length(1);
      expect(lone.memberNames).to.deep.equal(["c"]);
      expect(a!.memberNames).to.deep.equal(["a", "b"]);
      await world.stop(lone);
      world.loseData("c");
      const fresh = await world.node("c", { seeds: ["a"] });
      await world.until(() => fresh.isMember && a!.memberNames.length === 3);
    });

    it("nodes that met before they belonged to clusters do not stay linked when these turn out to differ", async () => {
      const a = await world.node("a", { seeds: ["b", "x"] });
      const b = await world.node("b", { seeds: ["a", "y"] });
      await world.until(() => a.cluster.isUsable(b.cluster.selfId) && b.cluster.isUsable(a.cluster.selfId), 1_000);
      // Too short a silence for the links to end, and each finds a founder of its own meanwhile.
      world.network.cutOff(["a"], ["b"]);
      await world.node("x");
      await world.node("y");
      await world.until(() => a.isMember && b.isMember, 3_000);
      world.network.heal();
      await world.advance(20_000);
      for (const [run, names] of [
        [a, ["a", "x"]],
        [b, ["b", "y"]],
      ] as const) {
        expect(run.memberNames).to.deep.equal(names);
        expect(run.cluster.reports().map(({ member }) => member.contents.name)).to.have.members(names);
      }
    });
  });
});
