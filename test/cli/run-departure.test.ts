import { expect } from "chai";
import { fewerCopiesText } from "../../lib/cli/run-departure.js";
import type { MemberRow, PendingRow, StatusReply } from "../../lib/commands/cluster-view.js";

type Place = Pick<MemberRow, "id" | "dc">;

function textOf(members: readonly Place[], options: { replicas?: StatusReply["replicas"]; pending?: readonly string[] } = {}) {
  const { replicas = { default: 3, dcs: {} }, pending = [] } = options;
  const rows = members as readonly MemberRow[];
  const changes = pending.map((id) => ({ id }) as PendingRow);
  return fewerCopiesText({ members: rows, pending: changes, replicas }, rows[0]!);
}

function members(count: number, dc: string): readonly Place[] {
  return Array.from({ length: count }, (_, at) => ({ id: `${dc}-${at}`, dc }));
}

describe("what is said of copies when a member has left", () => {
  it("is nothing where enough others stay", () => {
    expect(textOf(members(4, "dc1"))).to.equal(null);
    expect(textOf(members(3, "dc1"), { replicas: { default: 2, dcs: {} } })).to.equal(null);
  });

  it("counts those that stay, not those that go or are still to come", () => {
    expect(textOf(members(3, "dc1"))).to.equal("each key has 2 of 3 copies until another member joins");
    expect(textOf(members(5, "dc1"), { pending: ["dc1-1", "dc1-4"] })).to.equal(
      "each key has 2 of 3 copies until another member joins",
    );
  });

  it("is of the data centre of the one that left, and nothing where that has no member any more", () => {
    const both = [...members(2, "east"), ...members(5, "west")];
    const replicas = { default: 3, dcs: { east: 2 } };
    expect(textOf(both, { replicas })).to.equal("each key has 1 of 2 copies in east until another member joins");
    expect(textOf([...members(1, "east"), ...members(5, "west")], { replicas })).to.equal(null);
    expect(
      textOf([...members(2, "transit"), ...members(5, "west")], { replicas: { default: 3, dcs: { transit: 0 } } }),
    ).to.equal(null);
  });
});
