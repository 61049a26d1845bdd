/** Members that come and go while a world runs: drawn from a seed, besides its faults. All of them are done before it is judged. */
import { pause } from "../../../lib/host/clock.js";
import type { SimRandom } from "../sim-random.js";
import { leave } from "./departures.js";
import type { Machine } from "./machine.js";
import type { World } from "./world.js";

const WITHIN_MS = 3_000;

export class MembershipChanges {
  readonly counts: Record<string, number> = {};
  readonly #world: World;
  readonly #random: SimRandom;
  readonly #latecomers: readonly Machine[];
  readonly #leavers: readonly Machine[];
  #changes: Promise<void>[] = [];

  /** `leavers`: of those that are there from the beginning, the last ones. */
  constructor(world: World, random: SimRandom, { latecomers, leavers }: { latecomers: number; leavers: number }) {
    const { machines } = world;
    const first = machines.length - latecomers;
    this.#world = world;
    this.#random = random;
    this.#latecomers = machines.slice(first);
    this.#leavers = machines.slice(first - leavers, first);
  }

  start(): void {
    const world = this.#world;
    for (const machine of this.#latecomers) this.#soon("join", () => world.revive(machine));
    for (const machine of this.#leavers) this.#soon("leave", () => leave(world, machine));
  }

  get hasAny(): boolean {
    return this.#changes.length > 0;
  }

  /** Resolves when all are done. */
  async finished(): Promise<void> {
    await Promise.all(this.#changes);
  }

  #soon(kind: string, change: () => Promise<void>): void {
    const { clock, disturbances } = this.#world;
    const work = async (): Promise<void> => {
      await pause(clock, this.#random.fraction() * WITHIN_MS);
      disturbances.isCalm = false;
      this.counts[kind] = (this.counts[kind] ?? 0) + 1;
      await change();
    };
    const changing = work();
    // Its failure is one of the run at once.
    this.#world.background(changing);
    this.#changes.push(changing);
  }
}
