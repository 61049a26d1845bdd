/** Tombstones leave simulated clusters once nothing older can be anywhere, and never before: what was deleted stays so. */
import { expect } from "chai";
import { checkAll } from "./checks.js";
import type { Machine } from "./machine.js";
import { World, type WorldOptions } from "./world.js";

const KEYS = 20;
const ROUNDS_MS = 20_000;
const CONVERGENCE_MS_MAX = 60_000;
const REAPING = { "reap-interval": "1", "tombstone-age-min": "0", "anti-entropy-interval": "2" };

describe("a simulated cluster that reaps", function () {
  this.timeout(120_000);
  let world: World;

  async function start(options: WorldOptions = {}): Promise<readonly Machine[]> {
    world = await World.start({ nodes: 3, topology: "cluster", ...options, settings: { ...REAPING, ...options.settings } });
    const client = world.client(world.machines[0]!.name);
    for (let at = 0; at < KEYS; at++) await world.run(client.set(`k${at}`, `value ${at}`));
    return world.machines;
  }

  afterEach(() => world?.close());

  async function removeAll(by: Machine): Promise<void> {
    for (let at = 0; at < KEYS; at++) await world.run(world.client(by.name).del(`k${at}`));
  }

  /** Records of all keys, on all nodes. */
  function records(): number {
    return world.ledger.keys.reduce(
      (sum, key) => sum + world.ledger.ofKey(key).records.filter((one) => one !== null).length,
      0,
    );
  }

  async function judge(): Promise<void> {
    await world.heal();
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
    checkAll(world);
  }

  it("removes tombstones that all owners hold, and the keys stay deleted", async () => {
    const [a] = await start();
    await removeAll(a!);
    expect(records()).to.equal(3 * KEYS);
    await world.pass(ROUNDS_MS);
    expect(records()).to.equal(0);
    await judge();
    for (const { name } of world.machines) expect(await world.run(world.client(name).get("k0"))).to.equal(null);
  });

  it("removes none while a member is down, however long that takes, and all once it is back", async () => {
    const [a, , c] = await start({ settings: { "hints-max-age": "1" } });
    c!.kill();
    await removeAll(a!);
    await world.pass(10 * ROUNDS_MS);
    expect(records()).to.equal(3 * KEYS);
    await world.run(world.revive(c!));
    await world.pass(2 * ROUNDS_MS);
    expect(records()).to.equal(0);
    await judge();
  });

  for (const how of ["salvaged", "put back by hand"]) {
    it(`forgets what a store holds of slots that were reaped since it was copied: it was ${how}`, () =>
      goesBack(how === "salvaged"));
  }

  async function goesBack(isSalvaged: boolean): Promise<void> {
    const [a, , c] = await start();
    await world.run(world.client(a!.name).set("kept", "as it was"));
    await world.run(c!.stop());
    const copy = c!.backup();
    await world.run(world.revive(c!));
    await removeAll(a!);
    await world.pass(ROUNDS_MS);
    expect(records()).to.equal(3);
    c!.kill();
    c!.restore(copy);
    if (isSalvaged) c!.loseData();
    world.ledger.restored.add(c!.index);
    await world.run(world.revive(c!));
    await world.pass(ROUNDS_MS);
    expect(records()).to.equal(3);
    for (const { name } of world.machines) expect(await world.run(world.client(name).at("ONE").get("k0"))).to.equal(null);
    await judge();
  }

  const AWAY: readonly (readonly [how: string, away: (machine: Machine) => unknown, back: (machine: Machine) => unknown])[] = [
    ["are stopped", (machine) => machine.freeze(), (machine) => machine.thaw()],
    ["were restarted", (machine) => machine.kill(), (machine) => world.bringUp(machine)],
  ];
  for (const [how, away, back] of AWAY) {
    it(`brings nothing back with an earlier copy of a store that starts alone, while the others ${how}`, async () => {
      const [a, b, c] = await start();
      await world.run(c!.stop());
      const copy = c!.backup();
      await world.run(world.revive(c!));
      await removeAll(a!);
      await world.pass(ROUNDS_MS);
      expect(records()).to.equal(0);
      for (const machine of [a!, b!]) await away(machine);
      c!.kill();
      c!.restore(copy);
      world.ledger.restored.add(c!.index);
      // Nobody else hears of the first of these runs.
      for (let runs = 0; runs < 2; runs++) {
        if (c!.state === "up") await world.run(c!.stop());
        await world.run(world.revive(c!));
        await world.pass(5_000);
        expect(c!.state).to.equal("up");
      }
      for (const machine of [a!, b!]) await back(machine);
      expect(await world.until(() => c!.state === "down", 10_000)).to.equal(true);
      await world.run(world.revive(c!));
      await world.pass(ROUNDS_MS);
      expect(records()).to.equal(0);
      for (const { name } of world.machines) expect(await world.run(world.client(name).at("ONE").get("k0"))).to.equal(null);
      await judge();
    });
  }

  it("removes what expired", async () => {
    const [a] = await start();
    for (let at = 0; at < KEYS; at++) await world.run(world.client(a!.name).tryExpire(`k${at}`, 500));
    await world.pass(ROUNDS_MS);
    expect(records()).to.equal(0);
    await judge();
  });

  it("does not keep a node from stopping, in the middle of a round either", async () => {
    const [a] = await start();
    await removeAll(a!);
    // Members ask each other by now, and wait until what they had begun is over.
    await world.pass(2_500);
    for (const machine of world.machines) {
      const sinceMs = world.nowMs;
      await world.run(machine.stop());
      expect(world.nowMs - sinceMs, machine.name).to.be.below(2_000);
    }
  });

  it("leaves a key alone that is written again meanwhile", async () => {
    const [a, b] = await start();
    await removeAll(a!);
    await world.pass(2_500);
    for (let at = 0; at < KEYS; at++) await world.run(world.client(b!.name).set(`k${at}`, `again ${at}`));
    await world.pass(ROUNDS_MS);
    expect(records()).to.equal(3 * KEYS);
    await judge();
    expect(await world.run(world.client(a!.name).get("k1"))).to.equal("again 1");
  });
});
