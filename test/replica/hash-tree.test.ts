/** What two members tell each other about their hash trees, and how they find the keys that differ. */
import { createHash } from "node:crypto";
import { expect } from "chai";
import fc from "fast-check";
import { SLOTS } from "../../lib/bytes/slot.js";
import { DIGEST_SPAN } from "../../lib/causality/record-digest.js";
import { OperatingError } from "../../lib/errors.js";
import { dataKeyFloor } from "../../lib/replica/data-key.js";
import { compareStretches, cutIntoStretches } from "../../lib/replica/slot-keys.js";
import { unequalKeys } from "../../lib/replica/tree-exchange.js";
import {
  decodeKeysAnswer,
  decodeLeavesAnswer,
  decodeSumsAnswer,
  decodeTreeRequest,
  encodeKeysAnswer,
  encodeLeavesAnswer,
  encodeSumsAnswer,
  encodeTreeRequest,
  GROUPS,
  type KeyDigest,
  PLACES,
  placeOf,
  SLOTS_PER_GROUP,
  type TreeRequest,
} from "../../lib/replica/tree-messages.js";

const SLOT = 77;
const sum = fc.integer({ min: 0, max: DIGEST_SPAN - 1 });
const leaf = fc.integer({ min: 0, max: 2 * DIGEST_SPAN - 1 });
/** Few places, so that keys share them. */
const key = fc
  .record({
    database: fc.nat({ max: 2 }),
    hash: fc.oneof(fc.nat({ max: 30 }), fc.nat({ max: 2 ** 32 - 1 })),
    name: fc.nat({ max: 3 }),
  })
  .map(({ database, hash, name }) => `${dataKeyFloor(SLOT, database, hash)}k${name}`);
const version = fc.nat();
/** Digests as spread as real ones: sums of those that are made up by hand cancel out, of real ones one in 2^48. */
const digests = fc.dictionary(key, version).map(inOrder);
/** The keys of two sides: most are the same. */
const pair = fc
  .tuple(fc.dictionary(key, version), fc.dictionary(key, version), fc.array(fc.nat({ max: 9 })))
  .map(([one, others, choices]) => {
    const kept = Object.entries(one).filter((_, at) => choices[at] !== 0);
    const changed = kept.map(([dataKey, seen], at) => [dataKey, choices[at] === 1 ? seen + 1 : seen] as const);
    return [inOrder(one), inOrder({ ...others, ...Object.fromEntries(changed) })] as const;
  });

function inOrder(versions: Record<string, number>): KeyDigest[] {
  const keys = Object.entries(versions).map(([dataKey, seen]) => ({ dataKey, digest: digestOf(dataKey, seen) }));
  return keys.sort((a, b) => (a.dataKey < b.dataKey ? -1 : 1));
}

function digestOf(dataKey: string, seen: number): number {
  return createHash("sha256").update(`${dataKey} ${seen}`).digest().readUIntBE(0, 6);
}

/** All keys of one side from a place on, but at most so many, ended between places. */
function some(keys: readonly KeyDigest[], from: number, to: number, wanted: number): { keys: KeyDigest[]; end: number } {
  const within = keys.filter(({ dataKey }) => placeOf(dataKey) >= from && placeOf(dataKey) < to);
  if (within.length <= wanted) return { keys: within, end: to };
  const end = placeOf(within[wanted - 1]!.dataKey) + 1;
  return { keys: within.filter(({ dataKey }) => placeOf(dataKey) < end), end };
}

describe("hash trees", () => {
  it("messages come as they left", () => {
    const request: fc.Arbitrary<TreeRequest> = fc.oneof(
      fc.record({
        what: fc.constant("sums" as const),
        ringVersion: fc.nat(),
        sums: fc.oneof(fc.array(sum, { minLength: 1, maxLength: 1 }), fc.array(sum, { minLength: GROUPS, maxLength: GROUPS })),
      }),
      fc.record({
        what: fc.constant("leaves" as const),
        ringVersion: fc.nat(),
        spans: fc.constant([
          { first: 3, end: 5 },
          { first: 9, end: SLOTS },
        ]),
      }),
      fc.record({
        what: fc.constant("keys" as const),
        ringVersion: fc.nat(),
        slot: fc.nat({ max: SLOTS - 1 }),
        from: fc.constant(5),
        stretches: fc
          .array(sum, { minLength: 1, maxLength: 5 })
          .map((sums) => sums.map((one, at) => ({ end: PLACES - 9 + at, sum: one }))),
      }),
    );
    fc.assert(
      fc.property(request, (one) => {
        expect(decodeTreeRequest(encodeTreeRequest(one))).to.deep.equal(one);
      }),
    );
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: GROUPS, maxLength: GROUPS }), leaf, (differing, value) => {
        const leaves = Array.from({ length: SLOTS_PER_GROUP }, (_, at) => (value + at) % (2 * DIGEST_SPAN));
        const groups = decodeSumsAnswer(
          encodeSumsAnswer(differing, () => leaves),
          GROUPS,
        );
        expect([...groups.keys()]).to.deep.equal(differing.flatMap((differs, at) => (differs ? [at] : [])));
        for (const found of groups.values()) expect(found).to.deep.equal(leaves);
      }),
    );
    for (const differs of [true, false]) {
      expect(
        decodeSumsAnswer(
          encodeSumsAnswer([differs], () => []),
          1,
        ).size,
      ).to.equal(differs ? 1 : 0);
    }
    fc.assert(
      fc.property(fc.array(leaf), (leaves) => {
        expect(decodeLeavesAnswer(encodeLeavesAnswer(leaves), leaves.length)).to.deep.equal(leaves);
      }),
    );
    fc.assert(
      fc.property(digests, fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }), (keys, differing) => {
        const answer = { end: PLACES, differing, keys };
        expect(decodeKeysAnswer(encodeKeysAnswer(answer), SLOT, differing.length)).to.deep.equal(answer);
      }),
    );
  });

  it("messages that are damaged are refused, and nothing else happens", () => {
    const decoders: ((bytes: Buffer) => unknown)[] = [
      decodeTreeRequest,
      (bytes) => decodeSumsAnswer(bytes, GROUPS),
      (bytes) => decodeLeavesAnswer(bytes, 9),
      (bytes) => decodeKeysAnswer(bytes, SLOT, 3),
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 3 }), (bytes, at) => {
        try {
          decoders[at]!(Buffer.from(bytes));
        } catch (error) {
          expect(error).to.be.instanceOf(OperatingError).with.property("code", "CORRUPT");
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("find exactly the keys that two sides do not hold alike, whatever each can tell at once", () => {
    const few = fc.integer({ min: 1, max: 7 });
    fc.assert(
      fc.property(pair, few, few, few, ([own, theirs], wanted, each, told) => {
        const found = new Set<string>();
        for (let from = 0; from < PLACES; ) {
          const mine = some(own, from, PLACES, wanted);
          const stretches = cutIntoStretches(mine.keys, mine.end, each);
          const other = some(theirs, from, mine.end, told);
          const compared = compareStretches(other.keys, stretches, other.end);
          const end = Math.min(mine.end, other.end);
          for (const { dataKey } of unequalKeys(mine.keys, stretches, compared, end)) found.add(dataKey);
          expect(end).to.be.above(from);
          from = end;
        }
        const mine = new Map(own.map(({ dataKey, digest }) => [dataKey, digest]));
        const other = new Map(theirs.map(({ dataKey, digest }) => [dataKey, digest]));
        const all = [...new Set([...mine.keys(), ...other.keys()])];
        expect([...found].sort()).to.deep.equal(all.filter((dataKey) => mine.get(dataKey) !== other.get(dataKey)).sort());
      }),
      { numRuns: 1_000 },
    );
  });
});
