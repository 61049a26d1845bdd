import { expect } from "chai";
import fc from "fast-check";
import { hash32, hash32OfString, hash48 } from "../../lib/bytes/hash.js";
import { latin1Of, writeLatin1 } from "../../lib/bytes/latin1.js";
import { readVarint, varintLength, writeVarint } from "../../lib/bytes/varint.js";
import { OperatingError } from "../../lib/errors.js";

describe("bytes", () => {
  it("hash as the published test vectors of MurmurHash3 say", () => {
    const hashOf = (text: string, seed: number): number => hash32(Buffer.from(text), 0, text.length, seed);
    expect(hashOf("", 0)).to.equal(0);
    expect(hashOf("", 1)).to.equal(0x514e28b7);
    expect(hashOf("test", 0)).to.equal(0xba6bd213);
    expect(hashOf("Hello, world!", 0)).to.equal(0xc0363e43);
    expect(hashOf("The quick brown fox jumps over the lazy dog", 0x9747b28c)).to.equal(0x2fa826cd);
  });

  it("hash a latin1 string as the bytes that it stands for", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 50 }), fc.nat(), (bytes, seed) => {
        expect(hash32OfString(latin1Of(bytes), seed)).to.equal(hash32(bytes, 0, bytes.length, seed));
      }),
    );
  });

  it("have a hash of 48 bits of which every bit changes with any of theirs", () => {
    const flipped = new Array<number>(48).fill(0);
    let flips = 0;
    for (let length = 1; length <= 40; length++) {
      const bytes = Buffer.alloc(length, length);
      const before = hash48(bytes, 0, length, 7);
      expect(hash48(Buffer.concat([Buffer.of(9), bytes]), 1, length + 1, 7), "wherever they stand").to.equal(before);
      expect(hash48(bytes, 0, length, 8)).not.to.equal(before);
      for (let bit = 0; bit < 8 * length; bit++) {
        bytes[bit >>> 3]! ^= 1 << (bit & 7);
        const after = hash48(bytes, 0, length, 7);
        bytes[bit >>> 3]! ^= 1 << (bit & 7);
        expect(after).to.satisfy((hash: number) => Number.isInteger(hash) && hash >= 0 && hash < 2 ** 48);
        flips++;
        for (let at = 0; at < 48; at++) {
          if (Math.floor(before / 2 ** at) % 2 !== Math.floor(after / 2 ** at) % 2) flipped[at]!++;
        }
      }
    }
    for (const count of flipped) expect(count / flips).to.be.within(0.45, 0.55);
  });

  it("come back from latin1 strings unchanged", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const target = Buffer.alloc(bytes.length);
        expect(writeLatin1(target, 0, latin1Of(bytes))).to.equal(bytes.length);
        expect(target.equals(bytes)).to.equal(true);
      }),
    );
  });

  it("hold integers up to 2^53 - 1 as varints of the announced length", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const target = Buffer.alloc(10);
        const end = writeVarint(target, 1, value);
        expect(end - 1).to.equal(varintLength(value));
        const cursor = { at: 1 };
        expect(readVarint(target, cursor, end)).to.equal(value);
        expect(cursor.at).to.equal(end);
      }),
    );
  });

  it("are refused as CORRUPT where a varint is cut or too long", () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from([0x80]), Buffer.alloc(12, 0xff), Buffer.alloc(9, 0x80)]) {
      expect(() => readVarint(bytes, { at: 0 }, bytes.length))
        .to.throw(OperatingError)
        .with.property("code", "CORRUPT");
    }
  });
});
