import { expect } from "chai";
import type { Member } from "../../lib/cluster/member.js";
import { movedShare, ownershipOf } from "../../lib/cluster/ownership.js";
import { PreferenceTable } from "../../lib/cluster/preference-table.js";
import { chooseTokens, fairShares, TOKENS_MAX, tokenCount } from "../../lib/cluster/token-choice.js";
import { fractions, memberOf, numbered, ringOf, THREE } from "./members.js";

const FULLEST_MAX = 1.05;

describe("token choice", () => {
  for (const seed of [1, 2, 3]) {
    it(`keeps the fullest of 3 to 100 members within 5% of the mean, built up one by one (seed ${seed})`, () => {
      const members = ringOf(numbered(100), { seed });
      let before: PreferenceTable | null = null;
      for (let count = 3; count <= 100; count++) {
        const table = new PreferenceTable(members.slice(0, count), THREE);
        const { fullest } = ownershipOf(table);
        expect(fullest, `fullest of ${count}`).to.be.at.most(FULLEST_MAX);
        if (before !== null) expect(movedShare(before, table), `moved to the ${count}th`).to.be.at.most(1.05 / count);
        before = table;
      }
    });
  }

  it("gives each its share by weight", () => {
    for (const seed of [1, 2, 3]) {
      const members = ringOf(
        numbered(30, (number) => memberOf(number, { weight: [1, 2, 4][number % 3]! })),
        { seed },
      );
      for (const count of [12, 20, 30]) {
        const { fullest, emptiest } = ownershipOf(new PreferenceTable(members.slice(0, count), THREE));
        expect(fullest, `fullest of ${count}`).to.be.at.most(FULLEST_MAX);
        expect(emptiest, `emptiest of ${count}`).to.be.at.least(0.9);
      }
    }
  });

  it("evens each of several racks and data centres", () => {
    const replicas = { default: 3, dcs: [{ dc: "dc2", replicas: 2 }] };
    const place = (number: number) => memberOf(number, { dc: `dc${1 + (number % 2)}`, rack: `r${number % 3}` });
    const members = ringOf(numbered(24, place), { seed: 5, replicas });
    const { fullest, emptiest } = ownershipOf(new PreferenceTable(members, replicas));
    expect(fullest).to.be.at.most(FULLEST_MAX);
    expect(emptiest).to.be.at.least(0.9);
  });

  it("takes only free slots, ascending, each once", () => {
    const members = ringOf(numbered(40), { seed: 9 });
    const all = members.flatMap((member) => member.tokens);
    expect(new Set(all).size).to.equal(all.length);
    for (const { tokens } of members) expect([...tokens].sort((a, b) => a - b)).to.deep.equal(tokens);
  });

  it("never fills more than one slot in four, and a thousand members find room", function () {
    this.timeout(60_000);
    const members = ringOf(numbered(1_000), { seed: 1 });
    const tokens = members.reduce((sum, member) => sum + member.tokens.length, 0);
    expect(tokens).to.be.at.most(TOKENS_MAX);
    for (const member of members) expect(member.tokens).not.to.be.empty;
  });

  it("gives no token where the ring is full", () => {
    const full: Member = memberOf(1, { tokens: Array.from({ length: TOKENS_MAX }, (_, at) => at * 4) });
    const choice = { members: [full], joiner: memberOf(2), replicas: THREE, vnodes: 64, fraction: fractions(1) };
    expect(tokenCount(choice)).to.equal(0);
    expect(chooseTokens(choice)).to.deep.equal([]);
  });

  it("chooses the same for the same ring and seed", () => {
    expect(ringOf(numbered(8), { seed: 4 })).to.deep.equal(ringOf(numbered(8), { seed: 4 }));
  });

  it("gives the part of a share above the limit to the others", () => {
    expect([...fairShares([1, 2, 4], { total: 300, max: 100 })]).to.deep.equal([100, 100, 100]);
    expect([...fairShares([1, 1, 8], { total: 200, max: 100 })]).to.deep.equal([50, 50, 100]);
    expect([...fairShares([1, 3], { total: 100, max: 100 })]).to.deep.equal([25, 75]);
  });
});
