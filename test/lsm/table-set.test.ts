import { expect } from "chai";
import type { Table } from "../../lib/lsm/table.js";
import { TableSet, tableAtOrAfter } from "../../lib/lsm/table-set.js";
import { numbered, put, TableFixture } from "./table-fixture.js";

class SetFixture extends TableFixture {
  readonly unused: number[] = [];
  readonly onUnused = (table: Table) => {
    this.unused.push(table.meta.number);
  };
}

function numbersOf(set: TableSet): number[][] {
  return set.metas().map((level) => level.map(({ number }) => number));
}

describe("lsm table sets", () => {
  it("place new tables: newest first on level 0, by key below", () => {
    const fixture = new SetFixture();
    const set = TableSet.of([], fixture.onUnused);
    const tables = [1, 2, 3, 4, 5].map((number) => fixture.table(number, [put(`k${number}`)]));
    const [one, two, three, four, five] = tables as [Table, Table, Table, Table, Table];
    const add = [
      { level: 0, table: one },
      { level: 0, table: two },
      { level: 2, table: five },
      { level: 2, table: three },
    ];
    const second = set.with({ add, remove: new Set() });
    expect(numbersOf(second)).to.deep.equal([[2, 1], [], [3, 5]]);
    const third = second.with({ add: [{ level: 0, table: four }], remove: new Set([3, 5, 1]) });
    expect(numbersOf(third)).to.deep.equal([[4, 2]]);
    expect(numbersOf(second)).to.deep.equal([[2, 1], [], [3, 5]]);
  });

  it("keep a table until the last set that holds it has lost its last pin", () => {
    const fixture = new SetFixture();
    const first = TableSet.of([[fixture.table(1, numbered(3)), fixture.table(2, numbered(3))]], fixture.onUnused);
    const second = first.with({ add: [], remove: new Set([1]) });
    const third = second.with({ add: [], remove: new Set([2]) });
    first.pin();
    first.unpin();
    second.unpin();
    expect(fixture.unused).to.deep.equal([]);
    first.unpin();
    expect(fixture.unused).to.deep.equal([1, 2]);
    third.unpin();
    expect(fixture.unused).to.deep.equal([1, 2]);
  });

  it("do not call a table unused when it was moved to another level", () => {
    const fixture = new SetFixture();
    const table = fixture.table(1, numbered(3));
    const first = TableSet.of([[table]], fixture.onUnused);
    const second = first.with({ add: [{ level: 1, table }], remove: new Set([1]) });
    first.unpin();
    expect(fixture.unused).to.deep.equal([]);
    expect(numbersOf(second)).to.deep.equal([[], [1]]);
    second.unpin();
    expect(fixture.unused).to.deep.equal([1]);
  });

  it("close the files of unused tables and free their cached blocks", () => {
    const fixture = new SetFixture();
    const set = TableSet.of([[fixture.table(1, numbered(3))]], fixture.onUnused);
    expect(fixture.reader.peek(set, "key00000001", 0xffff_ffff)).to.be.a("number");
    fixture.cache.insert(set.levels[0]![0]!.shelf, 0, Buffer.alloc(10));
    expect(fixture.cache.usedBytes).to.be.above(0);
    set.unpin();
    expect(fixture.cache.usedBytes).to.equal(0);
    expect(fixture.disk.openHandles).to.equal(0);
  });

  it("refuse overlapping tables below level 0, unpinning twice, and removing what is not there", () => {
    const fixture = new SetFixture();
    const tables = [fixture.table(1, numbered(3)), fixture.table(2, numbered(3))];
    expect(() => TableSet.of([[], tables], fixture.onUnused)).to.throw("disjoint");
    const set = TableSet.of([[tables[0]!]], fixture.onUnused);
    expect(() => set.with({ add: [], remove: new Set([9]) })).to.throw("was there");
    set.unpin();
    expect(() => set.unpin()).to.throw("pinned");
    expect(() => set.pin()).to.throw("alive");
  });

  it("close all files at the end without calling a table unused", () => {
    const fixture = new SetFixture();
    const set = TableSet.of([[fixture.table(1, numbered(3))], [fixture.table(2, numbered(3))]], fixture.onUnused);
    set.close();
    expect(fixture.unused).to.deep.equal([]);
    expect(fixture.disk.openHandles).to.equal(0);
  });

  it("find the table of a level that may hold a key", () => {
    const fixture = new SetFixture();
    const level = [fixture.table(1, [put("b"), put("d")]), fixture.table(2, [put("f"), put("h")])];
    const found = ["a", "b", "c", "d", "e", "f", "h", "i"].map((key) => tableAtOrAfter(level, key));
    expect(found).to.deep.equal([0, 0, 0, 0, 1, 1, 1, 2]);
  });
});
