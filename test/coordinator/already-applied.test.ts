import { expect } from "chai";
import { actorOf } from "../../lib/causality/actor.js";
import { isOfAnotherRun } from "../../lib/coordinator/already-applied.js";

const actor = actorOf("store001", 1);
const version = (sequence: number, value: string | null, writeId: string | null = null) => ({
  dot: { actor, sequence },
  value: value === null ? null : Buffer.from(value),
  writeId,
});
/** INCR of what is 9 by now, run a second time: it has read the ninth version. */
const run = {
  writeId: "request",
  covered: { kind: "version", dot: { actor, sequence: 9 } },
  value: Buffer.from("10"),
} as const;

describe("a version that a store knows to be of a request", () => {
  it("is of this run of it where it has its value, or is gone together with what that was computed from", () => {
    expect(isOfAnotherRun([version(10, "10", "request")], run)).to.equal(false);
    expect(isOfAnotherRun([version(11, "11", "later")], run)).to.equal(false);
    expect(isOfAnotherRun([version(10, null, "request")], { ...run, value: null })).to.equal(false);
  });

  it("is of another run where it has another value, or is gone and what this one was computed from is not", () => {
    expect(isOfAnotherRun([version(8, "8", "request")], run)).to.equal(true);
    expect(isOfAnotherRun([version(9, "9", "another")], run)).to.equal(true);
    expect(isOfAnotherRun([version(8, null, "request")], run)).to.equal(true);
  });

  it("is of this run of a plain write, however it stands", () => {
    const covered = { kind: "all", seen: null as never } as const;
    expect(isOfAnotherRun([version(8, "8", "request")], { ...run, covered })).to.equal(false);
  });
});
