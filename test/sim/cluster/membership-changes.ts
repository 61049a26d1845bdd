/**
 * Members that come and go while a world runs, drawn from a seed beside its faults: joins, leaves, members that die for good
 * and are removed or replaced, some of them in the middle of a change of their own. They overlap as it happens, but for deaths:
 * one is made up for before the next, as an operator would (what is promised of members that die at once: docs/SIMULATION.md).
 * All of them are done before a world is judged.
 */
import { pause } from "../../../lib/host/clock.js";
import type { SimRandom } from "../sim-random.js";
import { comeBack, leave, memberIdOf, remove, removeNewcomer, replace, replaceAgain } from "./departures.js";
import type { Machine } from "./machine.js";
import type { World } from "./world.js";

/** How a member is done away with that died for good, and when it dies. */
export type Death =
  /** Taken out; then it comes back with its disk, and is refused. */
  | "removal"
  /** It dies while it leaves, and is taken out. */
  | "removal of a leaver"
  /** One that dies while it joins is struck out. */
  | "removal of a joiner"
  /** Another machine takes its place. */
  | "replacement"
  /** Its disk is lost: the same machine takes its place, as another member. */
  | "disk loss"
  /** It is restored from a backup that was taken some time ago, and takes its own place as another member. */
  | "old backup"
  /** The first that is to take its place dies, too. */
  | "replacement of a replacement";

export interface ChangePlan {
  /** Machines that were never members, at the end of the list: some for joins, some for replacements. */
  readonly newcomers: number;
  readonly joins: number;
  readonly leaves: number;
  readonly deaths: readonly Death[];
  /** Who takes part in a change is killed, loses power or is stopped in the middle of it. */
  readonly isHarassed: boolean;
}

export const NO_CHANGES: ChangePlan = { newcomers: 0, joins: 0, leaves: 0, deaths: [], isHarassed: false };

const SOON_MS = 3_000;
/** From when a change begins until one of those who take part is harassed, and until that is over; at most. */
const HARASSED_AFTER_MS = 1_500;
const HARASSED_FOR_MS = 2_000;
const LOOK_AGAIN_MS = 1_000;
/** At most. */
const BACKUP_AGE_MS = 15_000;
/** Fewer members cannot agree on anything while one of them is dead. */
const MEMBERS_MIN_AT_DEATH = 3;
const JOINS_MAX = 2;
const LEAVES_MAX = 2;
const DEATHS_MAX = 2;

/** What comes and goes in a ring of so many members. `goers`: without so many, at most, each key keeps its copies. */
export function drawChanges(random: SimRandom, { members, goers: spare }: { members: number; goers: number }): ChangePlan {
  let goers = spare;
  const joins = random.below(JOINS_MAX + 1);
  const leaves = random.below(Math.min(goers, LEAVES_MAX) + 1);
  goers -= leaves;
  let stayers = members - leaves;
  const deaths: Death[] = [];
  let newcomers = joins;
  for (let left = random.below(DEATHS_MAX + 1); left > 0 && stayers >= MEMBERS_MIN_AT_DEATH; left--) {
    const goes: readonly Death[] = goers > 0 ? ["removal", "removal", "removal of a leaver"] : [];
    const kinds: readonly Death[] = [
      "replacement",
      "disk loss",
      "old backup",
      "replacement of a replacement",
      "removal of a joiner",
    ];
    const death = random.pick([...goes, ...kinds]);
    deaths.push(death);
    if (goes.includes(death)) {
      goers--;
      stayers--;
    } else if (death !== "disk loss" && death !== "old backup") newcomers++;
  }
  return { newcomers, joins, leaves, deaths, isHarassed: random.chance(0.5) };
}

export class MembershipChanges {
  readonly counts: Record<string, number> = {};
  readonly #world: World;
  readonly #random: SimRandom;
  readonly #plan: ChangePlan;
  /** Members that nothing is to become of yet, and machines that are to be members. */
  readonly #settled: Machine[];
  readonly #spare: Machine[];
  readonly #struckOut: Machine[] = [];
  #changes: Promise<void>[] = [];
  #left = 0;

  constructor(world: World, random: SimRandom, plan: ChangePlan) {
    const { machines } = world;
    const members = machines.length - plan.newcomers;
    this.#world = world;
    this.#random = random;
    this.#plan = plan;
    this.#settled = machines.slice(0, members);
    this.#spare = machines.slice(members);
  }

  start(): void {
    const { joins, leaves, deaths } = this.#plan;
    for (let at = 0; at < joins; at++) {
      const joiner = this.#spare.shift()!;
      this.#soon(() => this.#join(joiner));
    }
    for (let at = 0; at < leaves; at++) {
      const leaver = this.#choose();
      this.#soon(() => this.#leave(leaver));
    }
    if (deaths.length > 0) this.#soon(() => this.#oneAfterTheOther(deaths));
  }

  get hasAny(): boolean {
    return this.#changes.length > 0;
  }

  get areUnderWay(): boolean {
    return this.#left > 0;
  }

  /** Resolves when all are done. */
  async finished(): Promise<void> {
    const all = Promise.all(this.#changes);
    let areDone = false;
    const note = (): void => {
      areDone = true;
    };
    all.then(note, note);
    // Others may complete what one that died had proposed, and then wait for it.
    do {
      for (const machine of this.#struckOut) await removeNewcomer(this.#world, machine);
      await pause(this.#world.clock, LOOK_AGAIN_MS);
    } while (!areDone);
    await all;
    for (const machine of this.#struckOut) await removeNewcomer(this.#world, machine);
  }

  async #join(joiner: Machine): Promise<void> {
    this.#count("join");
    this.#harass(joiner);
    await this.#world.revive(joiner);
    await memberIdOf(this.#world, joiner);
  }

  async #leave(leaver: Machine): Promise<void> {
    this.#count("leave");
    this.#harass(leaver);
    await leave(this.#world, leaver);
  }

  async #oneAfterTheOther(deaths: readonly Death[]): Promise<void> {
    for (const death of deaths) {
      this.#count(death);
      await this.#do(death);
      await this.#pause(SOON_MS);
    }
  }

  async #do(death: Death): Promise<void> {
    const world = this.#world;
    switch (death) {
      case "removal":
        return this.#remove(this.#choose());
      case "removal of a leaver": {
        const leaver = this.#choose();
        const id = await memberIdOf(world, leaver);
        await world.sight.tell(leaver.index, "LEAVE");
        await this.#pause(HARASSED_AFTER_MS);
        return this.#remove(leaver, id);
      }
      case "removal of a joiner":
        return this.#strikeOut(this.#spare.shift()!);
      case "replacement": {
        const dead = this.#choose();
        const deadId = await this.#lose(dead);
        const heir = this.#heirOf(dead);
        this.#harass(heir);
        return replace(world, { dead, deadId, heir });
      }
      case "disk loss": {
        const dead = this.#choose();
        const deadId = await this.#lose(dead);
        this.#renew(dead);
        this.#harass(dead);
        return replace(world, { dead, deadId, heir: dead });
      }
      case "old backup": {
        const dead = this.#choose();
        const backup = dead.backup();
        const takenMs = dead.clock.wallMs();
        await this.#pause(BACKUP_AGE_MS);
        const deadId = await this.#lose(dead);
        world.renew(dead, this.#others(dead), { backup, takenMs });
        this.#harass(dead);
        await replace(world, { dead, deadId, heir: dead, isRestored: true });
        world.ledger.restored.delete(dead.index);
        return;
      }
      case "replacement of a replacement": {
        const dead = this.#choose();
        const deadId = await this.#lose(dead);
        const firstHeir = this.#heirOf(dead);
        firstHeir.extraSettings.replace = deadId;
        await this.#startAndLose(firstHeir);
        this.#renew(dead);
        return replaceAgain(world, { dead, deadId, firstHeir, heir: dead });
      }
    }
  }

  async #remove(dead: Machine, leaverId?: string): Promise<void> {
    const world = this.#world;
    const id = await this.#lose(dead, leaverId);
    await remove(world, { dead, id });
    if (this.#random.chance(0.5)) return;
    this.#count("return refused");
    await comeBack(world, dead);
    if (this.#random.chance(0.5)) return;
    this.#count("return as another");
    this.#renew(dead);
    return this.#join(dead);
  }

  /** One that dies while it joins, or soon after, is taken out. */
  async #strikeOut(joiner: Machine): Promise<void> {
    await this.#startAndLose(joiner);
    this.#struckOut.push(joiner);
    await removeNewcomer(this.#world, joiner);
    this.#world.ledger.madeUpFor(joiner.index);
  }

  async #startAndLose(machine: Machine): Promise<void> {
    const world = this.#world;
    world.background(world.revive(machine));
    await this.#pause(HARASSED_AFTER_MS);
    world.lose(machine, this.#random.pick(["kill", "power loss"]));
  }

  /** The member dies for good. Resolves with its id. */
  async #lose(machine: Machine, known?: string): Promise<string> {
    const id = known ?? (await memberIdOf(this.#world, machine));
    this.#world.lose(machine, this.#random.pick(["kill", "power loss"]));
    await this.#pause(HARASSED_AFTER_MS);
    return id;
  }

  #renew(machine: Machine): void {
    this.#world.renew(machine, this.#others(machine));
  }

  #others(machine: Machine): Machine[] {
    return this.#world.staying().filter((other) => other !== machine);
  }

  /** In the middle of a change something happens to who takes part in it: who comes or goes, drives, gives or gains. */
  #harass(machine: Machine): void {
    if (!this.#plan.isHarassed) return;
    const world = this.#world;
    const random = this.#random;
    const work = async (): Promise<void> => {
      await this.#pause(HARASSED_AFTER_MS);
      const others = world.staying();
      const victim = random.chance(0.5) || others.length === 0 ? machine : random.pick(others);
      if (world.gone.has(victim) || !victim.isServing) return;
      this.#count("harassed change");
      const how = random.pick(["kill", "power loss", "freeze"]);
      if (how === "kill") victim.kill();
      else if (how === "power loss") victim.powerOff();
      else victim.freeze();
      await this.#pause(HARASSED_FOR_MS);
      if (how === "freeze") victim.thaw();
      else await world.revive(victim);
    };
    world.background(work());
  }

  /** It is put up where the dead one stood. */
  #heirOf(dead: Machine): Machine {
    const { centres } = this.#world;
    const heir = this.#spare.shift()!;
    centres.move(heir.index, dead.index);
    heir.extraSettings.dc = centres.nameOf(dead.index);
    return heir;
  }

  /** One of the first members, which nothing is to become of yet. */
  #choose(): Machine {
    const chosen = this.#random.pick(this.#settled);
    this.#settled.splice(this.#settled.indexOf(chosen), 1);
    return chosen;
  }

  #pause(msMax: number): Promise<void> {
    return pause(this.#world.clock, this.#random.fraction() * msMax);
  }

  #count(kind: string): void {
    this.#world.disturbances.isCalm = false;
    this.#world.trace.note(`change ${kind}`);
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  #soon(change: () => Promise<void>): void {
    const work = async (): Promise<void> => {
      await this.#pause(SOON_MS);
      await change();
      this.#left--;
    };
    this.#left++;
    const changing = work();
    // Its failure is one of the run at once.
    this.#world.background(changing);
    this.#changes.push(changing);
  }
}
