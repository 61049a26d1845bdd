import { expect } from "chai";
import fc from "fast-check";
import { SLOTS } from "../../lib/bytes/slot.js";
import { actorOf } from "../../lib/causality/actor.js";
import type { Covered } from "../../lib/causality/record.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { type Consistency, LEVELS } from "../../lib/coordinator/consistency.js";
import { LeasesTaken } from "../../lib/coordinator/decision-leases.js";
import {
  decodeCommand,
  decodeRefused,
  decodeWrite,
  decodeWritten,
  encodeCommand,
  encodeRefused,
  encodeWrite,
  encodeWritten,
} from "../../lib/coordinator/forward-messages.js";
import { OperatingError } from "../../lib/errors.js";
import { DataKeys, databaseOfDataKey, slotOfDataKey } from "../../lib/replica/data-key.js";
import { damage, expectReadOrCorrupt } from "../replica/damage.js";

const dot = fc.record({
  actor: fc
    .tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 3 }))
    .map(([id, epoch]) => actorOf(`store-0${id}`, epoch)),
  sequence: fc.integer({ min: 1, max: 2 ** 40 }),
});
const vector = fc.array(dot, { maxLength: 4 }).map((dots) => VersionVector.of(...dots));
const covered: fc.Arbitrary<Covered> = fc.oneof(
  vector.map((seen) => ({ kind: "all", seen }) as const),
  vector.map((context) => ({ kind: "context", context }) as const),
  dot.map((one) => ({ kind: "version", dot: one }) as const),
);
const quorum: fc.Arbitrary<Consistency["quorum"]> = fc.oneof(
  fc.constantFrom(...LEVELS).map((level) => ({ kind: "level", level }) as const),
  fc.record({ read: fc.integer({ min: 1, max: 300 }), write: fc.integer({ min: 1, max: 300 }) }).map((sizes) => {
    return { kind: "numbers", ...sizes } as const;
  }),
);
const consistency = fc.record({
  quorum,
  standIns: fc.constantFrom("strict" as const, "sloppy" as const),
  conflicts: fc.constantFrom("newest" as const, "error" as const),
});
const bytes = fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array));
const keys = new DataKeys();
const ringVersion = fc.integer({ min: 0, max: 2 ** 40 });

/** Whatever is read names a slot and a database that there are. */
function decodeKept(bytes: Buffer): void {
  const { dataKey } = decodeWrite(bytes);
  expect([slotOfDataKey(dataKey) < SLOTS, databaseOfDataKey(dataKey) < 16]).to.deep.equal([true, true]);
}

describe("what is passed on to other nodes", () => {
  it("a write comes back as it was", () => {
    const write = fc.record({
      ringVersion,
      spareMs: fc.integer({ min: 0, max: 2 ** 40 }),
      stamp: fc.integer({ min: 0, max: 2 ** 53 - 1 }),
      consistency,
      dataKey: fc.tuple(fc.integer({ min: 0, max: 15 }), bytes).map(([database, key]) => keys.of(database, key)),
      covered,
      value: fc.option(bytes, { nil: null }),
      expiryMs: fc.integer({ min: 0, max: 2 ** 45 }),
      writeId: fc.uint8Array({ minLength: 1, maxLength: 20 }).map((array) => Buffer.from(array).toString("latin1")),
      isForStandIn: fc.boolean(),
    });
    fc.assert(
      fc.property(write, (original) => {
        expect(decodeWrite(encodeWrite(original))).to.deep.equal(original);
      }),
    );
  });

  it("a command comes back as it was, and owns its arguments", () => {
    const command = fc.record({
      ringVersion,
      spareMs: fc.integer({ min: 0, max: 2 ** 40 }),
      leaseNumber: fc.integer({ min: 0, max: 2 ** 40 }),
      stamp: fc.integer({ min: 0, max: 2 ** 53 - 1 }),
      protocol: fc.constantFrom(2 as const, 3 as const),
      database: fc.integer({ min: 0, max: 15 }),
      consistency,
      writeId: fc.constant("a request"),
      args: fc.array(bytes, { minLength: 1, maxLength: 6 }),
    });
    fc.assert(
      fc.property(command, (original) => {
        const encoded = encodeCommand(original);
        const decoded = decodeCommand(encoded);
        encoded.fill(0xee);
        expect(decoded).to.deep.equal(original);
      }),
    );
  });

  it("a cut request is told from a whole one, whatever is cut off", () => {
    const whole = encodeCommand({
      ringVersion: 3,
      spareMs: 0,
      leaseNumber: 7,
      stamp: 5,
      protocol: 2,
      database: 1,
      consistency: { quorum: { kind: "level", level: "ONE" }, standIns: "sloppy", conflicts: "newest" },
      writeId: "id",
      args: [Buffer.from("incr"), Buffer.from("n")],
    });
    for (let length = 0; length < whole.length; length++) {
      expect(() => decodeCommand(whole.subarray(0, length)), `${length} bytes`).to.throw(OperatingError);
    }
  });

  it("requests and answers that are altered are read as something else, or refused as damage", () => {
    const level = { quorum: { kind: "numbers", read: 2, write: 300 }, standIns: "strict", conflicts: "newest" } as const;
    const head = { ringVersion: 3, spareMs: 0, stamp: 5, consistency: level, writeId: "id" };
    const context = VersionVector.of({ actor: actorOf("store-01", 2), sequence: 9 });
    const value = Buffer.from("a value");
    const written = { ...head, dataKey: keys.of(7, value), value, expiryMs: 90, isForStandIn: false };
    const version = { kind: "version", dot: context.entries[0]! } as const;
    const command = { ...head, leaseNumber: 7, protocol: 2, database: 1, args: [value, value] } as const;
    const messages: readonly (readonly [Buffer, (bytes: Buffer) => unknown])[] = [
      [encodeWrite({ ...written, covered: { kind: "all", seen: context } }), decodeKept],
      [encodeWrite({ ...written, covered: version }), decodeKept],
      [encodeCommand(command), (bytes) => expect(decodeCommand(bytes).database).to.be.below(16)],
      [encodeWritten(context), decodeWritten],
      [encodeRefused(new OperatingError("BUSY", "why")), decodeRefused],
      [Buffer.from("instance\x81\x01", "latin1"), (bytes) => new LeasesTaken().learn(bytes, 1)],
    ];
    fc.assert(
      fc.property(fc.nat(messages.length - 1), damage, (which, damaged) => {
        const [whole, decode] = messages[which]!;
        expectReadOrCorrupt(() => decode(damaged(whole)));
      }),
      { numRuns: 20_000 },
    );
  });

  it("answers carry a context, or an error with its code", () => {
    const context = VersionVector.of({ actor: actorOf("store-01", 2), sequence: 9 });
    expect(decodeWritten(encodeWritten(context)).entries).to.deep.equal(context.entries);
    const refused = decodeRefused(encodeRefused(new OperatingError("CONFLICT", "2 siblings; read them with SIBLINGS")));
    expect(refused.code).to.equal("CONFLICT");
    expect(refused.message).to.equal("2 siblings; read them with SIBLINGS");
  });
});
