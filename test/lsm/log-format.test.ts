import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import {
  BATCH_HEADER_BYTES,
  batchEndAt,
  decodeSegmentHeader,
  encodeSegmentHeader,
  Operation,
  OperationReader,
  SEGMENT_HEADER_BYTES,
  sealBatch,
  segmentFileName,
  segmentIdOf,
  syncedPositionAt,
} from "../../lib/lsm/log-format.js";
import { WriteBatch } from "../../lib/lsm/write-batch.js";

/** A segment's bytes with one batch that holds each kind of operation. */
function sampleSegment(): Buffer {
  const header = encodeSegmentHeader({ id: 5, previous: { segment: 4, offset: 99 }, synced: { segment: 4, offset: 36 } });
  const batch = new WriteBatch();
  batch.put("key", Buffer.from("value"), 0, 5);
  batch.remove("k\xff");
  batch.count(300, -2);
  batch.clear();
  const bytes = Buffer.concat([header, batch.bytes.subarray(0, batch.end)]);
  sealBatch(bytes, SEGMENT_HEADER_BYTES, bytes.length, { segment: 5, offset: 36 }, { segment: 5, offset: 0 });
  return bytes;
}

describe("the format of the log", () => {
  it("is laid out as docs/FORMATS.md says", () => {
    expect(sampleSegment().toString("hex")).to.equal(
      // magic, version 1, id 5, previous 4 up to 99, synced 4 up to 36, checksum
      `${Buffer.from("KNDRDLOG").toString("hex")}0100000005000000040000006300000004000000240000006f27ea1b` +
        // mark, checksum, 20 bytes, at 5/36, synced 5/0
        "d54b428e5cfdaaf11400000005000000240000000500000000000000" +
        // PUT key value, REMOVE k\xff, COUNT 300 by -2, CLEAR
        "01036b65790576616c7565" +
        "00026bff" +
        "02ac0203" +
        "03",
    );
  });

  it("is read back as it was written", () => {
    const bytes = sampleSegment();
    expect(decodeSegmentHeader(bytes, 5)).to.deep.equal({
      id: 5,
      previous: { segment: 4, offset: 99 },
      synced: { segment: 4, offset: 36 },
    });
    expect(batchEndAt(bytes, SEGMENT_HEADER_BYTES, bytes.length, 5)).to.equal(bytes.length);
    expect(syncedPositionAt(bytes, SEGMENT_HEADER_BYTES)).to.deep.equal({ segment: 5, offset: 0 });
    const operations = new OperationReader(bytes, SEGMENT_HEADER_BYTES + BATCH_HEADER_BYTES, bytes.length);
    expect(operations.next()).to.equal(true);
    expect([operations.kind, operations.key()]).to.deep.equal([Operation.PUT, "key"]);
    expect(bytes.toString("latin1", operations.valueStart, operations.valueEnd)).to.equal("value");
    expect(operations.next()).to.equal(true);
    expect([operations.kind, operations.key()]).to.deep.equal([Operation.REMOVE, "k\xff"]);
    expect(operations.next()).to.equal(true);
    expect([operations.kind, operations.index, operations.delta]).to.deep.equal([Operation.COUNT, 300, -2]);
    expect(operations.next()).to.equal(true);
    expect(operations.kind).to.equal(Operation.CLEAR);
    expect(operations.next()).to.equal(false);
  });

  it("does not verify with any bit changed, at another place, or in another segment", () => {
    const bytes = sampleSegment();
    for (let at = 0; at < bytes.length * 8; at++) {
      bytes[at >> 3]! ^= 1 << (at & 7);
      const isHeaderValid = decodeSegmentHeader(bytes, 5) !== null;
      const isBatchValid = batchEndAt(bytes, SEGMENT_HEADER_BYTES, bytes.length, 5) > 0;
      expect([isHeaderValid, isBatchValid]).to.deep.equal([at >> 3 >= SEGMENT_HEADER_BYTES, at >> 3 < SEGMENT_HEADER_BYTES]);
      bytes[at >> 3]! ^= 1 << (at & 7);
    }
    expect(batchEndAt(bytes, SEGMENT_HEADER_BYTES, bytes.length, 6)).to.equal(-1);
    const moved = Buffer.concat([Buffer.alloc(8), bytes]);
    expect(batchEndAt(moved, SEGMENT_HEADER_BYTES + 8, moved.length, 5)).to.equal(-1);
    expect(batchEndAt(Buffer.alloc(100), SEGMENT_HEADER_BYTES, 100, 0)).to.equal(-1);
  });

  it("reports operations that no writer writes as CORRUPT", () => {
    for (const hex of ["07", "01", "0105", "010161ff", "0200", "02ffffffffffffffffff"]) {
      const bytes = Buffer.from(hex, "hex");
      expect(() => new OperationReader(bytes, 0, bytes.length).next(), hex).to.throw(OperatingError);
    }
  });

  it("names files so that they sort by id", () => {
    expect(segmentFileName(42)).to.equal("00000042.log");
    expect(segmentIdOf("00000042.log")).to.equal(42);
    expect([segmentIdOf("42.log"), segmentIdOf("00000042.table"), segmentIdOf("manifest")]).to.deep.equal([null, null, null]);
  });
});
