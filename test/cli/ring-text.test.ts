import { expect } from "chai";
import { ringText, statusText, whereText } from "../../lib/cli/ring-text.js";
import type { Style } from "../../lib/cli/table.js";
import type { MemberRow, OwnershipRow, RingReply, StatusReply, WhereReply, WhereRow } from "../../lib/commands/cluster-view.js";

const PLAIN: Style = { colours: "none" };
const NOW_MS = 1_700_000_000_000;

function row(letter: string, differences: Partial<MemberRow> = {}): MemberRow {
  return {
    id: letter.repeat(16),
    name: `node-${letter}`,
    host: `host-${letter}`,
    rack: "r1",
    dc: "dc1",
    weight: 1,
    clientAddress: `10.0.0.1:700${letter.charCodeAt(0) - 97}`,
    peerAddress: "10.0.0.1:17000",
    state: "up",
    sinceMs: NOW_MS - 2 * 3_600_000,
    ownershipPercent: 66.67,
    fairPercent: 66.67,
    requestsPerSecond: 1_200,
    storedBytes: 1_610_612_736,
    waitingHints: 0,
    busyPermille: 426,
    diskFreeBytes: 8_589_934_592,
    heardAgoMs: 900,
    softwareVersion: "0.1.0",
    protocolVersion: 2,
    isSelf: false,
    ...differences,
  };
}

const STATUS: StatusReply = {
  ringVersion: 4,
  clusterId: "3f".repeat(16),
  replicas: { default: 3, dcs: { dc2: 1 } },
  nowMs: NOW_MS,
  members: [
    row("a", { isSelf: true }),
    row("b", { state: "down", sinceMs: NOW_MS - 5_000, waitingHints: 12_345, weight: 0.5 }),
    row("c", {
      host: null,
      rack: null,
      weight: null,
      state: "joining",
      sinceMs: null,
      storedBytes: null,
      busyPermille: null,
      clientAddress: null,
    }),
  ],
  pending: [
    {
      kind: "join",
      progress: "under way",
      id: "c".repeat(16),
      name: "node-c",
      replaces: null,
      sinceVersion: 4,
      waitsFor: ["node-b, which speaks protocol 1: upgrade it first"],
    },
    {
      kind: "replace",
      progress: "waiting",
      id: "d".repeat(16),
      name: "node-d",
      replaces: { id: "b".repeat(16), name: "node-b" },
      sinceVersion: 3,
      waitsFor: [],
    },
  ],
  transfers: [{ id: "d", name: "node-d", isDone: false, slotsDone: 512, slots: 4_096, records: 1, bytes: 2_048 }],
  warnings: ["node-b is down"],
};

describe("kindred status", () => {
  it("prints a line a member, what is pending, and warnings", () => {
    expect(statusText(STATUS, PLAIN).split("\n")).to.deep.equal([
      "cluster 3f3f3f3f3f3f   ring version 4   3 copies of each key, 1 in dc2",
      "",
      "MEMBER    STATE    FOR  ADDRESS        HOST    RACK  DC   WEIGHT   OWNS   FAIR  REQ/S  BUSY  STORED   HINTS  VERSION",
      "node-a *  up       2 h  10.0.0.1:7000  host-a  r1    dc1       1  66.7%  66.7%  1,200   43%  1.5 GB       0  0.1.0",
      "node-b    down     5 s  10.0.0.1:7001  host-b  r1    dc1     0.5  66.7%  66.7%  1,200   43%  1.5 GB  12,345  0.1.0",
      "node-c    joining    -  -              -       -     dc1       -  66.7%  66.7%  1,200     -       -       0  0.1.0",
      "* answered",
      "",
      "pending: node-c joins (under way, since version 4); waits for node-b, which speaks protocol 1: upgrade it first",
      "pending: node-d replaces node-b (waiting, since version 3)",
      "node-d takes in 512 of 4,096 slots, 1 record, 2.0 KB",
      "",
      "warning: node-b is down",
      "",
    ]);
  });

  it("says where the copies are when there are several data centres", () => {
    const [a, b] = [row("a"), row("b", { dc: "dc2" })];
    const titleOf = (differences: Partial<StatusReply>): string =>
      statusText({ ...STATUS, members: [a, b], ...differences }, PLAIN).split("\n")[0]!;
    expect(titleOf({})).to.match(/ {3}3 copies of each key in each data centre, 1 in dc2$/);
    expect(titleOf({ replicas: { default: 3, dcs: {} } })).to.match(/ {3}3 copies of each key in each data centre$/);
    expect(titleOf({ replicas: { default: 3, dcs: {} }, members: [a] })).to.match(/ {3}3 copies of each key$/);
  });

  it("ends after the table when nothing is pending and nothing is wrong", () => {
    const text = statusText({ ...STATUS, pending: [], transfers: [], warnings: [] }, PLAIN);
    expect(text).to.match(/\* answered\n$/);
  });

  it("marks states with colours on a terminal, and only there", () => {
    expect(statusText(STATUS, PLAIN)).not.to.include("\u001b");
    const coloured = statusText(STATUS, { colours: "ansi" });
    expect(coloured).to.include("\u001b[32mup\u001b[0m").and.to.include("\u001b[31mdown\u001b[0m");
    expect(coloured).to.include("\u001b[33mjoining\u001b[0m").and.to.include("\u001b[33mwarning:\u001b[0m");
  });

  it("tells members of one name apart by their ids", () => {
    const members = [row("a", { name: "web" }), row("b", { name: "web" }), row("c")];
    const text = statusText({ ...STATUS, members }, PLAIN);
    expect(text).to.include("web (aaaaaaaaaaaa)").and.to.include("web (bbbbbbbbbbbb)").and.not.to.include("node-c (");
  });

  it("shows names that would steer a terminal spelt out", () => {
    const members = [row("a", { name: "\u001b[2J" })];
    const text = statusText({ ...STATUS, members, warnings: ["\u001b[2J is down"] }, PLAIN);
    expect(text).not.to.include("\u001b");
    expect(text).to.include("\\u{1b}[2J is down");
  });
});

describe("kindred ring", () => {
  const owner = (letter: string, differences: Partial<OwnershipRow> = {}): OwnershipRow => ({
    id: letter.repeat(16),
    name: `node-${letter}`,
    host: "h",
    rack: "r1",
    dc: "dc1",
    weight: 1,
    tokens: 64,
    slots: 10_923,
    ownershipPercent: 66.67,
    fairPercent: 66.67,
    ...differences,
  });
  const ring: RingReply = {
    version: 7,
    clusterId: "3f".repeat(16),
    replicas: { default: 1 },
    pending: [],
    removed: [],
    ownership: [owner("a"), owner("b", { ownershipPercent: 68, slots: 11_141 })],
    tokens: 128,
    slotsChanging: 0,
  };

  it("says where the copies are when there are several data centres", () => {
    const text = ringText({ ...ring, ownership: [owner("a"), owner("b", { dc: "dc2" })] }, PLAIN);
    expect(text.split("\n")[0]).to.match(/ {3}1 copy of each key in each data centre$/);
  });

  it("prints who owns how much, against what is fair", () => {
    expect(ringText(ring, PLAIN).split("\n")).to.deep.equal([
      "cluster 3f3f3f3f3f3f   ring version 7   1 copy of each key",
      "",
      "MEMBER  ID                HOST  RACK  DC   WEIGHT  TOKENS   SLOTS   OWNS   FAIR  OF FAIR",
      "node-a  aaaaaaaaaaaaaaaa  h     r1    dc1       1      64  10,923  66.7%  66.7%    1.000",
      "node-b  bbbbbbbbbbbbbbbb  h     r1    dc1       1      64  11,141  68.0%  66.7%    1.020",
      "128 tokens; owns: part of all slots that a member keeps a copy of; fair: what its weight gives it",
      "",
    ]);
  });

  it("says what a change moves and how many were removed", () => {
    const changing = { ...ring, pending: [{}], slotsChanging: 4_096, removed: ["c".repeat(16)] };
    const text = ringText({ ...changing, ownership: [owner("d", { fairPercent: 0, ownershipPercent: 0 })] }, PLAIN);
    expect(text).to.include("1 change pending; the one under way moves 4,096 slots\n");
    expect(text).to.include("1 id was removed and will not be let in again\n");
    expect(text).to.match(/0\.0% +0\.0% +-\n/);
  });
});

describe("kindred where", () => {
  const version = {
    valueBytes: 25,
    clock: "node-a:3",
    dot: "node-a:3",
    stampMs: NOW_MS,
    isTombstone: false,
    expiryMs: 0,
  };
  const target = (letter: string, rank: number) =>
    ({ id: letter.repeat(16), name: `node-${letter}`, dc: "dc1", role: "replica", rank, state: "up" }) as const;
  const holding = (letter: string, rank: number): WhereRow => ({
    ...target(letter, rank),
    answer: "holds",
    versions: [version],
    context: "node-a:3",
  });
  const reply = (...members: WhereRow[]): WhereReply => ({ key: "user:1", database: 2, slot: 10_778, members });

  it("prints a line a version, and who did not answer", () => {
    const sibling = { ...version, dot: "node-b:1", clock: "node-b:1", isTombstone: true, expiryMs: null };
    const text = whereText(
      reply(
        { ...target("a", 1), answer: "holds", versions: [version, sibling], context: "node-a:3 node-b:1" },
        { ...target("b", 2), answer: "absent" },
        {
          ...target("c", 1),
          dc: "dc1",
          role: "new owner",
          state: "down",
          answer: "unreachable",
          reason: "no answer within 2000 ms",
        },
      ),
      PLAIN,
    );
    expect(text.split("\n")).to.deep.equal([
      'key "user:1" of database 2 is in slot 10778',
      "",
      "RANK  MEMBER  ROLE       STATE  ANSWER       VERSION   CLOCK     WRITTEN                     VALUE  EXPIRES",
      "   1  node-a  replica    up     holds        node-a:3  node-a:3  2023-11-14 22:13:20.000Z     25 B  never",
      "                                             node-b:1  node-b:1  2023-11-14 22:13:20.000Z  removed  -",
      "   2  node-b  replica    up     absent       -         -         -                               -  -",
      "   1  node-c  new owner  down   unreachable  -         -         -                               -  -",
      "the 2 of 3 that answered do not hold the same: a read or anti-entropy will even it out",
      "",
      "node-c did not answer: no answer within 2000 ms",
      "",
    ]);
  });

  it("shows data centres where the copies are in several", () => {
    const text = whereText(reply(holding("a", 1), { ...holding("b", 2), dc: "dc2" }), PLAIN);
    expect(text.split("\n")[2]).to.match(/^RANK {2}MEMBER {2}DC {3}ROLE /);
    expect(text.split("\n")[4]).to.match(/^ {3}2 {2}node-b {2}dc2 {2}replica /);
  });

  it("says whether the copies agree", () => {
    const absent: WhereRow = { ...target("b", 2), answer: "absent" };
    const silent: WhereRow = { ...target("c", 3), answer: "unreachable", reason: "gone" };
    const siblings = [version, { ...version, dot: "node-b:1" }];
    const split: WhereRow = { ...target("a", 1), answer: "holds", versions: siblings, context: null };
    const says = (...rows: WhereRow[]) => whereText(reply(...rows), PLAIN);
    expect(says(holding("a", 1), holding("b", 2))).to.include("all hold the same\n");
    expect(says(holding("a", 1), silent)).to.include("the 1 of 2 that answered hold the same\n");
    expect(says(split, { ...split, ...target("b", 2) })).to.include("all hold the same 2 siblings\n");
    expect(says(holding("a", 1), absent)).to.include("all do not hold the same");
    expect(says(absent)).to.include("all hold nothing of it\n");
    expect(says(silent)).to.include("nobody answered\n");
  });

  it("shows a key's control characters spelt out", () => {
    expect(whereText({ ...reply(), key: "a\u001b[2J" }, PLAIN)).to.include('key "a\\u{1b}[2J" of');
  });
});
