import { expect } from "chai";
import type { AcceptorState } from "../../lib/cluster/ring-consensus.js";
import type { RingDocument } from "../../lib/cluster/ring-document.js";
import { type ChangeOutcome, RingKeeper } from "../../lib/cluster/ring-keeper.js";
import { decodeAcceptorState, encodeAcceptorState } from "../../lib/cluster/ring-messages.js";
import type { RingChange } from "../../lib/cluster/ring-proposer.js";
import { OperatingError } from "../../lib/errors.js";
import { pause } from "../../lib/host/clock.js";
import { silentLog } from "../../lib/log.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimRandom } from "../sim/sim-random.js";
import { documentOf, numbered } from "./members.js";

/** Keepers of a ring whose messages take time, get lost, and meet members that are down. */
class World {
  readonly clock = new SimClock();
  readonly keepers = new Map<string, RingKeeper>();
  readonly disks = new Map<string, Buffer>();
  readonly down = new Set<string>();
  readonly fullDisks = new Set<string>();
  lostShare = 0;
  readonly #random: SimRandom;

  constructor(count: number, seed: number) {
    this.#random = new SimRandom(seed);
    const decided = documentOf(numbered(count));
    for (const { id } of decided.members) {
      this.disks.set(id, encodeAcceptorState({ decided, promised: null, vote: null }));
      this.start(id);
    }
  }

  /** The member's process begins, or begins again, with what is on its disk. */
  start(id: string): RingKeeper {
    const { clock } = this;
    const keeper = new RingKeeper({
      memberId: id,
      state: decodeAcceptorState(this.disks.get(id)!),
      store: (state) => this.#store(id, state),
      ask: (to, request, deadlineMs) => this.#ask(id, to, request, deadlineMs),
      clock,
      random: this.#random.fork(),
      log: silentLog,
    });
    this.keepers.set(id, keeper);
    this.down.delete(id);
    return keeper;
  }

  change(id: string, change: RingChange, withinMs = 60_000): Promise<ChangeOutcome> {
    return this.keepers.get(id)!.change(change, this.clock.monotonicMs() + withinMs);
  }

  #store(id: string, state: AcceptorState): void {
    if (this.fullDisks.has(id)) throw new OperatingError("IO", "the disk is full");
    this.disks.set(id, encodeAcceptorState(state));
  }

  async #ask(from: string, to: string, request: Buffer, deadlineMs: number): Promise<Buffer> {
    await pause(this.clock, 1 + this.#random.below(20));
    const isLost = (): boolean => this.#random.fraction() < this.lostShare || this.down.has(to) || this.down.has(from);
    if (isLost()) return this.#never(deadlineMs);
    const answer = this.keepers.get(to)!.handle(request);
    await pause(this.clock, 1 + this.#random.below(20));
    return isLost() ? this.#never(deadlineMs) : answer;
  }

  async #never(deadlineMs: number): Promise<never> {
    await pause(this.clock, Math.max(0, deadlineMs - this.clock.monotonicMs()));
    throw new OperatingError("TIMEOUT", "no answer");
  }
}

/** Gives a database settings of its own: idempotent, and every such change shows in the end. */
function settle(database: number): RingChange {
  return (base) => {
    if (base.databases.some((held) => held.database === database)) return base;
    const databases = [...base.databases, { database, settings: '{"conflicts":"error"}' }];
    return { ...base, databases: databases.sort((a, b) => a.database - b.database) };
  };
}

const databasesOf = ({ databases }: RingDocument): number[] => databases.map(({ database }) => database);

describe("the keeper of the ring document", () => {
  it("makes changes of all members at once, each on top of the others', although messages get lost", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = new World(5, seed);
      world.lostShare = 0.1;
      const ids = [...world.keepers.keys()];
      const outcomes = await world.clock.run(Promise.all(ids.map((id, at) => world.change(id, settle(at)))));
      expect(outcomes.map(({ kind }) => kind)).to.deep.equal(ids.map(() => "made"));
      world.lostShare = 0;
      const last = await world.clock.run(world.change(ids[0]!, settle(15)));
      await world.clock.advance(1_000);
      expect(last.kind === "made" && databasesOf(last.document)).to.deep.equal([0, 1, 2, 3, 4, 15]);
      for (const id of ids) {
        const { document } = world.keepers.get(id)!;
        expect(document.version).to.equal(world.keepers.get(ids[0]!)!.document.version);
        expect(decodeAcceptorState(world.disks.get(id)!).decided).to.deep.equal(document);
      }
    }
  });

  it("changes it alone in a ring of one, at once", async () => {
    const world = new World(1, 3);
    const [id] = [...world.keepers.keys()];
    const seen: number[] = [];
    world.keepers.get(id!)!.onChange(({ document }) => seen.push(document.version));
    expect((await world.clock.run(world.change(id!, settle(1)))).kind).to.equal("made");
    expect(seen).to.deep.equal([2]);
  });

  it("goes on without a minority, says so without a majority, and the members that were away catch up", async () => {
    const world = new World(5, 7);
    const ids = [...world.keepers.keys()];
    for (const id of ids.slice(3)) world.down.add(id);
    expect((await world.clock.run(world.change(ids[0]!, settle(1)))).kind).to.equal("made");
    world.down.add(ids[2]!);
    const outcome = await world.clock.run(world.change(ids[0]!, settle(2), 5_000));
    expect(outcome.kind).to.equal("no-majority");
    for (const id of ids.slice(2)) world.start(id);
    expect((await world.clock.run(world.change(ids[4]!, settle(3)))).kind).to.equal("made");
    expect(databasesOf(world.keepers.get(ids[4]!)!.document)).to.include.members([1, 3]);
  });

  it("answers nothing that its disk did not take, and is counted out meanwhile", async () => {
    const world = new World(3, 11);
    const ids = [...world.keepers.keys()];
    world.fullDisks.add(ids[0]!);
    world.fullDisks.add(ids[1]!);
    expect((await world.clock.run(world.change(ids[2]!, settle(1), 5_000))).kind).to.equal("no-majority");
    world.fullDisks.clear();
    expect((await world.clock.run(world.change(ids[1]!, settle(2)))).kind).to.equal("made");
  });

  it("takes a document over as soon as its disk does, and calls no change made that is not known here yet", async () => {
    const world = new World(3, 17);
    const [id] = [...world.keepers.keys()];
    const keeper = world.keepers.get(id!)!;
    const newer = { ...keeper.document, version: 2, databases: [{ database: 1, settings: '{"conflicts":"error"}' }] };
    world.fullDisks.add(id!);
    expect(() => keeper.learn(newer)).to.throw(OperatingError, "the disk is full");
    const refusal = await world.clock.run(world.change(id!, settle(1)).catch((error: unknown) => error));
    expect(refusal).to.be.instanceOf(OperatingError);
    expect([keeper.document.version, decodeAcceptorState(world.disks.get(id!)!).decided.version]).to.deep.equal([1, 1]);
    world.fullDisks.clear();
    expect(keeper.learn(newer)).to.equal("known");
    expect(keeper.document).to.equal(newer);
    expect(decodeAcceptorState(world.disks.get(id!)!).decided).to.deep.equal(newer);
    expect((await world.clock.run(world.change(id!, settle(1)))).kind).to.equal("made");
  });

  it("refuses what the change refuses, with its reason", async () => {
    const world = new World(3, 13);
    const [id] = [...world.keepers.keys()];
    const outcome = await world.clock.run(world.change(id!, () => ({ refused: "another change is under way" })));
    expect(outcome).to.deep.equal({ kind: "refused", reason: "another change is under way" });
  });
});
