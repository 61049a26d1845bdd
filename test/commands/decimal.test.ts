import { expect } from "chai";
import fc from "fast-check";
import { addDecimals, formatDecimal, parseDecimal } from "../../lib/commands/decimal.js";

describe("decimal fractions", () => {
  it("a number with at most 17 decimals comes out as it went in, in fixed notation", () => {
    const digits = fc.bigInt({ min: -(10n ** 40n), max: 10n ** 40n });
    fc.assert(
      fc.property(digits, fc.integer({ min: 0, max: 17 }), fc.integer({ min: -30, max: 30 }), (value, scale, exponent) => {
        const plain = fixed(value, scale);
        expect(sum(plain, "0")).to.equal(plain);
        // The same number with its point elsewhere.
        const moved = sum(`${value}e${-scale}`, "0");
        expect(moved).to.equal(plain);
        expect(sum(`${fixed(value, scale)}e${exponent}`, `${fixed(-value, scale)}e${exponent}`)).to.equal("0");
      }),
    );
  });

  it("addition is exact", () => {
    const digits = fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n });
    fc.assert(
      fc.property(digits, digits, fc.integer({ min: 0, max: 17 }), (a, b, scale) => {
        expect(sum(fixed(a, scale), fixed(b, scale))).to.equal(fixed(a + b, scale));
      }),
    );
  });

  it("results are rounded to 17 decimals, halves away from zero", () => {
    expect(sum("0.000000000000000014", "0")).to.equal("0.00000000000000001");
    expect(sum("0.000000000000000015", "0")).to.equal("0.00000000000000002");
    expect(sum("-0.000000000000000015", "0")).to.equal("-0.00000000000000002");
    expect(sum("0.000000000000000004", "0")).to.equal("0");
    expect(sum("-0.000000000000000004", "0")).to.equal("0");
    expect(sum("0.999999999999999999", "0")).to.equal("1");
  });

  it("what is no decimal number is refused, infinities are told apart", () => {
    for (const text of ["", ".", "-", "+", "e5", "1e", "1e+", " 1", "1 ", "1,5", "--1", "0x10", "nan", "1\0", "in", "1.2.3"]) {
      expect(parseDecimal(text), JSON.stringify(text)).to.equal(null);
    }
    for (const text of ["inf", "-inf", "+INF", "Infinity"]) expect(parseDecimal(text), text).to.equal("infinite");
  });

  it("magnitudes beyond the range of Redis's numbers are refused without being computed", () => {
    expect(parseDecimal("1e4932")).to.equal(null);
    expect(parseDecimal("1e999999999999999999999")).to.equal(null);
    expect(parseDecimal("1e-999999999999999999999")).to.equal(null);
    expect(parseDecimal("1".repeat(6_000))).to.equal(null);
    expect(parseDecimal("0e999999999999")).to.deep.equal({ digits: 0n, scale: 0 });
    const largest = parseDecimal("9.9e4931");
    if (largest === null || largest === "infinite") throw new Error("in range");
    expect(formatDecimal(largest)).to.have.lengthOf(4_932);
    expect(formatDecimal(addDecimals(largest, largest))).to.equal(null);
  });
});

function sum(a: string, b: string): string | null {
  const left = parseDecimal(a);
  const right = parseDecimal(b);
  if (left === null || right === null || left === "infinite" || right === "infinite") throw new Error(`no number: ${a} ${b}`);
  return formatDecimal(addDecimals(left, right));
}

/** `value` / 10^`scale` on paper. */
function fixed(value: bigint, scale: number): string {
  const sign = value < 0n ? "-" : "";
  const text = String(value < 0n ? -value : value).padStart(scale + 1, "0");
  const fraction = text.slice(text.length - scale).replace(/0+$/, "");
  return `${sign}${text.slice(0, text.length - scale)}${fraction === "" ? "" : "."}${fraction}`;
}
