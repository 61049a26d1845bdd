/**
 * Members that leave a world's ring, die for good, are taken out of it or replaced, as an operator has it. Lets no time pass
 * itself. Every wait has its bound in virtual time, which counts from when all faults have ended: see `World.calmMsSince`.
 */
import { pause } from "../../../lib/host/clock.js";
import { Violation } from "./key-history.js";
import type { Machine } from "./machine.js";
import type { SeenRing } from "./ring-sight.js";
import { isRemoval, type World } from "./world.js";

/** From when all is healed until a change is done, those before it in the queue included. */
const WITHIN_MS = 120_000;
const POLL_MS = 250;

/** Of a machine whose member is in the ring. */
export async function memberIdOf(world: World, machine: Machine): Promise<string> {
  let id: string | undefined;
  await until(world, `${machine.name} is a member`, async () => {
    id = (await someRing(world))?.members.find(({ name }) => name === machine.name)?.id;
    return id !== undefined;
  });
  return id!;
}

/** Has a member leave; resolves when it has and its process has ended. `how`: "FORCE" without members that are down. */
export async function leave(world: World, machine: Machine, ...how: readonly "FORCE"[]): Promise<void> {
  world.ledger.mayMove = true;
  const id = await memberIdOf(world, machine);
  await agreed(world, () => ({ asked: machine, words: ["LEAVE", ...how] }));
  await untilRemoved(world, id);
  world.noteGone(machine);
  await until(world, `${machine.name} has left and stops`, () => machine.state === "down" || machine.state === "off");
}

/** Takes a member that is dead out of the ring, asked of another; resolves when it is out. */
export async function remove(world: World, { dead, by, id }: { dead: Machine; by?: Machine; id?: string }): Promise<void> {
  world.ledger.mayMove = true;
  const removedId = id ?? (await memberIdOf(world, dead));
  // It may have been about to go by itself.
  const isOut = async (): Promise<boolean> => (await someRing(world))?.removed.includes(removedId) ?? false;
  await agreed(world, () => ({ asked: by ?? anyOf(world), words: ["REMOVE", removedId, ...forceOf(world)] }), isOut);
  await untilRemoved(world, removedId);
  world.noteGone(dead);
  world.ledger.madeUpFor(dead.index);
}

/** Takes members that are dead out of the ring by force, asked of another; resolves when all are out. */
export async function forceOut(world: World, { dead, by }: { dead: readonly Machine[]; by: Machine }): Promise<void> {
  world.ledger.mayMove = true;
  const ids = await Promise.all(dead.map((machine) => memberIdOf(world, machine)));
  await agreed(world, () => ({ asked: by, words: ["REMOVE", ...ids, "FORCE"] }));
  for (const id of ids) await untilRemoved(world, id);
  for (const machine of dead) world.noteGone(machine);
}

/** Takes out who was to join and died: strikes it out, or removes it where it has joined meanwhile. */
export async function removeNewcomer(world: World, dead: Machine): Promise<void> {
  const isThere = ({ members, pending }: SeenRing): boolean =>
    [...members, ...pending.map(({ member }) => member)].some((member) => member?.name === dead.name);
  await until(world, `${dead.name}, which died, is taken out`, async () => {
    const ring = await newestRing(world);
    if (ring === null) return false;
    const asked = anyOf(world);
    if (isThere(ring) && asked !== null) await world.sight.tell(asked.index, "REMOVE", dead.name, ...forceOf(world));
    return !isThere(ring);
  });
}

/** A member that is gone for good is replaced by a machine that was no member; resolves when that has its place. */
export async function replace(world: World, { dead, deadId, heir, isRestored }: Replacement): Promise<void> {
  world.ledger.mayMove = true;
  // One that was restored knows whose place it takes.
  if (!isRestored) heir.extraSettings.replace = deadId;
  await world.revive(heir);
  await untilRemoved(world, deadId);
  if (heir !== dead) world.noteGone(dead);
  world.ledger.madeUpFor(dead.index);
}

/** The first that was to replace a dead member died, too: it is struck out, or is replaced where it had taken the place. */
export async function replaceAgain(
  world: World,
  { dead, deadId, firstHeir, heir }: Replacement & { readonly firstHeir: Machine },
): Promise<void> {
  // From now on: whatever starts it.
  heir.extraSettings.replace = deadId;
  const startAs = async (replacedId: string): Promise<void> => {
    if (heir.extraSettings.replace !== replacedId) heir.kill();
    heir.extraSettings.replace = replacedId;
    await world.revive(heir);
  };
  const isHeir = (member: { readonly name: string } | undefined): boolean => member?.name === firstHeir.name;
  let seen: SeenRing | null = null;
  const describe = (): string => `${heir.name} replaces ${dead.name} (${JSON.stringify(seen?.pending)})`;
  await until(world, describe, async () => {
    const ring = await newestRing(world);
    seen = ring;
    const asked = anyOf(world);
    if (ring === null || asked === null) return false;
    const successor = ring.members.find(isHeir);
    if (successor !== undefined) await startAs(successor.id);
    else if (ring.pending.some(({ member }) => isHeir(member))) await world.sight.tell(asked.index, "REMOVE", firstHeir.name);
    else if (!ring.removed.includes(deadId)) await startAs(deadId);
    else return ring.members.some(({ name, id }) => name === heir.name && id !== deadId);
    return false;
  });
  for (const { index } of [dead, firstHeir]) world.ledger.madeUpFor(index);
}

export interface Replacement {
  readonly dead: Machine;
  readonly deadId: string;
  /** May be the same machine, with an empty disk. */
  readonly heir: Machine;
  readonly isRestored?: boolean;
}

/** A member that was removed is started on the disk that it had: it is refused, or stops as soon as it hears of it. */
export async function comeBack(world: World, machine: Machine): Promise<void> {
  let isRefused = false;
  await until(world, `${machine.name}, which was removed, is refused`, async () => {
    if (machine.state === "off") machine.powerOn();
    if (machine.state === "down") isRefused = isRemoval(await machine.start());
    return isRefused;
  });
}

/** Where a member has the only copies, what it had is lost without it: it goes by force. */
function forceOf(world: World): readonly "FORCE"[] {
  return world.copies === 1 ? ["FORCE"] : [];
}

function anyOf(world: World): Machine | null {
  const all = world.staying().filter(({ isServing }) => isServing);
  return all[Math.floor(world.nowMs) % all.length] ?? null;
}

/** As one of the members knows it, another each time: what it says has come to pass, whatever has come to pass since. */
async function someRing(world: World): Promise<SeenRing | null> {
  const asked = anyOf(world);
  return asked === null ? null : world.sight.newestRing([asked.index]);
}

function newestRing(world: World): Promise<SeenRing | null> {
  return world.sight.newestRing(world.staying().map(({ index }) => index));
}

/** Says it again, perhaps to another, until it is agreed. */
async function agreed(
  world: World,
  request: () => { readonly asked: Machine | null; readonly words: readonly string[] },
  isMoot: () => Promise<boolean> = async () => false,
): Promise<void> {
  let said = "nobody is there to be asked";
  const isAgreed = async (): Promise<boolean> => {
    const { asked, words } = request();
    if (asked === null) return false;
    const objection = await world.sight.tell(asked.index, ...words);
    said = `${asked.name} does not do ${words.join(" ")}: ${objection}`;
    return objection === null || world.gone.has(asked) || (await isMoot());
  };
  await until(world, () => said, isAgreed);
}

async function untilRemoved(world: World, id: string): Promise<void> {
  let seen: SeenRing | null = null;
  const describe = (): string => `${id} is removed (${JSON.stringify(seen?.pending)})`;
  await until(world, describe, async () => {
    seen = await someRing(world);
    return seen?.removed.includes(id) ?? false;
  });
}

async function until(world: World, what: string | (() => string), isSo: () => boolean | Promise<boolean>): Promise<void> {
  const sinceMs = world.nowMs;
  while (!(await isSo())) {
    if (world.calmMsSince(sinceMs) > WITHIN_MS) {
      const text = typeof what === "string" ? what : what();
      throw new Violation(null, `not so ${WITHIN_MS} ms after everything was healed: ${text}`);
    }
    await pause(world.clock, POLL_MS);
  }
}
