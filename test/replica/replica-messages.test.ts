import { expect } from "chai";
import fc from "fast-check";
import { actorOf } from "../../lib/causality/actor.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { OperatingError } from "../../lib/errors.js";
import { BatchStores } from "../../lib/replica/batch-stores.js";
import { BatchBytes } from "../../lib/replica/call-batch.js";
import { DataKeys } from "../../lib/replica/data-key.js";
import { NO_PAIR } from "../../lib/replica/encoded-record.js";
import {
  decodeFlushPoint,
  decodeFlushRequest,
  encodeFlushPoint,
  encodeFlushRequest,
} from "../../lib/replica/flush-messages.js";
import { decodeKeysPage, encodeKeysPage } from "../../lib/replica/key-messages.js";
import {
  AnswerStatus,
  decodeRangePage,
  decodeRangeRequest,
  decodeUncovered,
  encodeRangePage,
  encodeRangeRequest,
  encodeUncovered,
  ReadRequest,
  ReplicaKind,
  readBytesMax,
  StoreRequest,
  storeBytesMax,
  writeRead,
  writeStore,
} from "../../lib/replica/replica-messages.js";
import { damage, expectReadOrCorrupt } from "./damage.js";

const dataKey = new DataKeys().of(3, Buffer.from("a key"));
const record = Buffer.from("xxthe recordxx");
const TARGET = "00112233445566ff";

function stored(hintFor: string | null): Buffer {
  const bytes = Buffer.alloc(2 + storeBytesMax(dataKey, record.length - 4));
  const end = writeStore(
    bytes,
    2,
    { ringVersion: 300, hintFor, dataKey },
    { bytes: record, start: 2, end: record.length - 2, pairStart: NO_PAIR },
  );
  return bytes.subarray(2, end);
}

describe("what members ask of each other's copies", () => {
  it("a record is sent with its key, for the receiver itself or for somebody else", () => {
    const request = new StoreRequest();
    for (const hintFor of [null, TARGET]) {
      const bytes = stored(hintFor);
      request.read(bytes);
      expect(request.ringVersion).to.equal(300);
      expect(request.target).to.equal(hintFor);
      expect(request.dataKey).to.equal(dataKey);
      expect(bytes.toString("latin1", request.record.start, request.record.end)).to.equal("the record");
    }
  });

  it("a key is asked for, with hints or without", () => {
    const request = new ReadRequest();
    for (const from of ["records", "hints too"] as const) {
      const bytes = Buffer.alloc(readBytesMax(dataKey));
      request.read(bytes.subarray(0, writeRead(bytes, 0, { ringVersion: 7, dataKey, from })));
      expect(request.ringVersion).to.equal(7);
      expect(request.isWithHints).to.equal(from === "hints too");
      expect(request.dataKey).to.equal(dataKey);
    }
  });

  it("what was not covered comes with its stamp and context", () => {
    const context = VersionVector.of({ actor: actorOf("store-01", 1), sequence: 5 });
    const answer = encodeUncovered({ stamp: 123_456_789_012, context });
    expect(answer[0]).to.equal(AnswerStatus.uncovered);
    const decoded = decodeUncovered(answer);
    expect(decoded.stamp).to.equal(123_456_789_012);
    expect(decoded.context.entries).to.deep.equal(context.entries);
    expect(() => decodeUncovered(answer.subarray(0, 5))).to.throw(OperatingError);
  });

  it("keys that there are not are damage, wherever they are named", () => {
    const raw = (...head: number[]): string => String.fromCharCode(...head) + "hash a key".slice(0, 9);
    const faulty = [raw(1, 0, 0, 0), raw(0, 64, 0, 0), raw(0, 255, 255, 0), raw(0, 0, 0, 16), raw(0, 0, 0, 200), "\0short"];
    const tooLong = dataKey + "k".repeat(65_536);
    for (const key of [...faulty, tooLong]) {
      const what = JSON.stringify(key.slice(0, 20));
      const store = Buffer.alloc(storeBytesMax(key, record.length));
      const whole = { bytes: record, start: 0, end: record.length, pairStart: NO_PAIR };
      for (const hintFor of [null, TARGET]) {
        const end = writeStore(store, 0, { ringVersion: 1, hintFor, dataKey: key }, whole);
        expect(() => new StoreRequest().read(store.subarray(0, end)), what).to.throw(OperatingError, "key");
      }
      if (key === tooLong) continue;
      const read = Buffer.alloc(readBytesMax(key));
      const end = writeRead(read, 0, { ringVersion: 1, dataKey: key, from: "records" });
      expect(() => new ReadRequest().read(read.subarray(0, end)), what).to.throw(OperatingError, "key");
      const range = encodeRangeRequest({ ringVersion: 1, slots: [5], from: key });
      expect(() => decodeRangeRequest(range), what).to.throw(OperatingError, "key");
      const pages = [
        { records: [], next: key },
        { records: [{ dataKey: key, record }], next: null },
      ];
      for (const page of pages) expect(() => decodeRangePage(encodeRangePage(page)), what).to.throw(OperatingError, "key");
      const listed = encodeKeysPage({ keys: [{ dataKey: key, high: 1, low: 2, expiryMs: 0 }], slot: 0, hash: 0 });
      expect(() => decodeKeysPage(listed), what).to.throw(OperatingError, "key");
    }
  });

  it("that are altered are read as something else, or refused as damage", () => {
    const read = Buffer.alloc(readBytesMax(dataKey));
    const context = VersionVector.of({ actor: actorOf("store-01", 1), sequence: 5 });
    const page = encodeRangePage({ records: [{ dataKey, record }], next: dataKey });
    const point = { storeId: "store-01", sequence: 700 };
    const batch = new BatchBytes();
    for (const kind of [ReplicaKind.store, ReplicaKind.read]) {
      const bytes = stored(null);
      const start = batch.begin(bytes.length);
      bytes.copy(batch.bytes, start);
      batch.end(kind, start + bytes.length);
    }
    const messages: readonly (readonly [Buffer, (bytes: Buffer) => unknown])[] = [
      [stored(null), (bytes) => new StoreRequest().read(bytes)],
      [stored(TARGET), (bytes) => new StoreRequest().read(bytes)],
      [read.subarray(0, writeRead(read, 0, { ringVersion: 7, dataKey, from: "records" })), (b) => new ReadRequest().read(b)],
      [encodeRangeRequest({ ringVersion: 9, slots: [1, 2, 77], from: dataKey }), decodeRangeRequest],
      [page, decodeRangePage],
      [encodeUncovered({ stamp: 5, context }), decodeUncovered],
      [encodeFlushRequest(300), decodeFlushRequest],
      [encodeFlushPoint({ own: point, leases: [point, point] }), decodeFlushPoint],
      [Buffer.from(batch.view()), (bytes) => new BatchStores().read(bytes)],
    ];
    fc.assert(
      fc.property(fc.nat(messages.length - 1), damage, (which, damaged) => {
        const [whole, decode] = messages[which]!;
        expectReadOrCorrupt(() => decode(damaged(whole)));
      }),
      { numRuns: 20_000 },
    );
  });

  it("requests that are cut off in front of the record are damage", () => {
    const whole = stored(TARGET);
    const head = whole.length - "the record".length;
    const request = new StoreRequest();
    for (let length = 0; length < head; length++) {
      expect(() => request.read(whole.subarray(0, length)), `${length} bytes`).to.throw(OperatingError);
    }
  });
});
