import { expect } from "chai";
import fc from "fast-check";
import { actorOf, epochOf, storeIdOf } from "../../lib/causality/actor.js";
import { buryExpired, COVERS_ALL, merge, NO_FIELDS, type Record, supersede, type Version } from "../../lib/causality/record.js";
import { RecordComparison, type Standing } from "../../lib/causality/record-compare.js";
import { contextOf, decodeRecord, encodeRecord, withLocalArea } from "../../lib/causality/record-encoding.js";
import { ExpiryTrimmer } from "../../lib/causality/record-expiry.js";
import { RecordView } from "../../lib/causality/record-view.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { OperatingError } from "../../lib/errors.js";
import { anyRecord, History, keyOf, NOW_MS, steps } from "./histories.js";

const OWN = "\xafstore-a".slice(0, 8);
const comparison = new RecordComparison(OWN);

function viewOf(bytes: Uint8Array): RecordView {
  // Not at the start of its buffer, as in the engine.
  const frame = Buffer.concat([Buffer.alloc(3, 1), bytes, Buffer.alloc(2, 1)]);
  const view = new RecordView();
  view.read(frame, 3, 3 + bytes.length);
  return view;
}

function version(actor: string, sequence: number, changes: Partial<Version> = {}): Version {
  const value = Buffer.from(`${sequence}`);
  const dot = { actor, sequence };
  return { dot, stamp: sequence, expiryMs: 0, type: "string", value, writeId: null, fields: NO_FIELDS, ...changes };
}

/** The copies of a record that replicas may hold: as it is, with expired values dropped, with them made tombstones. */
function copiesOf(record: Record): Buffer[] {
  const bytes = encodeRecord(record);
  const trimmed = new ExpiryTrimmer({ safetyMarginMs: 0 }).trim(bytes, 0, bytes.length, NOW_MS);
  return [bytes, ...(trimmed === null ? [] : [Buffer.from(trimmed), encodeRecord(buryExpired(record, NOW_MS))])];
}

/** Compares, and holds the answer against decoding and merging. */
function judged(old: Buffer, incoming: Buffer): Standing {
  const standing = comparison.compare(viewOf(old), viewOf(incoming));
  const merged = merge(decodeRecord(old), decodeRecord(incoming));
  if (standing === "apart") return standing;
  const result = encodeRecord(merged);
  if (standing !== "ahead") expect(result, standing).to.deep.equal(old);
  if (standing !== "behind") expect(result, standing).to.deep.equal(incoming);
  if (standing === "equal") expect(incoming).to.deep.equal(old);
  const { dot } = decodeRecord(old).versions[0]!;
  expect(comparison.isSameVersion).to.equal(keyOf(dot) === keyOf(decodeRecord(incoming).versions[0]!.dot));
  if (standing === "behind" && !comparison.isSameVersion) expect(decodeRecord(incoming).context.covers(dot)).to.equal(false);
  expectOwn(decodeRecord(incoming).context);
  return standing;
}

function areMergeable(a: Record, b: Record): boolean {
  try {
    return merge(a, b).versions.length > 0;
  } catch (error) {
    expect(error).to.have.property("code", "CORRUPT");
    return false;
  }
}

function expectOwn(context: VersionVector): void {
  const last = context.entries.filter(({ actor }) => storeIdOf(actor) === OWN).at(-1);
  const found = [comparison.ownEpoch, comparison.ownSequence];
  expect(found).to.deep.equal(last === undefined ? [0, 0] : [epochOf(last.actor), last.sequence]);
}

describe("record comparison", () => {
  it("says what merging says, for all copies of all records of a history, and mostly says something", () => {
    const seen = new Map<Standing, number>();
    fc.assert(
      fc.property(steps, fc.array(fc.tuple(fc.nat(), fc.nat()), { minLength: 1, maxLength: 10 }), (all, pairs) => {
        const { records } = History.run(all);
        if (records.length === 0) return;
        for (const [left, right] of pairs) {
          for (const old of copiesOf(records[left % records.length]!)) {
            for (const incoming of copiesOf(records[right % records.length]!)) {
              const standing = judged(old, incoming);
              seen.set(standing, (seen.get(standing) ?? 0) + 1);
            }
          }
        }
      }),
      { numRuns: 500, seed: 7 },
    );
    for (const standing of ["equal", "ahead", "behind", "apart"] as const) {
      expect(seen.get(standing), standing).to.be.greaterThan(100);
    }
  });

  it("says what merging says of arbitrary records too", () => {
    fc.assert(
      fc.property(anyRecord, anyRecord, (a, b) => {
        judged(encodeRecord(a), encodeRecord(a));
        const joined = a.context.join(b.context);
        for (const other of [b, { ...b, context: joined }]) {
          // A dot that was given twice: neither may be thrown away for the other.
          if (areMergeable(a, other)) judged(encodeRecord(a), encodeRecord(other));
          else expect(comparison.compare(viewOf(encodeRecord(a)), viewOf(encodeRecord(other)))).to.equal("apart");
        }
      }),
      { numRuns: 1_000 },
    );
  });

  it("needs no decoding for one version after the other, nor for one that comes again", () => {
    const a = actorOf("store-aa", 1);
    const b = actorOf("store-bb", 2);
    const first = supersede(null, COVERS_ALL, version(a, 1, { writeId: "w" }));
    const second = supersede(first, COVERS_ALL, version(b, 5));
    const third = supersede(second, COVERS_ALL, version(a, 9, { type: "tombstone", value: null }));
    const bytes = [first, second, third].map(encodeRecord);
    for (const [at, old] of bytes.entries()) {
      for (const [other, incoming] of bytes.entries()) {
        expect(judged(old, incoming)).to.equal(other > at ? "ahead" : other < at ? "behind" : "equal");
      }
    }
    const concurrent = encodeRecord(supersede(null, COVERS_ALL, version(b, 6)));
    expect(judged(bytes[0]!, concurrent)).to.equal("apart");
  });

  it("gives up neither a value nor what was seen, where each side has one of them for the same version", () => {
    const [a, b] = [actorOf("store-aa", 1), actorOf("store-bb", 2)];
    const narrow = supersede(null, COVERS_ALL, version(a, 1, { expiryMs: NOW_MS }));
    const wide = { ...narrow, context: narrow.context.with({ actor: b, sequence: 3 }) };
    for (const [full, seen] of [
      [narrow, wide],
      [wide, narrow],
    ] as const) {
      const whole = encodeRecord(full);
      for (const poorer of copiesOf(seen).slice(1)) {
        expect(judged(whole, poorer)).to.equal(seen === wide ? "apart" : "behind");
        expect(judged(poorer, whole)).to.equal(seen === wide ? "apart" : "ahead");
      }
    }
  });

  it("is not misled by a local area at hand, and leaves one that came to others", () => {
    const bytes = encodeRecord(supersede(null, COVERS_ALL, version(actorOf("store-aa", 1), 1)));
    const withArea = withLocalArea(bytes, 0, bytes.length, Uint8Array.of(1, 2));
    expect(comparison.compare(viewOf(withArea), viewOf(bytes))).to.equal("equal");
    expect(comparison.compare(viewOf(bytes), viewOf(withArea))).to.equal("apart");
    expect(comparison.compare(null, viewOf(withArea))).to.equal("apart");
  });

  it("finds the last dot of the own store, and only of that", () => {
    const others = [actorOf("\xafstore-b".slice(0, 8), 9), actorOf("\0\0\0\0\0\0\0\0", 4)];
    const context = VersionVector.of(
      { actor: actorOf(OWN, 2), sequence: 70 },
      { actor: actorOf(OWN, 0x8000_0001), sequence: 3 },
      ...others.map((actor) => ({ actor, sequence: 99 })),
    );
    const record = supersede(null, { kind: "all", seen: context }, version(actorOf("store-zz", 1), 1));
    expect(comparison.compare(null, viewOf(encodeRecord(record)))).to.equal("ahead");
    expect([comparison.ownEpoch, comparison.ownSequence]).to.deep.equal([0x8000_0001, 3]);
    const without = supersede(null, COVERS_ALL, version(others[0]!, 1));
    expect(comparison.compare(null, viewOf(encodeRecord(without)))).to.equal("ahead");
    expect(comparison.ownEpoch).to.equal(0);
  });

  it("does not take the own dot of the record before for that of this one", () => {
    const [a, b] = [actorOf("store-aa", 1), actorOf("store-bb", 1)];
    const own = supersede(supersede(null, COVERS_ALL, version(actorOf(OWN, 3), 4)), COVERS_ALL, version(a, 1));
    judged(encodeRecord(own), encodeRecord(supersede(own, COVERS_ALL, version(a, 2))));
    expect([comparison.ownEpoch, comparison.ownSequence]).to.deep.equal([3, 4]);
    const others = supersede(supersede(null, COVERS_ALL, version(a, 1)), COVERS_ALL, version(b, 1));
    expect(judged(encodeRecord(others), encodeRecord(supersede(others, COVERS_ALL, version(a, 2))))).to.equal("ahead");
    expect(comparison.ownEpoch).to.equal(0);
  });

  it("lets nothing be stored that could not be decoded, whatever is at hand", () => {
    let accepted = 0;
    let refused = 0;
    let ahead = 0;
    const [a, b, c] = [actorOf("store-aa", 1), actorOf("store-bb", 1), actorOf("store-cc", 1)];
    fc.assert(
      fc.property(
        anyRecord.filter(({ versions }) => versions.length === 1),
        fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 }),
        fc.nat({ max: 2 }),
        fc.constantFrom(null, [a], [a, b], [a, b, c]),
        (record, changes, cut, actors) => {
          let old: Record | null = null;
          for (const actor of actors ?? []) old = supersede(old, COVERS_ALL, version(actor, 300));
          // Over something at hand: what a member that wrote it before sends next.
          const incoming = old === null ? record : supersede(old, COVERS_ALL, version(a, 301));
          const bytes = encodeRecord(incoming);
          for (const [at, value] of changes) bytes[at % Math.min(bytes.length, 80)] = value;
          const damaged = bytes.subarray(0, bytes.length - cut);
          try {
            const standing = comparison.compare(old === null ? null : viewOf(encodeRecord(old)), viewOf(damaged));
            if (standing === "apart") return;
            if (old !== null && standing === "ahead") ahead++;
          } catch (error) {
            if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
            refused++;
            return;
          }
          // A stamp out of range is found by whoever reads it.
          const view = viewOf(damaged);
          try {
            view.newestStamp();
          } catch {
            return;
          }
          accepted++;
          expect(() => decodeRecord(damaged)).not.to.throw();
        },
      ),
      { numRuns: 8_000 },
    );
    expect(Math.min(accepted, refused, ahead)).to.be.greaterThan(100);
  });

  it("reads a context without the rest of its record", () => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        const view = viewOf(encodeRecord(record));
        expect(contextOf(view).entries).to.deep.equal(record.context.entries);
      }),
      { numRuns: 300 },
    );
  });
});
