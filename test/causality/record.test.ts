import { expect } from "chai";
import fc from "fast-check";
import { actorOf, type Dot } from "../../lib/causality/actor.js";
import {
  COVERS_ALL,
  clockOf,
  distinctVersions,
  hashOf,
  isLive,
  merge,
  NO_FIELDS,
  newest,
  type Record,
  supersede,
  type Version,
} from "../../lib/causality/record.js";
import { decodeRecord, encodeRecord } from "../../lib/causality/record-encoding.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { History, keyOf, steps } from "./histories.js";

const x = actorOf("store-xx", 1);
const y = actorOf("store-yy", 1);
const z = actorOf("store-zz", 1);

function version(dot: Dot, changes: Partial<Version> = {}): Version {
  const text = Buffer.from(`${dot.sequence}`);
  return { dot, stamp: dot.sequence, expiryMs: 0, type: "string", value: text, writeId: null, fields: NO_FIELDS, ...changes };
}

function dotsOf(record: Record): string[] {
  return record.versions.map((one) => keyOf(one.dot));
}

describe("record", () => {
  it("siblings are exactly the concurrent writes, and a context covers exactly what was seen", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const history = new History();
        for (const step of all) {
          history.apply(step);
          const replica = history.replicas[step.replica]!;
          if (replica.record === null) continue;
          expect(new Set(dotsOf(replica.record))).to.deep.equal(history.live(replica));
          for (const [key, { dot }] of history.writes) {
            expect(replica.record.context.covers(dot)).to.equal(replica.known.has(key));
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it("merge commutes, associates and is idempotent, down to the bytes and the hash", () => {
    fc.assert(
      fc.property(steps, fc.array(fc.nat(), { minLength: 3, maxLength: 12 }), (all, picks) => {
        const { records } = History.run(all);
        if (records.length === 0) return;
        const chosen = picks.map((pick) => records[pick % records.length]!);
        for (let at = 0; at + 2 < chosen.length; at++) {
          const [a, b, c] = [chosen[at]!, chosen[at + 1]!, chosen[at + 2]!];
          expect(encodeRecord(merge(a, a))).to.deep.equal(encodeRecord(a));
          expect(encodeRecord(merge(a, b))).to.deep.equal(encodeRecord(merge(b, a)));
          const left = merge(merge(a, b), c);
          const right = merge(a, merge(b, c));
          expect(encodeRecord(left)).to.deep.equal(encodeRecord(right));
          expect(hashOf(left)).to.deep.equal(hashOf(right));
          // What came over the wire merges like what is held.
          expect(encodeRecord(merge(decodeRecord(encodeRecord(a)), b))).to.deep.equal(encodeRecord(merge(a, b)));
        }
      }),
      { numRuns: 300 },
    );
  });

  it("replicas that exchanged everything hold the same bytes, and their hashes differ before they do", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const { records } = History.run(all);
        for (const a of records) {
          for (const b of records.slice(0, 5)) {
            const isSame = a.context.compare(b.context) === "equal" && dotsOf(a).join() === dotsOf(b).join();
            const [left, right] = [hashOf(a), hashOf(b)];
            expect(left.high === right.high && left.low === right.low).to.equal(isSame);
          }
        }
        const forwards = records.reduceRight((merged, next) => merge(merged, next), records[0] ?? single());
        const backwards = records.reduce((merged, next) => merge(next, merged), records[0] ?? single());
        expect(encodeRecord(forwards)).to.deep.equal(encodeRecord(backwards));
      }),
      { numRuns: 100 },
    );
  });

  it("merge refuses two that have seen and dropped each other's versions, as no writes bring about", () => {
    const one = supersede(
      null,
      { kind: "all", seen: VersionVector.of({ actor: y, sequence: 5 }) },
      version({ actor: x, sequence: 1 }),
    );
    const seen = VersionVector.of({ actor: x, sequence: 2 });
    const forged = supersede(null, { kind: "all", seen }, version({ actor: y, sequence: 3 }));
    for (const [a, b] of [
      [one, forged],
      [forged, one],
    ] as const) {
      expect(() => merge(a, b))
        .to.throw()
        .with.property("code", "CORRUPT");
    }
  });

  it("merge returns the side that had it all already", () => {
    const old = single();
    const changed = supersede(old, COVERS_ALL, version({ actor: y, sequence: 1 }));
    expect(merge(changed, old)).to.equal(changed);
    expect(merge(old, changed)).to.equal(changed);
    expect(merge(old, decodeRecord(encodeRecord(old)))).to.equal(old);
  });

  it("the example of the design's section 2 goes step by step: D1 to D5", () => {
    const write = (record: Record | null, seen: VersionVector, dot: Dot, stamp: number) =>
      supersede(record, { kind: "context", context: seen }, version(dot, { stamp }));
    const names = (storeId: string) => ({ "store-xx": "Sx", "store-yy": "Sy", "store-zz": "Sz" })[storeId] ?? null;
    const d1 = write(null, VersionVector.EMPTY, { actor: x, sequence: 1 }, 1);
    expect(d1.context.readable(names)).to.equal("Sx:1");
    const d2 = write(d1, d1.context, { actor: x, sequence: 2 }, 2);
    expect(d2.context.readable(names)).to.equal("Sx:2");
    expect(d2.versions).to.have.length(1);
    const d3 = write(d2, d2.context, { actor: y, sequence: 1 }, 3);
    const d4 = write(d2, d2.context, { actor: z, sequence: 1 }, 4);
    expect(d3.context.readable(names)).to.equal("Sx:2 Sy:1");
    expect(d4.context.readable(names)).to.equal("Sx:2 Sz:1");
    expect(d1.context.compare(d2.context)).to.equal("before");
    expect(d2.context.compare(d3.context)).to.equal("before");
    expect(d3.context.compare(d4.context)).to.equal("concurrent");
    const both = merge(d3, d4);
    expect(dotsOf(both)).to.deep.equal([keyOf({ actor: z, sequence: 1 }), keyOf({ actor: y, sequence: 1 })]);
    expect(both.versions.map((one) => clockOf(both, one).readable(names))).to.deep.equal(["Sx:2 Sz:1", "Sx:2 Sy:1"]);
    const d5 = write(d2, both.context, { actor: x, sequence: 3 }, 5);
    expect(d5.context.readable(names)).to.equal("Sx:3 Sy:1 Sz:1");
    expect(d5.versions).to.have.length(1);
    for (const earlier of [d1, d2, d3, d4, both]) {
      expect(earlier.context.compare(d5.context)).to.equal("before");
      expect(merge(earlier, d5)).to.equal(d5);
    }
  });

  it("the clock of a version covers what it saw and none of its siblings at other actors", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const history = History.run(all);
        for (const record of history.records) {
          for (const one of record.versions) {
            const clock = clockOf(record, one);
            const { past } = history.writes.get(keyOf(one.dot))!;
            for (const key of past) {
              const { dot } = history.writes.get(key)!;
              const isPastSibling = record.versions.some(
                (other) => other.dot.actor === dot.actor && other.dot.sequence < dot.sequence,
              );
              if (!isPastSibling) expect(clock.covers(dot)).to.equal(true);
            }
            expect(clock.sequenceOf(one.dot.actor)).to.equal(one.dot.sequence);
            const siblings = record.versions.filter((other) => other.dot.actor !== one.dot.actor);
            for (const sibling of siblings) expect(clock.covers(sibling.dot)).to.equal(false);
          }
        }
      }),
      { numRuns: 100 },
    );
  });

  it("a plain write supersedes also what was shown to its client elsewhere", () => {
    const shown = VersionVector.of({ actor: y, sequence: 9 });
    const record = supersede(single(), { kind: "all", seen: shown }, version({ actor: x, sequence: 2 }));
    const late = supersede(null, COVERS_ALL, version({ actor: y, sequence: 9 }, { stamp: 99 }));
    expect(merge(record, late)).to.equal(record);
  });

  it("a write computed from one sibling leaves an older one of the same actor alone", () => {
    const first = supersede(null, COVERS_ALL, version({ actor: x, sequence: 1 }));
    const second = supersede(first, { kind: "context", context: VersionVector.EMPTY }, version({ actor: x, sequence: 2 }));
    expect(second.versions).to.have.length(2);
    const third = supersede(second, { kind: "version", dot: { actor: x, sequence: 2 } }, version({ actor: x, sequence: 3 }));
    expect(dotsOf(third)).to.deep.equal([keyOf({ actor: x, sequence: 3 }), keyOf({ actor: x, sequence: 1 })]);
  });

  it("copies of one forwarded write are shown as one and superseded as one", () => {
    const one = supersede(null, COVERS_ALL, version({ actor: x, sequence: 1 }, { writeId: "w", stamp: 1 }));
    const other = supersede(null, COVERS_ALL, version({ actor: y, sequence: 1 }, { writeId: "w", stamp: 2 }));
    const both = merge(one, other);
    expect(both.versions).to.have.length(2);
    expect(distinctVersions(both).map((each) => each.dot.actor)).to.deep.equal([y]);
    const after = supersede(both, { kind: "context", context: one.context }, version({ actor: z, sequence: 1 }));
    expect(dotsOf(after)).to.deep.equal([keyOf({ actor: z, sequence: 1 })]);
  });

  it("the newest version is the same on every node: by stamp, then actor, then sequence", () => {
    const low = supersede(null, COVERS_ALL, version({ actor: x, sequence: 9 }, { stamp: 5 }));
    const high = supersede(null, COVERS_ALL, version({ actor: y, sequence: 1 }, { stamp: 5 }));
    const last = supersede(null, COVERS_ALL, version({ actor: z, sequence: 1 }, { stamp: 6 }));
    expect(newest(merge(low, high)).dot.actor).to.equal(y);
    expect(newest(merge(merge(last, low), high)).dot.actor).to.equal(z);
  });

  it("a version is a tombstone from the millisecond of its expiry on", () => {
    const one = version({ actor: x, sequence: 1 }, { expiryMs: 1_000 });
    expect(isLive(one, 999)).to.equal(true);
    expect(isLive(one, 1_000)).to.equal(false);
    expect(isLive({ ...one, expiryMs: 0 }, Number.MAX_SAFE_INTEGER)).to.equal(true);
    expect(isLive({ ...one, type: "tombstone", value: null }, 0)).to.equal(false);
  });

  it("a dropped value neither changes the hash nor wins over the value", () => {
    const whole = supersede(null, COVERS_ALL, version({ actor: x, sequence: 1 }, { expiryMs: 1_000 }));
    const dropped = { ...whole, versions: [{ ...whole.versions[0]!, value: null }] };
    expect(hashOf(dropped)).to.deep.equal(hashOf(whole));
    expect(encodeRecord(merge(whole, dropped))).to.deep.equal(encodeRecord(whole));
    expect(encodeRecord(merge(dropped, whole))).to.deep.equal(encodeRecord(whole));
  });

  it("the hash tells apart what one context may stand over, and never changes for the same record", () => {
    const context = VersionVector.of({ actor: x, sequence: 2 }, { actor: y, sequence: 300 });
    const one = { context, versions: [version({ actor: y, sequence: 300 })] };
    const other = { context, versions: [version({ actor: x, sequence: 2 })] };
    const both = { context, versions: [...one.versions, ...other.versions] };
    const hashes = [one, other, both].map(hashOf);
    expect(new Set(hashes.map(({ high }) => high)).size).to.equal(3);
    expect(new Set(hashes.map(({ low }) => low)).size).to.equal(3);
    expect(hashes[2]).to.deep.equal({ high: 591427846, low: 4271674052 });
  });

  it("a dot that was seen before is a bug", () => {
    expect(() => supersede(single(), COVERS_ALL, version({ actor: x, sequence: 1 }))).to.throw("never seen");
  });

  function single(): Record {
    return supersede(null, COVERS_ALL, version({ actor: x, sequence: 1 }));
  }
});
