/** A joiner reads the slots that it is to own, between members with an engine each, in virtual time. */
import { expect } from "chai";
import { SLOTS } from "../../lib/bytes/slot.js";
import { merge } from "../../lib/causality/record.js";
import { decodeRecord, encodeRecord, withLocalArea } from "../../lib/causality/record-encoding.js";
import type { Member } from "../../lib/cluster/member.js";
import { Ring } from "../../lib/cluster/ring.js";
import { chooseTokens } from "../../lib/cluster/token-choice.js";
import { OperatingError } from "../../lib/errors.js";
import type { Lsm } from "../../lib/lsm/lsm.js";
import type { PeerRequest } from "../../lib/peer/peer.js";
import { DATA_END, slotOfDataKey } from "../../lib/replica/data-key.js";
import { RangeServer } from "../../lib/replica/range-server.js";
import {
  doWithoutDisplaced,
  planTransfer,
  pullRanges,
  type TransferOptions,
  type TransferResult,
} from "../../lib/replica/range-transfer.js";
import {
  decodeRangePage,
  decodeRangeRequest,
  encodeRangePage,
  encodeRangeRequest,
  ReplicaKind,
} from "../../lib/replica/replica-messages.js";
import { documentOf, fractions, memberOf, numbered, ringOf, THREE } from "../cluster/members.js";
import { TestNode, World } from "../peer/world.js";
import { SimRandom } from "../sim/sim-random.js";
import { idOf, keyOf, openEngine, recordOf, valuesOf } from "./copies.js";

/** A ring of `count` members that the next one is about to join. */
function joining(count: number): { ring: Ring; joiner: Member; selfIndex: number } {
  const members = ringOf(numbered(count), { seed: 3 });
  const bare = memberOf(count + 1);
  const tokens = chooseTokens({ members, joiner: bare, replicas: THREE, vnodes: 64, fraction: fractions(9) });
  const joiner = { ...bare, tokens };
  const ring = new Ring(documentOf(members, { version: 2, pending: [{ kind: "join", member: joiner, since: 2 }] }));
  return { ring, joiner, selfIndex: ring.indexOf(joiner.id)! };
}

/** A member that reads out. */
class Owner {
  readonly node: TestNode;
  readonly lsm: Lsm;
  ringVersion = 2;
  requests = 0;
  /** Instead of an answer. */
  onRequest: (request: PeerRequest) => boolean = () => false;

  private constructor(node: TestNode, lsm: Lsm) {
    this.node = node;
    this.lsm = lsm;
    const server = new RangeServer({ lsm, clock: node.clock, ringVersion: () => this.ringVersion });
    node.peers.serve(ReplicaKind.range, (request) => {
      this.requests++;
      if (!this.onRequest(request)) server.serve(request);
    });
  }

  static async start(world: World, number: number): Promise<Owner> {
    const { lsm } = await openEngine({ clock: world.clock, seed: number });
    const node = new TestNode(world, idOf(number), number, {});
    await world.clock.run(node.peers.listen(node.address));
    return new Owner(node, lsm);
  }

  put(key: string, record: Buffer): void {
    this.lsm.put(key, record, 0, record.length);
  }
}

/** Members 1 to `count` and the one that joins them. */
class Join {
  readonly world = new World();
  readonly ring: Ring;
  readonly selfIndex: number;
  readonly warned: string[] = [];
  owners: Owner[] = [];
  joiner!: Owner;
  readonly settings = { transferRateBytes: 2 ** 26, patienceMs: 5_000 };
  storing = 0;
  isCancelled = false;

  constructor(count: number) {
    const { ring, selfIndex } = joining(count);
    this.ring = ring;
    this.selfIndex = selfIndex;
  }

  static async start(count: number): Promise<Join> {
    const join = new Join(count);
    for (let number = 1; number <= count; number++) join.owners.push(await Owner.start(join.world, number));
    join.joiner = await Owner.start(join.world, count + 1);
    for (const owner of join.owners) join.joiner.node.knows(owner.node);
    await join.world.pass(20);
    return join;
  }

  /** Stores a record on all old owners of its slot. */
  put(key: string, record: Buffer): void {
    for (const owner of this.ring.owners(slotOfDataKey(key)).old) this.owners[owner]!.put(key, record);
  }

  isGained(key: string): boolean {
    const { old, new: next } = this.ring.owners(slotOfDataKey(key));
    return next.includes(this.selfIndex) && !old.includes(this.selfIndex);
  }

  pull(differences: Partial<TransferOptions> = {}): Promise<TransferResult> {
    const { node } = this.joiner;
    const note = (_: object, message: string): void => void this.warned.push(message);
    return pullRanges({
      ring: this.ring,
      selfIndex: this.selfIndex,
      peers: node.peers,
      clock: node.clock,
      log: { debug: note, info: note, warn: note, error: note },
      settings: this.settings,
      store: (dataKey, bytes, start, end) => this.store(dataKey, Buffer.from(bytes.subarray(start, end))),
      isCancelled: () => this.isCancelled,
      ...differences,
    });
  }

  async store(dataKey: string, bytes: Buffer): Promise<void> {
    this.storing++;
    const { lsm } = this.joiner;
    const old = await lsm.read(dataKey);
    const record = decodeRecord(bytes);
    this.joiner.put(dataKey, encodeRecord(old === null ? record : merge(decodeRecord(old), record)));
    await lsm.committed();
    this.storing--;
  }

  /** What the joiner holds, by data key. */
  async held(): Promise<Map<string, string[]>> {
    const held = new Map<string, string[]>();
    const range = { from: "", to: DATA_END, limit: 100_000, values: "with" } as const;
    const { entries } = await this.world.clock.run(this.joiner.lsm.scan(range));
    for (const { key, value } of entries) held.set(key, valuesOf(value));
    return held;
  }

  requests(): number {
    return this.owners.reduce((sum, owner) => sum + owner.requests, 0);
  }
}

async function failureOf(world: World, work: Promise<unknown>): Promise<OperatingError> {
  const error = await world.clock.run(
    work.then(
      () => null,
      (reason: unknown) => reason,
    ),
  );
  if (!(error instanceof OperatingError)) throw new Error(`it did not fail as expected: ${error}`);
  return error;
}

describe("the plan of a transfer", () => {
  it("reads each slot from the owner that is displaced, and each slot once", () => {
    const { ring, selfIndex } = joining(4);
    const pieces = planTransfer(ring, selfIndex);
    const slots = pieces.flatMap((piece) => piece.slots);
    expect(new Set(slots).size).to.equal(slots.length);
    for (const piece of pieces) {
      for (const slot of piece.slots) {
        const { old, new: next } = ring.owners(slot);
        expect(next.includes(piece.displaced!)).to.equal(false);
        expect([piece.displaced!, ...piece.others].sort()).to.deep.equal([...old].sort());
      }
    }
    const expected = Array.from({ length: SLOTS }, (_, slot) => slot).filter((slot) => {
      const { old, new: next } = ring.owners(slot);
      return next.includes(selfIndex) && !old.includes(selfIndex);
    });
    expect(slots.sort((a, b) => a - b)).to.deep.equal(expected);
    expect(expected.length).to.be.above(SLOTS / 3);
  });

  it("reads from all old owners while the ring has fewer members than copies", () => {
    const { ring, selfIndex } = joining(2);
    const pieces = planTransfer(ring, selfIndex);
    expect(pieces.flatMap((piece) => piece.slots).length).to.equal(SLOTS);
    for (const piece of pieces) expect([piece.displaced, piece.others]).to.deep.equal([null, [0, 1]]);
  });

  it("does without the owner that is displaced where the others know all that a majority had", () => {
    const isEnough = (centres: string, others: readonly number[], read: readonly number[]): boolean =>
      doWithoutDisplaced({ displaced: 0, others, read, centreOf: (owner) => centres[owner]! });
    expect(isEnough("aa", [1], [1]), "both of two copies had it").to.equal(true);
    expect(isEnough("aaa", [1, 2], [2])).to.equal(false);
    expect(isEnough("aaa", [1, 2], [1, 2])).to.equal(true);
    expect(isEnough("aaaaa", [1, 2, 3, 4], [1, 3])).to.equal(false);
    expect(isEnough("aaaaa", [1, 2, 3, 4], [1, 3, 4])).to.equal(true);
    const six = [1, 2, 3, 4, 5];
    expect(isEnough("aaabbb", six, [1, 2, 3])).to.equal(true);
    expect(isEnough("aaabbb", six, [1, 2]), "no majority of all").to.equal(false);
    expect(isEnough("aaabbb", six, [2, 3, 4, 5]), "none of its data centre").to.equal(false);
    expect(isEnough("abb", [1, 2], [1, 2]), "the only copy there").to.equal(true);
  });

  it("is empty where nothing is gained", () => {
    expect(planTransfer(joining(4).ring, 0)).to.deep.equal([]);
    expect(planTransfer(new Ring(documentOf(ringOf(numbered(3), { seed: 3 }))), 0)).to.deep.equal([]);
  });
});

describe("the transfer of slots to a joiner", () => {
  it("brings all records of its slots and no others, while they are being written", async () => {
    const join = await Join.start(4);
    const names = Array.from({ length: 2_000 }, (_, at) => `key-${at}`);
    for (const [at, name] of names.entries()) join.put(keyOf(name, at % 3), recordOf("s", at + 1, `value ${at}`));
    await join.world.pass(10);
    join.settings.transferRateBytes = 100_000;
    const random = new SimRandom(4);
    let isDone = false;
    const pulled = join.pull().finally(() => {
      isDone = true;
    });
    // Writes go to old and new owners from the pending change on.
    const written = new Map<string, string>();
    for (let sequence = 1; !isDone; sequence++) {
      const at = random.below(2_100);
      const key = keyOf(names[at] ?? `fresh-${at}`, at % 3);
      const record = recordOf("t", sequence, `later ${sequence}`, { s: 5_000 });
      join.put(key, record);
      written.set(key, `later ${sequence}`);
      if (join.isGained(key)) await join.world.clock.run(join.store(key, record));
      if (random.chance(0.3)) await join.world.pass(random.fraction());
    }
    const result = await pulled;
    expect(written.size).to.be.above(200);
    const expected = new Map<string, string[]>();
    for (const [at, name] of names.entries()) expected.set(keyOf(name, at % 3), [`value ${at}`]);
    for (const [key, value] of written) expected.set(key, [value]);
    for (const key of [...expected.keys()]) if (!join.isGained(key)) expected.delete(key);
    const held = await join.held();
    expect(held.size).to.equal(expected.size);
    expect(new Set([...held.keys()].map((key) => key.charCodeAt(3)))).to.deep.equal(new Set([0, 1, 2]));
    for (const [key, values] of expected) expect(held.get(key)).to.deep.equal(values);
    expect(result.slotsDone).to.equal(result.slots);
    expect([result.slotsInDoubt, join.warned.length, join.storing]).to.deep.equal([0, 0, 0]);
  });

  it("takes in an empty ring within a few round trips", async () => {
    for (const count of [1, 3]) {
      const join = await Join.start(count);
      for (const owner of join.owners) {
        join.world.network.setDelay(owner.node.machine, join.joiner.node.machine, 25);
        join.world.network.setDelay(join.joiner.node.machine, owner.node.machine, 25);
      }
      const startMs = join.world.clock.monotonicMs();
      const result = await join.world.clock.run(join.pull());
      expect(join.world.clock.monotonicMs() - startMs).to.be.below(1_000);
      expect(result.slots).to.be.within(SLOTS / 2, SLOTS);
      expect([result.slotsDone, result.records]).to.deep.equal([result.slots, 0]);
      expect(join.requests()).to.be.below(50);
    }
  });

  it("reads large slots in pages that fit", async () => {
    const join = await Join.start(1);
    for (let at = 0; at < 300; at++) join.put(keyOf(`{one slot}${at}`), recordOf("s", at + 1, "v".repeat(10_000)));
    let longest = 0;
    const { peers } = join.joiner.node;
    const call: typeof peers.call = async (request) => {
      const answer = await peers.call(request);
      longest = Math.max(longest, answer.length);
      return answer;
    };
    const result = await join.world.clock.run(join.pull({ peers: { call, isUsable: (id) => peers.isUsable(id) } }));
    expect([result.records, (await join.held()).size]).to.deep.equal([300, 300]);
    expect(longest).to.be.within(250_000, 300_000);
  });

  it("keeps to its rate", async () => {
    const join = await Join.start(1);
    join.settings.transferRateBytes = 500_000;
    for (let at = 0; at < 200; at++) join.put(keyOf(`key-${at}`), recordOf("s", at + 1, "v".repeat(10_000)));
    const startMs = join.world.clock.monotonicMs();
    await join.world.clock.run(join.pull());
    expect(join.world.clock.monotonicMs() - startMs).to.be.within(2_500, 6_000);
  });

  it("sends no local areas", async () => {
    const join = await Join.start(1);
    const record = recordOf("s", 1, "v");
    join.put(keyOf("k"), withLocalArea(record, 0, record.length, Buffer.from("mine")));
    const stored: Buffer[] = [];
    const store = async (_: string, bytes: Uint8Array, start: number, end: number): Promise<void> => {
      stored.push(Buffer.from(bytes.subarray(start, end)));
    };
    await join.world.clock.run(join.pull({ store }));
    expect(stored).to.deep.equal([record]);
  });

  it("merges what both old owners of a small ring hold", async () => {
    const join = await Join.start(2);
    join.owners[0]!.put(keyOf("only a"), recordOf("a", 1, "of a"));
    join.owners[1]!.put(keyOf("only b"), recordOf("b", 1, "of b"));
    join.owners[0]!.put(keyOf("both"), recordOf("a", 2, "of a"));
    join.owners[1]!.put(keyOf("both"), recordOf("b", 2, "of b"));
    const result = await join.world.clock.run(join.pull());
    const held = await join.held();
    expect(held.get(keyOf("only a"))).to.deep.equal(["of a"]);
    expect(held.get(keyOf("only b"))).to.deep.equal(["of b"]);
    expect(held.get(keyOf("both"))).to.deep.equal(["of a", "of b"]);
    expect(result.slotsInDoubt).to.equal(0);
    join.owners[1]!.node.stop();
    await join.world.pass(10_000);
    const half = await join.world.clock.run(join.pull());
    expect(half.slotsInDoubt, "one of two is no majority").to.equal(SLOTS);
  });

  it("reads from the other owners, and warns, when the one that gives way is down", async () => {
    const join = await Join.start(4);
    for (let at = 0; at < 400; at++) join.put(keyOf(`key-${at}`), recordOf("s", at + 1, `value ${at}`));
    const down = join.owners[2]!;
    down.node.stop();
    const result = await join.world.clock.run(join.pull());
    const held = await join.held();
    for (let at = 0; at < 400; at++) {
      const key = keyOf(`key-${at}`);
      expect(held.get(key)).to.deep.equal(join.isGained(key) ? [`value ${at}`] : undefined);
    }
    expect(result.slotsInDoubt).to.be.within(1, result.slots - 1);
    expect(join.warned.some((text) => text.includes("node-3 gives up slots and cannot be read"))).to.equal(true);
  });

  it("fails when the one that gives way is down and of the others only half can be read: a write may be on neither", async () => {
    const join = await Join.start(4);
    for (const down of [1, 2]) join.owners[down]!.node.stop();
    const error = await failureOf(join.world, join.pull());
    expect(error.code).to.equal("UNAVAILABLE");
    expect(error.message).to.match(/from enough of their owners \(node-[23]: .*; node-[23]: /);
    for (const down of [1, 2]) join.owners[down]!.node.goOn();
    const result = await join.world.clock.run(join.pull());
    expect(result.slotsInDoubt).to.equal(0);
  });

  it("fails, and says whom it asked, when slots can be had from nobody", async () => {
    const join = await Join.start(2);
    for (const owner of join.owners) owner.node.stop();
    const error = await failureOf(join.world, join.pull());
    expect(error.code).to.equal("UNAVAILABLE");
    expect(error.message).to.include("node-1").and.include("node-2");
  });

  it("waits until an owner knows of the change", async () => {
    const join = await Join.start(2);
    join.put(keyOf("k"), recordOf("s", 1, "v"));
    for (const owner of join.owners) owner.ringVersion = 1;
    const pulled = join.pull();
    await join.world.pass(2_000);
    expect((await join.held()).size).to.equal(0);
    for (const owner of join.owners) owner.ringVersion = 2;
    const result = await join.world.clock.run(pulled);
    expect([result.records, result.slotsInDoubt]).to.deep.equal([2, 0]);
  });

  it("asks again where a page was refused, damaged or lost on the way", async () => {
    const join = await Join.start(1);
    for (let at = 0; at < 3_000; at++) join.put(keyOf(`key-${at}`), recordOf("s", at + 1, "v".repeat(300)));
    const random = new SimRandom(2);
    join.owners[0]!.onRequest = (request) => {
      switch (random.below(6)) {
        case 0:
          request.refuse("BUSY");
          return true;
        case 1:
          request.answer(Buffer.of(0, 200));
          return true;
        case 2:
          join.world.network.dropAll();
          return true;
        case 3:
          request.answer(Buffer.alloc(0));
          return true;
        default:
          return false;
      }
    };
    join.settings.patienceMs = 60_000;
    await join.world.clock.run(join.pull());
    expect((await join.held()).size).to.equal(3_000);
  });

  it("ends with the first record that cannot be stored, and when it is cancelled", async () => {
    const join = await Join.start(1);
    for (let at = 0; at < 3_000; at++) join.put(keyOf(`key-${at}`), recordOf("s", at + 1, "v"));
    const store = async (): Promise<void> => {
      throw new OperatingError("IO", "the disk is full");
    };
    expect((await failureOf(join.world, join.pull({ store }))).code).to.equal("IO");
    const progress: number[] = [];
    const onDone = (slots: readonly number[], { slotsDone }: { slotsDone: number }): void => {
      expect(slots).to.have.length.within(1, 512);
      progress.push(slotsDone);
      join.isCancelled = true;
    };
    expect((await failureOf(join.world, join.pull({ onDone }))).code).to.equal("CLOSED");
    expect(progress[0]).to.be.within(1, 512);
  });
});

describe("messages about ranges", () => {
  it("say the slots that they mean, whichever they are", () => {
    const random = new SimRandom(8);
    for (let times = 0; times < 300; times++) {
      const density = random.pick([0.001, 0.3, 0.99]);
      const slots = Array.from({ length: SLOTS }, (_, slot) => slot).filter(() => random.chance(density));
      if (slots.length === 0) slots.push(random.below(SLOTS));
      const request = { ringVersion: random.below(1e9), slots, from: random.chance(0.5) ? null : keyOf("from") };
      expect(decodeRangeRequest(encodeRangeRequest(request))).to.deep.equal(request);
    }
    const all = Array.from({ length: SLOTS }, (_, slot) => slot);
    expect(encodeRangeRequest({ ringVersion: 1, slots: all, from: null }).length).to.be.below(8);
    expect(encodeRangeRequest({ ringVersion: 300, slots: [1, 2, 9], from: null }).toString("hex")).to.equal("ac020201020601");
  });

  it("are refused when they are cut off or name what is not", () => {
    const request = encodeRangeRequest({ ringVersion: 7, slots: [3, 4, 5, 900], from: keyOf("k") });
    const page = encodeRangePage({ records: [{ dataKey: keyOf("k"), record: Buffer.from("r") }], next: keyOf("l") });
    expect(decodeRangePage(page).next).to.equal(keyOf("l"));
    for (let length = 0; length < 6; length++) expect(() => decodeRangeRequest(request.subarray(0, length))).to.throw();
    for (let length = 2; length < page.length; length++) {
      const cut = page.subarray(0, length);
      const isWhole = length === 2 + keyOf("l").length;
      if (!isWhole) expect(() => decodeRangePage(cut), `cut to ${length}`).to.throw(OperatingError);
    }
    expect(() => decodeRangeRequest(Buffer.from("07018080010a", "hex"))).to.throw(OperatingError, "slots that there are not");
    expect(() => decodeRangeRequest(Buffer.from("0700", "hex"))).to.throw(OperatingError, "no slot");
    const stranger = encodeRangePage({ records: [{ dataKey: "\x03store-and-more", record: Buffer.from("r") }], next: null });
    expect(() => decodeRangePage(stranger)).to.throw(OperatingError);
  });
});
