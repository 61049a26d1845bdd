import { expect } from "chai";
import fc from "fast-check";
import snappy from "snappy";
import { OperatingError } from "../../lib/errors.js";
import { uncompressedLength, uncompressInto, WordBuffer } from "../../lib/lsm/snappy-decode.js";
import { noise } from "./table-fixture.js";

const BASE = 9;

/** Uncompresses into the middle of a larger buffer and checks that nothing outside was written. */
function uncompress(compressed: Buffer): Buffer {
  const source = new WordBuffer(compressed.length + 5);
  compressed.copy(source.bytes, 3);
  const end = 3 + compressed.length;
  const length = uncompressedLength(source.bytes, 3, end);
  if (length > 200_000) throw new OperatingError("CORRUPT", "longer than any here");
  const target = new WordBuffer(BASE + length + 7);
  target.bytes.fill(0xee);
  try {
    uncompressInto(source, 3, end, target, BASE, BASE + length);
  } finally {
    for (let at = 0; at < BASE; at++) expect(target.bytes[at]).to.equal(0xee);
    for (let at = BASE + length; at < target.bytes.length; at++) expect(target.bytes[at]).to.equal(0xee);
  }
  return target.bytes.subarray(BASE, BASE + length);
}

/** Texts of runs, repetitions near and far, and noise, as blocks are. */
const content = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 90 }).map((bytes) => Buffer.from(bytes)),
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 7 }), fc.nat(60))
        .map(([unit, times]) => Buffer.alloc(unit.length * times, unit)),
      fc.nat(300).map((length) => noise(length)),
      fc.constantFrom("common text, repeated here and there", "k:0001").map((text) => Buffer.from(text)),
    ),
    { maxLength: 60 },
  )
  .map((parts) => Buffer.concat(parts));

describe("lsm snappy decoding", () => {
  it("gives back what the package compressed, and writes nowhere else", () => {
    fc.assert(
      fc.property(content, (bytes) => {
        expect(uncompress(snappy.compressSync(bytes, { copyOutputData: true })).equals(bytes)).to.equal(true);
      }),
      { numRuns: 500 },
    );
  });

  it("handles literals and distances of all encodings", () => {
    for (const length of [0, 1, 59, 60, 61, 255, 256, 257, 4_096, 65_535, 65_536, 70_000]) {
      const bytes = Buffer.concat([noise(length), noise(length), Buffer.alloc(100, 1)]);
      expect(uncompress(snappy.compressSync(bytes, { copyOutputData: true })).equals(bytes), `${length}`).to.equal(true);
    }
    // A copy whose distance takes four bytes, which the package never makes.
    const far = Buffer.from([8, 12, 1, 2, 3, 4, (3 << 2) | 3, 4, 0, 0, 0]);
    expect([...uncompress(far)]).to.deep.equal([1, 2, 3, 4, 1, 2, 3, 4]);
  });

  it("refuses damaged input as corrupt or gives some bytes, but never writes outside", () => {
    fc.assert(
      fc.property(
        content,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.nat(3),
        (bytes, changes, cut) => {
          const whole = Buffer.from(snappy.compressSync(bytes, { copyOutputData: true }));
          for (const [at, value] of changes) whole[at % whole.length] = value;
          try {
            uncompress(whole.subarray(0, Math.max(0, whole.length - cut)));
          } catch (error) {
            expect(error).to.be.instanceOf(OperatingError);
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
