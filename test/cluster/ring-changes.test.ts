import { expect } from "chai";
import {
  correctChange,
  joinChange,
  type MemberSelf,
  misplacementOf,
  nextStep,
  takeOverChange,
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

function takeOver(number: number, prepared: RingDocument): ReturnType<typeof takeOverChange> {
  return takeOverChange({ memberId: memberOf(number).id, prepared });
}

const base = documentOf(ringOf(numbered(3), { seed: 1, vnodes: 16 }));

describe("what a member asks of the ring", () => {
  it("is told from the document: to ask, to wait, to take over, to correct, or nothing", () => {
    const own = (number: number, differences: Partial<MemberSelf> = {}) => ({
      self: selfOf(number, differences),
      replicas: THREE,
    });
    const queue = made(joinOf(5)(made(joinOf(4)(base))));
    expect(nextStep(base, own(4))).to.equal("ask");
    expect(nextStep(queue, own(4))).to.equal("take over");
    expect(nextStep(queue, own(5))).to.equal("wait");
    expect(nextStep(queue, own(1))).to.equal("nothing");
    expect(nextStep(queue, own(1, { name: "renamed" }))).to.equal("correct");
    expect(nextStep(queue, own(1, { storeId: "reminted" }))).to.equal("correct");
    expect(nextStep(queue, own(5, { storeId: "reminted" }))).to.equal("correct");
    expect(nextStep(queue, own(1, { rack: "r2", weight: 4 }))).to.equal("nothing");
    expect(nextStep({ ...base, removed: [memberOf(9).id] }, own(9))).to.equal("removed");
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

  it("is to take over when its turn has come, and not once the ring has changed under it", () => {
    const pending = made(joinOf(5)(made(joinOf(4)(base))));
    const after = made(takeOver(4, pending)(pending));
    expect(after.members.map(({ id }) => id)).to.deep.equal([1, 2, 3, 4].map((number) => memberOf(number).id));
    expect(after.pending).to.have.length(1);
    expect(takeOver(4, pending)(after)).to.equal(after);
    expect(takeOver(5, pending)(pending)).to.deep.equal({ refused: "another change of the ring came first" });
    const moved = { ...after.members[0]!, rack: "r9" };
    for (const changed of [
      { ...pending, replicas: { default: 2, dcs: [] } },
      { ...pending, members: base.members.slice(1) },
      { ...pending, members: [moved, ...base.members.slice(1)] },
    ]) {
      expect(takeOver(4, pending)(changed)).to.deep.equal({ refused: "the ring has changed meanwhile" });
    }
    // Who waits behind it, names and settings of databases move nothing.
    const same = { ...pending, pending: pending.pending.slice(0, 1), databases: [{ database: 1, settings: "{}" }] };
    expect(made(takeOver(4, pending)(same)).members).to.have.length(4);
  });

  it("is to take the place of a member, which is removed then", () => {
    const replaced = base.members[1]!;
    const member = memberOf(7, { tokens: replaced.tokens });
    const pending: RingDocument = { ...base, pending: [{ kind: "replace", memberId: replaced.id, member, since: 1 }] };
    expect(nextStep(pending, { self: selfOf(7), replicas: THREE })).to.equal("take over");
    const after = made(takeOver(7, pending)(pending));
    expect(after.members.map(({ id }) => id)).to.deep.equal([1, 3, 7].map((number) => memberOf(number).id));
    expect(after.removed).to.deep.equal([replaced.id]);
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
