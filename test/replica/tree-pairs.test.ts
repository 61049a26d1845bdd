/** Which slots two members compare, and which of the pairs repairs. */
import { expect } from "chai";
import { SLOTS } from "../../lib/bytes/slot.js";
import { Ring } from "../../lib/cluster/ring.js";
import { HashTrees } from "../../lib/replica/hash-tree.js";
import type { SlotDigests } from "../../lib/replica/slot-digests.js";
import { documentOf, memberOf, numbered, ringOf } from "../cluster/members.js";

describe("members that compare their copies", () => {
  const members = ringOf(
    numbered(8, (number) => memberOf(number, { dc: number % 2 === 0 ? "dc2" : "dc1" })),
    { seed: 7 },
  );
  const ring = new Ring(documentOf(members));
  const treesOf = new Map(
    members.map(({ id }) => [id, new HashTrees({ digests: {} as SlotDigests, selfId: id, ring })] as const),
  );
  const pairs = members.flatMap((one, at) => members.slice(at + 1).map((other) => [one, other] as const));

  it("compare all that they share within a data centre, and each slot across by as many pairs as there are copies", () => {
    const across = new Uint8Array(SLOTS);
    for (const [one, other] of pairs) {
      const shared = treesOf.get(one.id)!.sharedWith(other.id);
      expect(treesOf.get(other.id)!.sharedWith(one.id)).to.deep.equal(shared);
      for (let slot = 0; slot < SLOTS; slot++) {
        const owners = [...ring.current.replicas(slot)].map((index) => ring.members[index]!.id);
        const both = owners.includes(one.id) && owners.includes(other.id);
        if (one.dc === other.dc) expect(shared[slot] === 1).to.equal(both);
        else if (shared[slot] === 1) {
          expect(both).to.equal(true);
          across[slot]!++;
        }
      }
    }
    expect(new Set(across)).to.deep.equal(new Set([3]));
  });

  it("begin across data centres on one side only", () => {
    for (const [one, other] of pairs) {
      const begin = [treesOf.get(one.id)!.begins(other.id), treesOf.get(other.id)!.begins(one.id)];
      expect(begin).to.have.members(one.dc === other.dc ? [true, true] : [true, false]);
    }
  });

  it("repair what differs across by one pair, by another where one of it is gone, and by none where none is whole", () => {
    for (let slot = 0; slot < SLOTS; slot += 173) {
      const repairing = (gone: readonly string[]): string[] => {
        const isUsable = (id: string): boolean => !gone.includes(id);
        return pairs
          .filter(([one, other]) => one.dc !== other.dc && isUsable(one.id) && isUsable(other.id))
          .filter(([one, other]) => {
            const trees = treesOf.get(one.id)!;
            return trees.sharedWith(other.id)[slot] === 1 && trees.repairs(other.id, slot, isUsable);
          })
          .map(([one, other]) => `${one.id} ${other.id}`);
      };
      const [first, ...others] = repairing([]);
      expect(others).to.deep.equal([]);
      const [second, ...more] = repairing(first!.split(" ").slice(0, 1));
      expect(more).to.deep.equal([]);
      expect(second).not.to.equal(first);
      expect(repairing(members.filter(({ dc }) => dc === "dc2").map(({ id }) => id))).to.deep.equal([]);
    }
  });
});
