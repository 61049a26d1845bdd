/** What a flush leaves of records. */
import { expect } from "chai";
import fc from "fast-check";
import { type Dot, storeIdOf } from "../../lib/causality/actor.js";
import { merge, type Record } from "../../lib/causality/record.js";
import { withoutFlushed } from "../../lib/causality/record-flush.js";
import { History, keyOf, steps } from "./histories.js";

function merged(records: readonly (Record | null)[]): Record | null {
  return records.reduce((sum, record) => (sum === null || record === null ? (sum ?? record) : merge(sum, record)), null);
}

/** The dots of the versions that hold a value. */
function valuesOf(record: Record | null): string[] {
  return (record?.versions ?? []).filter(({ type }) => type === "string").map(({ dot }) => keyOf(dot));
}

describe("a flush of records", () => {
  it("leaves the same whether copies are merged before it or after it, in any order", () => {
    const points = fc.array(fc.oneof(fc.constant(0), fc.nat({ max: 600 })), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(steps, points, fc.nat({ max: 3 }), (history, upTo, unaware) => {
        const { replicas } = History.run(history);
        const byStore = new Map(replicas.map(({ storeId }, at) => [storeId, upTo[at]!]));
        const isFlushed = ({ actor, sequence }: Dot): boolean => sequence <= byStore.get(storeIdOf(actor))!;
        const left = (record: Record | null): Record | null => (record === null ? null : withoutFlushed(record, isFlushed));
        const records = replicas.map(({ record }) => record);
        const wanted = valuesOf(left(merged(records)));
        // One of them hears of the flush last, when it has merged what the others left.
        const heard = records.map((record, at) => (at === unaware ? record : left(record)));
        expect(valuesOf(left(merged(heard)))).to.deep.equal(wanted);
        expect(valuesOf(merged(records.map(left)))).to.deep.equal(wanted);
        expect(valuesOf(left(merged(records.map(left).reverse())))).to.deep.equal(wanted);
        for (const dot of wanted)
          expect(isFlushed(records.flatMap((r) => r?.versions ?? []).find((v) => keyOf(v.dot) === dot)!.dot)).to.equal(false);
      }),
      { numRuns: 500 },
    );
  });

  it("gives the record itself back where it leaves all of it", () => {
    fc.assert(
      fc.property(steps, (history) => {
        for (const record of History.run(history).records) {
          expect(withoutFlushed(record, () => false)).to.equal(record);
          expect(withoutFlushed(record, () => true)).to.equal(null);
        }
      }),
      { numRuns: 50 },
    );
  });
});
