import { expect } from "chai";
import fc from "fast-check";
import { addInt64, INT64_MAX, INT64_MIN, narrow, parseInteger, parseIntegerBytes } from "../../lib/commands/integer.js";

const int64 = fc.bigInt({ min: INT64_MIN, max: INT64_MAX });

describe("64-bit integers", () => {
  it("every 64-bit integer is read from its decimal text, as a number exactly where that is safe", () => {
    fc.assert(
      fc.property(int64, (value) => {
        const parsed = parseInteger(String(value));
        expect(parsed).to.equal(narrow(value));
        expect(typeof parsed).to.equal(Number.isSafeInteger(Number(value)) ? "number" : "bigint");
        expect(parseIntegerBytes(Buffer.from(String(value)))).to.equal(parsed);
      }),
    );
  });

  it("text is an integer only when it is the text of that integer", () => {
    const nearly = fc.string({ unit: fc.constantFrom(..."0123456789+- ."), maxLength: 22 });
    fc.assert(
      fc.property(nearly, (text) => {
        const parsed = parseInteger(text);
        if (parsed === null) expect(isCanonical(text)).to.equal(false);
        else expect(String(parsed)).to.equal(text);
      }),
      { numRuns: 2_000 },
    );
  });

  it("sums are exact, and null beyond 64 bits", () => {
    fc.assert(
      fc.property(int64, int64, (a, b) => {
        expect(addInt64(narrow(a)!, narrow(b)!)).to.equal(narrow(a + b));
      }),
    );
    expect(addInt64(Number.MAX_SAFE_INTEGER, 1)).to.equal(2n ** 53n);
    expect(addInt64(INT64_MAX, 1)).to.equal(null);
    expect(addInt64(INT64_MIN, -1)).to.equal(null);
    expect(addInt64(INT64_MAX, INT64_MIN)).to.equal(-1);
  });

  it("signs, blanks, leading zeros and numbers beyond 64 bits are refused", () => {
    for (const text of ["", "-", "+1", " 1", "1 ", "01", "-0", "-01", "0x1", "1.0", "1e3", "1\0", "9223372036854775808"]) {
      expect(parseInteger(text), JSON.stringify(text)).to.equal(null);
    }
    expect(parseInteger("-9223372036854775809")).to.equal(null);
    expect(parseInteger("99999999999999999999999999")).to.equal(null);
  });
});

function isCanonical(text: string): boolean {
  if (!/^-?[0-9]+$/.test(text)) return false;
  const value = BigInt(text);
  return String(value) === text && value >= INT64_MIN && value <= INT64_MAX;
}
