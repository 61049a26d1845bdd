import { expect } from "chai";
import fc from "fast-check";
import { Glob } from "../../lib/commands/glob.js";

describe("glob patterns", () => {
  const matching: readonly (readonly [string, string])[] = [
    ["*", ""],
    ["**", "abc"],
    ["", ""],
    ["h?llo", "hello"],
    ["h*llo", "hllo"],
    ["h*llo", "heeeello"],
    ["h[ae]llo", "hallo"],
    ["h[^e]llo", "hbllo"],
    ["h[a-c]llo", "hbllo"],
    ["h[c-a]llo", "hbllo"],
    // The bracket ends the range here, so the set is not closed.
    ["[a-]x", "^"],
    ["[a-]x", "x"],
    ["[a\\]]x", "]x"],
    ["[\\^a]", "^"],
    ["[abc", "c"],
    ["[^", "x"],
    ["a\\*b", "a*b"],
    ["a\\", "a\\"],
    ["*a*b*", "xxaxxbxx"],
    ["a*a*b", "aaab"],
    ["\xff?", "\xff\x00"],
  ];
  const failing: readonly (readonly [string, string])[] = [
    ["", "a"],
    ["?", ""],
    ["h?llo", "hllo"],
    ["h[^e]llo", "hello"],
    ["h[a-c]llo", "hdllo"],
    ["a\\*b", "axb"],
    ["[", "["],
    ["[]", "]"],
    ["[]a]", "a"],
    ["abc", "abcd"],
    ["*abc", "abcd"],
    ["A", "a"],
    ["a*b", "a\nc"],
  ];

  for (const [pattern, text] of matching) {
    it(`${JSON.stringify(pattern)} matches ${JSON.stringify(text)}`, () => {
      expect(new Glob(Buffer.from(pattern, "latin1")).matches(text)).to.equal(true);
    });
  }
  for (const [pattern, text] of failing) {
    it(`${JSON.stringify(pattern)} does not match ${JSON.stringify(text)}`, () => {
      expect(new Glob(Buffer.from(pattern, "latin1")).matches(text)).to.equal(false);
    });
  }

  it("agrees with a regular expression of the same meaning", () => {
    const step = fc.constantFrom("a", "b", "c", "?", "*", "[ab]", "[^ab]", "[b-c]", "\\*", "\\a");
    const pattern = fc.array(step, { maxLength: 8 });
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "*"), maxLength: 10 });
    fc.assert(
      fc.property(pattern, text, (steps, subject) => {
        const meaning = steps.map((part) => (part === "*" ? "[^]*" : part === "?" ? "[^]" : part === "\\a" ? "a" : part));
        const glob = new Glob(Buffer.from(steps.join(""), "latin1"));
        expect(glob.matches(subject)).to.equal(new RegExp(`^${meaning.join("")}$`).test(subject));
      }),
      { numRuns: 3_000 },
    );
  });

  it("many stars take no more steps than the pattern is long for each byte", () => {
    const text = "a".repeat(5_000);
    // A matcher that tried every star again would not end.
    expect(new Glob(Buffer.from(`${"a*".repeat(1_000)}b`)).matches(text)).to.equal(false);
    expect(new Glob(Buffer.from("*?".repeat(1_000))).matches(text)).to.equal(true);
    expect(new Glob(Buffer.from(`${"*?".repeat(1_000)}b`)).matches(text)).to.equal(false);
  });

  it("a pattern of more than 1,000 runs fits nothing, as in Redis", () => {
    const text = "a".repeat(5_000);
    expect(new Glob(Buffer.from("*a".repeat(1_000))).matches(text)).to.equal(true);
    expect(new Glob(Buffer.from("*a".repeat(1_001))).matches(text)).to.equal(false);
  });

  it("only the pattern of nothing but stars is known to match all", () => {
    expect(new Glob(Buffer.from("*")).matchesAll).to.equal(true);
    expect(new Glob(Buffer.from("***")).matchesAll).to.equal(true);
    expect(new Glob(Buffer.from("*a")).matchesAll).to.equal(false);
    expect(new Glob(Buffer.from("")).matchesAll).to.equal(false);
  });
});
