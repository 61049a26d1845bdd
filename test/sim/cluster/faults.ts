/**
 * What goes wrong in a world, drawn from a seed: kinds, times and lengths, overlapping as they happen to. Every fault ends by
 * itself or with `World.heal`.
 */
import type { SimRandom } from "../sim-random.js";
import type { Machine } from "./machine.js";
import type { World } from "./world.js";
import type { NetworkFault } from "./world-network.js";

export type FaultKind =
  | "kill"
  | "power loss"
  | "torn power loss"
  | "restart"
  | "freeze"
  | "wall jump"
  | "full disk"
  | "failing disk"
  | "slow disk"
  | "failed sync"
  | "client cut"
  | "dropped connections"
  | "partition"
  | "one-way cut"
  | "slow links"
  | "lost data centre"
  | "data centre cut off";

const OF_MACHINES: readonly FaultKind[] = [
  "kill",
  "power loss",
  "torn power loss",
  "restart",
  "freeze",
  "wall jump",
  "full disk",
  "failing disk",
  "slow disk",
  "failed sync",
  "client cut",
  "dropped connections",
];
const BETWEEN_MACHINES: readonly FaultKind[] = ["partition", "one-way cut", "slow links"];
const OF_CENTRES: readonly FaultKind[] = ["lost data centre", "data centre cut off"];
/** At most. */
const CENTRE_LOST_MS = 10_000;

/** No process ends by these and no disk refuses anything: what a node has begun it goes on with. */
const GENTLE: ReadonlySet<FaultKind> = new Set<FaultKind>([
  "freeze",
  "wall jump",
  "slow disk",
  "client cut",
  "dropped connections",
  "data centre cut off",
  ...BETWEEN_MACHINES,
]);
const GENTLE_CHANCE = 0.25;

/** Names of the machines of clients, for `client cut`. */
const CLIENTS = ["client-0", "client-1"];

export class Faults {
  readonly counts: Record<string, number> = {};
  readonly #world: World;
  readonly #random: SimRandom;
  readonly #kinds: readonly FaultKind[];
  #isOver = false;

  /** `some`: each kind happens in this world with that probability. */
  constructor(world: World, random: SimRandom, some: number) {
    this.#world = world;
    this.#random = random;
    const possible = [
      ...OF_MACHINES,
      ...(world.machines.length > 1 ? BETWEEN_MACHINES : []),
      ...(world.centres.count > 1 ? OF_CENTRES : []),
    ];
    const isGentle = random.chance(GENTLE_CHANCE);
    this.#kinds = possible.filter((kind) => random.chance(some) && (!isGentle || GENTLE.has(kind)));
  }

  /** Whatever a replica misses in this world is kept for it by somebody. */
  get areGentle(): boolean {
    return this.#kinds.every((kind) => GENTLE.has(kind));
  }

  /** Faults begin every so often, on average, until `end`. */
  start(everyMs: number): void {
    if (this.#kinds.length === 0) return;
    const next = (): void => {
      this.#world.clock.after(this.#random.fraction() * 2 * everyMs, () => {
        if (this.#isOver) return;
        this.#begin(this.#random.pick(this.#kinds));
        next();
      });
    };
    next();
  }

  end(): void {
    this.#isOver = true;
  }

  #begin(kind: FaultKind): void {
    const machine = this.#random.pick(this.#world.machines);
    const lengthMs = this.#random.fraction() * this.#random.pick([50, 500, 3_000]);
    if (this.#world.gone.has(machine) || !machine.wasStarted) return;
    if (!this.#act(kind, machine, lengthMs)) return;
    this.#count(kind);
    this.#world.disturbances.isCalm = false;
    this.#world.trace.note(`fault ${kind} ${machine.name} ${lengthMs}`);
  }

  #count(kind: FaultKind): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
  }

  /** False where it cannot happen now. */
  #act(kind: FaultKind, machine: Machine, lengthMs: number): boolean {
    const random = this.#random;
    const world = this.#world;
    switch (kind) {
      case "kill":
        if (!hasProcess(machine)) return false;
        machine.kill();
        return this.#reviveAfter(machine, lengthMs);
      case "power loss":
        if (machine.state === "off") return false;
        machine.powerOff();
        return this.#reviveAfter(machine, lengthMs);
      case "torn power loss":
        if (!hasProcess(machine)) return false;
        machine.powerOffAfter(1 + random.below(30));
        this.#after(lengthMs, () => {
          machine.powerOffAfter(Number.POSITIVE_INFINITY);
          // Counted when it happened: a node that writes nothing is not torn.
          if (machine.state === "off") this.#count(kind);
        });
        this.#reviveAfter(machine, lengthMs);
        return false;
      case "restart":
        if (!machine.isServing) return false;
        world.background(machine.stop().then(() => this.#reviveAfter(machine, lengthMs)));
        return true;
      case "freeze":
        if (!hasProcess(machine) || machine.isFrozen) return false;
        machine.freeze();
        this.#after(lengthMs, () => machine.thaw());
        return true;
      case "wall jump":
        machine.clock.jump(Math.floor((random.fraction() - 0.5) * random.pick([20, 2_000, 10_000, 200_000])));
        return true;
      case "full disk":
        machine.disk.faults.capacityBytes = machine.disk.usedBytes + random.below(2_000);
        this.#after(lengthMs, () => {
          machine.disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
        });
        return true;
      case "failing disk":
        Object.assign(machine.disk.faults, { appendFailure: 0.2, truncateFailure: 0.2 });
        this.#after(lengthMs, () => Object.assign(machine.disk.faults, { appendFailure: 0, truncateFailure: 0 }));
        return true;
      case "slow disk":
        this.#slowDisk(machine, lengthMs);
        return true;
      case "failed sync":
        machine.disk.faults.syncFailure = 1;
        this.#after(lengthMs, () => this.#endFailedSync(machine));
        return true;
      case "client cut":
        this.#cutClient(machine, lengthMs);
        return true;
      case "dropped connections":
        return world.network.dropConnections(machine.index, random.pick([0.3, 1])) > 0;
      case "partition":
        return this.#endAfter(this.#partition(), lengthMs);
      case "one-way cut":
        return this.#endAfter(world.network.cutOneWay([machine.index], this.#othersOf(machine)), lengthMs);
      case "slow links":
        return this.#endAfter(world.network.slowDown(machine.index, random.pick([20, 100, 400])), lengthMs);
      case "lost data centre":
        return this.#loseCentreOf(machine);
      case "data centre cut off":
        return this.#endAfter(this.#cutOffCentreOf(machine), random.fraction() * CENTRE_LOST_MS);
    }
  }

  /** All of it at once, as without power; each machine is back in its own time. */
  #loseCentreOf(machine: Machine): boolean {
    const { centres, machines, gone } = this.#world;
    const all = centres.nodesOf(centres.of(machine.index)).map((node) => machines[node]!);
    const there = all.filter((one) => one.wasStarted && !gone.has(one) && one.state !== "off");
    const lengthMs = this.#random.fraction() * CENTRE_LOST_MS;
    for (const one of there) {
      one.powerOff();
      this.#reviveAfter(one, lengthMs * (1 + this.#random.fraction()));
    }
    return there.length > 0;
  }

  #cutOffCentreOf(machine: Machine): NetworkFault {
    const { centres, network, machines } = this.#world;
    const inside = centres.nodesOf(centres.of(machine.index));
    return network.split(
      inside,
      machines.flatMap(({ index }) => (inside.includes(index) ? [] : index)),
    );
  }

  /** Halves, one alone, or two sides with a bridge. */
  #partition(): NetworkFault {
    const random = this.#random;
    const { network, machines } = this.#world;
    const some: number[] = [];
    const others: number[] = [];
    for (const { index } of machines) (random.chance(0.5) ? some : others).push(index);
    const one = random.below(machines.length);
    return random.pick([
      () => network.isolate(one),
      () => network.split(some, others),
      () => network.bridge(one, some, others),
    ])();
  }

  #slowDisk(machine: Machine, lengthMs: number): void {
    const { disturbances } = this.#world;
    const syncMsMax = this.#random.pick([30, 300, 3_000]);
    const disturbance = disturbances.begin(machine.index, "slow disk");
    Object.assign(machine.disk.faults, { syncMsMax, readMsMax: 20 });
    this.#after(lengthMs, () => Object.assign(machine.disk.faults, { syncMsMax: 2, readMsMax: 1 }));
    // What began in this time may take that long still, and what waits for it once more.
    this.#after(lengthMs + 2 * syncMsMax, () => disturbances.end(disturbance));
  }

  /** A process whose sync has failed acknowledges nothing any more: its operator starts it again. */
  #endFailedSync(machine: Machine): void {
    machine.disk.faults.syncFailure = 0;
    if (!machine.hasFailedSync) return;
    machine.kill();
    this.#reviveAfter(machine, 10);
  }

  #cutClient(machine: Machine, lengthMs: number): void {
    const { network, disturbances } = this.#world;
    const fault = network.cutClient(this.#random.pick(CLIENTS), machine.index);
    const disturbance = disturbances.begin(machine.index, "client cut");
    this.#after(lengthMs, () => {
      fault.end();
      disturbances.end(disturbance);
    });
  }

  #othersOf(machine: Machine): number[] {
    return this.#world.machines.map(({ index }) => index).filter((index) => index !== machine.index);
  }

  #endAfter(fault: NetworkFault, lengthMs: number): true {
    this.#after(lengthMs, () => fault.end());
    return true;
  }

  #reviveAfter(machine: Machine, lengthMs: number): true {
    this.#after(lengthMs, () => this.#world.background(this.#world.revive(machine)));
    return true;
  }

  #after(ms: number, run: () => void): void {
    this.#world.clock.after(ms, run);
  }
}

function hasProcess(machine: Machine): boolean {
  return machine.state === "up" || machine.state === "starting";
}
