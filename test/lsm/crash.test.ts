/** The engine under crashes and failing disks, seed by seed. A failure names its seed: `npm run simulate -- --target lsm --seed <seed>`. */
import { expect } from "chai";
import type { FsyncPolicy } from "../../lib/lsm/lsm-settings.js";
import { type LsmSeedEvent, type LsmSeedOptions, runLsmSeed } from "./lsm-seed.js";

const SEEDS_PER_POLICY = 340;

async function runSeeds(from: number, count: number, options: LsmSeedOptions): Promise<Map<LsmSeedEvent, number>> {
  const totals = new Map<LsmSeedEvent, number>();
  for (let seed = from; seed < from + count; seed++) {
    const { counts } = await runLsmSeed(seed, options);
    for (const [event, times] of Object.entries(counts) as [LsmSeedEvent, number][]) {
      totals.set(event, (totals.get(event) ?? 0) + times);
    }
  }
  return totals;
}

describe("the engine on a disk that crashes", function () {
  this.timeout(120_000);

  const policies: readonly FsyncPolicy[] = ["always", "everysec", "no"];
  policies.forEach((fsync, at) => {
    it(`keeps a prefix of its batches, with all that was durable, under fsync ${fsync}`, async () => {
      const totals = await runSeeds(1 + at * SEEDS_PER_POLICY, SEEDS_PER_POLICY, { fsync });
      const neverMet = [...totals].filter(([, times]) => times === 0).map(([event]) => event);
      // Without background syncs none of them can fail.
      const unreachable = fsync === "no" ? ["failedSyncs"] : [];
      expect(neverMet).to.deep.equal(unreachable);
    });
  });

  it("does the same twice for the same seed", async () => {
    for (const seed of [3, 77, 4242]) {
      const first = await runLsmSeed(seed);
      expect(await runLsmSeed(seed)).to.deep.equal(first);
    }
  });

  it("is seen to lose what it acknowledged when the device only pretends to sync", async () => {
    let noticed = 0;
    for (let seed = 1; seed <= 30; seed++) {
      await runLsmSeed(seed, { fsync: "always", faults: "none", device: "lying" }).catch(() => noticed++);
    }
    expect(noticed).to.be.greaterThan(5);
  });
});
