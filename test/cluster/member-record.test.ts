import { expect } from "chai";
import { AddressBook } from "../../lib/cluster/address-book.js";
import { GENERATION_MAX } from "../../lib/cluster/member-entry.js";
import { MemberRecord } from "../../lib/cluster/member-record.js";
import { OperatingError } from "../../lib/errors.js";
import { silentLog } from "../../lib/log.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimRandom } from "../sim/sim-random.js";
import { MapRecords } from "./cluster-world.js";
import { idOf } from "./gossip-world.js";

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof OperatingError) return error.code;
    throw error;
  }
  return "none";
}

describe("the record of who a member is", () => {
  const random = new SimRandom(1);

  it("keeps the id, and begins a generation at each start: the wall clock's, or one more than the last", () => {
    const records = new MapRecords();
    const first = MemberRecord.open({ records, random, wallMs: 1_000 });
    expect(first.generation).to.equal(1_000);
    for (const [wallMs, generation] of [
      [5_000, 5_000],
      [10, 5_001],
      [5_001, 5_002],
    ] as const) {
      const next = MemberRecord.open({ records, random, wallMs });
      expect(next.id).to.equal(first.id);
      expect(next.generation).to.equal(generation);
    }
    expect(MemberRecord.open({ records: new MapRecords(), random, wallMs: 1 }).id).to.not.equal(first.id);
  });

  it("raises the generation above what others know of it, never down, and only once it is stored", () => {
    const records = new MapRecords();
    const record = MemberRecord.open({ records, random, wallMs: 1_000 });
    expect(record.raise({ above: 9_000, wallMs: 2_000 })).to.equal(9_001);
    expect(record.raise({ above: 5, wallMs: 2_000 })).to.equal(9_002);
    records.isFull = true;
    expect(codeOf(() => record.raise({ above: 20_000, wallMs: 0 }))).to.equal("IO");
    expect(record.generation).to.equal(9_002);
    records.isFull = false;
    expect(codeOf(() => record.raise({ above: GENERATION_MAX, wallMs: 0 }))).to.equal("CORRUPT");
    expect(MemberRecord.open({ records, random, wallMs: 0 }).generation).to.equal(9_003);
  });

  it("is refused when a later version has written it, or when it is cut off", () => {
    const records = new MapRecords();
    MemberRecord.open({ records, random, wallMs: 1_000 });
    const bytes = records.get("member")!;
    for (const damaged of [Buffer.concat([Buffer.of(2), bytes.subarray(1)]), bytes.subarray(0, 6), Buffer.alloc(10, 0)]) {
      records.stored.set("member", damaged);
      expect(codeOf(() => MemberRecord.open({ records, random, wallMs: 1_000 }))).to.equal("CORRUPT");
    }
  });
});

describe("the book of addresses", () => {
  const [one, two, stranger] = [idOf(0), idOf(1), idOf(2)];

  function bookOf(records: MapRecords, clock: SimClock): AddressBook {
    return new AddressBook({ records, clock, log: silentLog, isKept: (id) => id !== stranger });
  }

  it("is on the disk a second after a change, without those that are of no ring", async () => {
    const [records, clock] = [new MapRecords(), new SimClock()];
    const book = bookOf(records, clock);
    book.note(two, { host: "10.0.0.2", port: 2 });
    book.note(one, { host: "10.0.0.1", port: 1 });
    book.note(stranger, { host: "10.0.0.3", port: 3 });
    expect(records.writes).to.equal(0);
    await clock.advance(1_000);
    book.note(one, { host: "10.0.0.1", port: 1 });
    await clock.advance(5_000);
    expect(records.writes).to.equal(1);
    expect([...bookOf(records, clock).entries()]).to.deep.equal([
      [one, { host: "10.0.0.1", port: 1 }],
      [two, { host: "10.0.0.2", port: 2 }],
    ]);
    book.forget(two);
    book.note(one, { host: "::1", port: 4 });
    book.flush();
    expect([...bookOf(records, clock).entries()]).to.deep.equal([[one, { host: "::1", port: 4 }]]);
  });

  it("is empty where it cannot be read, and is stored later where the disk is full", async () => {
    const [records, clock] = [new MapRecords(), new SimClock()];
    records.stored.set("addresses", Buffer.of(9, 9));
    const book = bookOf(records, clock);
    expect([...book.entries()]).to.deep.equal([]);
    records.isFull = true;
    book.note(one, { host: "10.0.0.1", port: 1 });
    await clock.advance(2_000);
    records.isFull = false;
    book.note(two, { host: "10.0.0.2", port: 2 });
    await clock.advance(2_000);
    expect([...bookOf(records, clock).entries()]).to.have.length(2);
  });
});
