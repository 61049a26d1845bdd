import { expect } from "chai";
import { isRunLost, KnownRuns } from "../../lib/cluster/known-runs.js";
import { MemberRecord } from "../../lib/cluster/member-record.js";
import { OwnRuns } from "../../lib/cluster/own-runs.js";
import { SimRandom } from "../sim/sim-random.js";
import { MapRecords } from "./cluster-world.js";
import { idOf } from "./gossip-world.js";

describe("the runs of a member", () => {
  const random = new SimRandom(1);
  const start = (records: MapRecords, wallMs: number): MemberRecord => MemberRecord.open({ records, random, wallMs });
  const copyOf = (records: MapRecords): MapRecords => {
    const copy = new MapRecords();
    for (const [name, bytes] of records.stored) copy.stored.set(name, Buffer.from(bytes));
    return copy;
  };

  it("are known to its store, those of a store without a record settled", () => {
    const records = new MapRecords();
    for (const wallMs of [100, 200, 300]) start(records, wallMs);
    expect(start(records, 400).runs.told).to.deep.equal({ settled: 0, generations: [100, 200, 300, 400] });
    records.stored.delete("runs");
    expect(start(records, 500).runs.told).to.deep.equal({ settled: 400, generations: [500] });
  });

  it("are lost with a copy from before them, whatever runs nobody heard of came since", () => {
    const records = new MapRecords();
    start(records, 100);
    const copy = copyOf(records);
    const lost = start(records, 200).generation;
    for (const wallMs of [300, 400]) {
      const { told } = start(copy, wallMs).runs;
      expect(isRunLost(told, [lost]), `${wallMs}`).to.equal(true);
      expect(isRunLost(told, [wallMs, lost]), `${wallMs}, heard of since`).to.equal(true);
      expect(isRunLost(told, [100]), `${wallMs}, not known`).to.equal(false);
    }
    const record = start(copy, 500);
    record.runs.settle(record.generation);
    expect(isRunLost(record.runs.told, [500, lost])).to.equal(false);
    expect(isRunLost(start(copy, 600).runs.told, [500, lost])).to.equal(false);
  });

  it("are told of the last sixteen, and those before count as settled", () => {
    const runs = new OwnRuns(new MapRecords(), 0);
    for (let generation = 1; generation <= 20; generation++) runs.note(generation);
    expect(runs.told.settled).to.equal(4);
    expect(runs.told.generations).to.deep.equal(Array.from({ length: 16 }, (_, at) => at + 5));
    expect(isRunLost(runs.told, [3])).to.equal(false);
  });

  it("stay as they were where the disk refuses", () => {
    const records = new MapRecords();
    const runs = new OwnRuns(records, 7);
    records.isFull = true;
    expect(() => runs.note(8)).to.throw();
    expect(runs.told).to.deep.equal({ settled: 7, generations: [] });
  });
});

describe("what is known of others' runs", () => {
  it("is the newest of each, on the disk once it is saved, of those who are kept", () => {
    const records = new MapRecords();
    const known = new KnownRuns(records);
    known.note(idOf(1), 10);
    known.note(idOf(1), 5);
    known.note(idOf(2), 20);
    expect([known.of(idOf(1)), known.of(idOf(2)), known.of(idOf(3))]).to.deep.equal([10, 20, 0]);
    expect(new KnownRuns(records).of(idOf(1))).to.equal(0);
    known.save((id) => id === idOf(1));
    expect([idOf(1), idOf(2)].map((id) => new KnownRuns(records).of(id))).to.deep.equal([10, 0]);
  });

  it("is not written again while nothing is new, and is tried again after the disk refused", () => {
    const records = new MapRecords();
    const known = new KnownRuns(records);
    known.save(() => true);
    expect(records.get("known-runs")).to.equal(null);
    known.note(idOf(1), 10);
    records.isFull = true;
    expect(() => known.save(() => true)).to.throw();
    records.isFull = false;
    known.save(() => true);
    expect(new KnownRuns(records).of(idOf(1))).to.equal(10);
    expect(() => new KnownRuns(corrupt())).to.throw("the record of other members' runs has format 9");
  });
});

function corrupt(): MapRecords {
  const records = new MapRecords();
  records.stored.set("known-runs", Buffer.of(9));
  return records;
}
