import { expect } from "chai";
import fc from "fast-check";
import { encodeFilter, HashedBloomFilter, keyHashOf, TableFilter } from "../../lib/lsm/filter.js";

function hashesOf(count: number, prefix: string): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => keyHashOf(`${prefix}${index}`));
}

describe("lsm filters", () => {
  it("answer what the package's own has answers, for any hash", () => {
    fc.assert(
      fc.property(
        fc.uint32Array({ minLength: 1, maxLength: 300 }),
        fc.uint32Array({ maxLength: 300 }),
        fc.constantFrom(0.001, 0.01, 0.3),
        (held, asked, rate) => {
          const reference = new HashedBloomFilter(held.length, rate);
          for (const hash of held) reference.add(hash);
          const filter = new TableFilter(encodeFilter(held, held.length, rate));
          for (const hash of held) expect(filter.mayHold(hash)).to.equal(true);
          for (const hash of asked) expect(filter.mayHold(hash)).to.equal(reference.has(hash));
        },
      ),
      { numRuns: 200 },
    );
  });

  it("let through about as many absent keys as they are asked to", () => {
    const filter = new TableFilter(encodeFilter(hashesOf(50_000, "held "), 50_000, 0.01));
    let passed = 0;
    for (const hash of hashesOf(100_000, "absent ")) if (filter.mayHold(hash)) passed++;
    expect(passed / 100_000).to.be.within(0.007, 0.0115);
  });

  it("take less than ten bits a key at one in a hundred", () => {
    const filter = new TableFilter(encodeFilter(hashesOf(10_000, "key "), 10_000, 0.01));
    expect((8 * filter.memoryBytes) / 10_000).to.be.below(10);
  });

  it("are refused as corrupt when the header does not fit the length", () => {
    const encoded = encodeFilter(hashesOf(100, "key "), 100, 0.01);
    expect(() => new TableFilter(encoded.subarray(0, encoded.length - 1))).to.throw("impossible header");
    expect(() => new TableFilter(Buffer.alloc(3))).to.throw("impossible header");
  });
});
