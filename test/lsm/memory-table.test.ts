import { expect } from "chai";
import fc from "fast-check";
import { MemoryTable } from "../../lib/lsm/memory-table.js";
import { keyAt, Slab, viewValue } from "../../lib/lsm/slab.js";
import { SortedKeys } from "../../lib/lsm/sorted-keys.js";
import { WriteBatch } from "../../lib/lsm/write-batch.js";

const keyArbitrary = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 6,
});

describe("SortedKeys", () => {
  it("finds what sorting everything would find, whatever was asked before keys were added", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(keyArbitrary, keyArbitrary), { maxLength: 60 }), (steps) => {
        const [first] = steps;
        const keys = first === undefined ? [] : [first[0]];
        const sorted = new SortedKeys(keys);
        for (const [added, asked] of steps) {
          if (!keys.includes(added)) {
            keys.push(added);
            sorted.add(added);
          }
          const expected = [...keys].sort().find((key) => key >= asked) ?? null;
          expect(sorted.ceiling(asked)).to.equal(expected);
        }
      }),
    );
  });
});

/** Calls `store` with a pair as the log holds it. */
function withPair<Result>(key: string, value: Buffer, store: (bytes: Buffer, start: number, end: number) => Result): Result {
  const batch = new WriteBatch();
  const start = batch.put(key, value, 0, value.length);
  return store(batch.bytes, start, batch.end);
}

describe("MemoryTable", () => {
  const put = (table: MemoryTable, key: string, value: Buffer): void =>
    withPair(key, value, (bytes, start, end) => table.put(key, bytes, start, end));
  const storedUnder = (table: MemoryTable, key: string): string | null => {
    const found = { buffer: Buffer.alloc(0), start: 0, end: 0 };
    const place = table.find(key);
    if (place <= 0) return null;
    table.view(place, found);
    return found.buffer.toString("latin1", found.start, found.end);
  };

  type Kind = "put" | "remove" | "clear" | "seal" | "undo" | "pin" | "unpin";
  type Step = { kind: Kind; key: string; length: number };
  const stepArbitrary: fc.Arbitrary<Step> = fc.record({
    kind: fc.constantFrom<Kind>("put", "put", "put", "remove", "clear", "seal", "seal", "undo", "pin", "unpin"),
    key: fc.constantFrom("a", "b", "bb", "c\0"),
    length: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 300 })),
  });

  it("is a map whose unsealed changes can be undone, however often its slab grows and its places are used again", () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 120 }), (steps) => {
        const table = new MemoryTable(new Slab(1));
        let sealed = new Map<string, string>();
        let current = new Map<string, string>();
        /** What a scan has in hand, while it pins the table. */
        let seen: { place: number; value: string }[] = [];
        const found = { buffer: Buffer.alloc(0), start: 0, end: 0 };
        for (const [at, { kind, key, length }] of steps.entries()) {
          const value = String.fromCharCode(97 + (at % 26)).repeat(length);
          if (kind === "put") put(table, key, Buffer.from(value));
          else if (kind === "remove") table.remove(key);
          else if (kind === "clear") table.clear();
          else if (kind === "seal") table.seal();
          else if (kind === "undo") table.undo();
          else if (kind === "pin" && table.pins === 0) {
            table.pins = 1;
            seen = [...current].map(([present, stored]) => ({ place: table.find(present), value: stored }));
          } else if (kind === "unpin") {
            table.pins = 0;
            seen = [];
          }
          if (kind === "put") current.set(key, value);
          else if (kind === "remove") current.delete(key);
          else if (kind === "clear") current.clear();
          else if (kind === "seal") sealed = new Map(current);
          else if (kind === "undo") current = new Map(sealed);
          for (const asked of ["a", "b", "bb", "c\0"]) expect(storedUnder(table, asked)).to.equal(current.get(asked) ?? null);
          for (const { place, value: stored } of seen) {
            table.view(place, found);
            expect(found.buffer.toString("latin1", found.start, found.end)).to.equal(stored);
          }
          const first = [...current.keys()].sort()[0] ?? null;
          if (first !== null) expect(table.ceiling(first)).to.equal(first);
        }
      }),
    );
  });

  it("does not grow while the same keys are overwritten, sealed or refused", () => {
    const table = new MemoryTable(new Slab(1024));
    const value = Buffer.alloc(1000);
    let usedAfterTwo = 0;
    for (let round = 0; round < 100; round++) {
      put(table, "key", value.subarray(round % 7));
      put(table, `new ${round % 2}`, value.subarray(0, 10));
      table.remove("removed");
      if (round % 3 === 0) table.undo();
      else table.seal();
      if (round === 12) usedAfterTwo = table.bytes;
    }
    expect(table.bytes).to.equal(usedAfterTwo);
  });
});

describe("Slab", () => {
  const add = (slab: Slab, key: string, value: Buffer): number =>
    withPair(key, value, (bytes, start, end) => slab.add(bytes, start, end));

  it("says when it had to grow beyond what it was made for", () => {
    const slab = new Slab(1024);
    add(slab, "key", Buffer.alloc(1000));
    expect(slab.hasGrown).to.equal(false);
    add(slab, "key", Buffer.alloc(100_000));
    expect(slab.hasGrown).to.equal(true);
  });

  it("gives back what was put, whatever its length, and takes its place again", () => {
    const view = { start: 0, end: 0 };
    const length = fc.constantFrom(0, 1, 14, 15, 16, 127, 128, 16_383, 16_384, 70_000);
    fc.assert(
      fc.property(length, length, (keyBytes, valueBytes) => {
        fc.pre(keyBytes <= 65_536);
        const slab = new Slab(64);
        const key = "k".repeat(keyBytes);
        const value = Buffer.alloc(valueBytes, "x");
        add(slab, "before", Buffer.alloc(3));
        const at = add(slab, key, value);
        add(slab, "after", Buffer.alloc(3));
        viewValue(slab.bytes, at, view);
        expect(slab.bytes.subarray(view.start, view.end).equals(value)).to.equal(true);
        expect(keyAt(slab.bytes, at)).to.equal(key);
        slab.release(at);
        if (keyBytes + valueBytes < 65_000) expect(add(slab, key, value)).to.equal(at);
      }),
    );
  });
});
