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
