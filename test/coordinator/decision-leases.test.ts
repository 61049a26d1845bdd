import { expect } from "chai";
import { LeasesGiven, LeasesTaken } from "../../lib/coordinator/decision-leases.js";
import { OperatingError } from "../../lib/errors.js";

interface Notice {
  readonly to: string;
  readonly payload: Uint8Array;
  readonly deadlineMs: number;
}

describe("leases of time to decide", () => {
  let notices: Notice[];
  let given: LeasesGiven;
  let taken: LeasesTaken;

  beforeEach(() => {
    notices = [];
    given = new LeasesGiven({ remote: { notify: (notice) => void notices.push(notice) }, instance: "instance" });
    taken = new LeasesTaken();
  });

  /** The member reads what it was sent. */
  function deliver(): void {
    for (const { payload, deadlineMs } of notices.splice(0)) taken.learn(Buffer.from(payload), deadlineMs);
  }

  it("cover all that waits at the member, and say the same on both sides", () => {
    const numbers = [given.open("a", 250, 0), given.open("a", 260, 10)];
    given.renew("a", 300, 50);
    deliver();
    for (const number of numbers) {
      expect(given.untilMs("a", number)).to.equal(300);
      expect(taken.untilMs("instance1", number)).to.equal(300);
    }
    expect(taken.untilMs("instanc21", numbers[0]!), "of another node").to.equal(0);
    expect(given.untilMs("b", numbers[0]!), "at another member").to.equal(0);
  });

  it("are sent when they gain something, once for all", () => {
    for (let count = 0; count < 100; count++) given.open("a", 250, 0);
    for (let count = 0; count < 100; count++) given.renew("a", 300 + count / 10, 50);
    expect(notices).to.have.length(1);
    given.renew("a", 350, 100);
    expect(notices.map(({ deadlineMs }) => deadlineMs)).to.deep.equal([300, 350]);
  });

  it("that ran out cover nothing of before, even where the member answers again", () => {
    const before = given.open("a", 250, 0);
    given.renew("a", 300, 50);
    given.renew("a", 550, 300);
    expect(given.untilMs("a", before)).to.equal(300);
    const after = given.open("a", 560, 310);
    given.renew("a", 610, 360);
    deliver();
    expect(given.untilMs("a", before)).to.equal(0);
    expect(given.untilMs("a", after)).to.equal(610);
    expect(taken.untilMs("instance1", before)).to.equal(0);
    expect(taken.untilMs("instance1", after)).to.equal(610);
  });

  it("that are damaged are refused", () => {
    expect(() => taken.learn(Buffer.from("inst"), 1)).to.throw(OperatingError);
  });
});
