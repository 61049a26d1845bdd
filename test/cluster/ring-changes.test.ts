import { expect } from "chai";
import {
  completeChange,
  correctChange,
  driverOf,
  joinChange,
  leaveChange,
  type MemberSelf,
  misplacementOf,
  nextStep,
  removeChange,
  replaceChange,
} from "../../lib/cluster/ring-changes.js";
import { faultOfRingDocument, type RingDocument } from "../../lib/cluster/ring-document.js";
import type { ChangeRefusal } from "../../lib/cluster/ring-proposer.js";
import { documentOf, fractions, memberOf, numbered, ringOf, THREE } from "./members.js";

function selfOf(number: number, differences: Partial<MemberSelf> = {}): MemberSelf {
  const { tokens: _, ...self } = memberOf(number);
  return { ...self, ...differences };
}

function made(result: RingDocument | ChangeRefusal): RingDocument {
  if ("refused" in result) throw new Error(`refused: ${result.refused}`);
  expect(faultOfRingDocument(result)).to.equal(null);
  return result;
}

function joinOf(number: number): ReturnType<typeof joinChange> {
  return joinChange({ self: selfOf(number), vnodes: 16, fraction: fractions(number) });
}

function idOf(number: number): string {
  return memberOf(number).id;
}

const base = documentOf(ringOf(numbered(3), { seed: 1, vnodes: 16 }));

describe("what a member asks of the ring", () => {
  it("is told from the document: to ask, to wait, to drive, to correct, or nothing", () => {
    const own = (number: number, differences: Partial<MemberSelf> = {}) => ({
      self: selfOf(number, differences),
      replicas: THREE,
      isUp: (id: string) => id !== idOf(1),
    });
    const queue = made(joinOf(5)(made(joinOf(4)(base))));
    expect(nextStep(base, own(4))).to.equal("ask");
    expect(nextStep(queue, own(4))).to.equal("drive");
    expect(nextStep(queue, own(5))).to.equal("wait");
    expect(nextStep(queue, own(1))).to.equal("wait");
    expect(nextStep(base, own(1))).to.equal("nothing");
    expect(nextStep(queue, own(1, { name: "renamed" }))).to.equal("correct");
    expect(nextStep(queue, own(1, { storeId: "reminted" }))).to.equal("correct");
    expect(nextStep(queue, own(5, { storeId: "reminted" }))).to.equal("correct");
    expect(nextStep(base, own(1, { rack: "r2", weight: 4 }))).to.equal("nothing");
    expect(nextStep({ ...base, removed: [memberOf(9).id] }, own(9))).to.equal("removed");
    const leaving = made(leaveChange(idOf(2))(base));
    expect([1, 2, 3].map((number) => nextStep(leaving, own(number)))).to.deep.equal(["wait", "drive", "wait"]);
    // The first is down: the second drives its removal, and the third looks now and then whether it has to.
    const removing = made(removeChange(idOf(1))(base));
    expect([2, 3].map((number) => nextStep(removing, own(number)))).to.deep.equal(["drive", "wait"]);
    expect(driverOf(removing, () => false)).to.equal(null);
  });

  it("leaves only as long as the ring is as it was, where that is asked for", () => {
    const bound = leaveChange(idOf(2), { ifVersion: base.version });
    const leaving = made(bound(base));
    expect(leaving.pending.length).to.equal(1);
    // Asked again by the consensus, it is made already.
    expect(bound({ ...leaving, version: base.version + 1 }).valueOf())
      .to.have.property("pending")
      .with.lengthOf(1);
    const other = { ...base, version: base.version + 1 };
    expect(bound(other))
      .to.have.property("refused")
      .that.includes(`has version ${base.version + 1} by now`);
  });

  it("is to leave, once, behind all others; the last does not", () => {
    const one = made(leaveChange(idOf(2))(base));
    expect(one.pending).to.deep.equal([{ kind: "leave", memberId: idOf(2), since: base.version + 1 }]);
    expect(leaveChange(idOf(2))(one)).to.equal(one);
    const two = made(leaveChange(idOf(1))(one));
    expect(leaveChange(idOf(3))(two))
      .to.have.property("refused")
      .that.contains("nobody would be left");
    expect(leaveChange(idOf(9))(two))
      .to.have.property("refused")
      .that.contains("no member");
    const after = made(completeChange(two)(two));
    expect(after.members.map(({ id }) => id)).to.deep.equal([1, 3].map(idOf));
    expect(after.removed).to.deep.equal([idOf(2)]);
    expect(completeChange(two)(after)).to.equal(after);
    expect(leaveChange(idOf(2))(after)).to.equal(after);
  });

  it("is removed before all other changes; one that is still to come is struck out", () => {
    const queue = made(joinOf(5)(made(leaveChange(idOf(2))(made(joinOf(4)(base))))));
    const removing = made(removeChange(idOf(3))(queue));
    expect(removing.pending.map(({ kind }) => kind)).to.deep.equal(["remove", "join", "leave", "join"]);
    expect(removeChange(idOf(3))(removing)).to.equal(removing);
    // Its leave is of no use any more.
    const both = made(removeChange(idOf(2))(removing));
    expect(both.pending.map(({ kind }) => kind)).to.deep.equal(["remove", "remove", "join", "join"]);
    expect(removeChange(idOf(1))(both))
      .to.have.property("refused")
      .that.contains("nobody would be left");
    const without = made(removeChange(idOf(4))(both));
    expect(without.pending.map(({ kind }) => kind)).to.deep.equal(["remove", "remove", "join"]);
    expect(without.removed).to.deep.equal([idOf(4)]);
    const after = made(completeChange(without)(without));
    expect(after.members.map(({ id }) => id)).to.deep.equal([1, 2].map(idOf));
    expect(after.removed).to.deep.equal([3, 4].map(idOf));
  });

  it("is to join once, with tokens of nobody else, also of those that wait before it", () => {
    const one = made(joinOf(4)(base));
    const two = made(joinOf(5)(one));
    expect(two.pending.map((change) => change.kind)).to.deep.equal(["join", "join"]);
    expect(joinOf(4)(two)).to.equal(two);
    const member = two.pending[0]!.kind === "join" ? two.pending[0]!.member : null;
    expect(member!.tokens.length).to.be.greaterThan(8);
    expect(joinOf(1)(two)).to.equal(two);
    expect(joinOf(9)({ ...base, removed: [memberOf(9).id] })).to.have.property("refused");
  });

  it("is to join beside members that are being replaced or leave", () => {
    const [leaving, replaced] = base.members;
    const changing: RingDocument = {
      ...base,
      pending: [
        { kind: "leave", memberId: leaving!.id, since: 1 },
        { kind: "replace", memberId: replaced!.id, member: memberOf(7, { tokens: replaced!.tokens }), since: 1 },
      ],
    };
    expect(made(joinOf(4)(changing)).pending).to.have.length(3);
  });

  it("is completed when its turn has come, and not once the ring has changed under it", () => {
    const pending = made(joinOf(5)(made(joinOf(4)(base))));
    const complete = completeChange(pending);
    const after = made(complete(pending));
    expect(after.members.map(({ id }) => id)).to.deep.equal([1, 2, 3, 4].map(idOf));
    expect(after.pending).to.have.length(1);
    expect(complete(after)).to.equal(after);
    const second = { ...pending, pending: pending.pending.slice(1) };
    expect(completeChange(second)(pending)).to.deep.equal({ refused: "another change of the ring came first" });
    const moved = { ...after.members[0]!, rack: "r9" };
    for (const changed of [
      { ...pending, replicas: { default: 2, dcs: [] } },
      { ...pending, members: base.members.slice(1) },
      { ...pending, members: [moved, ...base.members.slice(1)] },
    ]) {
      expect(complete(changed)).to.deep.equal({ refused: "the ring has changed meanwhile" });
    }
    // Who waits behind it, names and settings of databases move nothing.
    const same = { ...pending, pending: pending.pending.slice(0, 1), databases: [{ database: 1, settings: "{}" }] };
    expect(made(complete(same)).members).to.have.length(4);
  });

  it("is to take the place of a member, by its name or id, which is removed then", () => {
    const replaced = base.members[1]!;
    for (const replaces of [replaced.id, replaced.name]) {
      const pending = made(replaceChange({ self: selfOf(7), replaces })(base));
      expect(pending.pending[0]).to.deep.include({ kind: "replace", memberId: replaced.id });
      expect(replaceChange({ self: selfOf(7), replaces })(pending)).to.equal(pending);
      expect(replaceChange({ self: selfOf(8), replaces })(pending)).to.have.property("refused");
      expect(removeChange(replaced.id)(pending)).to.have.property("refused").that.contains("about to replace it");
      expect(nextStep(pending, { self: selfOf(7), replicas: THREE, isUp: () => true })).to.equal("drive");
      const after = made(completeChange(pending)(pending));
      expect(after.members.map(({ id }) => id)).to.deep.equal([1, 3, 7].map(idOf));
      expect(after.members[2]!.tokens).to.deep.equal(replaced.tokens);
      expect(after.removed).to.deep.equal([replaced.id]);
    }
    const queue = made(removeChange(idOf(3))(made(leaveChange(idOf(1))(base))));
    const urgent = made(replaceChange({ self: selfOf(7), replaces: replaced.id })(queue));
    expect(urgent.pending.map(({ kind }) => kind)).to.deep.equal(["remove", "replace", "leave"]);
    expect(replaceChange({ self: selfOf(7), replaces: "nobody" })(base))
      .to.have.property("refused")
      .that.contains("nobody");
  });

  it("is not to take the place of one of two with the same name, but of one by its id", () => {
    const members = base.members.map((member) => ({ ...member, name: "twin" }));
    const twins = { ...base, members };
    expect(replaceChange({ self: selfOf(7), replaces: "twin" })(twins)).to.deep.equal({
      refused: "3 members are called twin: give the id of one (kindred ring lists them)",
    });
    expect(made(replaceChange({ self: selfOf(7), replaces: idOf(2) })(twins)).pending[0]).to.include({ memberId: idOf(2) });
  });

  it("is to be written as it is: all of it while it is alone, in company only what moves nothing", () => {
    const self = selfOf(1, { name: "renamed", storeId: "reminted", rack: "r2", weight: 2 });
    const replicas = { default: 2, dcs: [] };
    const change = correctChange({ self, replicas });
    const alone = documentOf(base.members.slice(0, 1));
    const corrected = made(change(alone));
    expect(corrected.members[0]).to.include({ name: "renamed", storeId: "reminted", rack: "r2", weight: 2 });
    expect(corrected.replicas).to.deep.equal(replicas);
    expect(change(corrected)).to.equal(corrected);
    const inCompany = made(change(base));
    expect(inCompany.members[0]).to.include({ name: "renamed", storeId: "reminted", rack: "r1", weight: 1 });
    expect(inCompany.replicas).to.deep.equal(THREE);
    expect(misplacementOf(inCompany, self)).to.equal("--rack is r2, the ring has r1; --weight is 2, the ring has 1");
    expect(misplacementOf(inCompany, selfOf(1))).to.equal(null);
  });
});
