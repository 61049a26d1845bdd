/** Worlds drawn from seeds. A failure names its seed and how to run it alone; `npm run simulate -- --nodes 3` runs more. */
import { expect } from "chai";
import { runSwarmSeed, type SwarmOptions } from "./swarm.js";

const SEEDS = 24;
const LYING_SEEDS = 20;

describe("a swarm of simulated worlds", function () {
  this.timeout(120_000);

  const first = Number(process.env.SWARM_SEED ?? 1);

  async function countsOf(seeds: number, options: SwarmOptions): Promise<ReadonlyMap<string, number>> {
    const totals = new Map<string, number>();
    for (let seed = first; seed < first + seeds; seed++) {
      const { counts } = await runSwarmSeed(seed, options);
      for (const [name, count] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + count);
    }
    return totals;
  }

  it(`keeps every promise of rings of one, for ${SEEDS} seeds`, async () => {
    const totals = await countsOf(SEEDS, { topology: "alone" });
    const faults = ["kill", "power loss", "torn power loss", "restart", "freeze", "full disk", "slow disk", "failed sync"];
    for (const name of ["answered", "refused", "unknown", ...faults]) expect(totals.get(name), name).to.be.greaterThan(0);
  });

  it("does the same twice for the same seed", async () => {
    for (const seed of [3, 14, 40]) expect(await runSwarmSeed(seed)).to.deep.equal(await runSwarmSeed(seed));
  });

  it("notices disks that only pretend to sync", async () => {
    let noticed = 0;
    for (let seed = 1; seed <= LYING_SEEDS; seed++) {
      await runSwarmSeed(seed, { topology: "alone", appendfsync: "always", device: "lying" }).catch(() => noticed++);
    }
    expect(noticed).to.be.greaterThan(3);
  });
});
