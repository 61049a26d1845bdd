import { expect } from "chai";
import fc from "fast-check";
import { OperatingError } from "../../lib/errors.js";
import { keyHashOf } from "../../lib/lsm/filter.js";
import { describePiece, inspectFile } from "../../lib/lsm/inspect.js";
import { Table } from "../../lib/lsm/table.js";
import { checkTable } from "../../lib/lsm/table-check.js";
import { jobCursor } from "../../lib/lsm/table-cursor.js";
import { tableFileName, tableNumberOf } from "../../lib/lsm/table-format.js";
import { TableSet } from "../../lib/lsm/table-set.js";
import {
  arbitraryEntries,
  DIRECTORY,
  type Entry,
  noise,
  numbered,
  put,
  sorted,
  TableFixture,
  tombstone,
} from "./table-fixture.js";

const PATH = `${DIRECTORY}/${tableFileName(7)}`;

/** Table 7 of format 1 as it was first written; it must stay readable. */
const GOLDEN =
  "ZhgACzFrZXkwDQEdCwAvLgwACAoBMR0nADEdHAAxARwAMhksADIdHCQyLwoBADMAAAEAAeKf3LZ+GAALMWtleTAJAQA0HQsALy4MAAwKATE1GRAANR0cADUBHAA2" +
  "GRwANh0cADYBHAQ3axVfADcdHBQ3LwAAAQABPZQ0cwACAf8AAAABAADqgoT/VwAAAAfm7Oi5dMW0eeQzKQByR8q1CQELAegnGAsCA2tleTAwMDAwMDAw/wA4AEQL" +
  "a2V5MDAwMDAwMDQOAf8AahevwYoAAAAVAAAAnwAAAC4AAAAHAAAAAQAAAAtmS1lLRFRC";

function codeOf(run: () => unknown): string | null {
  try {
    run();
    return null;
  } catch (error) {
    if (error instanceof OperatingError) return error.code;
    throw error;
  }
}

/** All that a table holds, through a job's cursor. */
function entriesOf(table: Table): Entry[] {
  const cursor = jobCursor([table]);
  const entries: Entry[] = [];
  for (let step = cursor.seek(""); step === 1; step = cursor.next()) {
    const { key, kind, buffer, start, end } = cursor;
    entries.push({ key, kind, value: Buffer.from(buffer.subarray(start, end)) });
  }
  return entries;
}

describe("lsm tables", () => {
  it("hold what was written, whatever the entries and the block size", () => {
    fc.assert(
      fc.property(arbitraryEntries(), fc.constantFrom(64, 512, 4_096), (entries, blockBytes) => {
        const fixture = new TableFixture({ blockBytes });
        const meta = fixture.write(7, entries);
        const table = fixture.open(7);
        expect(table.meta).to.deep.equal(meta);
        expect(entriesOf(table)).to.deep.equal(entries);
        expect(checkTable({ disk: fixture.disk, directory: DIRECTORY, number: 7, meta }).meta).to.deep.equal(meta);
      }),
      { numRuns: 150 },
    );
  });

  it("find every key and no other, and a value that was cached is the value that was read", () => {
    fc.assert(
      fc.property(arbitraryEntries(), arbitraryEntries(), fc.constantFrom(64, 512, 4_096), (entries, others, blockBytes) => {
        const fixture = new TableFixture({ blockBytes, cacheBytes: 0 });
        const set = TableSet.of([[fixture.table(7, entries)]], () => undefined);
        const known = new Map(entries.map((entry) => [entry.key, entry]));
        for (const { key } of [...entries, ...entries, ...others]) {
          const expected = known.get(key);
          const isFound = fixture.reader.peek(set, key, keyHashOf(key)) === 1;
          expect(isFound).to.equal(expected?.kind === 1);
          const { buffer, start, end } = fixture.reader.found;
          if (isFound) expect(buffer.subarray(start, end).equals(expected!.value)).to.equal(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("seek to the first key at or after any key", () => {
    fc.assert(
      fc.property(arbitraryEntries(), arbitraryEntries(), (entries, targets) => {
        const fixture = new TableFixture({ blockBytes: 128 });
        const cursor = jobCursor([fixture.table(7, entries)]);
        for (const { key } of [...targets, ...entries]) {
          const expected = entries.find((entry) => entry.key >= key);
          expect(cursor.seek(key)).to.equal(expected === undefined ? 0 : 1);
          if (expected !== undefined) expect(cursor.key).to.equal(expected.key);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("hold keys up to 64 KB beside short ones, and values from 0 bytes to 1 MB", () => {
    const fixture = new TableFixture();
    const prefix = "p".repeat(65_500);
    const entries = sorted([
      put("a", ""),
      put("b", Buffer.alloc(1_048_576, "0123456789")),
      put("c", Buffer.alloc(4_096, 1)),
      ...numbered(40, { prefix, valueBytes: 50 }),
      put("z", Buffer.alloc(10_240, 2)),
    ]);
    const table = fixture.table(7, entries);
    expect(entriesOf(table)).to.deep.equal(entries);
    checkTable({ disk: fixture.disk, directory: DIRECTORY, number: 7 });
  });

  it("find blocks whose starts agree in many bytes", () => {
    const fixture = new TableFixture({ blockBytes: 64 });
    const entries = sorted([put("a"), ...numbered(200, { prefix: "m".repeat(30), valueBytes: 20 }), put("z")]);
    fixture.write(7, entries);
    checkTable({ disk: fixture.disk, directory: DIRECTORY, number: 7 });
  });

  it("take less than 3 bytes of memory a pair at values of 100 bytes", () => {
    const fixture = new TableFixture({ cacheBytes: 4_096 * 5_000 });
    const entries = sorted(
      numbered(30_000).map(({ key, value }) => {
        // The layout of the engine's keys: space, slot, database, hash, key.
        const hash = keyHashOf(key);
        const bytes = Buffer.alloc(8);
        bytes.writeUInt16BE(hash & 16_383, 1);
        bytes.writeUInt32BE(keyHashOf(`${key}/`), 4);
        return put(bytes.toString("latin1") + key, value);
      }),
    );
    const table = fixture.table(7, entries);
    expect(table.memoryBytes / entries.length).to.be.below(3);
  });

  it("of format 1 are read as they were written", () => {
    const fixture = new TableFixture();
    fixture.disk.files.set(PATH, Buffer.from(GOLDEN, "base64"));
    const entries = sorted([...numbered(8, { valueBytes: 24 }), tombstone("key00000003"), put("\xff\x00", "")]);
    const table = fixture.open(7);
    expect(entriesOf(table)).to.deep.equal(entries);
    checkTable({ disk: fixture.disk, directory: DIRECTORY, number: 7 });
    expect(table.meta).to.deep.include({ tombstones: 1, expiring: [{ byMs: 1_000 + 4_096, bytes: 24 }] });
  });

  it("compress what can be compressed", () => {
    const fixture = new TableFixture();
    const entries = numbered(1_000, { valueBytes: 1_000 });
    expect(fixture.write(7, entries).bytes).to.be.below(300_000);
  });

  it("report a flipped bit anywhere in the file as corrupt", () => {
    const fixture = new TableFixture({ blockBytes: 256 });
    const entries = sorted([...numbered(60, { valueBytes: 40 }), tombstone("key1"), put("raw", noise(400))]);
    fixture.write(7, entries);
    const whole = Buffer.from(fixture.disk.files.get(PATH)!);
    for (let at = 0; at < whole.length; at++) {
      const damaged = Buffer.from(whole);
      damaged[at]! ^= 1 << (at % 8);
      fixture.disk.files.set(PATH, damaged);
      const code = codeOf(() => checkTable({ disk: fixture.disk, directory: DIRECTORY, number: 7 }));
      expect(code, `byte ${at} of ${whole.length}`).to.equal("CORRUPT");
    }
  });

  it("report a file that was cut anywhere, emptied or lost as corrupt", () => {
    const fixture = new TableFixture({ blockBytes: 256 });
    fixture.write(7, numbered(30));
    const whole = fixture.disk.files.get(PATH)!;
    for (let length = 0; length < whole.length; length++) {
      fixture.disk.files.set(PATH, whole.subarray(0, length));
      expect(codeOf(() => fixture.open(7))).to.equal("CORRUPT");
    }
    fixture.disk.remove(PATH);
    expect(codeOf(() => fixture.open(7))).to.equal("CORRUPT");
    expect(fixture.disk.openHandles).to.equal(0);
  });

  it("are refused when they are not the table that the manifest means", () => {
    const fixture = new TableFixture();
    const meta = fixture.write(7, numbered(30));
    fixture.disk.rename(PATH, `${DIRECTORY}/${tableFileName(8)}`);
    expect(codeOf(() => fixture.open(8))).to.equal("CORRUPT");
    fixture.disk.rename(`${DIRECTORY}/${tableFileName(8)}`, PATH);
    const other = { ...meta, entries: 31 };
    const { files, cache } = fixture;
    expect(codeOf(() => Table.open({ files, cache, directory: DIRECTORY, number: 7, meta: other }))).to.equal("CORRUPT");
    expect(codeOf(() => Table.open({ files, cache, directory: DIRECTORY, number: 7, meta }))).to.equal(null);
  });

  it("tell by themselves what they hold", () => {
    const fixture = new TableFixture();
    const entries = sorted([...numbered(100), tombstone("gone"), tombstone("key99999999")]);
    const meta = fixture.write(7, entries);
    const pieces = [...inspectFile(fixture.disk, PATH)];
    expect(pieces[0]).to.deep.include(meta);
    expect(pieces.filter(({ is }) => is === "entry").length).to.equal(100);
    expect(pieces.filter(({ is }) => is === "removed").map(({ key }) => key)).to.deep.equal(["gone", "key99999999"]);
    expect(pieces.map(describePiece).at(-1)).to.equal("removed: key key99999999");
    expect(meta).to.include({ entries: 102, tombstones: 2, tombstoneBytes: 15, first: "gone", last: "key99999999" });
  });

  it("know by when how many bytes will have expired, never too early", () => {
    const fixture = new TableFixture();
    const nowMs = 1_700_000_000_000;
    const writer = fixture.writer(7, nowMs);
    const value = Buffer.alloc(10);
    writer.add("a", 1, value, 0, 10);
    writer.add("b", 1, value, 0, 10, nowMs + 1_000);
    writer.add("c", 1, value, 0, 10, nowMs + 900);
    writer.add("d", 1, value, 0, 10, nowMs + 86_400_000);
    const { expiring } = writer.finish();
    expect(expiring.map(({ bytes }) => bytes)).to.deep.equal([20, 10]);
    expect(expiring[0]!.byMs - nowMs).to.be.within(1_000, 2_000);
    expect(expiring[1]!.byMs - nowMs).to.be.within(86_400_000, 2 * 86_400_000);
    expect(fixture.open(7).meta.expiring).to.deep.equal(expiring);
  });

  it("are synced in parts while they are written, and leave nothing when abandoned", () => {
    const fixture = new TableFixture();
    const writer = fixture.writer(7);
    const value = noise(60_000);
    let returned = 0;
    for (const { key, kind } of numbered(120)) returned += writer.add(key, kind, value, 0, value.length);
    expect(returned).to.equal(writer.fileBytes);
    expect(writer.fileBytes).to.be.above(6_000_000);
    expect(fixture.disk.largestUnsyncedBytes).to.be.below(5_000_000);
    writer.abandon();
    writer.abandon();
    expect(fixture.disk.files.size).to.equal(0);
    expect(fixture.disk.openHandles).to.equal(0);
  });

  it("have names that lead back to their numbers", () => {
    expect(tableFileName(12)).to.equal("00000012.table");
    expect(tableNumberOf("00000012.table")).to.equal(12);
    expect(tableNumberOf(tableFileName(123_456_789))).to.equal(123_456_789);
    for (const name of ["12.table", "00000012.log", "00000012.table.new", "x0000012.table"])
      expect(tableNumberOf(name)).to.equal(null);
  });
});
