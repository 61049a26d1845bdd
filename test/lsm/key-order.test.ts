import { expect } from "chai";
import fc from "fast-check";
import { keyOrder } from "../../lib/lsm/key-order.js";

const keyArbitrary = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 9,
});

describe("keyOrder", () => {
  it("orders distinct keys as sorting them would, whatever prefix they share", () => {
    fc.assert(
      fc.property(fc.uniqueArray(keyArbitrary, { maxLength: 200 }), fc.constantFrom("", "\0", "shared"), (distinct, prefix) => {
        const keys = distinct.map((key) => prefix + key);
        const ordered = Array.from(keyOrder(keys), (index) => keys[index]);
        expect(ordered).to.deep.equal([...keys].sort());
      }),
    );
  });

  it("orders keys that end in zero bytes behind those without", () => {
    const keys = ["a\0\0", "a", "a\0", "a\0\0\0\0\0b", "a\0\0\0\0\0a"];
    expect(Array.from(keyOrder(keys))).to.deep.equal([1, 2, 0, 4, 3]);
  });
});
