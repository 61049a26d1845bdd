import { expect } from "chai";
import { RecentTouches } from "../../lib/commands/recent-touches.js";

const key = (name: string) => Buffer.from(name, "latin1");

describe("recent touches", () => {
  it("are remembered by database and key, the last of each", () => {
    const touches = new RecentTouches();
    touches.note(0, key("k"), 5);
    touches.note(0, key("k"), 7);
    expect([touches.of(0, key("k")), touches.of(1, key("k")), touches.of(0, key("l"))]).to.deep.equal([7, 0, 0]);
  });

  it("are forgotten from the one longest ago when there are too many, and are none of very long keys", () => {
    const touches = new RecentTouches();
    touches.note(0, key("first"), 1);
    touches.note(0, key("second"), 1);
    touches.note(0, key("first"), 2);
    for (let n = 0; n < 1_023; n++) touches.note(0, key(`k${n}`), 3);
    expect([touches.of(0, key("first")), touches.of(0, key("second")), touches.of(0, key("k0"))]).to.deep.equal([2, 0, 3]);
    touches.note(0, key("x".repeat(2_000)), 4);
    expect(touches.of(0, key("x".repeat(2_000)))).to.equal(0);
  });
});
