/**
 * One seed of a whole world: nodes, settings, clients and faults are drawn from it, the clients run, everything is healed,
 * and the history is judged. The same seed gives the same trace and the same verdict.
 */
import type { FsyncPolicy } from "../../../lib/lsm/lsm-settings.js";
import type { SimDisk } from "../sim-disk.js";
import { SimRandom } from "../sim-random.js";
import { checkAll } from "./checks.js";
import { Faults } from "./faults.js";
import { Violation } from "./key-history.js";
import { type ChangePlan, drawChanges, MembershipChanges, NO_CHANGES } from "./membership-changes.js";
import type { Topology } from "./node-flags.js";
import { describeViolation } from "./report.js";
import { readStore } from "./store-watch.js";
import { Workload } from "./workload.js";
import { type RepairWay, World } from "./world.js";

export interface SwarmOptions {
  /** Drawn where it is missing. */
  readonly nodes?: number;
  readonly topology?: Topology;
  /** Copies of each key in each data centre, where the nodes are one ring; drawn where it is missing. */
  readonly replicas?: number;
  /** Data centres of one ring, no more than nodes; drawn where it is missing. */
  readonly centres?: number;
  readonly appendfsync?: FsyncPolicy;
  readonly operations?: number;
  readonly faults?: "none" | "drawn";
  /** Members that come and go, die for good and are replaced. */
  readonly changes?: "none" | "drawn";
  /** `restarted`: the nodes are those of a ring that was founded for all worlds of its size, started again. Costs half as much. */
  readonly start?: "founded" | "restarted";
  /** Syncs of every disk do nothing: the checkers must notice. */
  readonly device?: "honest" | "lying";
}

/** What a seed met. */
export interface SwarmReport {
  readonly seed: number;
  readonly trace: string;
  readonly counts: Readonly<Record<string, number>>;
}

const CONVERGENCE_MS_MAX = 60_000;
const CHANGES_MS_MAX = 300_000;
const CHANGES_SEED = 7_919;
const CENTRES_SEED = 15_485_863;
const CENTRES_CHANCE = 0.25;
const CENTRES_MAX = 3;
const UNCHANGED_CHANCE = 0.3;
const NODES_ALONE_MAX = 3;
const NODES_MAX = 7;
const SLOW = 10;

/** Throws an Error that names the seed, the broken promise, the history of the key. */
export async function runSwarmSeed(seed: number, options: SwarmOptions = {}): Promise<SwarmReport> {
  const random = new SimRandom(seed);
  const topology = options.topology ?? "alone";
  const nodes = options.nodes ?? 1 + random.below(topology === "alone" ? NODES_ALONE_MAX : NODES_MAX);
  const appendfsync = options.appendfsync ?? random.pick<FsyncPolicy>(["always", "everysec", "no"]);
  const { centres, linkMs } = topology === "alone" ? { centres: 1, linkMs: 0 } : centresOf(seed, nodes, options.centres);
  const drawnReplicas = 1 + random.below(Math.min(nodes, 5));
  const replicas = Math.min(options.replicas ?? drawnReplicas, Math.floor(nodes / centres));
  const spare = Math.floor(nodes / centres) - replicas;
  const changes = options.changes === "none" || topology === "alone" ? NO_CHANGES : changesOf(seed, nodes, spare);
  const worldSeed = random.below(2 ** 31);
  const isRestarted = topology === "cluster" && options.start === "restarted";
  const world = await World.start({
    seed: worldSeed,
    nodes: nodes + changes.newcomers,
    topology,
    settings: {
      appendfsync,
      ...(topology === "cluster"
        ? { replicas: String(replicas), "anti-entropy-interval": comparesEvery(seed), ...reaps(seed) }
        : {}),
    },
    latecomers: changes.newcomers,
    centres,
    linkMs,
    ...(isRestarted ? { disks: await ringOf({ nodes, centres, replicas }) } : {}),
    delayMsMax: random.pick([0.1, 1, 10]),
    isCutting: random.chance(0.7),
    wallOffsetMsMax: random.pick([0, 10, 2_000]),
  });
  try {
    return await new SwarmRun({ seed, world, random, changes, options }).run();
  } catch (error) {
    throw new Error(`cluster seed ${seed}: ${describeViolation(world, error)}`, { cause: error });
  } finally {
    world.close();
  }
}

/** What comes and goes: nothing in some of the worlds, and in rings of one, where a removal leaves nothing behind. */
function changesOf(seed: number, members: number, goers: number): ChangePlan {
  // Of its own, so that all else of a seed is what it is without.
  const random = new SimRandom(seed + CHANGES_SEED);
  return members === 1 || random.chance(UNCHANGED_CHANCE) ? NO_CHANGES : drawChanges(random, { members, goers });
}

/** One data centre in most worlds; nodes that are far from each other in the others. */
function centresOf(seed: number, nodes: number, wanted?: number): { centres: number; linkMs: number } {
  const random = new SimRandom(seed + CENTRES_SEED);
  const drawn = random.chance(CENTRES_CHANCE) ? 2 + random.below(CENTRES_MAX - 1) : 1;
  // Fewer than two nodes of each are no data centres.
  const centres = wanted ?? Math.min(drawn, Math.max(1, Math.floor(nodes / 2)));
  return { centres, linkMs: random.pick([1, 25, 80]) };
}

/** Seconds. In every fourth world nodes do not compare their copies: hints alone, or reads, have to make them equal. */
function comparesEvery(seed: number): string {
  return seed % 4 === 0 ? "0" : "2";
}

/** In every third world tombstones stay; in the others they go as soon as they may. */
function reaps(seed: number): Readonly<Record<string, string>> {
  return seed % 3 === 0 ? { "reap-interval": "0" } : { "reap-interval": "1", "tombstone-age-min": "0" };
}

interface RingSize {
  readonly nodes: number;
  readonly centres: number;
  readonly replicas: number;
}

/** Disks of the members of a ring, by its size. */
const rings = new Map<string, Promise<readonly SimDisk[]>>();

function ringOf({ nodes, centres, replicas }: RingSize): Promise<readonly SimDisk[]> {
  const size = `${nodes} ${centres} ${replicas}`;
  let ring = rings.get(size);
  if (ring === undefined) {
    ring = World.start({ nodes, centres, topology: "cluster", settings: { replicas: String(replicas) } }).then((world) =>
      world.intoDisks(),
    );
    rings.set(size, ring);
  }
  return ring;
}

interface SwarmRunOptions {
  readonly seed: number;
  readonly world: World;
  readonly random: SimRandom;
  readonly changes: ChangePlan;
  readonly options: SwarmOptions;
}

class SwarmRun {
  readonly #seed: number;
  readonly #world: World;
  readonly #workload: Workload;
  readonly #faults: Faults;
  readonly #changes: MembershipChanges;
  readonly #random: SimRandom;

  constructor({ seed, world, random, changes, options }: SwarmRunOptions) {
    this.#seed = seed;
    this.#world = world;
    this.#random = random;
    const operations = options.operations ?? random.pick([100, 300, 300, 1_000]);
    this.#workload = new Workload(world, random.fork(), {
      operations,
      clients: 1 + random.below(6),
      keys: random.pick([1, 3, 10]),
      // Where tombstones are reaped some worlds last for several rounds of that.
      thinkMsMax: random.pick([1, 10, 50]) * (world.topology === "cluster" && seed % 3 === 1 ? SLOW : 1),
      valueBytesMax: random.pick([10, 100, 5_000]),
      levels: random.pick([0, 0.5, 1]),
      isWantedLonger: () => this.#changes.areUnderWay,
    });
    this.#faults = new Faults(world, random.fork(), options.faults === "none" ? 0 : random.pick([0, 0.2, 0.5, 1]));
    this.#changes = new MembershipChanges(world, new SimRandom(seed), changes);
    for (const machine of world.machines) {
      machine.hasLyingSyncs = options.device === "lying";
      machine.healDisk();
    }
  }

  async run(): Promise<SwarmReport> {
    const world = this.#world;
    this.#faults.start(this.#random.pick([50, 200, 1_000]));
    this.#changes.start();
    await world.run(this.#workload.run(this.#random.fork()));
    this.#faults.end();
    if (this.#changes.hasAny) await this.#completeChanges();
    // Who takes a place over that lacked something, for which there was a hint, may lack it too: comparing is what finds that.
    const isAllHinted = this.#faults.areGentle && !this.#changes.hasAny;
    const withoutComparing: RepairWay = isAllHinted ? "by hints" : "by reads";
    const repair = comparesEvery(this.#seed) === "0" ? withoutComparing : "by itself";
    await world.quiesce({ withinMs: CONVERGENCE_MS_MAX, repair });
    await world.run(this.#workload.readAll());
    checkAll(world);
    await this.#compareWithDisks();
    const { history, ledger, nowMs } = world;
    return {
      seed: this.#seed,
      trace: world.trace.digest(),
      counts: {
        operations: history.operations.length,
        ...Object.fromEntries(history.summary()),
        versions: ledger.writes,
        "records checked": ledger.records,
        "hints checked": ledger.hints,
        "tombstones reaped": ledger.reaped,
        "virtual seconds": Math.round(nowMs / 1_000),
        ...this.#faults.counts,
        ...this.#changes.counts,
      },
    };
  }

  async #completeChanges(): Promise<void> {
    const world = this.#world;
    await world.heal();
    await world.run(this.#changes.finished(), CHANGES_MS_MAX);
    await world.heal();
    await world.allJoined({ withinMs: CHANGES_MS_MAX });
  }

  /** After an orderly stop, what the disks hold is what was seen to be stored. */
  async #compareWithDisks(): Promise<void> {
    const world = this.#world;
    for (const machine of world.machines) {
      if (world.gone.has(machine)) continue;
      await world.run(machine.stop());
      const lost = world.ledger.differenceFrom(machine.index, await readStore(machine.disk, machine.place));
      if (lost !== null)
        throw new Violation(lost, `${machine.name} was stopped in good order, and its disk holds another record`);
    }
  }
}
