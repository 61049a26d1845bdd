import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { KeyQueues } from "../../lib/replica/key-queues.js";

/** Lets every microtask that is ready run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

describe("key queues", () => {
  it("run operations on one key in the order of their calls and those on others at once", async () => {
    const queues = new KeyQueues(10);
    const log: string[] = [];
    let finishFirst!: () => void;
    const first = queues.run("a", async () => {
      log.push("first starts");
      await new Promise<void>((resolve) => {
        finishFirst = resolve;
      });
      log.push("first ends");
    });
    const second = queues.run("a", async () => {
      log.push("second");
    });
    await queues.run("b", async () => {
      log.push("other");
    });
    await settle();
    expect(log).to.deep.equal(["first starts", "other"]);
    finishFirst();
    await Promise.all([first, second]);
    expect(log).to.deep.equal(["first starts", "other", "first ends", "second"]);
  });

  it("forget a key when the last operation on it is done", async () => {
    const queues = new KeyQueues(10);
    const work = queues.run("a", async () => undefined);
    expect(queues.isTaken("a")).to.equal(true);
    await work;
    await settle();
    expect(queues.isTaken("a")).to.equal(false);
    expect(queues.waiting).to.equal(0);
  });

  it("let the next operation run after one that failed", async () => {
    const queues = new KeyQueues(10);
    const failed = queues.run("a", async () => {
      throw new Error("no");
    });
    const next = queues.run("a", async () => "yes");
    expect(await failed.catch((error: Error) => error.message)).to.equal("no");
    expect(await next).to.equal("yes");
  });

  it("keep those behind waiting when one gives up before its turn", async () => {
    const queues = new KeyQueues(10);
    const first = queues.take("a");
    const second = queues.take("a");
    const third = queues.take("a");
    let isThird = false;
    const waited = third.ready.then(() => {
      isThird = true;
    });
    second.release();
    await settle();
    expect(isThird).to.equal(false);
    first.release();
    await waited;
    third.release();
    await settle();
    expect(queues.waiting).to.equal(0);
  });

  it("refuse work beyond their bound with BUSY and the setting's name", () => {
    const queues = new KeyQueues(1);
    const turn = queues.take("a");
    expect(() => queues.take("b"))
      .to.throw(OperatingError, "requests-queued-max")
      .with.property("code", "BUSY");
    turn.release();
  });
});
