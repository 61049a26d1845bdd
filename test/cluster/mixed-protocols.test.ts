/** Members of an older build among newer ones: what waits for their upgrade, what goes on, and what of the newer ones they keep. */
import { expect } from "chai";
import type { Ring } from "../../lib/cluster/ring.js";
import {
  completeChange,
  correctChange,
  joinChange,
  leaveChange,
  removeChange,
  replaceChange,
  tooOldForDepartures,
} from "../../lib/cluster/ring-changes.js";
import { decodeRingDocument, encodeRingDocument, type RingDocument } from "../../lib/cluster/ring-document.js";
import type { RingChange } from "../../lib/cluster/ring-proposer.js";
import { type ClusterRun, ClusterWorld } from "./cluster-world.js";
import { documentOf, fractions, memberOf, numbered, ringOf, THREE } from "./members.js";

const OLDER = { min: 1, max: 1 };
const FOUR = ["a", "b", "c", "d"];

describe("a cluster of two builds", () => {
  let world: ClusterWorld;

  beforeEach(() => {
    world = new ClusterWorld(11);
  });

  afterEach(() => world.stopAll());

  /** `c` is of the older build. */
  async function mixed(): Promise<ClusterRun[]> {
    const runs: ClusterRun[] = [];
    for (const name of FOUR) {
      const versions = name === "c" ? { versions: OLDER } : {};
      runs.push(
        await world.node(name, {
          ...versions,
          seeds: runs.length === 0 ? [] : ["a"],
          takenIn: async ({ change }: Ring) => name !== "c" || change?.kind === "join",
        }),
      );
    }
    await world.until(() => runs.every((run) => run.isMember && run.memberNames.length === FOUR.length));
    return runs;
  }

  function changed(run: ClusterRun, change: RingChange): Promise<string> {
    const made = run.cluster.change(change, world.clock.monotonicMs() + 10_000);
    return world.clock.run(made).then(({ kind }) => kind);
  }

  it("links at the lower version, and gossip tells which each member speaks", async () => {
    const [a, , c] = (await mixed()) as [ClusterRun, ClusterRun, ClusterRun];
    await world.until(() => a.cluster.protocolOf(c.cluster.selfId) === 1 && c.cluster.protocolOf(a.cluster.selfId) === 2);
    expect(a.peers.versionOf(c.cluster.selfId)).to.equal(1);
    const { document } = a.cluster.ring;
    const protocolOf = (id: string): number | null => a.cluster.protocolOf(id);
    expect(tooOldForDepartures(document, { going: a.cluster.selfId, protocolOf }).map(({ name }) => name)).to.deep.equal(["c"]);
    expect(tooOldForDepartures(document, { going: c.cluster.selfId, protocolOf }), "it may itself be removed").to.deep.equal(
      [],
    );
    expect(a.cluster.protocolOf("f".repeat(16)), "of nobody").to.equal(null);
  });

  it("takes in a newcomer, which alone gains slots by that", async () => {
    const older = (await mixed())[2]!;
    const asked = older.asked.length;
    const joiner = await world.node("e", { seeds: ["a"] });
    await world.until(() => joiner.isMember, 30_000);
    expect(older.asked).to.have.length(asked);
  });

  it("says at once that a leave waits for the older member, and goes on when that is upgraded", async () => {
    const runs = await mixed();
    const [, leaver, older] = runs as [ClusterRun, ClusterRun, ClusterRun];
    await world.until(() => leaver.cluster.protocolOf(older.cluster.selfId) === 1);
    expect(await changed(leaver, leaveChange(leaver.cluster.selfId))).to.equal("made");
    await world.advance(30_000);
    expect(leaver.memberNames).to.include("b");
    expect(leaver.said("b leaves: waits for c, which speaks protocol 1: upgrade it first")).to.have.length(1);
    await world.kill(older);
    const upgraded = await world.node("c", { seeds: ["a"] });
    await world.until(() => leaver.wasRemoved, 60_000);
    expect(upgraded.memberNames).to.deep.equal(["a", "c", "d"]);
  });

  it("does not leave a removal to a member that cannot read it", async () => {
    const runs = await mixed();
    const older = runs[2]!;
    const [dead, driver] = runs.filter((run) => run !== older) as [ClusterRun, ClusterRun];
    await world.until(() => driver.cluster.protocolOf(older.cluster.selfId) === 1);
    await world.kill(dead);
    await world.until(() => driver.cluster.statusOf(dead.cluster.selfId) === "down");
    expect(await changed(driver, removeChange(dead.cluster.selfId))).to.equal("made");
    await world.advance(15_000);
    const living = runs.filter((run) => run !== dead && run !== older);
    expect(living.flatMap((run) => run.said(`${dead.name} is removed: waits for c, which speaks protocol 1`))).to.have.length(
      1,
    );
  });
});

describe("a ring document with fields of a later version", () => {
  const unknown = (tag: number, text: string) => [{ tag, bytes: Buffer.from(text) }];
  const [one, two, three] = ringOf(numbered(3), { seed: 1, vnodes: 8 });
  const selfOf = (number: number) => {
    const { tokens: _, ...self } = memberOf(number);
    return self;
  };
  const later: RingDocument = documentOf([one!, { ...two!, unknown: unknown(40, "of the member") }, three!], {
    pending: [{ kind: "leave", memberId: one!.id, since: 1, unknown: unknown(50, "of the change") }],
    unknown: unknown(60, "of the document"),
  });

  /** As an older member makes it: read from the bytes that it was sent, changed, and sent on. */
  function through(change: RingChange, document: RingDocument = later): RingDocument {
    const made = change(decodeRingDocument(encodeRingDocument(document)));
    if ("refused" in made) throw new Error(made.refused);
    return decodeRingDocument(encodeRingDocument({ ...made, version: document.version + 1 }));
  }

  const changes: readonly (readonly [string, RingChange])[] = [
    ["a join", joinChange({ self: selfOf(7), vnodes: 8, fraction: fractions(7) })],
    ["a leave", leaveChange(two!.id)],
    ["a removal", removeChange(three!.id)],
    ["a replacement", replaceChange({ self: selfOf(8), replaces: three!.id })],
    ["a correction", correctChange({ self: { ...selfOf(2), name: "renamed" }, replicas: THREE })],
    ["a flush", (base) => ({ ...base, flushContexts: [{ database: 0, entries: [{ storeId: "aaaaaaaa", sequence: 1 }] }] })],
  ];
  for (const [what, change] of changes) {
    it(`keeps all of them in ${what} that an older member makes`, () => {
      const after = through(change);
      expect(after.unknown).to.deep.equal(later.unknown);
      expect(after.members.find(({ id }) => id === two!.id)!.unknown).to.deep.equal(later.members[1]!.unknown);
      const leave = after.pending.find((pending) => pending.kind === "leave" && pending.memberId === one!.id);
      expect(leave?.unknown).to.deep.equal(later.pending[0]!.unknown);
    });
  }

  it("keeps those of the document, and of a member that comes, when an older member completes a change", () => {
    const member = { ...memberOf(4, { tokens: [16_000] }), unknown: unknown(40, "of the newcomer") };
    const joining = { ...later, pending: [{ kind: "join", member, since: 1 } as const] };
    const after = through(completeChange(joining), joining);
    expect(after.unknown).to.deep.equal(later.unknown);
    expect(after.members.find(({ id }) => id === member.id)!.unknown).to.deep.equal(member.unknown);
    expect(after.members.find(({ id }) => id === two!.id)!.unknown).to.deep.equal(later.members[1]!.unknown);
  });
});
