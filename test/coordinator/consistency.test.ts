import { expect } from "chai";
import {
  AUTO_QUORUM,
  type Copies,
  formatQuorum,
  type Level,
  parseConsistency,
  quorumSizes,
} from "../../lib/coordinator/consistency.js";

const BASE = { quorum: { kind: "level", level: "QUORUM" }, standIns: "sloppy", conflicts: "newest" } as const;

describe("quorum sizes", () => {
  const sizes = (level: Level, copies: Copies) => {
    const { copies: n, read, write } = quorumSizes({ kind: "level", level }, copies);
    return [n, read, write];
  };

  it("follow the level in one data centre", () => {
    for (const [n, majority] of [
      [1, 1],
      [2, 2],
      [3, 2],
      [4, 3],
      [5, 3],
    ] as const) {
      const copies = { local: n, elsewhere: [] };
      expect(sizes("ONE", copies)).to.deep.equal([n, 1, 1]);
      expect(sizes("LOCAL_ONE", copies)).to.deep.equal([n, 1, 1]);
      expect(sizes("QUORUM", copies)).to.deep.equal([n, majority, majority]);
      expect(sizes("LOCAL_QUORUM", copies)).to.deep.equal([n, majority, majority]);
      expect(sizes("EACH_QUORUM", copies)).to.deep.equal([n, majority, majority]);
      expect(sizes("ALL", copies)).to.deep.equal([n, n, n]);
    }
  });

  it("count all copies, the local ones, or a majority everywhere, in several data centres", () => {
    const copies = { local: 3, elsewhere: [2, 3] };
    expect(sizes("QUORUM", copies)).to.deep.equal([8, 5, 5]);
    expect(sizes("LOCAL_QUORUM", copies)).to.deep.equal([8, 2, 2]);
    expect(sizes("EACH_QUORUM", copies)).to.deep.equal([8, 6, 6]);
    expect(sizes("ALL", copies)).to.deep.equal([8, 8, 8]);
  });

  it("take numbers as they are, up to the copies there are", () => {
    const quorum = { kind: "numbers", read: 1, write: 3 } as const;
    expect(quorumSizes(quorum, { local: 3, elsewhere: [] })).to.deep.equal({ copies: 3, read: 1, write: 3 });
    expect(quorumSizes(quorum, { local: 1, elsewhere: [] })).to.deep.equal({ copies: 1, read: 1, write: 1 });
  });
});

describe("parsing of consistency", () => {
  it("reads settings up to the first word that is none", () => {
    expect(parseConsistency(["READ", "1", "WRITE", "3", "STRICT", "GET", "ONE"], BASE, 3)).to.deep.equal({
      kind: "settings",
      consistency: { ...BASE, quorum: { kind: "numbers", read: 1, write: 3 }, standIns: "strict" },
      words: 5,
    });
  });

  it("refuses numbers that are not written plainly or out of range", () => {
    for (const count of ["0", "4", "01", "+1", "1.0", "", "99999"]) {
      expect(parseConsistency(["READ", count, "WRITE", "1"], BASE, 3).kind).to.equal("error");
      expect(parseConsistency(["READ", "1", "WRITE", count], BASE, 3).kind).to.equal("error");
    }
  });

  it("calls what is meant where nothing is said QUORUM in one data centre, and LOCAL_QUORUM in several", () => {
    const one = { local: 3, elsewhere: [] };
    expect(formatQuorum(AUTO_QUORUM, one)).to.equal("QUORUM");
    expect(quorumSizes(AUTO_QUORUM, one)).to.deep.equal(quorumSizes({ kind: "level", level: "QUORUM" }, one));
    expect(formatQuorum(AUTO_QUORUM, { local: 3, elsewhere: [3] })).to.equal("LOCAL_QUORUM");
    expect(formatQuorum({ kind: "level", level: "LOCAL_QUORUM" }, one)).to.equal("LOCAL_QUORUM");
  });

  it("shows a quorum in the words that set it", () => {
    for (const words of [["EACH_QUORUM"], ["READ", "2", "WRITE", "1"]]) {
      const parsed = parseConsistency(words, BASE, 3);
      expect(parsed.kind).to.equal("settings");
      if (parsed.kind === "settings")
        expect(formatQuorum(parsed.consistency.quorum, { local: 3, elsewhere: [] })).to.equal(words.join(" "));
    }
  });
});
