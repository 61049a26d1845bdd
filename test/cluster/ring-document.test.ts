import { expect } from "chai";
import fc from "fast-check";
import { crc32 } from "../../lib/bytes/crc32.js";
import type { Member } from "../../lib/cluster/member.js";
import {
  decodeRingDocument,
  encodeRingDocument,
  faultOfRingDocument,
  foundRing,
  isSameDocument,
  membersAfter,
  mintRingDocument,
  type PendingChange,
  type RingDocument,
  readableRingDocument,
} from "../../lib/cluster/ring-document.js";
import { decodeAcceptorState, decodeRingAnswer, decodeRingRequest } from "../../lib/cluster/ring-messages.js";
import { OperatingError } from "../../lib/errors.js";
import { documentOf, memberOf, numbered, THREE } from "./members.js";

/** One of everything. */
const full: RingDocument = documentOf(
  [memberOf(1, { tokens: [0, 300, 16_383], weight: 1.5 }), memberOf(2, { tokens: [5], dc: "dc2", name: "Zoë" })],
  {
    version: 7,
    replicas: { default: 3, dcs: [{ dc: "dc2", replicas: 2 }] },
    pending: [
      { kind: "join", member: memberOf(3, { tokens: [7] }), since: 6 },
      { kind: "replace", memberId: memberOf(2).id, member: memberOf(4, { tokens: [5] }), since: 7 },
      { kind: "leave", memberId: memberOf(1).id, since: 7 },
    ],
    removed: [memberOf(9).id],
    databases: [{ database: 1, settings: '{"consistency":"ONE"}' }],
    flushContexts: [{ database: 0, entries: [{ storeId: "store\0\xff1", sequence: 4_294_967_297 }] }],
  },
);

const GOLDEN =
  "02ac216739010107021001010101010101010101010101010101032002020202020202020202020202020202020202020202020202020202020202020406030364633202056b38010800000000000000010208737373737373733103066e6f64652d310406686f73742d3105027231060364633107029601080500ac02d37d31010800000000000000020208737373737373733203045a6fc3ab0406686f73742d320502723106036463320701640801050693013b0101010333010800000000000000030208737373737373733303066e6f64652d330406686f73742d3305027231060364633107016408010704010645010103020800000000000000020333010800000000000000040208737373737373733403066e6f64652d340406686f73742d34050272310603646331070164080105040107100101020208000000000000000104010707080000000000000009081701157b22636f6e73697374656e6379223a224f4e45227d090f000173746f726500ff318180808010";

const label = fc.string({ minLength: 1, maxLength: 20, unit: "grapheme" });
const documents: fc.Arbitrary<RingDocument> = fc
  .record({
    version: fc.maxSafeNat(),
    defaults: fc.integer({ min: 1, max: 5 }),
    members: fc.array(
      fc.record({ name: label, host: label, rack: label, dc: label, weight: fc.integer({ min: 1, max: 400 }) }),
      {
        maxLength: 6,
      },
    ),
    tokens: fc.uniqueArray(fc.nat({ max: 16_383 }), { maxLength: 60 }),
    extra: fc.array(fc.uint8Array({ maxLength: 12 }), { maxLength: 3 }),
  })
  .map(({ version, defaults, members, tokens, extra }) => {
    const unknown = extra.map((bytes, at) => ({ tag: 40 + at * 3, bytes: Buffer.from(bytes) }));
    const later = unknown.length === 0 ? {} : { unknown };
    return documentOf(
      members.map((member, at) =>
        memberOf(at + 1, {
          ...member,
          weight: member.weight / 100,
          tokens: tokens.filter((_, index) => index % members.length === at).sort((a, b) => a - b),
          ...(at === 0 ? later : {}),
        }),
      ),
      { version, replicas: { default: defaults, dcs: [] }, ...later },
    );
  });

describe("ring document", () => {
  it("comes back from its bytes as it was, whatever it holds, fields of later versions included", () => {
    expect(decodeRingDocument(encodeRingDocument(full))).to.deep.equal(full);
    fc.assert(
      fc.property(documents, (document) => {
        const bytes = encodeRingDocument(document);
        const decoded = decodeRingDocument(bytes);
        expect(decoded).to.deep.equal(document);
        expect(isSameDocument(decoded, document)).to.equal(true);
        expect(isSameDocument({ ...document, removed: ["ffffffffffffffff"] }, document)).to.equal(false);
      }),
    );
  });

  it("keeps its form", () => {
    expect(encodeRingDocument(full).toString("hex")).to.equal(GOLDEN);
    expect(decodeRingDocument(Buffer.from(GOLDEN, "hex"))).to.deep.equal(full);
  });

  it("says of a departure that it is forced, beside fields of later versions", () => {
    for (const kind of ["leave", "remove"] as const) {
      const change = { kind, memberId: full.members[0]!.id, since: 1 };
      const unknown = [{ tag: 6, bytes: Buffer.from("later") }];
      for (const pending of [change, { ...change, isForced: true as const }, { ...change, isForced: true as const, unknown }]) {
        const document = { ...full, pending: [pending] };
        expect(decodeRingDocument(encodeRingDocument(document)).pending).to.deep.equal([pending]);
      }
    }
  });

  it("reads format 1, the cluster's id and key alone", () => {
    const bytes = Buffer.concat([Buffer.from([1]), Buffer.alloc(16, 3), Buffer.alloc(32, 4)]);
    const document = decodeRingDocument(bytes);
    expect(document).to.deep.include({
      version: 0,
      members: [],
      clusterId: Buffer.alloc(16, 3),
      clusterKey: Buffer.alloc(32, 4),
    });
    expectCorrupt(() => decodeRingDocument(bytes.subarray(0, 40)));
    expect(decodeRingDocument(encodeRingDocument(document))).to.deep.equal(document);
  });

  it("is refused with any bit flipped, cut off, or of another format", () => {
    const bytes = encodeRingDocument(full);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >>> 3]! ^= 1 << (bit & 7);
      expectCorrupt(() => decodeRingDocument(damaged));
    }
    for (let length = 0; length < bytes.length; length++) expectCorrupt(() => decodeRingDocument(bytes.subarray(0, length)));
    expectCorrupt(() => decodeRingDocument(Buffer.concat([bytes, Buffer.alloc(1)])));
  });

  it("is refused where the checksum is right and the rest is not, and never costs more than its bytes", () => {
    const bytes = encodeRingDocument(full);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 4 }),
        fc.nat({ max: 3 }),
        (edits, cut) => {
          const damaged = Buffer.from(bytes.subarray(0, bytes.length - cut));
          for (const [at, value] of edits) damaged[5 + (at % (damaged.length - 5))] = value;
          seal(damaged);
          try {
            // An edit may make another sound document: then it is the one form of that.
            expect(encodeRingDocument(decodeRingDocument(damaged)).equals(damaged)).to.equal(true);
          } catch (error) {
            expect(error).to.be.instanceOf(OperatingError).and.include({ code: "CORRUPT" });
          }
        },
      ),
      { numRuns: 3_000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
        expectCorrupt(() => decodeRingDocument(seal(Buffer.concat([Buffer.alloc(5, 2), noise]))));
      }),
    );
  });

  it("as part of a message or of an acceptor's state is refused when damaged, too", () => {
    for (const decode of [decodeRingRequest, decodeRingAnswer, decodeAcceptorState]) {
      fc.assert(
        fc.property(fc.nat({ max: 12 }), fc.uint8Array({ maxLength: 100 }), (kind, noise) => {
          const bytes = Buffer.concat([Buffer.from([kind]), noise]);
          try {
            decode(bytes);
          } catch (error) {
            expect(error).to.be.instanceOf(OperatingError).and.include({ code: "CORRUPT" });
          }
        }),
      );
    }
  });

  it("has a fault for people where members, tokens or changes contradict each other", () => {
    const [a, b] = numbered(2, (number) => memberOf(number, { tokens: [number] })) as [Member, Member];
    const join = (member: Member): PendingChange => ({ kind: "join", member, since: 1 });
    const faults: [RegExp, RingDocument][] = [
      [/each member is listed once/, documentOf([b, a])],
      [/slot 1 is a token of two/, documentOf([a, { ...b, tokens: [1] }])],
      [/slot 2 is a token of two/, documentOf([a, b], { pending: [join(memberOf(3, { tokens: [2] }))] })],
      [/not ascending slots/, documentOf([{ ...a, tokens: [5, 4] }])],
      [/not ascending slots/, documentOf([{ ...a, tokens: [16_384] }])],
      [/was removed/, documentOf([a], { removed: [a.id] })],
      [/is or was a member/, documentOf([a], { pending: [join(memberOf(2))], removed: [memberOf(2).id] })],
      [/which is no member/, documentOf([a], { pending: [{ kind: "leave", memberId: b.id, since: 1 }] })],
      [/the weight of member/, documentOf([{ ...a, weight: 0 }])],
      [/has no rack/, documentOf([{ ...a, rack: "" }])],
      [/no member id/, documentOf([{ ...a, id: "A000000000000001" }])],
      [/store id of 8 bytes/, documentOf([{ ...a, storeId: "short" }])],
      [/replicas may be/, documentOf([a], { replicas: { default: 0, dcs: [] } })],
    ];
    for (const [text, document] of faults) expect(faultOfRingDocument(document)).to.match(text);
    expect(faultOfRingDocument(full)).to.equal(null);
  });

  it("begins without members, and its founder is a ring of one", () => {
    const minted = mintRingDocument((length) => Buffer.alloc(length, 5));
    expect(minted).to.deep.include({ version: 0, members: [] });
    const founder = memberOf(1, { tokens: [4] });
    expect(foundRing(minted, { member: founder, replicas: THREE })).to.deep.include({ version: 1, members: [founder] });
  });

  it("knows the members after a join, a leave and a replacement", () => {
    const members = numbered(3);
    const ids = (change: PendingChange) => membersAfter(members, change).map((member) => Number.parseInt(member.id, 16));
    expect(ids({ kind: "join", member: memberOf(4), since: 1 })).to.deep.equal([1, 2, 3, 4]);
    expect(ids({ kind: "leave", memberId: memberOf(2).id, since: 1 })).to.deep.equal([1, 3]);
    expect(ids({ kind: "replace", memberId: memberOf(1).id, member: memberOf(4), since: 1 })).to.deep.equal([2, 3, 4]);
  });

  it("is shown to people without its key", () => {
    const shown = JSON.stringify(readableRingDocument(full));
    expect(shown).not.to.include(full.clusterKey.toString("hex"));
    expect(JSON.parse(shown)).to.deep.include({ version: 7, replicas: { default: 3, dc2: 2 }, removed: ["0000000000000009"] });
    expect(JSON.parse(shown).databases).to.deep.equal({ 1: { consistency: "ONE" } });
  });
});

/** Sets the checksum right. */
function seal(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32(bytes, 5), 1);
  return bytes;
}

function expectCorrupt(decode: () => unknown): void {
  let thrown: unknown = null;
  try {
    decode();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).to.be.instanceOf(OperatingError);
  expect(thrown).to.include({ code: "CORRUPT" });
}
