import { expect } from "chai";
import fc from "fast-check";
import { SLOTS } from "../../lib/bytes/slot.js";
import type { Member } from "../../lib/cluster/member.js";
import { PreferenceTable, type ReplicaCounts } from "../../lib/cluster/preference-table.js";
import { Ring } from "../../lib/cluster/ring.js";
import { documentOf, fractions, memberOf, numbered, ringOf, THREE } from "./members.js";

/** The first N distinct hosts clockwise, as one would write it down: for members of one rack and data centre. */
function listBySearch(members: readonly Member[], slot: number, replicas: number): number[] {
  const list: number[] = [];
  for (let step = 0; step < SLOTS && list.length < replicas; step++) {
    const owner = members.findIndex((member) => member.tokens.includes((slot + step) % SLOTS));
    if (owner >= 0 && !list.some((other) => members[other]!.host === members[owner]!.host)) list.push(owner);
  }
  return list;
}

/** Members at random places, with random tokens. */
function scattered(options: { seed: number; count: number; hosts: number; racks: number; dcs?: number }): Member[] {
  const fraction = fractions(options.seed);
  const below = (limit: number) => Math.floor(fraction() * limit);
  const taken = new Set<number>();
  return numbered(options.count, (number) => {
    const host = below(options.hosts);
    const tokens: number[] = [];
    while (tokens.length < 6) {
      const slot = below(SLOTS);
      if (!taken.has(slot)) tokens.push(slot);
      taken.add(slot);
    }
    const place = { host: `h${host}`, rack: `r${host % options.racks}`, dc: `dc${number % (options.dcs ?? 1)}` };
    return memberOf(number, { ...place, tokens: tokens.sort((a, b) => a - b) });
  });
}

describe("preference table", () => {
  it("lists the first N distinct hosts clockwise from each slot", () => {
    const members = scattered({ seed: 3, count: 9, hosts: 7, racks: 1 });
    const table = new PreferenceTable(members, THREE);
    for (let slot = 0; slot < SLOTS; slot += 131) {
      expect([...table.replicas(slot)]).to.deep.equal(listBySearch(members, slot, 3));
    }
    expect(table.replicaAt(members[0]!.tokens[0]!, 0)).to.equal(0);
  });

  it("spreads copies over hosts and racks as widely as there are any, in every data centre", () => {
    fc.assert(
      fc.property(
        fc.record({
          seed: fc.nat(),
          count: fc.integer({ min: 1, max: 14 }),
          hosts: fc.integer({ min: 1, max: 10 }),
          racks: fc.integer({ min: 1, max: 5 }),
          dcs: fc.integer({ min: 1, max: 3 }),
        }),
        fc.integer({ min: 1, max: 5 }),
        (shape, replicas) => {
          const members = scattered(shape);
          const table = new PreferenceTable(members, { default: replicas, dcs: [] });
          for (let slot = 0; slot < SLOTS; slot += 397) expectSpread(table, slot, replicas);
        },
      ),
      { numRuns: 150 },
    );
  });

  it("keeps as many copies in each data centre as is set for it", () => {
    const counts: ReplicaCounts = {
      default: 3,
      dcs: [
        { dc: "dc1", replicas: 2 },
        { dc: "dc2", replicas: 0 },
      ],
    };
    const members = numbered(12, (number) => memberOf(number, { dc: `dc${number % 3}`, tokens: [number * 1_000] }));
    const table = new PreferenceTable(members, counts);
    expect(table.width).to.equal(5);
    for (let slot = 0; slot < SLOTS; slot += 97) {
      const dcs = [...table.replicas(slot)].map((index) => members[index]!.dc).sort();
      expect(dcs).to.deep.equal(["dc0", "dc0", "dc0", "dc1", "dc1"]);
    }
  });

  it("says why copies share a host, and only then", () => {
    const alone = new PreferenceTable([memberOf(1, { tokens: [1] })], THREE);
    expect([alone.width, alone.isDegraded]).to.deep.equal([1, false]);
    const shared = numbered(3, (number) => memberOf(number, { host: "box", tokens: [number] }));
    const table = new PreferenceTable(shared, THREE);
    expect([table.width, table.isDegraded]).to.deep.equal([3, true]);
    expect(table.degradedReason).to.equal("dc1 has 1 host for 3 copies: some share a host");
    expect([...table.replicas(0)].sort()).to.deep.equal([0, 1, 2]);
  });

  it("names who may stand in: all that are no replicas, the wanted data centre first, clockwise", () => {
    const members = numbered(8, (number) => memberOf(number, { dc: `dc${number % 2}`, tokens: [number * 100] }));
    const table = new PreferenceTable(members, { default: 1, dcs: [] });
    expect([...table.replicas(0)]).to.deep.equal([0, 1]);
    expect([...table.candidatesAfter(0, "dc1")]).to.deep.equal([2, 4, 6, 3, 5, 7]);
    expect([...table.candidatesAfter(450, "dc0")]).to.deep.equal([7, 1, 3, 6, 0, 2]);
    expect([...table.candidatesAfter(0, "elsewhere")]).to.deep.equal([2, 3, 4, 5, 6, 7]);
  });

  it("is empty, and asks nobody, without tokens", () => {
    const table = new PreferenceTable(numbered(2), THREE);
    expect(table.width).to.equal(0);
    expect([...table.replicas(5), ...table.candidatesAfter(5, "dc1")]).to.deep.equal([]);
  });
});

describe("ring", () => {
  it("gives old and new owners of what a join moves, and the same of all else", () => {
    const all = ringOf(numbered(6), { seed: 2 });
    const joiner = all[5]!;
    const ring = new Ring(documentOf(all.slice(0, 5), { pending: [{ kind: "join", member: joiner, since: 1 }] }));
    const after = new PreferenceTable(all, THREE);
    const index = ring.indexOf(joiner.id)!;
    let moving = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const owners = ring.owners(slot);
      expect(owners.old.includes(index)).to.equal(false);
      const isNew = after.isReplica(slot, 5);
      expect(ring.isChanging(slot)).to.equal(isNew);
      if (isNew) expect([...owners.new]).to.deep.equal([...after.replicas(slot)]);
      else expect(owners.new).to.equal(owners.old);
      if (isNew) moving++;
    }
    expect([...ring.changingSlots()].length).to.equal(moving);
    expect(moving / SLOTS / 3).to.be.within(0.14, 0.18);
  });

  it("leaves other slots alone when a member is replaced, and hands its tokens over", () => {
    const all = ringOf(numbered(5), { seed: 2 });
    const newcomer = memberOf(9, { tokens: all[1]!.tokens });
    const change = { kind: "replace", memberId: all[1]!.id, member: newcomer, since: 1 } as const;
    const ring = new Ring(documentOf(all, { pending: [change] }));
    const [gone, come] = [ring.indexOf(all[1]!.id)!, ring.indexOf(newcomer.id)!];
    for (let slot = 0; slot < SLOTS; slot++) {
      const { old, new: next } = ring.owners(slot);
      expect([...next]).to.deep.equal([...old].map((member) => (member === gone ? come : member)));
    }
  });

  it("works on the first pending change and lets the others wait", () => {
    const all = ringOf(numbered(5), { seed: 2 });
    const leave = { kind: "leave", memberId: all[0]!.id, since: 1 } as const;
    const join = { kind: "join", member: memberOf(9, { tokens: [all[4]!.tokens[0]! + 1] }), since: 2 } as const;
    const ring = new Ring(documentOf(all, { pending: [leave, join] }));
    expect(ring.change).to.equal(leave);
    expect(ring.indexOf(join.member.id)).to.equal(null);
    expect(new Ring(documentOf(all)).next).to.equal(null);
  });
});

function expectSpread(table: PreferenceTable, slot: number, replicas: number): void {
  const list = [...table.replicas(slot)];
  expect(new Set(list).size).to.equal(list.length);
  for (const dc of new Set(table.members.map((member) => member.dc))) {
    const members = table.members.filter((member) => member.dc === dc);
    const mine = list.map((index) => table.members[index]!).filter((member) => member.dc === dc);
    expect(mine.length).to.equal(Math.min(replicas, members.length));
    const hostsOf = (some: readonly Member[]) => new Set(some.map((member) => member.host));
    expect(hostsOf(mine).size).to.equal(Math.min(replicas, hostsOf(members).size));
    const racks = [...new Set(members.map((member) => member.rack))];
    const taken = racks.map((rack) => hostsOf(mine.filter((member) => member.rack === rack)).size);
    const there = racks.map((rack) => hostsOf(members.filter((member) => member.rack === rack)).size);
    // No rack has two more than another that could give one more.
    for (const [at, count] of taken.entries()) {
      if (count < there[at]!) expect(Math.max(...taken) - count).to.be.at.most(1);
    }
  }
}
