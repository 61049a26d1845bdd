import { expect } from "chai";
import { actorOf } from "../../lib/causality/actor.js";
import { RecordView } from "../../lib/causality/record-view.js";
import { RecordWriter } from "../../lib/causality/record-writer.js";
import { DataKeys, metaKey } from "../../lib/replica/data-key.js";
import { recordJobOptions } from "../../lib/replica/record-jobs.js";

const MINUTE_MS = 60_000;
const EXPIRY_MS = 1_800_000_000_000;

function record(expiryMs: number): Buffer {
  const writer = new RecordWriter();
  writer.putString({ actor: actorOf("store-01", 1), sequence: 7, stamp: 9 }, "some value", expiryMs, null, 0, 0);
  return Buffer.from(writer.bytes.subarray(0, writer.end));
}

describe("what the engine's jobs are told of records", () => {
  const key = new DataKeys().of(0, Buffer.from("k"));
  const { transform, expiresAtMs } = recordJobOptions();

  it("drops the value of an expired record a minute after its expiry, not before", () => {
    const bytes = record(EXPIRY_MS);
    expect(expiresAtMs!(key, bytes, 0, bytes.length)).to.equal(EXPIRY_MS + MINUTE_MS);
    expect(transform!(key, bytes, 0, bytes.length, EXPIRY_MS + MINUTE_MS - 1)).to.equal("keep");
    const trimmed = transform!(key, bytes, 0, bytes.length, EXPIRY_MS + MINUTE_MS) as Uint8Array;
    const view = new RecordView();
    view.read(trimmed, 0, trimmed.length);
    expect(view).to.include({ isTombstone: true, expiryMs: EXPIRY_MS, versionCount: 1 });
  });

  it("keeps records that do not expire and what is no record", () => {
    const lasting = record(0);
    expect(transform!(key, lasting, 0, lasting.length, 2 * EXPIRY_MS)).to.equal("keep");
    expect(expiresAtMs!(key, lasting, 0, lasting.length)).to.equal(Number.POSITIVE_INFINITY);
    const expired = record(1);
    expect(transform!(metaKey("store"), expired, 0, expired.length, EXPIRY_MS)).to.equal("keep");
    expect(expiresAtMs!(metaKey("store"), expired, 0, expired.length)).to.equal(Number.POSITIVE_INFINITY);
  });

  it("lets a damaged record pass, so that it holds up nobody else", () => {
    const damaged = Buffer.alloc(40, 0xee);
    expect(transform!(key, damaged, 0, damaged.length, EXPIRY_MS)).to.equal("keep");
    expect(expiresAtMs!(key, damaged, 0, damaged.length)).to.equal(Number.POSITIVE_INFINITY);
  });
});
