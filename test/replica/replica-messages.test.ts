import { expect } from "chai";
import { actorOf } from "../../lib/causality/actor.js";
import { VersionVector } from "../../lib/causality/version-vector.js";
import { OperatingError } from "../../lib/errors.js";
import { DataKeys } from "../../lib/replica/data-key.js";
import { NO_PAIR } from "../../lib/replica/encoded-record.js";
import {
  AnswerStatus,
  decodeUncovered,
  encodeUncovered,
  ReadRequest,
  readBytesMax,
  StoreRequest,
  storeBytesMax,
  writeRead,
  writeStore,
} from "../../lib/replica/replica-messages.js";

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

  it("requests that are cut off in front of the record are damage", () => {
    const whole = stored(TARGET);
    const head = whole.length - "the record".length;
    const request = new StoreRequest();
    for (let length = 0; length < head; length++) {
      expect(() => request.read(whole.subarray(0, length)), `${length} bytes`).to.throw(OperatingError);
    }
  });
});
