import { expect } from "chai";
import fc from "fast-check";
import { latin1Of } from "../../lib/bytes/latin1.js";
import { actorOf } from "../../lib/causality/actor.js";
import { COVERS_ALL, isLive, NO_FIELDS, newest, type Record, supersede, type Version } from "../../lib/causality/record.js";
import { decodeRecord, encodeRecord, localAreaOf, withLocalArea } from "../../lib/causality/record-encoding.js";
import { ExpiryTrimmer } from "../../lib/causality/record-expiry.js";
import { RecordView } from "../../lib/causality/record-view.js";
import { RecordWriter } from "../../lib/causality/record-writer.js";
import { actor, anyRecord, expiry, History, NOW_MS, steps, value } from "./histories.js";

describe("record view", () => {
  it("shows of the newest version what decoding the whole record shows", () => {
    const view = new RecordView();
    fc.assert(
      fc.property(anyRecord, fc.nat({ max: 3 }), (record, margin) => {
        const bytes = Buffer.concat([Buffer.alloc(margin, 1), encodeRecord(record), Buffer.alloc(margin, 1)]);
        view.read(bytes, margin, bytes.length - margin);
        const first = newest(record);
        expect(view.versionCount).to.equal(record.versions.length);
        expect(view.isTombstone).to.equal(first.value === null);
        expect(view.expiryMs).to.equal(first.expiryMs);
        expect(view.value()).to.equal(first.value === null ? "" : latin1Of(first.value));
        expect(view.newestStamp()).to.equal(first.stamp);
        expect({ actor: view.newestActor(), sequence: view.newestSequence() }).to.deep.equal(first.dot);
        for (const nowMs of [0, first.expiryMs - 1, first.expiryMs, NOW_MS]) {
          expect(view.isLive(nowMs)).to.equal(isLive(first, nowMs));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("record writer", () => {
  const writer = new RecordWriter();

  it("writes the bytes of a plain SET and DEL exactly as the whole-record path does", () => {
    fc.assert(
      fc.property(
        fc.option(anyRecord, { nil: null }),
        fc.option(actor, { nil: null }),
        fc.nat(),
        value,
        expiry,
        (old, other, choice, bytes, expiryMs) => {
          // Half of the time the writer is an actor that the old record knows.
          const known = old?.context.entries[choice % old.context.size]?.actor;
          expectSame(old, other ?? known ?? actorOf("writer-1", 1), { value: bytes, expiryMs, stamp: choice });
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("writes over every record that a history brings about", () => {
    fc.assert(
      fc.property(steps, actor, value, (all, newcomer, bytes) => {
        for (const old of History.run(all).records) {
          const { entries } = old.context;
          for (const { actor: known } of entries) expectSame(old, known, { value: bytes, expiryMs: 0, stamp: 1 });
          expectSame(old, newcomer, { value: bytes, expiryMs: NOW_MS, stamp: 2 });
        }
      }),
      { numRuns: 100 },
    );
  });

  it("grows for values and contexts beyond its buffer", () => {
    const small = new RecordWriter();
    const mint = { actor: actorOf("writer-1", 1), sequence: 1, stamp: 1 };
    let old = encodeRecord(
      supersede(null, COVERS_ALL, versionOf(mint.actor, 1, { value: Buffer.alloc(1), expiryMs: 0, stamp: 1 })),
    );
    for (let epoch = 2; epoch < 300; epoch++) {
      small.putString({ ...mint, actor: actorOf("writer-1", epoch), sequence: epoch }, "", 0, old, 0, old.length);
      old = Buffer.from(small.bytes.subarray(0, small.end));
    }
    expect(decodeRecord(old).context.size).to.equal(299);
    const large = Buffer.alloc(1_000_000, 7);
    small.putBytes({ ...mint, sequence: 1_000 }, large, 0, old, 0, old.length);
    const { context, versions } = decodeRecord(small.bytes, 0, small.end);
    expect(context.size).to.equal(299);
    expect(large.equals(versions[0]!.value!)).to.equal(true);
  });

  it("a dot that the old record has seen is a bug", () => {
    const own = actorOf("writer-1", 1);
    const old = encodeRecord(supersede(null, COVERS_ALL, versionOf(own, 7, { value: Buffer.alloc(1), expiryMs: 0, stamp: 1 })));
    const again = { actor: own, sequence: 7, stamp: 2 };
    expect(() => writer.putString(again, "", 0, old, 0, old.length)).to.throw("never seen");
    writer.putString({ actor: actorOf("writer-2", 1), sequence: 1, stamp: 3 }, "", 0, old, 0, old.length);
    const joined = Buffer.from(writer.bytes.subarray(0, writer.end));
    expect(() => writer.putString(again, "", 0, joined, 0, joined.length)).to.throw("never seen");
  });

  function expectSame(old: Record | null, own: string, write: { value: Uint8Array; expiryMs: number; stamp: number }): void {
    const sequence = (old?.context.sequenceOf(own) ?? 0) + 1;
    if (!Number.isSafeInteger(sequence)) return;
    const frame = old === null ? null : Buffer.concat([Buffer.alloc(2), encodeRecord(old), Buffer.alloc(2)]);
    const [start, end] = [2, (frame?.length ?? 2) - 2];
    const mint = { actor: own, sequence, stamp: write.stamp };
    const put = supersede(old, COVERS_ALL, versionOf(own, sequence, write));
    writer.putBytes(mint, write.value, write.expiryMs, frame, start, end);
    expect(writer.bytes.subarray(0, writer.end)).to.deep.equal(encodeRecord(put));
    writer.putString(mint, latin1Of(write.value), write.expiryMs, frame, start, end);
    expect(writer.bytes.subarray(0, writer.end)).to.deep.equal(encodeRecord(put));
    const tombstone = versionOf(own, sequence, { ...write, expiryMs: 0 });
    const removed = supersede(old, COVERS_ALL, { ...tombstone, type: "tombstone", value: null });
    writer.remove(mint, frame, start, end);
    expect(writer.bytes.subarray(0, writer.end)).to.deep.equal(encodeRecord(removed));
  }
});

describe("expiry trimmer", () => {
  it("drops a value in the very millisecond in which the margin has passed", () => {
    const one = versionOf(actorOf("writer-1", 1), 1, { value: Buffer.from("v"), expiryMs: 1_000, stamp: 1 });
    const bytes = encodeRecord(supersede(null, COVERS_ALL, one));
    const trimmer = new ExpiryTrimmer({ safetyMarginMs: 500 });
    expect(trimmer.trim(bytes, 0, bytes.length, 1_499)).to.equal(null);
    expect(trimmer.trim(bytes, 0, bytes.length, 1_500)).to.have.length(bytes.length - 1);
  });

  it("drops the values of versions expired by more than the margin, and nothing else", () => {
    fc.assert(
      fc.property(anyRecord, fc.integer({ min: 0, max: 500 }), fc.boolean(), (record, safetyMarginMs, hasArea) => {
        const area = hasArea ? Uint8Array.of(1, 2, 3) : new Uint8Array(0);
        const encoded = encodeRecord(record);
        const bytes = withLocalArea(encoded, 0, encoded.length, area);
        const trimmed = new ExpiryTrimmer({ safetyMarginMs }).trim(bytes, 0, bytes.length, NOW_MS);
        const isDue = (version: Version) =>
          version.value !== null && version.expiryMs !== 0 && version.expiryMs + safetyMarginMs <= NOW_MS;
        if (!record.versions.some(isDue)) {
          expect(trimmed).to.equal(null);
          return;
        }
        const expected = record.versions.map((version) => (isDue(version) ? { ...version, value: null } : version));
        expect(Buffer.from(localAreaOf(trimmed!))).to.deep.equal(Buffer.from(area));
        expect(encodeRecord(decodeRecord(trimmed!))).to.deep.equal(encodeRecord({ ...record, versions: expected }));
        expect(new ExpiryTrimmer({ safetyMarginMs }).trim(trimmed!, 0, trimmed!.length, NOW_MS)).to.equal(null);
      }),
      { numRuns: 500 },
    );
  });
});

function versionOf(own: string, sequence: number, write: { value: Uint8Array; expiryMs: number; stamp: number }): Version {
  return { dot: { actor: own, sequence }, type: "string", writeId: null, fields: NO_FIELDS, ...write };
}
