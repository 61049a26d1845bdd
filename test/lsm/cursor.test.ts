import { expect } from "chai";
import fc from "fast-check";
import { type Cursor, MergeCursor, Step } from "../../lib/lsm/cursor.js";
import { cursorsOf } from "../../lib/lsm/table-cursor.js";
import { TableSet } from "../../lib/lsm/table-set.js";
import { arbitraryEntries, type Entry, noise, numbered, put, sorted, TableFixture } from "./table-fixture.js";

async function finished(cursor: Cursor, step: Step): Promise<Step> {
  return step === Step.UNREAD ? cursor.load() : step;
}

/** The entries from `key` on, at most `limit`. */
async function entriesFrom(cursor: Cursor, key: string, limit = Number.POSITIVE_INFINITY): Promise<Entry[]> {
  const entries: Entry[] = [];
  let step = await finished(cursor, cursor.seek(key));
  while (step === Step.ENTRY && entries.length < limit) {
    const { key, kind, buffer, start, end } = cursor;
    entries.push({ key, kind, value: Buffer.from(buffer.subarray(start, end)) });
    step = await finished(cursor, cursor.next());
  }
  return entries;
}

/** Levels as the engine makes them: the first two overlap on level 0, the others are cut into tables of a level each. */
function setOf(fixture: TableFixture, runs: readonly (readonly Entry[])[]): TableSet {
  let number = 1;
  const newest = runs.slice(0, 2).map((entries) => fixture.table(number++, entries));
  const deeper = runs.slice(2).map((entries) => {
    const middle = Math.ceil(entries.length / 2);
    const parts = [entries.slice(0, middle), entries.slice(middle)].filter((part) => part.length > 0);
    return parts.map((part) => fixture.table(number++, part));
  });
  return TableSet.of([newest, ...deeper], () => undefined);
}

describe("lsm cursors", () => {
  const runs = fc.array(arbitraryEntries({ maxLength: 60 }), { minLength: 1, maxLength: 5 });

  for (const mode of ["blocking", "waiting"] as const) {
    it(`merge levels like a map to which they were applied, oldest first (${mode})`, async () => {
      await fc.assert(
        fc.asyncProperty(runs, arbitraryEntries({ maxLength: 5 }), async (runs, targets) => {
          const fixture = new TableFixture({ blockBytes: 128 });
          const set = setOf(fixture, runs);
          if (mode === "waiting") fixture.forbidBlocking();
          const model = sorted([...runs].reverse().flat());
          const cursor = new MergeCursor(cursorsOf(set, fixture.reader));
          for (const key of ["", ...targets.map((target) => target.key)]) {
            const expected = model.filter((entry) => entry.key >= key);
            expect(await entriesFrom(cursor, key)).to.deep.equal(expected);
          }
        }),
        { numRuns: 40 },
      );
    });
  }

  it("of scans take cached blocks without reading, and leave the cache as it is", async () => {
    const fixture = new TableFixture();
    const table = fixture.table(1, numbered(30));
    const set = TableSet.of([[table]], () => undefined);
    fixture.cache.insert(table.shelf, 0, await table.readBlock(0));
    const { reads } = fixture.disk;
    expect(await entriesFrom(new MergeCursor(cursorsOf(set, fixture.reader)), "")).to.have.length(30);
    expect(fixture.disk.reads).to.equal(reads);
  });

  it("of scans read one block for a short scan, and long pieces for a long one", async () => {
    const fixture = new TableFixture();
    const entries = numbered(4_000).map(({ key }, index) => put(key, noise(100, index)));
    const set = TableSet.of([[fixture.table(1, entries)]], () => undefined);
    const { reads } = fixture.disk;
    expect(await entriesFrom(new MergeCursor(cursorsOf(set, fixture.reader)), entries[100]!.key, 10)).to.have.length(10);
    expect(fixture.disk.reads - reads).to.be.at.most(2);
    expect(await entriesFrom(new MergeCursor(cursorsOf(set, fixture.reader)), "")).to.deep.equal(entries);
    expect(fixture.disk.reads - reads).to.be.below(20);
    expect(fixture.cache.usedBytes).to.equal(0);
  });
});
