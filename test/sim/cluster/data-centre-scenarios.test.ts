/** Directed scenarios of two data centres of three nodes each, 25 ms one way between them; each is judged by all checkers. */
import { expect } from "chai";
import { checkAll } from "./checks.js";
import { World, type WorldOptions } from "./world.js";
import type { WorldClient } from "./world-client.js";

const CONVERGENCE_MS_MAX = 90_000;
const SEEDS = 3;
const NEAR = [0, 2, 4];
const FAR = [1, 3, 5];
const CUT_MS = 20_000;
/** Section 11 of the design. */
const FAILOVER_MS_MAX = 500;

describe("two simulated data centres", function () {
  this.timeout(120_000);
  let world: World;

  afterEach(() => world?.close());

  async function start(options: WorldOptions = {}): Promise<void> {
    world = await World.start({ nodes: 6, topology: "cluster", centres: 2, ...options });
  }

  function client(index: number): WorldClient {
    return world.client(world.machines[index]!.name, `client of ${index}`);
  }

  /** Writes and reads on one side for as long as the link is cut; none fails, none is slow. */
  async function work(side: readonly number[], name: string, untilMs: number): Promise<void> {
    for (let count = 0; world.nowMs < untilMs; count++) {
      const one = client(side[count % side.length]!);
      for (const key of [`${name}-${count % 20}`, `shared-${count % 5}`]) {
        const startMs = world.nowMs;
        await one.set(key, `${name} ${count}`);
        expect(await one.get(key)).to.equal(`${name} ${count}`);
        if (!world.disturbances.isCalm) expect(world.nowMs - startMs).to.be.below(2 * FAILOVER_MS_MAX);
      }
      await new Promise<void>((resolve) => void world.clock.after(200, resolve));
    }
  }

  async function cutWithWrites(
    during: () => Promise<void> = async () => undefined,
    { near, far } = { near: NEAR, far: FAR },
  ): Promise<void> {
    for (let at = 0; at < 5; at++) await world.run(client(0).at("ALL").set(`shared-${at}`, "before"));
    const cut = world.network.split(NEAR, FAR);
    const untilMs = world.nowMs + CUT_MS;
    await world.run(Promise.all([work(near, "near", untilMs), work(far, "far", untilMs), during()]));
    cut.end();
  }

  for (let seed = 1; seed <= SEEDS; seed++) {
    it(`cut off from each other for a while serve LOCAL_QUORUM, and are equal afterwards (seed ${seed})`, async () => {
      await start({ seed });
      await cutWithWrites();
      await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
      checkAll(world);
      for (let at = 0; at < 5; at++) {
        const found = (await world.run(client(2).siblings(`shared-${at}`)))!;
        expect(found.versions.map(({ value }) => value?.split(" ")[0])).to.have.members(["near", "far"]);
      }
      expect((await world.run(client(1).siblings("near-7")))!.versions).to.have.length(1);
    });
  }

  it("converge by comparing where nothing was kept of what the other missed", async () => {
    await start({ settings: { "hints-max-bytes": "0" } });
    await cutWithWrites();
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
    checkAll(world);
  });

  it("converge also where a member died, and another was stopped, while they were apart", async () => {
    await start({ seed: 11 });
    const failAfterAWhile = async (): Promise<void> => {
      await new Promise<void>((resolve) => void world.clock.after(5_000, resolve));
      world.machines[5]!.kill();
      world.machines[4]!.freeze();
    };
    await cutWithWrites(failAfterAWhile, { near: [0, 2], far: [1, 3] });
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
    checkAll(world);
  });

  it("lose nothing that was acknowledged when one is lost and comes back", async () => {
    await start({ seed: 12 });
    for (let at = 0; at < 10; at++) await world.run(client(1).set(`k${at}`, "in the lost one"));
    await world.pass(1_000);
    for (const index of FAR) world.machines[index]!.powerOff();
    for (let at = 0; at < 20; at++) {
      const startMs = world.nowMs;
      if (at < 10) expect(await world.run(client(0).get(`k${at}`))).to.equal("in the lost one");
      await world.run(client(2).set(`k${at}`, "in the other"));
      expect(await world.run(client(4).incr(`count${at % 3}`))).to.equal(Math.floor(at / 3) + 1);
      expect(world.nowMs - startMs).to.be.below(FAILOVER_MS_MAX);
    }
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
    checkAll(world);
    expect(await world.run(client(3).get("k15"))).to.equal("in the other");
  });
});
