import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { type Backlog, type BacklogSigns, judgeBacklog, Room } from "../../lib/lsm/backlog.js";

const calm: BacklogSigns = { isSyncLate: false, frozenTables: 0, fill: 0, levelZeroTables: 0, levelZeroLimit: 4 };

describe("the backlog of writes", () => {
  const cases: readonly [string, Partial<BacklogSigns>, Backlog][] = [
    ["nothing is behind", {}, "open"],
    ["a memory table is full and can be frozen", { fill: 1 }, "open"],
    ["a flush is under way and there is room beside it", { frozenTables: 1, fill: 0.74 }, "open"],
    ["a flush is under way and the next table is nearly full", { frozenTables: 1, fill: 0.75 }, "slow"],
    ["two memory tables are full", { frozenTables: 1, fill: 1 }, "stopped"],
    ["level 0 is due", { levelZeroTables: 7 }, "open"],
    ["level 0 has twice the tables", { levelZeroTables: 8 }, "slow"],
    ["level 0 has three times the tables", { levelZeroTables: 12 }, "stopped"],
    ["a sync is late", { isSyncLate: true }, "stopped"],
  ];
  for (const [title, signs, backlog] of cases) {
    it(`is ${backlog} when ${title}`, () => {
      expect(judgeBacklog({ ...calm, ...signs })).to.equal(backlog);
    });
  }

  it("lets writers go on when there is room, and counts how often it stopped them", async () => {
    const room = new Room();
    await room.wait();
    room.set("stopped", null);
    const events: string[] = [];
    const waiting = room.wait().then(() => events.push("went on"));
    room.set("stopped", null);
    await Promise.resolve();
    expect(events).to.deep.equal([]);
    room.set("slow", null);
    await waiting;
    expect(room.stalls).to.equal(1);
  });

  it("tells writers what keeps room from being made", async () => {
    const room = new Room();
    room.set("stopped", null);
    const waiting = room.wait().catch((error: unknown) => error);
    const failure = new OperatingError("IO", "the disk is full");
    room.set("stopped", failure);
    expect(await waiting).to.equal(failure);
  });
});
