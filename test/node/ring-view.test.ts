import { expect } from "chai";
import { SLOTS, slotOf } from "../../lib/bytes/slot.js";
import { actorOf } from "../../lib/causality/actor.js";
import { stampAt } from "../../lib/causality/hybrid-clock.js";
import { COVERS_ALL, supersede } from "../../lib/causality/record.js";
import type { MemberStatus } from "../../lib/cluster/failure-detector.js";
import type { MemberReport } from "../../lib/cluster/gossip.js";
import type { Member, MemberId } from "../../lib/cluster/member.js";
import type { MemberContents } from "../../lib/cluster/member-entry.js";
import { Ring } from "../../lib/cluster/ring.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import type { WhereAnswer } from "../../lib/commands/cluster-view.js";
import { OperatingError } from "../../lib/errors.js";
import { RingView, whereAnswerOf } from "../../lib/node/ring-view.js";
import type { IntakeProgress } from "../../lib/replica/slot-intake.js";
import { documentOf, memberOf, numbered, ringOf } from "../cluster/members.js";
import { FakeClock } from "../commands/fake-clock.js";

/** Five members over two racks; the sixth may join. */
const SIX = ringOf(
  numbered(6, (number) => memberOf(number, { rack: `r${1 + (number % 2)}` })),
  { seed: 7 },
);
const FIVE = SIX.slice(0, 5);
const SELF = FIVE[0]!;

/** What gossip knows, and tests change. */
const LOAD = { requestsPerSecond: 12, storedBytes: 34, waitingHints: 56, busyPermille: 120, diskFreeBytes: 7_000 };

class World {
  readonly clock = new FakeClock();
  ring: Ring;
  readonly status = new Map<string, MemberStatus>();
  readonly contents = new Map<string, Partial<MemberContents>>();
  readonly silent = new Set<string>();
  readonly unlinked = new Set<string>();
  readonly asked: string[] = [];
  answers = new Map<string, WhereAnswer | OperatingError>();
  readonly intakes: [MemberId, IntakeProgress][] = [];
  awaited: readonly string[] = [];
  readonly view: RingView;
  #known: readonly Member[];

  constructor(options: { members?: readonly Member[]; known?: readonly Member[]; document?: Partial<RingDocument> } = {}) {
    const { members = FIVE, known = members, document = {} } = options;
    this.ring = new Ring(documentOf(members, document));
    this.#known = known;
    this.view = new RingView({
      selfId: SELF.id,
      clock: this.clock,
      ring: () => this.ring,
      reports: () => this.#reports(),
      intakes: () => this.intakes,
      awaited: () => this.awaited,
      isLinked: (id) => !this.unlinked.has(id),
      load: () => LOAD,
      ask: async (id, database, key) => {
        this.asked.push(`${id} ${database} ${Buffer.from(key).toString()}`);
        const answer = this.answers.get(id) ?? { answer: "absent" };
        if (answer instanceof OperatingError) throw answer;
        return answer;
      },
    });
  }

  #reports(): MemberReport[] {
    return this.#known
      .filter((member) => !this.silent.has(member.id))
      .map(({ id, name }) => {
        const number = Number.parseInt(id, 16);
        const contents: MemberContents = {
          name,
          peerAddress: { host: `10.0.0.${number}`, port: 17_000 },
          clientAddress: { host: `10.0.0.${number}`, port: 7_000 },
          load: {
            requestsPerSecond: 10 * number,
            storedBytes: 1_000,
            waitingHints: 0,
            busyPermille: null,
            diskFreeBytes: 50_000,
          },
          storeId: id,
          sequenceLease: 0,
          suspects: [],
          softwareVersion: "1.0.0",
          protocolVersion: 2,
          state: "up",
          ringVersion: this.ring.document.version,
          unknown: [],
          ...this.contents.get(id),
        };
        const member = { id, generation: 1, before: 0, heartbeat: 1, changed: 1, contents, movedAtMs: 0, firstSeenMs: 0 };
        return { member, status: this.status.get(id) ?? "up", sinceMs: this.clock.nowMs - 60_000 };
      });
  }

  /** Ids, as the ring knows them, of those shown for a slot. */
  shownFor(slot: number): string[] {
    const range = this.view.ranges().find(({ first, last }) => first <= slot && slot <= last)!;
    return range.members.map(({ id }) => id.slice(0, 16));
  }
}

describe("the view of a ring", () => {
  it("shows every slot once, under its preference list, with as few ranges as there are changes of list", () => {
    const { view, ring } = new World();
    const ranges = view.ranges();
    let next = 0;
    for (const { first, last, members } of ranges) {
      expect(first).to.equal(next);
      for (let slot = first; slot <= last; slot++) {
        const expected = [...ring.current.replicas(slot)].map((index) => ring.members[index]!.id);
        expect(members.map(({ id }) => id.slice(0, 16))).to.deep.equal(expected);
      }
      next = last + 1;
    }
    expect(next).to.equal(SLOTS);
    expect(ranges.length).to.be.within(100, 5 * 64 + 1);
    for (const [at, range] of ranges.entries()) if (at > 0) expect(range.members).not.to.equal(ranges[at - 1]!.members);
  });

  it("shows the owners of its own data centre first, and says when another has nobody up", () => {
    const two = ringOf(
      numbered(6, (number) => memberOf(number, { dc: number % 2 === 0 ? "dc2" : "dc1" })),
      { seed: 7 },
    );
    const world = new World({ members: two });
    const centreOf = (id: string): string => two.find((member) => member.id === id)!.dc;
    for (let slot = 0; slot < SLOTS; slot += 211) {
      expect(world.shownFor(slot).map(centreOf)).to.deep.equal(["dc1", "dc1", "dc1", "dc2", "dc2", "dc2"]);
      expect(world.view.whereTargets(slot).map(({ dc, id }) => dc === centreOf(id))).not.to.include(false);
    }
    // Who is up comes before who is not, wherever it is.
    world.status.set(two[0]!.id, "down");
    expect(world.shownFor(0).at(-1)).to.equal(two[0]!.id);
    world.status.clear();
    const lost = (): readonly string[] => world.view.status().warnings.filter((text) => text.includes("data centre"));
    expect(lost()).to.deep.equal([]);
    for (const { id, dc } of two) if (dc === "dc2") world.status.set(id, "down");
    expect(lost()).to.deep.equal(["no member of data centre dc2 is up: EACH_QUORUM fails"]);
  });

  it("shows members under ids of 40 digits, with the addresses that they tell", () => {
    const { view } = new World();
    expect(view.members().map(({ id, ip, port, peerPort, health }) => [id, ip, port, peerPort, health])).to.deep.equal(
      FIVE.map((member, at) => [`${member.id}${"0".repeat(24)}`, `10.0.0.${at + 1}`, 7_000, 17_000, "online"]),
    );
    expect(view.self().ip).to.equal("10.0.0.1");
    expect(view.version()).to.equal(1);
  });

  it("moves whose link broke behind who is linked, before gossip says anything, and never itself", () => {
    const world = new World();
    const slot = slotWhere(world, (list) => list[0] !== SELF.id && list.includes(SELF.id));
    const list = world.shownFor(slot);
    world.unlinked.add(list[0]!).add(SELF.id);
    expect(world.shownFor(slot)).to.deep.equal([...list.slice(1), list[0]]);
    expect(world.view.members().every(({ health }) => health === "online")).to.equal(true);
    world.unlinked.clear();
    expect(world.shownFor(slot)).to.deep.equal(list);
  });

  it("moves who is suspect behind who is up, and who is down to the end, and takes that back", () => {
    const world = new World();
    const slot = 4_321;
    const [first, second, third] = world.shownFor(slot);
    world.status.set(first!, "down");
    expect(world.shownFor(slot)).to.deep.equal([second, third, first]);
    expect(world.view.members().find(({ id }) => id.startsWith(first!))?.health).to.equal("failed");
    world.status.set(second!, "suspect");
    expect(world.shownFor(slot)).to.deep.equal([third, second, first]);
    expect(world.view.members().find(({ id }) => id.startsWith(second!))?.health).to.equal("online");
    world.status.clear();
    expect(world.shownFor(slot)).to.deep.equal([first, second, third]);
  });

  it("keeps its ranges until the ring, an address or somebody's health changes", () => {
    const world = new World();
    const ranges = world.view.ranges();
    world.contents.set(FIVE[1]!.id, { load: { ...LOAD, requestsPerSecond: 5 } });
    expect(world.view.ranges()).to.equal(ranges);
    world.contents.set(FIVE[1]!.id, { clientAddress: { host: "10.9.9.9", port: 1 } });
    const moved = world.view.ranges();
    expect(moved).not.to.equal(ranges);
    expect(world.view.ranges()).to.equal(moved);
    world.status.set(FIVE[2]!.id, "suspect");
    const suspected = world.view.ranges();
    expect(suspected).not.to.equal(moved);
    world.ring = new Ring(documentOf(FIVE, { version: 2 }));
    expect(world.view.ranges()).not.to.equal(suspected);
  });

  it("never shows an empty address: it takes the peers' one, else leaves the member out, and itself it always shows", () => {
    const world = new World();
    for (const host of ["", "0.0.0.0", "::"]) {
      world.contents.set(FIVE[1]!.id, { clientAddress: { host, port: 7_000 } });
      expect(world.view.members()[1]!.ip).to.equal("10.0.0.2");
      world.contents.set(FIVE[1]!.id, { clientAddress: { host, port: 7_000 }, peerAddress: { host: "0.0.0.0", port: 1 } });
      expect(world.view.members().length).to.equal(4);
    }
    world.contents.set(FIVE[1]!.id, { clientAddress: { host: "10.0.0.2", port: 0 } });
    world.contents.set(SELF.id, { clientAddress: { host: "", port: 0 }, peerAddress: { host: "0.0.0.0", port: 1 } });
    expect(world.view.members().length).to.equal(4);
    expect(world.view.self().ip).to.equal("127.0.0.1");
    for (const { members } of world.view.ranges()) {
      expect(members.length).to.be.at.least(2);
      for (const { ip } of members) expect(ip).not.to.equal("");
    }
  });

  it("shows itself for slots of which it has heard of no replica", () => {
    const world = new World();
    for (const { id } of FIVE.slice(1)) world.silent.add(id);
    expect(world.view.members().length).to.equal(1);
    const ranges = world.view.ranges();
    expect(ranges).to.have.lengthOf(1);
    expect(ranges[0]!.members).to.deep.equal([world.view.self()]);
  });

  it("shows itself with all slots before there is a ring", () => {
    const { view } = new World({ members: [], known: [SELF], document: { version: 0 } });
    expect(view.ranges()).to.deep.equal([{ first: 0, last: SLOTS - 1, members: [view.self()] }]);
    expect(view.self().health).to.equal("online");
    expect(view.status().members.map(({ name, state, isSelf }) => [name, state, isSelf])).to.deep.equal([
      ["node-1", "joining", true],
    ]);
    expect(view.ringDocument().ownership).to.deep.equal([]);
  });

  it("shows who joins as loading, without slots", () => {
    const join = { kind: "join", member: SIX[5]!, since: 1 } as const;
    const { view } = new World({ known: SIX, document: { pending: [join] } });
    expect(view.members().map(({ health }) => health)).to.deep.equal([...Array(5).fill("online"), "loading"]);
    const firsts = new Set(view.ranges().flatMap(({ members }) => members.map(({ id }) => id)));
    expect(firsts.size).to.equal(5);
    expect(firsts.has(view.members()[5]!.id)).to.equal(false);
  });
});

describe("the status of a ring", () => {
  it("has a row a member with its place, load, age and share, and no warnings when all is well", () => {
    const { view, clock } = new World();
    const status = view.status();
    expect(status).to.deep.include({
      ringVersion: 1,
      replicas: { default: 3, dcs: {} },
      pending: [],
      transfers: [],
      warnings: [],
    });
    expect(status.clusterId).to.equal("01".repeat(16));
    expect(status.members.map(({ name }) => name)).to.deep.equal(["node-1", "node-2", "node-3", "node-4", "node-5"]);
    const [own, second] = status.members;
    expect(second).to.deep.include({
      id: FIVE[1]!.id,
      host: "host-2",
      rack: "r1",
      dc: "dc1",
      weight: 1,
      clientAddress: "10.0.0.2:7000",
      peerAddress: "10.0.0.2:17000",
      state: "up",
      sinceMs: clock.nowMs - 60_000,
      fairPercent: 60,
      requestsPerSecond: 20,
      storedBytes: 1_000,
      waitingHints: 0,
      busyPermille: null,
      diskFreeBytes: 50_000,
      heardAgoMs: clock.nowMs,
      softwareVersion: "1.0.0",
      isSelf: false,
    });
    expect(own!.isSelf).to.equal(true);
    for (const { ownershipPercent } of status.members) expect(ownershipPercent).to.be.within(54, 66);
    const total = status.members.reduce((sum, { ownershipPercent }) => sum + ownershipPercent, 0);
    expect(total).to.be.closeTo(300, 0.1);
  });

  it("says who joins, leaves, is suspect or was never heard of, and what waits for whom", () => {
    const pending = [
      { kind: "join", member: SIX[5]!, since: 4 },
      { kind: "leave", memberId: FIVE[1]!.id, since: 5 },
      { kind: "replace", memberId: FIVE[2]!.id, member: memberOf(9, { tokens: FIVE[2]!.tokens }), since: 6 },
    ] as const;
    const world = new World({ known: SIX, document: { pending } });
    world.status.set(FIVE[4]!.id, "suspect");
    const { members, pending: changes } = world.view.status();
    const states = Object.fromEntries(members.map(({ name, state }) => [name, state]));
    expect(states).to.deep.equal({
      "node-1": "up",
      "node-2": "leaving",
      "node-3": "leaving",
      "node-4": "up",
      "node-5": "suspect",
      "node-6": "joining",
      "node-9": "down",
    });
    const unheard = members.find(({ name }) => name === "node-9")!;
    expect(unheard).to.deep.include({ clientAddress: null, sinceMs: null, storedBytes: null, ownershipPercent: 0 });
    expect(changes).to.deep.equal([
      { kind: "join", progress: "under way", id: SIX[5]!.id, name: "node-6", replaces: null, sinceVersion: 4, waitsFor: [] },
      { kind: "leave", progress: "waiting", id: FIVE[1]!.id, name: "node-2", replaces: null, sinceVersion: 5, waitsFor: [] },
      {
        kind: "replace",
        progress: "waiting",
        id: memberOf(9).id,
        name: "node-9",
        replaces: { id: FIVE[2]!.id, name: "node-3" },
        sinceVersion: 6,
        waitsFor: [],
      },
    ]);
  });

  it("leaves out who is gone that never was of the ring", () => {
    const world = new World({ known: SIX });
    const names = (): string[] => world.view.status().members.map(({ name }) => name);
    expect(names()).to.include("node-6");
    world.status.set(SIX[5]!.id, "down");
    expect(names()).to.not.include("node-6");
  });

  it("warns of members that are silent, of slots without a majority, of old rings and mixed versions", () => {
    const world = new World();
    const warnings = (): string => world.view.status().warnings.join("\n");
    world.status.set(FIVE[3]!.id, "down");
    expect(warnings()).to.equal("node-4 is down");
    world.status.set(FIVE[4]!.id, "suspect");
    expect(warnings())
      .to.include("node-5 has not been heard of")
      .and.to.match(/\d+ of 16384 slots have fewer than a majority of their copies up/);
    expect(warnings()).not.to.include("cannot change");
    world.status.set(FIVE[2]!.id, "down");
    expect(warnings()).to.include("2 of 5 members are heard of: the ring cannot change until 3 are");
    world.status.clear();
    world.ring = new Ring(documentOf(FIVE, { version: 3 }));
    world.contents.set(FIVE[1]!.id, { ringVersion: 2, softwareVersion: "1.1.0" });
    expect(warnings()).to.equal(
      "members run different versions: 1.0.0, 1.1.0\nnode-2 still has version 2 of the ring (3 is the newest)",
    );
  });

  it("says for whom a change waits, and what an older member keeps the others from", () => {
    const pending = [{ kind: "leave", memberId: FIVE[1]!.id, since: 5 }] as const;
    const world = new World({ document: { pending } });
    expect(world.view.status().pending[0]!.waitsFor).to.deep.equal([]);
    world.contents.set(FIVE[2]!.id, { protocolVersion: 1 });
    world.status.set(FIVE[3]!.id, "down");
    const { warnings, pending: changes } = world.view.status();
    expect(changes[0]!.waitsFor).to.deep.equal([
      "node-3, which speaks protocol 1: upgrade it first",
      "node-4, which is down: start it again, or if it is gone for good have it removed or replaced (kindred remove node-4); leave --force does without it",
    ]);
    expect(warnings).to.include(
      "node-3 speaks protocol 1: upgrade it; until then copies are not compared with it, and no member can leave or be removed",
    );
  });

  it("warns of fewer members than copies, and of copies that share a host", () => {
    const shared = ringOf(
      numbered(3, (number) => memberOf(number, { host: "box" })),
      { seed: 1 },
    );
    expect(new World({ members: shared }).view.status().warnings).to.deep.equal([
      "dc1 has 1 host for 3 copies: some share a host",
    ]);
    expect(new World({ members: FIVE.slice(0, 2) }).view.status().warnings).to.deep.equal([
      "each key has 2 of 3 copies until there are more members",
    ]);
  });
});

describe("the ring document of a view", () => {
  it("has the document without its key, and who owns how much", () => {
    const join = { kind: "join", member: SIX[5]!, since: 1 } as const;
    const { view, ring } = new World({ document: { pending: [join] } });
    const reply = view.ringDocument();
    expect(JSON.stringify(reply)).not.to.include("02".repeat(32));
    const tokens = FIVE.reduce((sum, member) => sum + member.tokens.length, 0);
    expect(reply).to.deep.include({ version: 1, replicas: { default: 3 }, removed: [], tokens });
    expect(reply.slotsChanging).to.equal([...ring.changingSlots()].length);
    expect(reply.ownership.map(({ name }) => name)).to.deep.equal(SIX.map(({ name }) => name));
    const slots = reply.ownership.reduce((sum, row) => sum + row.slots, 0);
    expect(slots).to.equal(3 * SLOTS);
    expect(reply.ownership[5]).to.deep.include({ slots: 0, ownershipPercent: 0, tokens: SIX[5]!.tokens.length });
    expect((reply as unknown as { members: unknown[] }).members).to.have.lengthOf(5);
  });
});

describe("where a key is", () => {
  const KEY = Buffer.from("user:1");
  const HOLDS: WhereAnswer = { answer: "holds", versions: [], context: "" };

  it("asks each replica, in order of preference, and takes silence for an answer", async () => {
    const world = new World();
    const slot = slotOf(KEY);
    const [first, second, third] = world.shownFor(slot);
    world.answers.set(first!, HOLDS);
    world.answers.set(second!, new OperatingError("TIMEOUT", "no answer within 2000 ms"));
    world.status.set(second!, "down");
    const report = await world.view.where(3, KEY);
    expect(world.asked.sort()).to.deep.equal([first, second, third].map((id) => `${id} 3 user:1`).sort());
    expect(report.slot).to.equal(slot);
    // Preference, not usability, orders this list.
    expect(report.members.map(({ id, role, rank, state, answer }) => [id, role, rank, state, answer])).to.deep.equal([
      [first, "replica", 1, "up", "holds"],
      [second, "replica", 2, "down", "unreachable"],
      [third, "replica", 3, "up", "absent"],
    ]);
    expect(report.members[1]).to.deep.include({ reason: "no answer within 2000 ms" });
  });

  it("asks new owners of a slot that moves, too", () => {
    const join = { kind: "join", member: SIX[5]!, since: 1 } as const;
    const { view, ring } = new World({ known: SIX, document: { pending: [join] } });
    const [moving] = ring.changingSlots();
    const targets = view.whereTargets(moving!);
    expect(targets.map(({ role }) => role)).to.deep.equal(["replica", "replica", "replica", "new owner"]);
    expect(targets[3]).to.deep.include({ name: "node-6", state: "joining" });
    expect(targets[3]!.rank).to.be.within(1, 3);
  });

  it("tells this member's own load as it is now, not as gossip last told it", () => {
    const { members } = new World().view.status();
    const self = members.find(({ isSelf }) => isSelf)!;
    expect(self).to.include(LOAD);
    expect(members.filter((row) => row.waitingHints === LOAD.waitingHints)).to.deep.equal([self]);
  });

  it("does not hide a bug of whoever asks", async () => {
    const world = new World();
    const view = new RingView({
      selfId: SELF.id,
      clock: world.clock,
      ring: () => world.ring,
      reports: () => [],
      intakes: () => [],
      awaited: () => [],
      isLinked: () => true,
      load: () => LOAD,
      ask: () => Promise.reject(new TypeError("a bug")),
    });
    const failure = await view.where(0, KEY).catch((error: unknown) => error);
    expect(failure).to.be.instanceOf(TypeError);
  });

  it("tells of a record: versions with clocks, dots and stamps, deleted and expired ones as tombstones", () => {
    const a = actorOf("aaaaaaaa", 1);
    const b = actorOf("bbbbbbbb", 2);
    const names = (storeId: string) => (storeId === "aaaaaaaa" ? "node-a" : null);
    const version = { stamp: stampAt(1_700_000_000_000), writeId: null, fields: [] };
    const value = Buffer.from("12345");
    const first = supersede(null, COVERS_ALL, {
      ...version,
      dot: { actor: a, sequence: 1 },
      type: "string",
      value,
      expiryMs: 5_000,
    });
    expect(whereAnswerOf(null, { names, nowMs: 0 })).to.deep.equal({ answer: "absent" });
    const live = whereAnswerOf(first, { names, nowMs: 4_999 });
    if (live.answer !== "holds") throw new Error(live.answer);
    expect(live.context).to.equal("node-a:1");
    expect(live.versions[0]).to.deep.include({
      valueBytes: 5,
      clock: "node-a:1",
      dot: "node-a:1",
      stampMs: 1_700_000_000_000,
      isTombstone: false,
      expiryMs: 5_000,
    });
    expect(whereAnswerOf(first, { names, nowMs: 5_000 })).to.have.nested.property("versions[0].isTombstone", true);
    const deleted = supersede(first, COVERS_ALL, {
      ...version,
      dot: { actor: b, sequence: 7 },
      type: "tombstone",
      value: null,
      expiryMs: 0,
    });
    const gone = whereAnswerOf(deleted, { names, nowMs: 0 });
    expect(gone).to.deep.include({ context: "6262626262626262#2:7 node-a:1" });
    expect(gone).to.have.nested.property("versions[0].isTombstone", true);
  });
});

/** The first slot whose list, of ids, is so. */
function slotWhere(world: World, isSo: (list: readonly string[]) => boolean): number {
  for (let slot = 0; slot < SLOTS; slot++) if (isSo(world.shownFor(slot))) return slot;
  throw new Error("there is no such slot");
}
