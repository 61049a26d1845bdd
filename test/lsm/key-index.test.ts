import { expect } from "chai";
import fc from "fast-check";
import { KeyIndex, placesOf } from "../../lib/lsm/key-index.js";
import { KeysAhead } from "../../lib/lsm/keys-ahead.js";
import { keyAt, Slab } from "../../lib/lsm/slab.js";
import { WriteBatch } from "../../lib/lsm/write-batch.js";

/** Stores a pair of the key with an empty value; returns its place. */
function add(slab: Slab, key: string): number {
  const batch = new WriteBatch();
  const start = batch.put(key, Buffer.alloc(0), 0, 0);
  return slab.add(batch.bytes, start, batch.end);
}

/** Has `ahead` hold these keys, with other bytes between them. */
function foresee(keys: readonly string[], ahead = new KeysAhead()): KeysAhead {
  ahead.begin(Buffer.from(keys.map((key) => `-${key}`).join(""), "latin1"));
  let at = 0;
  for (const key of keys) {
    ahead.add(key, at + 1);
    at += 1 + key.length;
  }
  return ahead;
}

const latin1 = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
const anyKey = fc.oneof(
  fc.string({ unit: latin1, maxLength: 4 }),
  fc.integer({ min: 0, max: 300 }).map((number) => `key:${number}`),
  fc.constantFrom("x".repeat(127), "x".repeat(128), "x".repeat(20_000)),
);

describe("the key index", () => {
  it("is a map from keys to places, of removed keys too, however much it grows", () => {
    const kind = fc.constantFrom("set", "set", "mark removed", "take back", "find");
    const step = fc.record({ kind, key: anyKey, ahead: fc.option(fc.array(anyKey, { maxLength: 5 }), { freq: 3 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
        const index = new KeyIndex();
        const slab = new Slab(1 << 16);
        const foreseen = new KeysAhead();
        const model = new Map<string, number>();
        for (const { kind, key, ahead } of steps) {
          // What comes next is foreseen, or something else is: neither changes anything.
          if (ahead !== null) index.prefetch(slab.bytes, foresee(ahead.length > 2 ? ahead : [key, ...ahead], foreseen));
          const chunk = add(slab, key);
          const place = kind === "mark removed" ? -chunk : chunk;
          const found = index.find(slab.bytes, key);
          expect(found < 0 ? undefined : index.placeAt(found)).to.equal(model.get(key));
          if (kind === "take back" && found >= 0) {
            index.removeAt(found);
            model.delete(key);
          } else if (kind === "set" || kind === "mark removed") {
            if (found >= 0) index.setPlaceAt(found, place);
            else index.add(slab.bytes, key, place);
            model.set(key, place);
          }
          expect(index.size).to.equal(model.size);
        }
        const places = placesOf(index.slots);
        expect(new Map(places.map((place) => [keyAt(slab.bytes, Math.abs(place)), place]))).to.deep.equal(model);
        expect(places.length).to.equal(model.size);
      }),
    );
  });

  it("finds more keys than are fetched ahead at once, in the order foreseen or another, and after it has grown", () => {
    const index = new KeyIndex();
    const slab = new Slab(1 << 20);
    const keys = Array.from({ length: 1_500 }, (_, number) => `k${number}`);
    index.prefetch(slab.bytes, foresee(keys));
    for (const key of keys) index.add(slab.bytes, key, add(slab, key));
    for (const order of [keys, [...keys].reverse(), keys.filter((_, at) => at % 3 !== 1)]) {
      index.prefetch(slab.bytes, foresee(keys));
      for (const key of order) expect(keyAt(slab.bytes, index.placeAt(index.find(slab.bytes, key)))).to.equal(key);
    }
    index.prefetch(slab.bytes, foresee([]));
    expect(index.find(slab.bytes, "k1")).to.be.at.least(0);
    expect(index.find(slab.bytes, "absent")).to.equal(-1);
  });

  it("does not take keys for those that it foresaw once others are foreseen elsewhere by the same object", () => {
    const slab = new Slab(1 << 16);
    const frozen = new KeyIndex();
    for (const key of ["a", "b"]) frozen.add(slab.bytes, key, add(slab, key));
    const ahead = foresee(["a", "b"]);
    frozen.prefetch(slab.bytes, ahead);
    foresee(["b", "c"], ahead);
    expect(keyAt(slab.bytes, frozen.placeAt(frozen.find(slab.bytes, "b")))).to.equal("b");
    expect(frozen.find(slab.bytes, "c")).to.equal(-1);
  });

  it("keeps many keys that are added, taken back and added again apart", () => {
    const index = new KeyIndex();
    const slab = new Slab(1 << 20);
    for (let round = 0; round < 3; round++) {
      const places = new Map<string, number>();
      for (let number = 0; number < 5_000; number++) {
        const key = `k${number}`;
        places.set(key, add(slab, key));
        index.add(slab.bytes, key, places.get(key)!);
      }
      for (const [key, place] of places) {
        const at = index.find(slab.bytes, key);
        expect(index.placeAt(at)).to.equal(place);
        index.removeAt(at);
      }
      expect(index.size).to.equal(0);
    }
  });
});
