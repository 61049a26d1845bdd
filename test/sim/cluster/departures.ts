/** Members that leave a world's ring or are taken out of it, as an operator has them. Lets no time pass itself. */
import { pause } from "../../../lib/host/clock.js";
import { Violation } from "./key-history.js";
import type { Machine } from "./machine.js";
import type { World } from "./world.js";

const WITHIN_MS = 120_000;
const POLL_MS = 100;

/** Has a member leave; resolves when it has and its process has ended. `how`: "FORCE" without members that are down. */
export async function leave(world: World, machine: Machine, ...how: readonly "FORCE"[]): Promise<void> {
  world.ledger.mayMove = true;
  await untilAgreed(world, machine, "LEAVE", ...how);
  await untilNoMember(world, machine);
  while (machine.state !== "down" && machine.state !== "off") await pause(world.clock, POLL_MS);
}

/** Takes a member that is dead out of the ring, asked of another; resolves when it is out. */
export async function remove(world: World, { dead, by }: { dead: Machine; by: Machine }): Promise<void> {
  await untilAgreed(world, by, "REMOVE", dead.name);
  await untilNoMember(world, dead);
}

/** Takes members that are dead out of the ring by force, asked of another; resolves when all are out. */
export async function forceOut(world: World, { dead, by }: { dead: readonly Machine[]; by: Machine }): Promise<void> {
  world.ledger.mayMove = true;
  await untilAgreed(world, by, "REMOVE", ...dead.map(({ name }) => name), "FORCE");
  for (const machine of dead) await untilNoMember(world, machine);
}

async function untilAgreed(world: World, machine: Machine, ...words: readonly string[]): Promise<void> {
  const untilMs = world.nowMs + WITHIN_MS;
  for (;;) {
    const objection = await world.sight.tell(machine.index, ...words);
    if (objection === null) return;
    if (world.nowMs > untilMs) throw new Violation(null, `${machine.name} does not do ${words.join(" ")}: ${objection}`);
    await pause(world.clock, POLL_MS);
  }
}

async function untilNoMember(world: World, machine: Machine): Promise<void> {
  const untilMs = world.nowMs + WITHIN_MS;
  const others = world.machines.filter((other) => other !== machine);
  for (;;) {
    for (const { index } of others) {
      const names = await world.sight.memberNames(index);
      if (names === null || names.includes(machine.name)) continue;
      world.noteGone(machine);
      return;
    }
    if (world.nowMs > untilMs) throw new Violation(null, `${machine.name} is a member still after ${WITHIN_MS} ms`);
    await pause(world.clock, POLL_MS);
  }
}
