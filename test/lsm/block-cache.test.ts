import { expect } from "chai";
import fc from "fast-check";
import { BlockCache, NO_FRAME, Shelf } from "../../lib/lsm/block-cache.js";

const FRAME_BYTES = 64;

function block(id: number, length = FRAME_BYTES): Buffer {
  return Buffer.alloc(length, id);
}

function contentOf(cache: BlockCache, frame: number): Buffer {
  return cache.slab.subarray(frame * FRAME_BYTES, frame * FRAME_BYTES + cache.lengthOf(frame));
}

describe("lsm block cache", () => {
  it("hands back what was inserted, and never more than its slab", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ table: fc.nat(2), block: fc.nat(30), inserts: fc.boolean() }), { maxLength: 300 }),
        (steps) => {
          const cache = new BlockCache({ bytes: 16 * FRAME_BYTES, frameBytes: FRAME_BYTES });
          const shelves = [new Shelf(31), new Shelf(31), new Shelf(31)];
          for (const step of steps) {
            const shelf = shelves[step.table]!;
            const content = block(step.table * 31 + step.block, 1 + ((step.block * 7) % FRAME_BYTES));
            const frame = step.inserts ? cache.insert(shelf, step.block, content) : cache.use(shelf, step.block);
            if (frame !== NO_FRAME) expect(contentOf(cache, frame).equals(content)).to.equal(true);
            else expect(step.inserts).to.equal(false);
            expect(cache.usedBytes).to.be.at.most(cache.capacityBytes);
          }
          const named = shelves.flatMap((shelf) => [...shelf.frames]).filter((frame) => frame !== NO_FRAME);
          expect(new Set(named).size).to.equal(named.length);
          expect(named.length * FRAME_BYTES).to.equal(cache.usedBytes);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("keeps blocks that are used while others pass through", () => {
    const cache = new BlockCache({ bytes: 16 * FRAME_BYTES, frameBytes: FRAME_BYTES });
    const shelf = new Shelf(1_000);
    for (let hot = 0; hot < 4; hot++) cache.insert(shelf, hot, block(hot));
    for (let cold = 10; cold < 1_000; cold++) {
      for (let hot = 0; hot < 4; hot++) expect(cache.use(shelf, hot)).to.not.equal(NO_FRAME);
      cache.insert(shelf, cold, block(1));
    }
  });

  it("forgets a block that could not be written into the frame reserved for it", () => {
    const cache = new BlockCache({ bytes: 16 * FRAME_BYTES, frameBytes: FRAME_BYTES });
    const shelf = new Shelf(2);
    cache.reserve(shelf, 1, 10);
    cache.drop(shelf, 1);
    expect(cache.use(shelf, 1)).to.equal(NO_FRAME);
    expect(cache.usedBytes).to.equal(0);
    expect(() => cache.reserve(shelf, 1, FRAME_BYTES + 1)).to.throw("fits a frame");
  });

  it("frees the frames of a table that is released, and only those", () => {
    const cache = new BlockCache({ bytes: 16 * FRAME_BYTES, frameBytes: FRAME_BYTES });
    const released = new Shelf(4);
    const kept = new Shelf(4);
    for (let id = 0; id < 4; id++) {
      cache.insert(released, id, block(id));
      cache.insert(kept, id, block(10 + id));
    }
    cache.release(released);
    expect(cache.usedBytes).to.equal(4 * FRAME_BYTES);
    for (let id = 0; id < 4; id++) {
      expect(cache.use(released, id)).to.equal(NO_FRAME);
      expect(contentOf(cache, cache.use(kept, id)).equals(block(10 + id))).to.equal(true);
    }
  });
});
