import { expect } from "chai";
import { SLOTS } from "../../lib/bytes/slot.js";
import { Ring } from "../../lib/cluster/ring.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import type { RepairRequest } from "../../lib/commands/cluster-operations.js";
import { silentLog } from "../../lib/log.js";
import { NO_BACKUP } from "../../lib/node/backups.js";
import { RingOperations } from "../../lib/node/ring-operations.js";
import { documentOf, memberOf, numbered, ringOf } from "../cluster/members.js";
import { FakeClock } from "../commands/fake-clock.js";

const FIVE = ringOf(numbered(5), { seed: 3 });
const SELF = FIVE[0]!;

const DONE = { kind: "agreed", note: "" };

class World {
  document: RingDocument = documentOf(FIVE);
  readonly down = new Set<string>();
  readonly protocols = new Map<string, number>();
  changes = 0;
  readonly fetched: string[] = [];
  readonly repairs: RepairRequest[] = [];
  readonly operations: RingOperations;

  constructor() {
    const isUp = (id: string): boolean => !this.down.has(id);
    const ring = (): Ring => new Ring(this.document);
    this.operations = new RingOperations({
      backups: { begin: () => null, status: NO_BACKUP },
      clock: new FakeClock(),
      cluster: {
        selfId: SELF.id,
        get ring() {
          return ring();
        },
        isUsable: isUp,
        statusOf: (id) => (isUp(id) ? "up" : "down"),
        protocolOf: (id) => this.protocols.get(id) ?? 2,
        fetchRing: async (id) => void this.fetched.push(id),
        force: async (document) => {
          this.document = document;
        },
        change: async (change) => {
          const made = change(this.document);
          if ("refused" in made) return { kind: "refused", reason: made.refused };
          this.changes++;
          this.document = made;
          return { kind: "made", document: made };
        },
      },
      log: silentLog,
      repair: {
        repair: (request) => {
          this.repairs.push(request);
          return null;
        },
        repairStatus: () => ({}) as never,
      },
    });
  }
}

describe("what operators have a node do to its ring", () => {
  it("refuses a leave and a removal, and says why, while another member cannot take part in them", async () => {
    const world = new World();
    world.protocols.set(FIVE[2]!.id, 1);
    world.down.add(FIVE[3]!.id);
    const said = "member node-3 speaks protocol 1, and members leave and are removed from protocol 2 on: upgrade it first";
    expect(await world.operations.leave({ isForced: false, ifVersion: null })).to.deep.equal({ kind: "refused", reason: said });
    expect(await world.operations.remove({ members: ["node-4"], isForced: false })).to.deep.equal({
      kind: "refused",
      reason: said,
    });
    expect(world.changes).to.equal(0);
    world.protocols.set(FIVE[4]!.id, 1);
    expect(await world.operations.leave({ isForced: false, ifVersion: null }))
      .to.have.property("reason")
      .that.includes("members node-3, node-5 speak earlier protocols");
    world.protocols.clear();
    expect(await world.operations.remove({ members: ["node-4"], isForced: false })).to.deep.equal(DONE);
    expect(world.document.pending[0]).to.include({ kind: "remove", memberId: FIVE[3]!.id });
  });

  it("does not have it leave when the others could agree on nothing without it, unless that is forced", async () => {
    const world = new World();
    for (const at of [2, 3]) world.down.add(FIVE[at]!.id);
    const refusal = await world.operations.leave({ isForced: false, ifVersion: null });
    expect(refusal).to.include({ kind: "refused" });
    expect(refusal)
      .to.have.property("reason")
      .that.matches(/^without this one 2 of 4 members would answer, which is no majority: start node-3, node-4 again/);
    expect(world.changes).to.equal(0);
    expect(await world.operations.leave({ isForced: true, ifVersion: null })).to.include({ kind: "agreed" });
  });

  it("removes the older member itself, and strikes out a newcomer while there is one", async () => {
    const world = new World();
    const older = FIVE[2]!;
    world.protocols.set(older.id, 1);
    const member = memberOf(9, { tokens: [] });
    world.document = documentOf(FIVE, { pending: [{ kind: "join", member, since: 1 }] });
    world.down.add(member.id).add(older.id);
    expect(await world.operations.remove({ members: [member.name], isForced: false })).to.deep.equal(DONE);
    expect(world.document.pending).to.deep.equal([]);
    expect(await world.operations.remove({ members: [older.name], isForced: false })).to.deep.equal(DONE);
    expect(world.document.pending[0]).to.include({ kind: "remove", memberId: older.id });
  });

  it("has it leave in words for whom that waits, and without those when it is forced", async () => {
    const world = new World();
    world.down.add(FIVE[3]!.id);
    const waiting = await world.operations.leave({ isForced: false, ifVersion: null });
    expect(waiting).to.include({ kind: "agreed" });
    expect(waiting)
      .to.have.property("note")
      .that.matches(
        /^it waits for node-4, which is down: start it again, .* \(kindred remove node-4\); leave --force does without it$/,
      );
    expect(await world.operations.leave({ isForced: true, ifVersion: null })).to.deep.equal(DONE);
    expect(world.document.pending).to.have.length(1);
    expect(world.document.pending[0]).to.include({ kind: "leave", isForced: true });
    // With another owner down, too, some slots would not even have a majority.
    world.down.add(FIVE[2]!.id);
    expect(await world.operations.leave({ isForced: true, ifVersion: null }))
      .to.have.property("note")
      .that.matches(/^it waits for members that are down: \d+ slots would have no majority of owners that are up$/);
  });

  it("takes out those who are gone with a majority at once, when all of them are named, and says what is lost", async () => {
    const world = new World();
    for (const at of [2, 3, 4]) world.down.add(FIVE[at]!.id);
    const advice =
      "only 2 members answer, and 3 have to agree on a change: if those that are down are gone for good, name all of them,";
    for (const isForced of [false, true]) {
      expect(await world.operations.remove({ members: ["node-3"], isForced }))
        .to.have.property("reason")
        .that.includes(advice)
        .and.includes("(kindred remove node-3 node-4 node-5 --force)");
    }
    const living = await world.operations.remove({ members: ["node-2", "node-3"], isForced: true });
    expect(living).to.have.property("reason").that.includes("node-2 is not down");
    expect(world.changes).to.equal(0);
    const before = new Ring(world.document);
    const outcome = await world.operations.remove({ members: ["node-3", "node-4", "node-5"], isForced: true });
    const lost = [...Array(SLOTS).keys()].filter(
      (slot) => !before.current.isReplica(slot, 0) && !before.current.isReplica(slot, 1),
    );
    expect(lost.length).to.be.above(0);
    expect(outcome)
      .to.have.property("note")
      .that.includes(`had all copies of ${lost.length} of the slots: what was in them is lost`);
    expect(world.document.members.map(({ name }) => name)).to.deep.equal(["node-1", "node-2"]);
    expect(world.document.removed).to.deep.equal(FIVE.slice(2).map(({ id }) => id));
    expect(world.document.version).to.be.above(2 ** 31);
    expect(world.fetched).to.deep.equal([FIVE[1]!.id]);
    expect(world.repairs).to.have.length(1);
  });

  it("removes one by one where a majority is up, also when that is forced", async () => {
    const world = new World();
    for (const at of [3, 4]) world.down.add(FIVE[at]!.id);
    const both = await world.operations.remove({ members: ["node-4", "node-5"], isForced: true });
    expect(both).to.have.property("reason").that.includes("remove them one by one");
    expect(await world.operations.remove({ members: ["node-4"], isForced: true })).to.deep.equal(DONE);
    expect(world.document.pending[0]).to.include({ kind: "remove", isForced: true });
  });
});
