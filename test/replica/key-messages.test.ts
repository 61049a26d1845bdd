/** What members tell each other about the keys of a database: bytes there and back, and bytes that are damaged. */
import { expect } from "chai";
import fc from "fast-check";
import { SLOTS } from "../../lib/bytes/slot.js";
import { OperatingError } from "../../lib/errors.js";
import { DataKeys } from "../../lib/replica/data-key.js";
import {
  decodeCounts,
  decodeCountsRequest,
  decodeKeysPage,
  decodeKeysRequest,
  encodeCounts,
  encodeCountsRequest,
  encodeKeysPage,
  encodeKeysRequest,
} from "../../lib/replica/key-messages.js";
import { slotsOf, spansOf } from "../../lib/replica/slot-spans.js";

const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const slot = fc.integer({ min: 0, max: SLOTS - 1 });
const slots = fc.uniqueArray(slot, { minLength: 1, maxLength: 40 }).map((list) => list.sort((a, b) => a - b));
const spans = slots.map((list) => spansOf(list));
const version = fc.integer({ min: 0, max: 2 ** 40 });
const database = fc.integer({ min: 0, max: 15 });
const keys = new DataKeys();
const listed = fc.record({
  dataKey: fc.uint8Array({ maxLength: 40 }).map((bytes) => keys.of(3, bytes)),
  high: u32,
  low: u32,
  expiryMs: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })),
});

describe("messages about the keys of a database", () => {
  it("come back as they were", () => {
    fc.assert(
      fc.property(
        version,
        fc.record({ database, fromHash: u32, count: fc.integer({ min: 1, max: 10_000 }), spans }),
        (v, r) => {
          expect(decodeKeysRequest(encodeKeysRequest(v, r))).to.deep.equal({ ringVersion: v, ...r });
        },
      ),
    );
    fc.assert(
      fc.property(version, fc.record({ database, draw: u32, spans }), (v, request) => {
        expect(decodeCountsRequest(encodeCountsRequest(v, request))).to.deep.equal({ ringVersion: v, ...request });
      }),
    );
    fc.assert(
      fc.property(fc.record({ keys: fc.array(listed), slot: fc.integer({ min: 0, max: SLOTS }), hash: u32 }), (page) => {
        expect(decodeKeysPage(encodeKeysPage(page))).to.deep.equal(page);
      }),
    );
    fc.assert(
      fc.property(fc.record({ keys: version, slot, rank: version }), (counts) => {
        expect(decodeCounts(encodeCounts(counts))).to.deep.equal(counts);
      }),
    );
  });

  it("that are cut off or altered are read as something else, or refused as damage", () => {
    const decoders = [decodeKeysRequest, decodeKeysPage, decodeCountsRequest, decodeCounts];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(3), (bytes, which) => {
        try {
          decoders[which]!(Buffer.from(bytes));
        } catch (error) {
          if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("name stretches of slots, each slot once", () => {
    fc.assert(
      fc.property(slots, (list) => {
        expect([...slotsOf(spansOf(list))]).to.deep.equal(list);
      }),
    );
    expect(spansOf([0, 1, 2, 7, 9, 10])).to.deep.equal([
      { first: 0, end: 3 },
      { first: 7, end: 8 },
      { first: 9, end: 11 },
    ]);
  });
});
