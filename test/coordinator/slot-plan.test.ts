import { expect } from "chai";
import { SLOTS } from "../../lib/bytes/slot.js";
import { Ring } from "../../lib/cluster/ring.js";
import { NO_GROUP } from "../../lib/coordinator/quorum-needs.js";
import { SlotPlans } from "../../lib/coordinator/slot-plan.js";
import { documentOf, memberOf, numbered, ringOf } from "../cluster/members.js";

describe("the plan of a slot", () => {
  const members = ringOf(numbered(5), { seed: 7 });
  const self = members[1]!;
  const ring = new Ring(documentOf(members));
  const plans = new SlotPlans({ ring, selfId: self.id, centre: "dc1" });

  it("lists the owners nearest first, and knows where this node stands among them", () => {
    for (let slot = 0; slot < SLOTS; slot += 97) {
      const plan = plans.of(slot);
      const expected = [...ring.current.replicas(slot)].map((index) => ring.members[index]!.id);
      expect(plan.owners).to.deep.equal(expected);
      expect(plan.selfPosition).to.equal(expected.indexOf(self.id));
      expect(plan.isAlone).to.equal(false);
      expect(plan.pairs).to.equal(undefined);
    }
  });

  it("is one object for slots with the same owners, and its needs are one object a quorum", () => {
    const seen = new Map<string, unknown>();
    for (let slot = 0; slot < SLOTS; slot++) {
      const plan = plans.of(slot);
      const key = plan.owners.join();
      expect(seen.get(key) ?? plan).to.equal(plan);
      seen.set(key, plan);
    }
    expect(seen.size).to.be.below(200);
    const plan = plans.of(0);
    const quorum = { kind: "level", level: "QUORUM" } as const;
    expect(plan.needs(quorum)).to.equal(plan.needs({ kind: "level", level: "QUORUM" }));
    expect(plan.needs({ kind: "numbers", read: 1, write: 3 }).writes).to.deep.equal([3]);
  });

  it("has a decision read a majority where the quorum reads less", () => {
    const plan = plans.of(0);
    expect(plan.needsOfDecision({ kind: "level", level: "ONE" }).reads).to.deep.equal([2]);
    const all = { kind: "level", level: "ALL" } as const;
    expect(plan.needsOfDecision(all)).to.equal(plan.needs(all));
  });

  it("lists the owners of this data centre first, and decides at LOCAL levels there, at others alike everywhere", () => {
    const placed = ringOf(
      numbered(8, (number) => memberOf(number, { dc: number % 2 === 0 ? "dc1" : "dc2" })),
      { seed: 7 },
    );
    const two = new Ring(documentOf(placed));
    const centreOf = (id: string): string => placed.find((member) => member.id === id)!.dc;
    const [one, other] = ["dc1", "dc2"].map((centre) => {
      return new SlotPlans({ ring: two, selfId: placed.find(({ dc }) => dc === centre)!.id, centre });
    });
    const level = (name: "LOCAL_QUORUM" | "LOCAL_ONE" | "QUORUM" | "EACH_QUORUM" | "ONE") =>
      ({ kind: "level", level: name }) as const;
    for (let slot = 0; slot < SLOTS; slot += 397) {
      const plan = one!.of(slot);
      const ringOrder = [...two.current.replicas(slot)].map((index) => two.members[index]!.id);
      expect(plan.owners.map(centreOf)).to.deep.equal(["dc1", "dc1", "dc1", "dc2", "dc2", "dc2"]);
      expect(plan.owners).to.deep.equal(
        [...ringOrder].sort((a, b) => (centreOf(a) < centreOf(b) ? -1 : centreOf(a) > centreOf(b) ? 1 : 0)),
      );
      expect(plan.far).to.deep.equal([[3, 4, 5]]);
      expect(plan.deciders(level("LOCAL_QUORUM"))).to.deep.equal(plan.owners.slice(0, 3));
      for (const name of ["QUORUM", "EACH_QUORUM", "ONE"] as const) {
        expect(plan.deciders(level(name))).to.deep.equal(ringOrder);
        expect(other!.of(slot).deciders(level(name))).to.deep.equal(ringOrder);
      }
      expect(plan.needsOfDecision(level("LOCAL_ONE"))).to.equal(plan.needs(level("LOCAL_QUORUM")));
      expect(plan.needsOfDecision(level("ONE"))).to.equal(plan.needs(level("QUORUM")));
      expect(plan.needsOfDecision(level("EACH_QUORUM"))).to.equal(plan.needs(level("EACH_QUORUM")));
      expect(plan.company === null || plan.company.far.flat().every((id) => centreOf(id) === "dc2")).to.equal(true);
    }
  });

  it("counts LOCAL levels over all copies, and passes them on as such, where this data centre has none", () => {
    const placed = ringOf(
      numbered(4, (number) => memberOf(number, { dc: number === 4 ? "dc2" : "dc1" })),
      { seed: 7, replicas: { default: 3, dcs: [{ dc: "dc2", replicas: 0 }] } },
    );
    const none = new Ring(documentOf(placed, { replicas: { default: 3, dcs: [{ dc: "dc2", replicas: 0 }] } }));
    const plan = new SlotPlans({ ring: none, selfId: placed[3]!.id, centre: "dc2" }).of(0);
    const local = { kind: "level", level: "LOCAL_QUORUM" } as const;
    expect(plan.needs(local)).to.deep.equal({ groups: [0, 0, 0], counts: "all", centres: [], reads: [2], writes: [2] });
    expect(plan.quorumElsewhere(local)).to.deep.equal({ kind: "level", level: "QUORUM" });
    expect(plan.deciders(local)).to.deep.equal(plan.owners);
  });

  it("pairs each owner that a join displaces with who takes its place, and slots that do not move have no pairs", () => {
    const [joined] = ringOf([...members, memberOf(6)], { seed: 7 }).slice(-1);
    const member = { ...joined!, tokens: joined!.tokens.filter((token) => !members.some((m) => m.tokens.includes(token))) };
    const changing = new Ring(documentOf(members, { version: 2, pending: [{ kind: "join", member, since: 1 }] }));
    const next = new SlotPlans({ ring: changing, selfId: self.id, centre: "dc1" });
    let moving = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const plan = next.of(slot);
      expect(plan.isOwner(member.id)).to.equal(changing.isChanging(slot));
      if (!changing.isChanging(slot)) continue;
      moving++;
      expect(plan.partners.filter((partner) => partner !== null)).to.deep.equal([member.id]);
      expect(plan.pairs?.size).to.equal(1);
      expect(plan.extras).to.deep.equal([]);
      expect(plan.allOwners()).to.have.members([...plan.owners, member.id]);
      const coming = plan.owners.map((owner) => plan.comingFor(owner));
      expect(coming).to.deep.equal(plan.partners.map((partner) => (partner === null ? [] : [partner])));
      expect(plan.comingFor(member.id)).to.deep.equal([]);
    }
    expect(moving).to.be.above(0);
  });

  it("sends what a ring gains in copies to those who come, without counting them", () => {
    const two = ringOf(numbered(2), { seed: 3 });
    const third = { ...memberOf(3), tokens: [11] };
    const growing = new Ring(documentOf(two, { pending: [{ kind: "join", member: third, since: 1 }] }));
    const plan = new SlotPlans({ ring: growing, selfId: two[0]!.id, centre: "dc1" }).of(5);
    expect(plan.owners).to.have.length(2);
    expect(plan.extras).to.deep.equal([third.id]);
    for (const owner of plan.owners) expect(plan.comingFor(owner)).to.deep.equal([third.id]);
    expect(plan.pairs).to.equal(undefined);
  });

  it("takes requests by an older ring for stale where the slot has other owners since, and nowhere else", () => {
    const grown = ringOf([...members, memberOf(6)], { seed: 7 });
    const later = new Ring(documentOf(grown, { version: 9 }));
    const own = new SlotPlans({ ring, selfId: self.id, centre: "dc1" });
    own.update(later);
    let changed = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      const before = [...ring.current.replicas(slot)].map((index) => ring.members[index]!.id);
      const after = [...later.current.replicas(slot)].map((index) => later.members[index]!.id);
      const isSame = before.join() === after.join();
      if (!isSame) changed++;
      expect(own.isStale(slot, 1)).to.equal(!isSame);
      expect(own.isStale(slot, 9)).to.equal(false);
      expect(own.of(slot).owners).to.deep.equal(after);
    }
    expect(changed).to.be.within(1, SLOTS - 1);
    const { changedAt } = own.sight();
    own.update(new Ring(documentOf(grown, { version: 10 })));
    expect(changedAt()).to.equal(9);
  });

  it("counts the copies of each data centre, and serves one without copies from the others", () => {
    const far = ringOf(
      numbered(5, (number) => memberOf(number, { dc: number <= 2 ? "east" : "west" })),
      { seed: 5 },
    );
    const spread = new Ring(documentOf(far));
    const copiesFrom = (centre: string) => new SlotPlans({ ring: spread, selfId: far[0]!.id, centre }).copies();
    expect(copiesFrom("east")).to.deep.equal({ local: 2, elsewhere: [3] });
    expect(copiesFrom("west")).to.deep.equal({ local: 3, elsewhere: [2] });
    expect(copiesFrom("nowhere")).to.deep.equal({ local: 5, elsewhere: [] });
    const plan = new SlotPlans({ ring: spread, selfId: far[0]!.id, centre: "east" }).of(1);
    const { groups } = plan.needs({ kind: "level", level: "LOCAL_ONE" });
    expect(groups.map((group) => group !== NO_GROUP)).to.deep.equal(plan.owners.map((_, at) => plan.centreOf(at) === "east"));
  });
});
