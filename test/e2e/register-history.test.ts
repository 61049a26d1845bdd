import { expect } from "chai";
import { RegisterHistory } from "./register-history.js";

describe("the history of registers", () => {
  const write = (history: RegisterHistory, beganMs: number, endedMs: number | null): string => {
    const attempt = history.begin("k", beganMs);
    if (endedMs !== null) history.acknowledge(attempt, endedMs);
    return attempt.value;
  };

  it("takes the value of the last acknowledged write, and no earlier one", () => {
    const history = new RegisterHistory();
    const first = write(history, 0, 1);
    const second = write(history, 2, 3);
    expect(history.judge("k", second)).to.equal("right");
    expect(history.judge("k", first)).to.equal("stale");
    expect(history.judge("k", null)).to.equal("stale");
    expect(history.lastAcknowledged("k")).to.equal(second);
  });

  it("takes either of two writes that overlap", () => {
    const history = new RegisterHistory();
    const first = write(history, 0, 10);
    const second = write(history, 5, 7);
    expect(history.judge("k", first)).to.equal("right");
    expect(history.judge("k", second)).to.equal("right");
  });

  it("takes a write without an answer at any later time, or the one before it", () => {
    const history = new RegisterHistory();
    const open = write(history, 0, null);
    const first = write(history, 2, 3);
    expect(history.judge("k", open)).to.equal("right");
    expect(history.judge("k", first)).to.equal("right");
  });

  it("lets a read miss what was acknowledged after it began", () => {
    const history = new RegisterHistory();
    const first = write(history, 0, 1);
    write(history, 2, 8);
    expect(history.judge("k", first, 5)).to.equal("right");
    expect(history.judge("k", first, 9)).to.equal("stale");
  });

  it("knows what nobody wrote, and a key that nobody wrote", () => {
    const history = new RegisterHistory();
    write(history, 0, 1);
    expect(history.judge("k", "x")).to.equal("never written");
    expect(history.judge("other", null)).to.equal("right");
  });
});
