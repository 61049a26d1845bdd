import { expect } from "chai";
import fc from "fast-check";
import { BlockBuilder, BlockSearch, BlockWalk } from "../../lib/lsm/block.js";
import { arbitraryEntries, type Entry, numbered, put } from "./table-fixture.js";

/** The entries in one block that lies inside a larger buffer. */
function blockOf(entries: readonly Entry[]): { buffer: Buffer; base: number; length: number } {
  const builder = new BlockBuilder(32_768);
  for (const { key, kind, value } of entries) builder.add(key, kind, value, 0, value.length);
  const block = builder.finish();
  const base = 13;
  const buffer = Buffer.alloc(base + block.length + 7, 0xee);
  block.copy(buffer, base);
  return { buffer, base, length: block.length };
}

/** As many of the entries as fit into one block. */
function fitting(entries: readonly Entry[]): Entry[] {
  const builder = new BlockBuilder(32_768);
  return entries.filter(({ key, kind, value }) => {
    if (!builder.hasRoomFor(key, value.length)) return false;
    builder.add(key, kind, value, 0, value.length);
    return true;
  });
}

describe("lsm blocks", () => {
  it("find exactly the keys that were added, with their kinds and values", () => {
    fc.assert(
      fc.property(arbitraryEntries(), arbitraryEntries(), (all, others) => {
        const entries = fitting(all);
        const { buffer, base, length } = blockOf(entries);
        const search = new BlockSearch();
        const known = new Map(entries.map((entry) => [entry.key, entry]));
        for (const { key } of [...entries, ...others]) {
          const expected = known.get(key);
          expect(search.find(buffer, base, length, key)).to.equal(expected !== undefined);
          if (expected === undefined) continue;
          expect(search.kind).to.equal(expected.kind);
          expect(buffer.subarray(search.start, search.end).equals(expected.value)).to.equal(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("are walked in order, from their start and from any key", () => {
    fc.assert(
      fc.property(arbitraryEntries(), arbitraryEntries({ maxLength: 20 }), (all, targets) => {
        const entries = fitting(all);
        const { buffer, base, length } = blockOf(entries);
        const walk = new BlockWalk();
        walk.open(buffer, base, length);
        const walked: string[] = [];
        while (walk.next()) walked.push(walk.key());
        expect(walked).to.deep.equal(entries.map(({ key }) => key));
        for (const { key } of targets) {
          const expected = entries.find((entry) => entry.key >= key);
          expect(walk.seek(key)).to.equal(expected !== undefined);
          if (expected !== undefined) expect(walk.key()).to.equal(expected.key);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("hold keys of 64 KB and values of 1 MB, alone", () => {
    const long = put("k".repeat(65_536), Buffer.alloc(1_048_576, 7));
    const builder = new BlockBuilder(4_096);
    builder.add(long.key, long.kind, long.value, 0, long.value.length);
    expect(builder.hasRoomFor(`${long.key}x`, 0)).to.equal(false);
    const block = builder.finish();
    const search = new BlockSearch();
    expect(search.find(block, 0, block.length, long.key)).to.equal(true);
    expect(block.subarray(search.start, search.end).equals(long.value)).to.equal(true);
    expect(search.find(block, 0, block.length, long.key.slice(1))).to.equal(false);
  });

  it("stay within their size unless they hold one entry", () => {
    const builder = new BlockBuilder(4_096);
    let added = 0;
    for (const { key, kind, value } of numbered(1_000, { valueBytes: 37 })) {
      if (!builder.hasRoomFor(key, value.length)) break;
      builder.add(key, kind, value, 0, value.length);
      added++;
    }
    const { length } = builder.finish();
    expect(length).to.be.at.most(4_096);
    expect(length).to.be.above(4_096 - 100);
    expect(added).to.be.above(60);
  });

  it("refuse keys that do not ascend", () => {
    const builder = new BlockBuilder(4_096);
    builder.add("b", 1, Buffer.alloc(0), 0, 0);
    expect(() => builder.add("b", 1, Buffer.alloc(0), 0, 0)).to.throw("ascend");
    expect(() => builder.add("a", 1, Buffer.alloc(0), 0, 0)).to.throw("ascend");
  });
});
