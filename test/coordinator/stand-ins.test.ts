/** Writes of keys of which no owner can be reached: who makes them, and what those who may not have room for hints answer. */
import { expect } from "chai";
import { COVERS_ALL } from "../../lib/causality/record.js";
import { encodeRecord } from "../../lib/causality/record-encoding.js";
import { OperatingError } from "../../lib/errors.js";
import { RingWorld } from "./ring-world.js";

const ROOM_BYTES = 400;

/** Five nodes with little room for hints, of which the first three are dead, and a key that those keep. */
async function withoutOwners(): Promise<{ world: RingWorld; key: string }> {
  const world = await RingWorld.start({ nodes: 5, settings: { hintsMaxBytes: ROOM_BYTES } });
  const key = world.key(1, 2, 3);
  for (const owner of [1, 2, 3]) await world.kill(owner);
  await world.pass(10);
  return { world, key };
}

/** Has a node keep a hint of something else that leaves no room for more. */
function fill(world: RingWorld, number: number): void {
  const { hints, replica } = world.node(number);
  replica.reserve(1);
  const written = { value: Buffer.alloc(ROOM_BYTES - 120), expiryMs: 0, writeId: "other", stamp: replica.nextStamp() };
  const bytes = encodeRecord(replica.mintApart(null, COVERS_ALL, written));
  expect(hints.keep(world.idOf(1), world.dataKey(world.key(1, 2, 3)), bytes, 0, bytes.length)).to.equal("kept");
}

describe("a write that only stand-ins can make", () => {
  it("and have no room for is refused with BUSY where it has no effect, and says otherwise where it may have one", async () => {
    const codes = new Set<string>();
    for (let valueBytes = 10; valueBytes <= ROOM_BYTES; valueBytes += 30) {
      for (const through of [4, 5]) {
        const { world, key } = await withoutOwners();
        const work = world.client(through, "ONE").set(key, "v".repeat(valueBytes));
        const outcome = await world.run(work.catch((error: unknown) => error));
        if (!(outcome instanceof OperatingError)) continue;
        codes.add(outcome.code);
        expect(outcome.message.includes("may still take effect"), outcome.message).to.equal(outcome.code === "QUORUM");
        const hints = world.hintsAt(4) + world.hintsAt(5);
        expect(hints > 0, `${valueBytes} bytes through ${through}: ${outcome.code}`).to.equal(outcome.code === "QUORUM");
      }
    }
    expect([...codes].sort()).to.deep.equal(["BUSY", "QUORUM"]);
  });

  for (const through of [4, 5]) {
    it(`is made by the next one where the first has no room, through node ${through}`, async () => {
      const { world, key } = await withoutOwners();
      fill(world, 4);
      await world.run(world.client(through, "ONE").set(key, "v"));
      expect(await world.hinted(5, key, 1, 2, 3)).to.deep.equal(["v", "v", "v"]);
      expect(await world.hinted(4, key, 1, 2, 3)).to.deep.equal([]);
    });
  }
});
