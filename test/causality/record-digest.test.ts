import { expect } from "chai";
import fc from "fast-check";
import { buryExpired, hashOf, type Record } from "../../lib/causality/record.js";
import { DIGEST_SPAN, digestOf } from "../../lib/causality/record-digest.js";
import { encodeRecord, withLocalArea } from "../../lib/causality/record-encoding.js";
import { RecordView } from "../../lib/causality/record-view.js";
import { History, NOW_MS, steps } from "./histories.js";

function digest(record: Record, keyHash = 7): number {
  return digestOfBytes(encodeRecord(record), keyHash);
}

function digestOfBytes(bytes: Buffer, keyHash: number): number {
  const view = new RecordView();
  view.read(bytes, 0, bytes.length);
  return digestOf(view, keyHash);
}

describe("the digest of a record", () => {
  it("is the same exactly where the context and the dots are", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const { records } = History.run(all);
        const digests = new Map<string, number>();
        for (const record of records) {
          const { high, low } = hashOf(record);
          const seen = digests.get(`${high} ${low}`);
          if (seen !== undefined) expect(digest(record)).to.equal(seen);
          digests.set(`${high} ${low}`, digest(record));
        }
        expect(new Set(digests.values()).size).to.equal(digests.size);
        for (const one of digests.values())
          expect(one).to.satisfy((n: number) => Number.isInteger(n) && n >= 0 && n < DIGEST_SPAN);
      }),
      { numRuns: 300 },
    );
  });

  it("does not change when a version has expired, nor with what a replica keeps for itself", () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const record of History.run(all).records) {
          const bytes = encodeRecord(record);
          expect(digest(buryExpired(record, NOW_MS))).to.equal(digest(record));
          const withArea = withLocalArea(bytes, 0, bytes.length, Buffer.from("own"));
          expect(digestOfBytes(withArea, 7)).to.equal(digest(record));
        }
      }),
      { numRuns: 100 },
    );
  });

  it("depends on the key", () => {
    fc.assert(
      fc.property(steps, (all) => {
        for (const record of History.run(all).records) expect(digest(record, 8)).not.to.equal(digest(record, 9));
      }),
      { numRuns: 50 },
    );
  });
});
