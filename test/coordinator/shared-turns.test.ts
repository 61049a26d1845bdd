import { expect } from "chai";
import { SharedTurns } from "../../lib/coordinator/shared-turns.js";
import { OperatingError } from "../../lib/errors.js";
import { KeyQueues } from "../../lib/replica/key-queues.js";

/** Lets every microtask that is ready run. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 40; turn++) await Promise.resolve();
}

/** Works that note when they begin, and end when they are told to. */
class Works {
  readonly log: string[] = [];
  readonly #ends = new Map<string, () => void>();

  begin(name: string): Promise<string> {
    this.log.push(name);
    return new Promise((resolve) => this.#ends.set(name, () => resolve(name)));
  }

  end(name: string): void {
    this.#ends.get(name)!();
  }
}

describe("shared turns", () => {
  it("let those begin together that came one after the other, in that order, when the key's turn comes", async () => {
    const queues = new KeyQueues(10);
    const turns = new SharedTurns(queues);
    const works = new Works();
    const before = queues.take("key");
    const shared = ["first", "second", "third"].map((name) => turns.run("key", () => works.begin(name)));
    await settle();
    expect(works.log).to.deep.equal([]);
    before.release();
    await settle();
    expect(works.log).to.deep.equal(["first", "second", "third"]);
    for (const name of works.log) works.end(name);
    expect(await Promise.all(shared)).to.deep.equal(["first", "second", "third"]);
    await settle();
    expect(queues.isTaken("key")).to.equal(false);
    expect(queues.waiting).to.equal(0);
  });

  it("let nobody overtake what took a turn of its own in between", async () => {
    const queues = new KeyQueues(10);
    const turns = new SharedTurns(queues);
    const works = new Works();
    const before = queues.take("key");
    void turns.run("key", () => works.begin("first"));
    const between = queues.run("key", async () => void works.log.push("between"));
    void turns.run("key", () => works.begin("last"));
    before.release();
    await settle();
    expect(works.log).to.deep.equal(["first"]);
    works.end("first");
    await between;
    await settle();
    expect(works.log).to.deep.equal(["first", "between", "last"]);
  });

  it("are held until all who share them have ended, those that failed included", async () => {
    const queues = new KeyQueues(10);
    const turns = new SharedTurns(queues);
    const works = new Works();
    const failing = turns.run("key", () => Promise.reject(new OperatingError("BUSY", "too much")));
    void turns.run("key", () => works.begin("slow"));
    let isNextDone = false;
    void queues.run("key", async () => {
      isNextDone = true;
    });
    expect(await failing.catch((error: unknown) => (error as Error).message)).to.equal("too much");
    await settle();
    expect(isNextDone).to.equal(false);
    works.end("slow");
    await settle();
    expect(isNextDone).to.equal(true);
  });

  it("count each who waits: one too many is refused, and takes nothing", async () => {
    const queues = new KeyQueues(4);
    const turns = new SharedTurns(queues);
    const works = new Works();
    const before = queues.take("key");
    // The turn itself is one of the four.
    const shared = [turns.run("key", () => works.begin("first")), turns.run("key", () => works.begin("second"))];
    const refused = await turns.run("key", () => works.begin("third")).catch((error: unknown) => error);
    expect(refused).to.be.instanceOf(OperatingError).with.property("code", "BUSY");
    before.release();
    await settle();
    works.end("first");
    works.end("second");
    await Promise.all(shared);
    expect(works.log).to.deep.equal(["first", "second"]);
  });
});
