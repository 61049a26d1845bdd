/** Worlds drawn from seeds. A failure names its seed and how to run it alone; `npm run simulate -- --nodes 3` runs more. */
import { expect } from "chai";
import { runSwarmSeed, type SwarmOptions } from "./swarm.js";

/** By nodes of one ring: some seconds each. */
const RINGS: readonly (readonly [nodes: number, seeds: number])[] = [
  [1, 80],
  [3, 100],
  [5, 30],
];
const SEEDS_ALONE = 70;
/** Rings whose members come and go take longer than others. */
const SEEDS_OF_CHANGES = 12;
const SEEDS_OF_CENTRES = 10;
const LYING_SEEDS = 30;
/** Many short worlds meet more than few long ones: what goes wrong takes few operations. */
const OPERATIONS = 80;
const OF_MACHINES = ["kill", "power loss", "torn power loss", "restart", "freeze", "full disk", "slow disk", "failed sync"];
const OF_CHANGES = ["join", "leave", "harassed change", "deaths"];
const OF_DEATHS = [
  "removal",
  "removal of a leaver",
  "removal of a joiner",
  "replacement",
  "disk loss",
  "replacement of a replacement",
];
const OF_NETWORK = ["partition", "one-way cut", "slow links", "dropped connections"];
const OF_CENTRES = ["lost data centre", "data centre cut off"];

describe("a swarm of simulated worlds", function () {
  this.timeout(240_000);

  const first = Number(process.env.SWARM_SEED ?? 1);

  async function countsOf(seeds: number, options: SwarmOptions): Promise<Map<string, number>> {
    const totals = new Map<string, number>();
    for (let seed = first; seed < first + seeds; seed++) {
      const { counts } = await runSwarmSeed(seed, { operations: OPERATIONS, ...options });
      for (const [name, count] of Object.entries(counts)) totals.set(name, (totals.get(name) ?? 0) + count);
    }
    return totals;
  }

  it(`keeps every promise of rings of one, for ${SEEDS_ALONE} seeds`, async () => {
    const totals = await countsOf(SEEDS_ALONE, { topology: "alone", operations: 2 * OPERATIONS });
    for (const name of ["answered", "refused", "unknown", ...OF_MACHINES]) expect(totals.get(name), name).to.be.greaterThan(0);
  });

  for (const [nodes, seeds] of RINGS) {
    it(`keeps every promise of a ring with ${nodes} members, for ${seeds} seeds`, async () => {
      const totals = await countsOf(seeds, { topology: "cluster", nodes, centres: 1, start: "restarted", changes: "none" });
      const ofMany = nodes === 1 ? [] : [...OF_NETWORK, "hints checked"];
      for (const name of ["answered", "refused", "unknown", ...OF_MACHINES, ...ofMany])
        expect(totals.get(name), name).to.be.greaterThan(0);
    });
  }

  it(`keeps every promise of rings whose members come, go and die, for ${SEEDS_OF_CHANGES} seeds`, async () => {
    const totals = await countsOf(SEEDS_OF_CHANGES, {
      topology: "cluster",
      nodes: 5,
      replicas: 3,
      centres: 1,
      start: "restarted",
    });
    totals.set(
      "deaths",
      OF_DEATHS.reduce((sum, name) => sum + (totals.get(name) ?? 0), 0),
    );
    for (const name of ["answered", ...OF_CHANGES]) expect(totals.get(name), name).to.be.greaterThan(0);
  });

  it(`keeps every promise of rings over data centres, for ${SEEDS_OF_CENTRES} seeds`, async () => {
    const totals = await countsOf(SEEDS_OF_CENTRES, { topology: "cluster", nodes: 6, centres: 2, start: "restarted" });
    for (const name of ["answered", ...OF_CENTRES]) expect(totals.get(name), name).to.be.greaterThan(0);
  });

  it("does the same twice for the same seed", async () => {
    const options: readonly SwarmOptions[] = [{ topology: "alone" }, { topology: "cluster", nodes: 3 }];
    for (const each of options) {
      for (const seed of [3, 14]) expect(await runSwarmSeed(seed, each)).to.deep.equal(await runSwarmSeed(seed, each));
    }
  });

  it("notices disks that only pretend to sync", async () => {
    let noticed = 0;
    for (let seed = 1; seed <= LYING_SEEDS; seed++) {
      await runSwarmSeed(seed, { topology: "alone", appendfsync: "always", device: "lying", operations: 200 }).catch(
        () => noticed++,
      );
    }
    expect(noticed).to.be.greaterThan(3);
  });
});
