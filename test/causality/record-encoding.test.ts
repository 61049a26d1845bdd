import { expect } from "chai";
import fc from "fast-check";
import { actorOf } from "../../lib/causality/actor.js";
import { COVERS_ALL, NO_FIELDS, type Record, supersede, type Version } from "../../lib/causality/record.js";
import { decodeRecord, encodeRecord, forSending, localAreaOf, withLocalArea } from "../../lib/causality/record-encoding.js";
import { ExpiryTrimmer } from "../../lib/causality/record-expiry.js";
import { RecordView } from "../../lib/causality/record-view.js";
import { RecordWriter } from "../../lib/causality/record-writer.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { OperatingError } from "../../lib/errors.js";
import { anyRecord, NOW_MS } from "./histories.js";

const a = actorOf("\x01\x02\x03\x04\x05\x06\x07\x08", 1);
const b = actorOf("\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8", 2);

const plain: Version = {
  dot: { actor: a, sequence: 300 },
  stamp: 0x01_0203_0405_0607,
  expiryMs: 0,
  type: "string",
  value: Buffer.from("hello"),
  writeId: null,
  fields: NO_FIELDS,
};

const full: Record = {
  context: VersionVector.of({ actor: a, sequence: 300 }, { actor: b, sequence: 5 }),
  versions: [
    {
      ...plain,
      expiryMs: 1_750_000_000_000,
      writeId: "id",
      fields: [
        { tag: 3, bytes: Buffer.from("xy") },
        { tag: 200, bytes: Buffer.alloc(0) },
      ],
    },
    { ...plain, dot: { actor: b, sequence: 5 }, stamp: 9, value: Buffer.from("older") },
    { ...plain, dot: { actor: b, sequence: 4 }, stamp: 8, type: "tombstone", value: null },
    { ...plain, dot: { actor: b, sequence: 3 }, stamp: 7, expiryMs: 1_000, value: null },
  ],
};

/** Bytes on disk for ever: a change of any of these is a new format. */
const golden: readonly { what: string; record: Record; hex: string }[] = [
  {
    what: "one version that is all the context",
    record: supersede(null, COVERS_ALL, plain),
    hex: "010001 15 010203040506070800000001 01020304050607 ac02 68656c6c6f",
  },
  {
    what: "a tombstone over another actor's version",
    record: supersede(supersede(null, COVERS_ALL, plain), COVERS_ALL, {
      ...plain,
      dot: { actor: b, sequence: 1 },
      type: "tombstone",
      value: null,
    }),
    hex:
      "010222 30 f1f2f3f4f5f6f7f800000002 01020304050607 01" + "02 010203040506070800000001 ac02 f1f2f3f4f5f6f7f800000002 01",
  },
  {
    what: "siblings with everything that a version can carry",
    record: full,
    hex:
      "0103d1 04 80b883a1f732 8301" +
      "010203040506070800000001 01020304050607 ac02 026964 07 03027879 c80100" +
      "02 010203040506070800000001 ac02 f1f2f3f4f5f6f7f800000002 05" +
      "01 f1f2f3f4f5f6f7f800000002 00000000000009 05 05" +
      "22 f1f2f3f4f5f6f7f800000002 00000000000008 04" +
      "31 f1f2f3f4f5f6f7f800000002 00000000000007 03 e807" +
      "6f6c646572 68656c6c6f",
  },
];

describe("record encoding", () => {
  for (const { what, record, hex } of golden) {
    it(`the stored bytes of ${what} never change`, () => {
      expect(encodeRecord(record).toString("hex")).to.equal(hex.replaceAll(" ", ""));
      expect(plainly(decodeRecord(Buffer.from(hex.replaceAll(" ", ""), "hex")))).to.deep.equal(plainly(record));
    });
  }

  it("what is encoded is decoded, wherever it lies in a buffer", () => {
    fc.assert(
      fc.property(anyRecord, fc.nat({ max: 5 }), (record, margin) => {
        const bytes = encodeRecord(record);
        const frame = Buffer.concat([Buffer.alloc(margin, 0xff), bytes, Buffer.alloc(margin, 0xff)]);
        const decoded = decodeRecord(frame, margin, margin + bytes.length);
        expect(plainly(decoded)).to.deep.equal(plainly(record));
        expect(encodeRecord(decoded)).to.deep.equal(bytes);
      }),
      { numRuns: 500 },
    );
  });

  it("the overhead of a usual record is below 30 bytes", () => {
    const sequence = 10_000_000_000;
    const value = Buffer.alloc(100);
    const stamp = 30 * 365 * 86_400_000 * 4_096;
    const usual = encodeRecord(supersede(null, COVERS_ALL, { ...plain, dot: { actor: a, sequence }, stamp, value }));
    expect(usual.length - value.length).to.be.lessThan(30);
  });

  it("the local area is carried beside the record and never sent", () => {
    fc.assert(
      fc.property(anyRecord, fc.uint8Array({ minLength: 1, maxLength: 200 }), (record, area) => {
        const bytes = encodeRecord(record);
        const stored = withLocalArea(bytes, 0, bytes.length, area);
        expect(Buffer.from(localAreaOf(stored))).to.deep.equal(Buffer.from(area));
        expect(plainly(decodeRecord(stored))).to.deep.equal(plainly(record));
        expect(Buffer.from(forSending(stored))).to.deep.equal(bytes);
        expect(forSending(bytes)).to.deep.equal(bytes);
        expect(localAreaOf(bytes)).to.have.length(0);
        const replaced = withLocalArea(stored, 0, stored.length, Uint8Array.of(1));
        expect(replaced).to.deep.equal(withLocalArea(bytes, 0, bytes.length, Uint8Array.of(1)));
      }),
      { numRuns: 200 },
    );
  });

  it("a record cut short anywhere is refused as damaged, or is one with a shorter value", () => {
    for (const { record } of golden) {
      const bytes = encodeRecord(record);
      const valueLength = record.versions[0]!.value?.length ?? 0;
      for (let length = 0; length < bytes.length - valueLength; length++) {
        expectCorrupt(() => decodeRecord(bytes, 0, length));
        expectCorrupt(() => new RecordView().read(bytes, 0, length));
      }
    }
  });

  it("another format, unknown flags and unknown types are refused", () => {
    const bytes = encodeRecord(golden[0]!.record);
    for (const [at, byte] of [
      [0, 0],
      [0, 2],
      [1, 8],
      [1, 128],
      [2, 0],
      [2, 3],
      [2, 15],
    ] as const) {
      const changed = Buffer.from(bytes);
      changed[at] = byte;
      expectCorrupt(() => decodeRecord(changed));
    }
  });

  it("a record whose parts contradict each other is refused", () => {
    const dot = "010203040506070800000001 01020304050607 ac02";
    const entryA = "010203040506070800000001 ac02";
    const entryB = "f1f2f3f4f5f6f7f800000002 05";
    const older = "22 f1f2f3f4f5f6f7f800000002 00000000000009 05";
    expect(decodeHex(`010201 31 ${dot} 02 ${entryA} ${entryB}`).context.size).to.equal(2);
    expect(decodeHex(`010301 02 46 ${dot} 02 ${entryA} ${entryB} ${older}`).versions).to.have.length(2);
    for (const [hex, reason] of [
      [`010001 16 ${dot} 00`, "its body is longer than its parts"],
      [`010001 14 ${dot}`, "an integer is cut off"],
      [`010201 31 ${dot} 02 ${entryB} ${entryA}`, "a context is not sorted"],
      [`010201 32 ${dot} 02 ${entryA} ${entryA}`, "a context is not sorted"],
      [`010201 23 ${dot} 01 ${entryB}`, "its context does not cover a version"],
      [`010201 24 ${dot} 01 ${entryA}`, "its context is redundant"],
      [`010201 31 ${dot} 7f ${entryA} ${entryB}`, "a context has more entries than there is room for"],
      [`010301 01 31 ${dot} 02 ${entryA} ${entryB}`, "a number is smaller"],
      [`010301 04 31 ${dot} 02 ${entryA} ${entryB}`, "it has more versions than there is room for"],
      [`010301 02 5b ${dot} 02 ${entryA} ${entryB} ${older} ${older}`, "its body is longer than its parts"],
      [`010301 03 5b ${dot} 02 ${entryA} ${entryB} ${older} ${older}`, "its versions are not sorted"],
      ["010001 14 010203040506070800000001 01020304050607 00", "a number is smaller"],
      ["010001 14 010203040506070800000001 20000000000000 01", "a stamp is out of range"],
      [`010011 00 15 ${dot}`, "a number is smaller"],
      [`010401 00 15 ${dot}`, "a number is smaller"],
      [`010401 01 15 ${dot}`, "its parts do not fit into it"],
      [`010041 16 ${dot} 00`, "a number is smaller"],
      [`010041 16 ${dot} 01`, "a part reaches past its end"],
      [`010081 16 ${dot} 00`, "a number is smaller"],
      [`010081 1a ${dot} 05 0200 0300`, "its fields reach past its end"],
      [`010081 1a ${dot} 04 0200 0100`, "its fields are not sorted"],
      [`010222 31 ${dot} 02 ${entryA} ${entryB} 00`, "a tombstone has a value"],
      [`010002 15 ${dot}`, "a tombstone has a value"],
      [`010001 81808080808080801f ${dot}`, "an integer is longer than any that is written"],
    ] as const) {
      expect(() => decodeHex(hex), `${reason}: ${hex}`)
        .to.throw(OperatingError, reason)
        .with.property("code", "CORRUPT");
    }
  });

  it("damaged bytes are decoded to a well-formed record or refused, and read nowhere else", () => {
    fc.assert(
      fc.property(anyRecord, mutations(), (record, changes) => {
        const bytes = encodeRecord(record);
        const area = changes[0]!.byte % 2 === 0 ? withLocalArea(bytes, 0, bytes.length, Uint8Array.of(1, 2, 3)) : bytes;
        expectSound(mutated(area, changes));
      }),
      { numRuns: 3_000 },
    );
  });

  it("arbitrary bytes are refused without harm", () => {
    const header = fc.tuple(fc.constant(1), fc.nat({ max: 7 }), fc.nat({ max: 255 }), fc.nat({ max: 255 }));
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 120 }), (head, tail) => expectSound(Buffer.from([...head, ...tail]))),
      { numRuns: 3_000 },
    );
  });
});

/** Every reader either refuses the bytes as CORRUPT or leaves something well-formed, within bounds. */
function expectSound(bytes: Buffer): void {
  // Poison around the record: a read outside shows up as a difference between the two.
  const low = Buffer.concat([Buffer.alloc(8, 0x00), bytes, Buffer.alloc(64, 0x00)]);
  const high = Buffer.concat([Buffer.alloc(8, 0xff), bytes, Buffer.alloc(64, 0xff)]);
  const outcomes = [low, high].map((frame) => {
    const end = 8 + bytes.length;
    const seen: unknown[] = [];
    seen.push(attempt(() => plainly(decodeRecord(frame, 8, end))));
    seen.push(
      attempt(() => {
        const view = new RecordView();
        view.read(frame, 8, end);
        expect(view.valueStart).to.be.within(8, view.valueEnd);
        expect(view.valueEnd).to.be.at.most(end);
        expect(view.versionCount).to.be.within(1, bytes.length);
        return [view.versionCount, view.isTombstone, view.expiryMs, view.valueStart, view.valueEnd, view.value()];
      }),
    );
    seen.push(
      attempt(() => {
        const writer = new RecordWriter();
        const mint = { actor: a, sequence: Number.MAX_SAFE_INTEGER, stamp: 1 };
        writer.putString(mint, "new", 0, frame, 8, end);
        return Buffer.from(writer.bytes.subarray(0, writer.end)).toString("hex");
      }),
    );
    seen.push(attempt(() => new ExpiryTrimmer({ safetyMarginMs: 0 }).trim(frame, 8, end, NOW_MS)?.length));
    return seen;
  });
  expect(outcomes[0]).to.deep.equal(outcomes[1]);
  if (outcomes[0]![0] !== "CORRUPT") {
    const record = decodeRecord(bytes);
    expect(plainly(decodeRecord(encodeRecord(record)))).to.deep.equal(plainly(record));
    expect(record.versions.every((version) => record.context.covers(version.dot))).to.equal(true);
    expect(outcomes[0]![2]).to.not.equal("CORRUPT");
  }
}

function attempt(read: () => unknown): unknown {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return error.code;
  }
}

function expectCorrupt(read: () => unknown): void {
  expect(read).to.throw(OperatingError).with.property("code", "CORRUPT");
}

function decodeHex(hex: string): Record {
  return decodeRecord(Buffer.from(hex.replaceAll(" ", ""), "hex"));
}

/** A record with plain arrays for its bytes, to be compared in depth. */
function plainly(record: Record): unknown {
  return {
    context: record.context.entries,
    versions: record.versions.map((version) => ({
      ...version,
      value: version.value === null ? null : [...version.value],
      fields: version.fields.map(({ tag, bytes }) => ({ tag, bytes: [...bytes] })),
    })),
  };
}

interface Mutation {
  readonly kind: "set" | "flip" | "cut" | "insert";
  readonly at: number;
  readonly byte: number;
}

/** Most changes fall into the first bytes, where the lengths are. */
function mutations(): fc.Arbitrary<Mutation[]> {
  const mutation = fc.record({
    kind: fc.constantFrom("set", "flip", "cut", "insert"),
    at: fc.oneof(fc.nat({ max: 8 }), fc.nat({ max: 1_000 })),
    byte: fc.oneof(fc.constantFrom(0, 1, 127, 128, 255), fc.nat({ max: 255 })),
  });
  return fc.array(mutation, { minLength: 1, maxLength: 4 });
}

function mutated(bytes: Buffer, changes: readonly Mutation[]): Buffer {
  const list = [...bytes];
  for (const { kind, at, byte } of changes) {
    const index = at % Math.max(1, list.length);
    if (kind === "set") list[index] = byte;
    else if (kind === "flip") list[index] = (list[index] ?? 0) ^ (1 << (byte % 8));
    else if (kind === "cut") list.splice(index, 1 + (byte % 4));
    else list.splice(index, 0, byte);
  }
  return Buffer.from(list);
}
