import { expect } from "chai";
import { loopTurn } from "../../lib/host/loop-turn.js";

/** More than one turn reads. */
const MUCH = 1_000_000;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => loopTurn.defer(resolve));
}

describe("a turn of the loop", () => {
  beforeEach(nextTurn);

  it("ends once all that is ready was read", async () => {
    const told: string[] = [];
    loopTurn.defer(() => told.push("first"));
    loopTurn.noteRead(100);
    loopTurn.defer(() => told.push("second"));
    expect(told).to.deep.equal([]);
    await nextTurn();
    expect(told).to.deep.equal(["first", "second"]);
  });

  it("ends early when much was read, and the next one begins", async () => {
    const told: string[] = [];
    loopTurn.defer(() => {
      told.push("first");
      loopTurn.defer(() => told.push("of the next turn"));
    });
    loopTurn.noteRead(MUCH);
    expect(told).to.deep.equal(["first"]);
    loopTurn.noteRead(1);
    expect(told, "a turn begins with nothing read").to.deep.equal(["first"]);
    await nextTurn();
    expect(told).to.deep.equal(["first", "of the next turn"]);
  });

  it("counts reads besides their bytes", () => {
    let isEnded = false;
    loopTurn.defer(() => {
      isEnded = true;
    });
    let reads = 0;
    for (; !isEnded; reads++) loopTurn.noteRead(0);
    expect(reads).to.equal(32);
  });

  it("goes on with the others after one that throws", async () => {
    const told: string[] = [];
    loopTurn.defer(() => {
      throw new Error("broken");
    });
    loopTurn.defer(() => told.push("second"));
    expect(() => loopTurn.noteRead(MUCH)).to.throw("broken");
    await nextTurn();
    expect(told).to.deep.equal(["second"]);
  });
});
