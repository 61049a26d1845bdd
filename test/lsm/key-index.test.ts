import { expect } from "chai";
import fc from "fast-check";
import { writeLatin1 } from "../../lib/bytes/latin1.js";
import { writeVarint } from "../../lib/bytes/varint.js";
import { KeyIndex, keyIn } from "../../lib/lsm/key-index.js";

/** Keys one behind the other, as operations hold them. */
class Slab {
  readonly bytes = Buffer.allocUnsafeSlow(1 << 22);
  #end = 1;

  append(key: string): number {
    const keyAt = this.#end;
    this.#end = writeLatin1(this.bytes, writeVarint(this.bytes, keyAt, key.length), key);
    return keyAt;
  }
}

const latin1 = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
const anyKey = fc.oneof(
  fc.string({ unit: latin1, maxLength: 4 }),
  fc.integer({ min: 0, max: 300 }).map((number) => `key:${number}`),
  fc.constantFrom("x".repeat(127), "x".repeat(128), "x".repeat(20_000)),
);

describe("the key index", () => {
  it("is a map from keys to places, whether keys come as strings or stand in the slab, however much it grows", () => {
    const step = fc.record({ kind: fc.constantFrom("set", "set", "set stored", "remove", "find"), key: anyKey });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const index = new KeyIndex();
        const slab = new Slab();
        const model = new Map<string, number>();
        for (const [place, { kind, key }] of steps.entries()) {
          const keyAt = slab.append(key);
          const found = kind === "set stored" ? index.findStored(slab.bytes, keyAt) : index.find(slab.bytes, key);
          expect(found < 0 ? undefined : index.placeAt(found)).to.equal(model.get(key));
          if (kind === "remove" && found >= 0) {
            index.removeAt(found);
            model.delete(key);
          } else if (kind === "set" || kind === "set stored") {
            if (found >= 0) index.setPlaceAt(found, place);
            else if (kind === "set") index.add(slab.bytes, key, keyAt, place);
            else index.addStored(slab.bytes, keyAt, place);
            model.set(key, place);
          }
          expect(index.size).to.equal(model.size);
        }
      }),
    );
  });

  it("keeps many keys that are added, taken back and added again apart", () => {
    const index = new KeyIndex();
    const slab = new Slab();
    for (let round = 0; round < 3; round++) {
      for (let number = 0; number < 5_000; number++) {
        const key = `k${number}`;
        index.add(slab.bytes, key, slab.append(key), number);
      }
      for (let number = 0; number < 5_000; number++) {
        const at = index.find(slab.bytes, `k${number}`);
        expect(index.placeAt(at)).to.equal(number);
        index.removeAt(at);
      }
      expect(index.size).to.equal(0);
    }
  });

  it("gives back the key that stands at a position", () => {
    fc.assert(
      fc.property(anyKey, (key) => {
        const slab = new Slab();
        const keyAt = slab.append(key);
        expect(keyIn(slab.bytes, keyAt)).to.equal(key);
      }),
    );
  });
});
