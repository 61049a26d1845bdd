import { expect } from "chai";
import { clearRestoredMark, markRestored, restoredAtMs } from "../../lib/replica/restored-mark.js";

class Records extends Map<string, Buffer> {
  readonly meta = {
    get: (name: string): Buffer | null => this.get(name) ?? null,
    put: (name: string, bytes: Buffer): void => void this.set(name, bytes),
    putNow: (name: string, bytes: Buffer): void => void this.set(name, bytes),
  };
}

describe("the record of a restored store", () => {
  it("says when the backup was taken, until it is cleared", () => {
    const { meta } = new Records();
    expect(restoredAtMs(meta)).to.equal(null);
    markRestored(meta, 1_795_690_022_669);
    expect(restoredAtMs(meta)).to.equal(1_795_690_022_669);
    clearRestoredMark(meta);
    expect(restoredAtMs(meta)).to.equal(null);
  });

  it("of another version is refused", () => {
    const { meta } = new Records();
    meta.put("restored", Buffer.of(9, 1));
    expect(() => restoredAtMs(meta)).to.throw("has format 9; this version reads 1");
  });
});
