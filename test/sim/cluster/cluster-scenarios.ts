/**
 * Directed scenarios of clusters of three, each a function of a world (`topology: "cluster"`, `replicas` 3) that all three
 * nodes have joined. They throw when a promise is broken; whoever runs one judges the world afterwards with `judge`.
 */
import { AssertionError } from "../../../lib/assert.js";
import { checkAll } from "./checks.js";
import type { Machine } from "./machine.js";
import { nodeName } from "./node-flags.js";
import type { SiblingsReply } from "./sim-client.js";
import type { World } from "./world.js";
import type { WorldClient } from "./world-client.js";

export type Scenario = (world: World) => Promise<void>;

const CONVERGENCE_MS_MAX = 60_000;
/** Section 11 of the design: no request waits longer than this for a node that is gone or silent. */
const FAILOVER_MS_MAX = 500;

/** Everything is healed, all replicas agree, and every promise of the history is kept. */
export async function judge(world: World): Promise<void> {
  await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
  checkAll(world);
}

/** Sections 2's table of D1 to D5: who has seen what decides what is a sibling. */
export const versionsOfTheTable: Scenario = async (world) => {
  const [x, y, z] = clientsOf(world);
  await world.run(x.set("k", "D1"));
  await world.run(x.setContext("k", "D2", (await siblingsOf(world, x)).context));
  const seen = (await siblingsOf(world, x)).context;
  await world.run(y.setContext("k", "D3", seen));
  await world.run(z.setContext("k", "D4", seen));
  const both = await siblingsOf(world, y);
  requireValues(both, ["D3", "D4"]);
  await world.run(x.setContext("k", "D5", both.context));
  requireValues(await siblingsOf(world, z), ["D5"]);
};

/** Both sides of a partition go on writing; afterwards both versions are there, on every node. */
export const bothSidesWrite: Scenario = async (world) => {
  const [x, y] = clientsOf(world);
  await world.run(x.set("k", "before"));
  const split = world.network.split([0], [1, 2]);
  await world.run(x.at("ONE", "sloppy").set("k", "left"));
  await world.run(y.at("ONE", "sloppy").set("k", "right"));
  split.end();
  await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
  for (const client of clientsOf(world)) requireValues(await siblingsOf(world, client), ["left", "right"]);
};

/** What was deleted while a node was away does not come back with it. */
export const deletedWhileAway: Scenario = async (world) => {
  const [x] = clientsOf(world);
  const away = world.machines[2]!;
  await world.run(x.at("ALL").set("k", "value"));
  away.kill();
  await world.run(x.del("k"));
  await world.bringUp(away);
  await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
  for (const client of clientsOf(world)) require((await world.run(client.at("ONE").get("k"))) === null, "it is back");
};

/** The kv679 family: the coordinator loses everything of the key, and writes again. */
export const coordinatorForgets =
  (how: "wiped" | "restored from an old backup" | "power lost"): Scenario =>
  async (world) => {
    const [x, y] = clientsOf(world);
    const coordinator = world.machines[0]!;
    await world.run(x.set("k", "first"));
    const old = coordinator.backup();
    await world.run(x.at("ALL").set("k", "second"));
    const cut = world.network.split([0], [1, 2]);
    if (how === "power lost") coordinator.powerOff();
    else {
      coordinator.kill();
      if (how === "wiped") coordinator.wipe();
      else coordinator.restore(old);
    }
    await world.bringUp(coordinator);
    await world.run(x.at("ONE", "sloppy").trySet("k", "third"));
    cut.end();
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
    // Nobody who wrote "third" had seen "second": neither may make the other vanish.
    const { versions } = await siblingsOf(world, y);
    require(versions.some(({ value }) => value === "second" || value === "third"), "both are gone");
  };

/** The same with a tombstone: the coordinator forgets that it deleted. */
export const coordinatorForgetsRemoval: Scenario = async (world) => {
  const [x, y] = clientsOf(world);
  const coordinator = world.machines[0]!;
  await world.run(x.at("ALL").set("k", "first"));
  await world.run(x.at("ALL").del("k"));
  coordinator.kill();
  coordinator.wipe();
  await world.bringUp(coordinator);
  await world.run(x.set("k", "second"));
  await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
  requireValues(await siblingsOf(world, y), ["second"]);
};

/** One of three is gone, or only silent: requests at QUORUM go on without an error, and soon. */
export const oneIsMissing =
  (how: "stopped" | "hung"): Scenario =>
  async (world) => {
    const [x] = clientsOf(world);
    await world.run(x.set("k", "before"));
    const missing = world.machines[2]!;
    if (how === "hung") missing.freeze();
    else missing.kill();
    for (let at = 0; at < 20; at++) {
      const startedMs = world.nowMs;
      await world.run(x.set("k", `value ${at}`));
      require((await world.run(x.get("k"))) === `value ${at}`, "a read after a write misses it");
      require(world.nowMs - startedMs < 2 * FAILOVER_MS_MAX, "a missing node was waited for");
    }
  };

/** Two of three are missing: QUORUM says so in time, ONE goes on. */
export const twoAreMissing =
  (how: "stopped" | "hung"): Scenario =>
  async (world) => {
    const [x] = clientsOf(world);
    await world.run(x.set("k", "before"));
    for (const missing of world.machines.slice(1)) how === "hung" ? missing.freeze() : missing.kill();
    const { outcome } = await world.run(x.at("QUORUM").trySet("k", "after"));
    require(outcome.kind === "refused" && outcome.text.startsWith("QUORUM "), "a write without a quorum was not refused");
    await world.run(x.at("ONE").set("k", "alone"));
  };

/** A coordinator dies after it stored, before anybody else knows: its client knows nothing, and nothing is half there. */
export const coordinatorDiesAfterItsStore: Scenario = async (world) => {
  const [x, y] = clientsOf(world);
  await world.run(x.set("k", "before"));
  const coordinator = await coordinatorOf(world, "k");
  world.killWhenStored(coordinator, "k");
  await world.run(world.client(coordinator.name).trySet("k", "lost?"));
  require(coordinator.state === "down", "the coordinator did not store it first");
  const survivor = coordinator.index === 1 ? x : y;
  await world.run(survivor.set("k", "after"));
  await world.bringUp(coordinator);
  await world.quiesce({ withinMs: CONVERGENCE_MS_MAX });
};

export const scenarios: Readonly<Record<string, Scenario>> = {
  "what D1 to D5 have seen decides which of them are siblings": versionsOfTheTable,
  "both sides of a partition write, and both versions stay": bothSidesWrite,
  "what was deleted while a node was away does not come back": deletedWhileAway,
  "a coordinator that was wiped loses nobody's write": coordinatorForgets("wiped"),
  "a coordinator that was restored from an old backup loses nobody's write": coordinatorForgets("restored from an old backup"),
  "a coordinator that lost power loses nobody's write": coordinatorForgets("power lost"),
  "a coordinator that forgot a removal loses nobody's write": coordinatorForgetsRemoval,
  "requests at QUORUM go on while one of three is stopped": oneIsMissing("stopped"),
  "requests at QUORUM go on while one of three hangs": oneIsMissing("hung"),
  "QUORUM is refused in time while two of three are stopped": twoAreMissing("stopped"),
  "QUORUM is refused in time while two of three hang": twoAreMissing("hung"),
  "a coordinator that dies after its own store leaves nothing half there": coordinatorDiesAfterItsStore,
};

/** The node that stores a write of this key first. */
async function coordinatorOf(world: World, key: string): Promise<Machine> {
  await world.run(world.client(nodeName(0)).set(key, "who coordinates?"));
  const last = world.ledger.ofKey(key).writes.at(-1)!;
  return world.machines[last.node]!;
}

function clientsOf(world: World): [WorldClient, WorldClient, WorldClient] {
  const [x, y, z] = world.machines.map(({ name }) => world.client(name));
  return [x!, y!, z!];
}

async function siblingsOf(world: World, client: WorldClient): Promise<SiblingsReply> {
  const found = await world.run(client.siblings("k"));
  require(found !== null, "the key is not there");
  return found;
}

function requireValues({ versions }: SiblingsReply, values: readonly string[]): void {
  const found = versions.map(({ value }) => value).sort();
  if (found.join() !== [...values].sort().join())
    throw new AssertionError(`there are ${found.join()} instead of ${values.join()}`);
}

function require(isSo: boolean, otherwise: string): asserts isSo {
  if (!isSo) throw new AssertionError(otherwise);
}
