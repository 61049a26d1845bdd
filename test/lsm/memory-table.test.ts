import { expect } from "chai";
import fc from "fast-check";
import { DELETED, MemoryTable, newSlab, UNKNOWN } from "../../lib/lsm/memory-table.js";
import { SortedKeys } from "../../lib/lsm/sorted-keys.js";

const keyArbitrary = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 6,
});

describe("SortedKeys", () => {
  it("finds what sorting everything would find, whatever was asked before keys were added", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(keyArbitrary, keyArbitrary), { maxLength: 60 }), (steps) => {
        const keys: string[] = [];
        const sorted = new SortedKeys({ count: () => keys.length, key: (index) => keys[index]! });
        for (const [added, asked] of steps) {
          if (!keys.includes(added)) keys.push(added);
          const expected = [...keys].sort().find((key) => key >= asked) ?? null;
          expect(sorted.ceiling(asked)).to.equal(expected);
        }
      }),
    );
  });
});

describe("MemoryTable", () => {
  const storedUnder = (table: MemoryTable, key: string): string | null => {
    const found = { buffer: Buffer.alloc(0), start: 0, end: 0 };
    const place = table.find(key);
    if (place === DELETED || place === UNKNOWN) return null;
    table.view(place, found);
    return found.buffer.toString("latin1", found.start, found.end);
  };

  type Step = { kind: "put" | "remove" | "clear" | "seal" | "undo"; key: string; length: number };
  const stepArbitrary: fc.Arbitrary<Step> = fc.record({
    kind: fc.constantFrom("put", "put", "put", "remove", "clear", "seal", "undo"),
    key: fc.constantFrom("a", "b", "bb", "c\0"),
    length: fc.integer({ min: 0, max: 300 }),
  });

  it("is a map whose unsealed changes can be undone, however often its slab grows", () => {
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 80 }), (steps) => {
        const table = new MemoryTable(Buffer.alloc(64));
        let sealed = new Map<string, string>();
        let current = new Map<string, string>();
        for (const { kind, key, length } of steps) {
          const value = "v".repeat(length);
          if (kind === "put") table.put(key, Buffer.from(value), 0, length);
          else if (kind === "remove") table.remove(key);
          else if (kind === "clear") table.clear();
          else if (kind === "seal") table.seal();
          else table.undo();
          if (kind === "put") current.set(key, value);
          else if (kind === "remove") current.delete(key);
          else if (kind === "clear") current.clear();
          else if (kind === "seal") sealed = new Map(current);
          else current = new Map(sealed);
          for (const asked of ["a", "b", "bb", "c\0"]) expect(storedUnder(table, asked)).to.equal(current.get(asked) ?? null);
          const first = [...current.keys()].sort()[0] ?? null;
          if (first !== null) expect(table.ceiling(first)).to.equal(first);
        }
      }),
    );
  });

  it("keeps a slab's size for the next table unless a batch outgrew it", () => {
    const table = new MemoryTable(newSlab(1024));
    const { length } = table.slab;
    table.put("key", Buffer.alloc(1000), 0, 1000);
    expect(table.slab.length).to.equal(length);
    table.put("key", Buffer.alloc(100_000), 0, 100_000);
    expect(table.slab.length).to.be.greaterThan(100_000);
  });
});
