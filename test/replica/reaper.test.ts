import { expect } from "chai";
import { ContextTokens } from "../../lib/causality/context-token.js";
import { LocalKeyspace } from "../../lib/coordinator/local-keyspace.js";
import { silentLog } from "../../lib/log.js";
import { Reaper } from "../../lib/replica/reaper.js";
import { bytes, scopeOf, World } from "../model/world.js";

const SCOPE = scopeOf();

/** A world whose reads tell the reaper what they found expired. */
async function start(): Promise<{ world: World; coordinator: LocalKeyspace }> {
  const world = await World.start();
  const { replica, clock, random, settings, reaper } = world;
  const tokens = new ContextTokens({ clusterId: "c", clusterKey: Buffer.alloc(32, 7) });
  return { world, coordinator: new LocalKeyspace({ replica, clock, random, tokens, names: () => "node-a", settings, reaper }) };
}

describe("the reaper", () => {
  it("removes what a read found expired, even while it is paused, and nothing else", async () => {
    const { world, coordinator } = await start();
    const { clock, reaper } = world;
    reaper.setPaused({ isPaused: true });
    const expiryMs = clock.wallMs() + 500;
    for (const name of ["read", "unread"]) await world.run(coordinator.put(SCOPE, bytes(name), bytes("v"), expiryMs));
    await world.run(coordinator.put(SCOPE, bytes("stays"), bytes("v"), 0));
    await clock.advance(1_000);
    expect(coordinator.size(0)).to.equal(3);
    for (const name of ["read", "stays"]) await world.run(coordinator.read(SCOPE, bytes(name)));
    await clock.advance(1);
    expect([coordinator.size(0), coordinator.expiringSize(0), reaper.expiredKeys]).to.deep.equal([2, 1, 1]);
  });

  it("leaves a key alone that was written again before its turn came", async () => {
    const { world, coordinator } = await start();
    await world.run(coordinator.put(SCOPE, bytes("k"), bytes("old"), world.clock.wallMs() + 500));
    await world.clock.advance(1_000);
    const read = coordinator.read(SCOPE, bytes("k"));
    const put = coordinator.put(SCOPE, bytes("k"), bytes("new"), 0);
    expect(await world.run(read)).to.equal(null);
    await world.run(put);
    await world.clock.advance(10);
    expect(coordinator.size(0)).to.equal(1);
    expect((await world.run(coordinator.read(SCOPE, bytes("k"))))?.value).to.equal("new");
  });

  it("goes on behind a damaged record, and says once a minute that it stays", async () => {
    const { world, coordinator } = await start();
    const { clock, replica, lsm } = world;
    let warnings = 0;
    const reaper = new Reaper({ replica, clock, log: { ...silentLog, warn: () => void warnings++ } });
    const expiryMs = clock.wallMs() + 500;
    for (let at = 0; at < 10; at++) await world.run(coordinator.put(SCOPE, bytes(`k${at}`), bytes("v"), expiryMs + at));
    const damaged = replica.keys.of(0, bytes("k3"));
    lsm.put(damaged, bytes("damaged"), 0, 7);
    await clock.advance(1_000);
    reaper.start();
    await clock.advance(1_000);
    expect([coordinator.size(0), reaper.expiredKeys, warnings]).to.deep.equal([1, 9, 1]);
    await clock.advance(179_000);
    expect(warnings).to.be.within(2, 4);
    await world.run(coordinator.put(SCOPE, bytes("later"), bytes("v"), clock.wallMs() + 500));
    await clock.advance(1_000);
    expect(reaper.expiredKeys).to.equal(10);
    await world.run(reaper.stop());
  });
});
