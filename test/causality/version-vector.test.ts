import { expect } from "chai";
import fc from "fast-check";
import { actorOf, epochOf, readableDot, storeIdOf } from "../../lib/causality/actor.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { dot, vector } from "./histories.js";

describe("version vector", () => {
  it("joins to the least vector that has seen both sides", () => {
    fc.assert(
      fc.property(vector, vector, vector, dot, (a, b, c, one) => {
        const both = a.join(b);
        expect(both.covers(one)).to.equal(a.covers(one) || b.covers(one));
        for (const entry of [...a.entries, ...b.entries]) expect(both.covers(entry)).to.equal(true);
        for (const entry of both.entries) expect(a.covers(entry) || b.covers(entry)).to.equal(true);
        expect(both.entries).to.deep.equal(b.join(a).entries);
        expect(both.join(c).entries).to.deep.equal(a.join(b.join(c)).entries);
        expect(a.join(a)).to.equal(a);
      }),
    );
  });

  it("compares as the sets of dots that it stands for", () => {
    fc.assert(
      fc.property(vector, vector, (a, b) => {
        const isAtLeast = b.entries.every((entry) => a.covers(entry));
        const isAtMost = a.entries.every((entry) => b.covers(entry));
        const expected = isAtLeast ? (isAtMost ? "equal" : "after") : isAtMost ? "before" : "concurrent";
        expect(a.compare(b)).to.equal(expected);
        expect(a.compare(a.join(b))).to.equal(isAtLeast ? "equal" : "before");
        expect(a.join(b).compare(b)).to.equal(isAtMost ? "equal" : "after");
      }),
    );
  });

  it("claims every earlier dot of an actor and none of another epoch", () => {
    const seen = VersionVector.of({ actor: actorOf("store-xx", 1), sequence: 3 });
    expect(seen.covers({ actor: actorOf("store-xx", 1), sequence: 2 })).to.equal(true);
    expect(seen.covers({ actor: actorOf("store-xx", 1), sequence: 4 })).to.equal(false);
    expect(seen.covers({ actor: actorOf("store-xx", 2), sequence: 1 })).to.equal(false);
  });

  it("refuses entries that are not sorted", () => {
    const [x, y] = [actorOf("store-xx", 1), actorOf("store-yy", 1)];
    const unsorted = [
      { actor: y, sequence: 1 },
      { actor: x, sequence: 1 },
    ];
    expect(() => VersionVector.ofSorted(unsorted)).to.throw("sorted");
  });
});

describe("actor", () => {
  it("is made of a store and an epoch, and comes apart again", () => {
    for (const epoch of [1, 255, 0x8000_0000, 0xffff_ffff]) {
      const actor = actorOf("\xff\0store!", epoch);
      expect(actor).to.have.length(12);
      expect(storeIdOf(actor)).to.equal("\xff\0store!");
      expect(epochOf(actor)).to.equal(epoch);
    }
  });

  it("sorts by store, then epoch", () => {
    const sorted = [actorOf("store-xx", 1), actorOf("store-xx", 2), actorOf("store-xx", 256), actorOf("store-yy", 1)];
    expect(sorted.toReversed().sort()).to.deep.equal(sorted);
  });

  it("reads as name and sequence, with its epoch from the second on, and in digits where it has no name", () => {
    const names = (storeId: string) => (storeId === "store-xx" ? "node-a" : null);
    expect(readableDot({ actor: actorOf("store-xx", 1), sequence: 3 }, names)).to.equal("node-a:3");
    expect(readableDot({ actor: actorOf("store-xx", 2), sequence: 3 }, names)).to.equal("node-a#2:3");
    expect(readableDot({ actor: actorOf("\xff\0\0\0\0\0\0\x01", 1), sequence: 3 }, names)).to.equal("ff00000000000001:3");
  });
});
