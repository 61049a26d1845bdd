/**
 * Clients that read the siblings of a key, join them with an element of their own and write the result with its context, while
 * anything fails at once: whatever was acknowledged is in the end in one of the siblings. (Jepsen's `set` workload.)
 */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { SimRandom } from "../sim/sim-random.js";
import { RingWorld } from "./ring-world.js";

const OPERATIONS = 150;
const SEEDS = Number(process.env.RING_SEEDS ?? 4);
const FIRST_SEED = Number(process.env.RING_SEED ?? 1);

class SetHistory {
  readonly world: RingWorld;
  readonly random: SimRandom;
  readonly words: string;
  readonly keys: string[];
  readonly attempted = new Map<string, Set<string>>();
  readonly acknowledged = new Map<string, Set<string>>();
  readonly trace: string[] = [];
  readonly #works: Promise<void>[] = [];
  #count = 0;

  constructor(world: RingWorld, random: SimRandom, words: string) {
    this.world = world;
    this.random = random;
    this.words = words;
    this.keys = Array.from({ length: 4 }, () => world.key());
    for (const key of this.keys) {
      this.attempted.set(key, new Set());
      this.acknowledged.set(key, new Set());
    }
  }

  note(text: string): void {
    this.trace.push(`${this.world.clock.monotonicMs().toFixed(2)} ${text}`);
  }

  add(): void {
    const live = this.world.nodes.filter(({ isDead }) => !isDead);
    const node = this.random.pick(live);
    const key = this.random.pick(this.keys);
    const element = `e${this.#count++}`;
    const died = new Promise<never>((_, reject) => node.deaths.push(() => reject(new OperatingError("CLOSED", "it died"))));
    died.catch(() => undefined);
    this.#works.push(
      Promise.race([this.#add(node.number, key, element), died]).catch((error: unknown) => {
        if (!(error instanceof OperatingError)) throw error;
        this.note(`${key} ${element} ${error.code}`);
      }),
    );
  }

  async #add(number: number, key: string, element: string): Promise<void> {
    const client = this.world.client(number, this.words);
    const found = await client.siblings(key);
    // A plain write would supersede whatever its coordinator holds: nothing is written without a context.
    if (found === null) return;
    const elements = new Set(found.values.flatMap((value) => value?.split(",") ?? []));
    elements.add(element);
    this.attempted.get(key)!.add(element);
    const value = [...elements].join(",");
    await client.setWithContext(key, value, found.context);
    this.acknowledged.get(key)!.add(element);
    this.note(`${key} ${element} stored via ${number} as ${value}`);
  }

  /** One more trouble, whatever there is already. */
  async trouble(): Promise<void> {
    const { world, random } = this;
    const live = world.nodes.filter(({ isDead }) => !isDead).map(({ number }) => number);
    const number = random.pick(live);
    const other = random.pick(world.nodes).number;
    switch (random.below(8)) {
      case 0:
        this.note(`# split ${number} ${other}`);
        return world.split(number, other);
      case 1:
        this.note(`# freeze ${number}`);
        return world.freeze(number);
      case 2:
        if (live.length < 3) return;
        this.note(`# kill ${number}`);
        return world.kill(number);
      case 3:
        this.note(`# disk of ${number} refuses`);
        world.node(number).disk.faults.appendFailure = 0.3;
        return;
      case 4:
        world.node(number).store.coldness = 0.5;
        world.node(number).store.readMsMax = 60;
        return;
      case 5:
        this.note(`# connections drop`);
        return world.network.dropAll();
      case 6:
        if (number === other) return;
        this.note(`# way ${number} > ${other} is cut`);
        return world.network.cutWay(world.idOf(number), world.idOf(other));
      default:
        return this.heal();
    }
  }

  async heal(): Promise<void> {
    const { world } = this;
    this.note("# heal");
    world.heal();
    for (const node of world.nodes) {
      node.disk.faults.appendFailure = 0;
      node.store.coldness = 0;
      if (node.isDead) await world.restart(node.number);
      else world.thaw(node.number);
    }
  }

  async finish(): Promise<void> {
    await this.heal();
    await this.world.run(Promise.all(this.#works));
    await this.world.pass(5_000);
    await this.world.untilNoHints();
  }
}

async function runSeed(seed: number, nodes: number, words: string): Promise<void> {
  const random = new SimRandom(seed);
  const world = await RingWorld.start({ nodes, seed, delayMs: random.pick([0.1, 2]) });
  for (const node of world.nodes) node.clock.wallAheadMs = random.pick([0, -4_000, 6_000]);
  const history = new SetHistory(world, random, words);
  for (const key of history.keys) await world.run(world.client(1, "ALL").set(key, "first"));
  for (let at = 0; at < OPERATIONS; at++) {
    history.add();
    if (random.chance(0.5)) await world.pass(random.fraction() * random.pick([1, 30, 200]));
    if (random.chance(0.1)) await history.trouble();
  }
  await history.finish();
  for (const key of history.keys) {
    const values = await world.run(world.client(1, "ALL STRICT").values(key));
    const elements = new Set(values.flatMap((value) => value?.split(",") ?? []));
    const lost = [...history.acknowledged.get(key)!].filter((element) => !elements.has(element));
    const trace = history.trace.filter((line) => line.includes(`${key} `) || line.includes("#")).join("\n");
    expect(lost, `lost of ${key}, in the end ${values.join(" | ")}\n${trace}`).to.deep.equal([]);
    elements.delete("first");
    for (const element of elements) expect(history.attempted.get(key)!.has(element), `${element} of ${key}`).to.equal(true);
  }
  await world.expectConverged(history.keys);
}

describe("sets of all clients, while anything fails", function () {
  this.timeout(600_000);

  for (const { nodes, words } of [
    { nodes: 3, words: "" },
    { nodes: 5, words: "" },
    { nodes: 5, words: "ONE" },
    { nodes: 6, words: "STRICT" },
  ]) {
    it(`lose nothing that was acknowledged: ${nodes} nodes ${words}`, async () => {
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
        try {
          await runSeed(seed, nodes, words);
        } catch (error) {
          throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
        }
      }
    });
  }
});
