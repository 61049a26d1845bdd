import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { keyHashOf } from "../../lib/lsm/filter.js";
import { Peek } from "../../lib/lsm/peek.js";
import { tableFileName } from "../../lib/lsm/table-format.js";
import { TableSet } from "../../lib/lsm/table-set.js";
import { DIRECTORY, noise, numbered, put, sorted, TableFixture, tombstone } from "./table-fixture.js";

function setOf(fixture: TableFixture, ...levels: Parameters<TableFixture["table"]>[1][][]): TableSet {
  let number = 1;
  return TableSet.of(
    levels.map((level) => level.map((entries) => fixture.table(number++, entries))),
    () => undefined,
  );
}

function peek(fixture: TableFixture, set: TableSet, key: string): string | null | undefined {
  const outcome = fixture.reader.peek(set, key, keyHashOf(key));
  if (outcome === Peek.UNREAD) return undefined;
  const { buffer, start, end } = fixture.reader.found;
  return outcome === Peek.FOUND ? buffer.toString("latin1", start, end) : null;
}

async function read(fixture: TableFixture, set: TableSet, key: string): Promise<string | null> {
  return (await fixture.reader.read(set, key, keyHashOf(key)))?.toString("latin1") ?? null;
}

async function codeOf(work: Promise<unknown>): Promise<string | null> {
  return work.then(
    () => null,
    (error: unknown) => (error instanceof OperatingError ? error.code : "?"),
  );
}

describe("lsm table reader", () => {
  const versions = () => [
    [
      [put("b", "newest"), tombstone("c")],
      [put("a", "newer"), put("b", "newer"), put("c", "newer")],
    ],
    [
      [put("a", "old"), put("d", "old")],
      [tombstone("e"), put("g", "old")],
    ],
    [[put("a", "oldest"), put("e", "oldest"), put("f", "oldest")]],
  ];

  it("answers with the newest entry, a tombstone being absence", async () => {
    const fixture = new TableFixture();
    const set = setOf(fixture, ...versions());
    const expected = { a: "newer", b: "newest", c: null, d: "old", e: null, f: "oldest", g: "old", h: null, "": null };
    for (const [key, value] of Object.entries(expected)) {
      expect(peek(fixture, set, key), `peek ${key}`).to.equal(value);
      expect(await read(fixture, set, key), `read ${key}`).to.equal(value);
    }
  });

  it("answers the same when no read may block", async () => {
    const fixture = new TableFixture();
    const set = setOf(fixture, ...versions());
    fixture.forbidBlocking();
    expect(peek(fixture, set, "a")).to.equal(undefined);
    expect(peek(fixture, set, "nowhere")).to.equal(null);
    for (const [key, value] of Object.entries({ a: "newer", b: "newest", c: null, e: null, f: "oldest" })) {
      expect(await read(fixture, set, key)).to.equal(value);
      expect(peek(fixture, set, key), "cached by now").to.equal(value);
    }
    expect(fixture.reader.stats.blockingReads).to.equal(0);
  });

  it("reads a block once for all who wait for it, and once for all who follow", async () => {
    const fixture = new TableFixture();
    const entries = numbered(20);
    const set = setOf(fixture, [entries]);
    fixture.forbidBlocking();
    fixture.disk.holdsReads = true;
    const before = fixture.disk.reads;
    const waiting = entries.map(({ key }) => read(fixture, set, key));
    fixture.disk.releaseReads();
    expect(await Promise.all(waiting)).to.deep.equal(entries.map(({ value }) => value.toString("latin1")));
    for (const { key, value } of entries) expect(peek(fixture, set, key)).to.equal(value.toString("latin1"));
    expect(fixture.disk.reads - before).to.equal(1);
  });

  it("keeps the tables that it reads while the set is given up", async () => {
    const fixture = new TableFixture();
    const unused: number[] = [];
    const set = TableSet.of([[fixture.table(1, numbered(3))]], (table) => unused.push(table.meta.number));
    fixture.forbidBlocking();
    fixture.disk.holdsReads = true;
    const waiting = fixture.reader.read(set, "key00000001", keyHashOf("key00000001"));
    set.unpin();
    expect(unused).to.deep.equal([]);
    fixture.disk.releaseReads();
    expect(await waiting).to.have.length(100);
    expect(unused).to.deep.equal([1]);
  });

  it("hands out bytes of a read that nothing overwrites", async () => {
    const fixture = new TableFixture({ cacheBytes: 0 });
    const entries = numbered(2_000);
    const set = setOf(fixture, [entries]);
    const { key, value } = entries[0]!;
    const bytes = await fixture.reader.read(set, key, keyHashOf(key));
    for (const entry of entries) peek(fixture, set, entry.key);
    expect(bytes!.equals(value)).to.equal(true);
  });

  it("passes the cache with values longer than a block, and reads very long ones without blocking", async () => {
    const fixture = new TableFixture();
    const longer = put("longer", noise(10_000));
    const longest = put("longest", noise(1_000_000));
    const set = setOf(fixture, [sorted([longer, longest])]);
    expect(peek(fixture, set, "longer")).to.equal(longer.value.toString("latin1"));
    expect(peek(fixture, set, "longest")).to.equal(undefined);
    expect(await read(fixture, set, "longest")).to.equal(longest.value.toString("latin1"));
    expect(fixture.cache.usedBytes).to.equal(0);
  });

  it("reads within its open files, however many tables there are", async () => {
    const fixture = new TableFixture({ openFilesMax: 3, cacheBytes: 0 });
    const tables = Array.from({ length: 40 }, (_, index) => numbered(3, { from: 10 * index }));
    const set = setOf(fixture, [], tables);
    for (const entries of [...tables, ...tables.reverse()]) {
      const { key, value } = entries[1]!;
      expect(peek(fixture, set, key)).to.equal(value.toString("latin1"));
      expect(await read(fixture, set, key)).to.equal(value.toString("latin1"));
      expect(fixture.disk.openHandles).to.be.at.most(3);
    }
  });

  it("keeps files open that are being read, and closes them afterwards", async () => {
    const fixture = new TableFixture({ openFilesMax: 2 });
    const tables = Array.from({ length: 6 }, (_, index) => numbered(3, { from: 10 * index }));
    const set = setOf(fixture, [], tables);
    fixture.forbidBlocking();
    fixture.disk.holdsReads = true;
    const waiting = tables.map((entries) => read(fixture, set, entries[0]!.key));
    fixture.disk.releaseReads();
    expect((await Promise.all(waiting)).map((value) => value?.length)).to.deep.equal(Array(6).fill(100));
    expect(fixture.disk.openHandles).to.equal(6);
    fixture.files.file(`${DIRECTORY}/${tableFileName(1)}`).readNow(0, Buffer.alloc(1), 1);
    expect(fixture.disk.openHandles).to.equal(2);
  });

  it("reports damage as corrupt, never as absence", async () => {
    const fixture = new TableFixture();
    const entries = numbered(3);
    const set = setOf(fixture, [entries]);
    const path = `${DIRECTORY}/${tableFileName(1)}`;
    fixture.disk.files.get(path)![5]! ^= 4;
    for (const { key } of entries) {
      expect(() => peek(fixture, set, key)).to.throw(OperatingError, path);
      expect(await codeOf(read(fixture, set, key))).to.equal("CORRUPT");
    }
  });
});
