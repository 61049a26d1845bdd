import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { TurnEnd, type TurnGate, type TurnWork } from "../../lib/replica/turn-end.js";

/** A gate that is told when to refuse, and when what it took is durable. */
class Gate implements TurnGate {
  readonly events: string[];
  refusal: OperatingError | null = null;
  isAcknowledged = true;
  #acknowledge: ((error: OperatingError | null) => void) | null = null;

  constructor(events: string[]) {
    this.events = events;
  }

  commit(): void {
    if (this.refusal !== null) throw this.refusal;
    this.events.push("commit");
  }

  acknowledged(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#acknowledge = (error) => (error === null ? resolve() : reject(error));
    });
  }

  async settle(error: OperatingError | null): Promise<void> {
    this.#acknowledge!(error);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function setUp(): { events: string[]; gate: Gate; turn: TurnEnd; scheduled: () => number; work: (name: string) => TurnWork } {
  const events: string[] = [];
  const gate = new Gate(events);
  let scheduled = 0;
  const turn = new TurnEnd({ gate, schedule: () => scheduled++ });
  const work = (name: string): TurnWork => ({
    committed: () => events.push(`${name} committed`),
    durable: () => events.push(`${name} durable`),
    lost: (error) => events.push(`${name} lost: ${error.message}`),
  });
  return { events, gate, turn, scheduled: () => scheduled, work };
}

describe("the end of a turn", () => {
  it("commits, then tells the works of the turn in their order, and asks to be run once", () => {
    const { events, turn, scheduled, work } = setUp();
    turn.add(work("a"));
    turn.add(work("b"));
    expect(scheduled()).to.equal(1);
    expect(events).to.deep.equal([]);
    turn.run();
    expect(events).to.deep.equal(["commit", "a committed", "b committed", "a durable", "b durable"]);
    turn.run();
    expect(events).to.have.length(5);
  });

  it("tells of durability when the disk has it, works of later turns not waiting for that", async () => {
    const { events, gate, turn, work } = setUp();
    gate.isAcknowledged = false;
    turn.add(work("a"));
    turn.run();
    expect(events).to.deep.equal(["commit", "a committed"]);
    await gate.settle(null);
    expect(events.at(-1)).to.equal("a durable");
  });

  it("tells the works of a turn that was refused, and nothing else of it", () => {
    const { events, gate, turn, work } = setUp();
    gate.refusal = new OperatingError("IO", "the disk is full");
    turn.add(work("a"));
    turn.add(work("b"));
    turn.run();
    expect(events).to.deep.equal(["a lost: the disk is full", "b lost: the disk is full"]);
  });

  it("tells of a sync that failed after the commit", async () => {
    const { events, gate, turn, work } = setUp();
    gate.isAcknowledged = false;
    turn.add(work("a"));
    turn.run();
    await gate.settle(new OperatingError("IO", "the sync failed"));
    expect(events).to.deep.equal(["commit", "a committed", "a lost: the sync failed"]);
  });

  it("what a work adds is of the next turn, which it asks for", () => {
    const { events, turn, scheduled, work } = setUp();
    turn.add({ ...work("a"), committed: () => turn.add(work("b")) });
    turn.run();
    expect(scheduled()).to.equal(2);
    expect(events).to.deep.equal(["commit", "a durable"]);
    turn.run();
    expect(events.slice(2)).to.deep.equal(["commit", "b committed", "b durable"]);
  });
});
