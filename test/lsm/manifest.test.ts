import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { decodeManifest, encodeManifest, type ManifestState } from "../../lib/lsm/manifest.js";

const state: ManifestState = {
  levels: [
    [
      {
        number: 7,
        bytes: 1000,
        entries: 10,
        tombstones: 1,
        tombstoneBytes: 5,
        first: "\0\x80a",
        last: "\xff\xfe",
        expiring: [{ byMs: 1_700_000_000_000, bytes: 5 }],
      },
    ],
    [],
  ],
  nextTable: 8,
  oldestSegment: 3,
  known: { segment: 3, offset: 4000 },
  stoppedAt: null,
  cursors: ["", "\xe9"],
  counters: Float64Array.from([0, 5, 0, -3, 2 ** 40]),
};

describe("the manifest", () => {
  it("is read back as it was written, bytes of keys and signs of counters included", () => {
    expect(decodeManifest(encodeManifest(state), "manifest", 5)).to.deep.equal(state);
  });

  it("has room for more counters than were written, and keeps more than are asked for", () => {
    expect(decodeManifest(encodeManifest(state), "manifest", 7).counters.length).to.equal(7);
    expect(decodeManifest(encodeManifest(state), "manifest", 2).counters[4]).to.equal(2 ** 40);
  });

  it("is refused when any byte of it is changed or missing", () => {
    const bytes = encodeManifest(state);
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 4;
      expect(() => decodeManifest(changed, "manifest", 5), `byte ${at}`).to.throw(OperatingError);
      expect(() => decodeManifest(bytes.subarray(0, at), "manifest", 5), `${at} bytes`).to.throw(OperatingError);
    }
  });

  it("is laid out as docs/FORMATS.md says", () => {
    const small = encodeManifest({ ...state, levels: [], cursors: [] });
    const json =
      '{"levels":[],"nextTable":8,"oldestSegment":3,"known":{"segment":3,"offset":4000},"stoppedAt":null,"cursors":[]}';
    expect(small.toString("latin1", 0, 8)).to.equal("KNDRDMAN");
    expect(small.subarray(8, 20).toString("hex")).to.equal(
      `01000000${Buffer.from([json.length]).toString("hex")}0000000b000000`,
    );
    expect(small.toString("latin1", 24, 24 + json.length)).to.equal(json);
    // Two on from -1: +5; two on: -3; one on: 2^40.
    expect(small.subarray(24 + json.length).toString("hex")).to.equal("020a020501808080808040");
  });
});
