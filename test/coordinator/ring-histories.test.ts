/**
 * Random histories of whole rings: clients of all nodes write, read, count and remove while links are cut, processes stop, die
 * and start again, disks refuse and clocks differ. A seed gives one history; a failure names it.
 */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { SimRandom } from "../sim/sim-random.js";
import type { RingClient } from "./ring-client.js";
import { RingWorld } from "./ring-world.js";

/** A value that was written, and whether its client was told that it is stored. */
interface Write {
  /** Null: a removal. */
  readonly value: string | null;
  outcome: "open" | "stored" | "unknown" | "refused";
}

const OPERATIONS = 260;
const NO_EFFECT = /nothing was changed|it was not (run|made)|BUSY|not begun/;

class History {
  readonly world: RingWorld;
  readonly random: SimRandom;
  readonly keys: string[];
  /** By key: values in the order in which one client at a time wrote them. */
  readonly writes = new Map<string, Write[]>();
  readonly #busy = new Set<string>();
  readonly #works: Promise<void>[] = [];
  readonly trace: string[] = [];
  #count = 0;

  constructor(world: RingWorld, random: SimRandom, keys: number) {
    this.world = world;
    this.random = random;
    this.keys = Array.from({ length: keys }, () => world.key());
    for (const key of this.keys) this.writes.set(key, []);
  }

  note(text: string): void {
    this.trace.push(`${this.world.clock.monotonicMs().toFixed(2)} ${text}`);
  }

  live(): number[] {
    return this.world.nodes.filter(({ isDead }) => !isDead).map(({ number }) => number);
  }

  /** One write at a time of a key: then the order of its values is known. */
  write(client: RingClient): void {
    const key = this.random.pick(this.keys);
    if (this.#busy.has(key)) return;
    this.#busy.add(key);
    const value = this.random.chance(0.15) ? null : `v${this.#count++}`;
    const write: Write = { value, outcome: "open" };
    this.writes.get(key)!.push(write);
    const work = value === null ? client.del(key) : client.set(key, value);
    this.note(`set ${key} ${value} via ${client.node.number}`);
    this.#track(client, work, (error) => {
      write.outcome = error === null ? "stored" : NO_EFFECT.test(error) ? "refused" : "unknown";
      this.note(`${key} ${value} ${write.outcome} ${error ?? ""}`);
      this.#busy.delete(key);
    });
  }

  /** A read of a key that nobody writes meanwhile sees the last acknowledged write, or one whose outcome is unknown since. */
  read(client: RingClient, isStrict: boolean): void {
    const key = this.random.pick(this.keys);
    if (this.#busy.has(key)) return;
    this.#busy.add(key);
    const writes = [...this.writes.get(key)!];
    const work = client.get(key).then((value) => {
      this.note(`get ${key} ${value} via ${client.node.number}`);
      if (isStrict) this.#expectFresh(key, value, writes);
    });
    this.#track(client, work, () => this.#busy.delete(key));
  }

  #expectFresh(key: string, value: string | null, writes: readonly Write[]): void {
    const allowed = allowedOf(writes);
    if (!allowed.includes(value))
      throw new Error(`stale read of ${key}: ${value}, not one of ${allowed}\n${this.traceOf(key)}`);
  }

  traceOf(key: string): string {
    const values = new Set(this.writes.get(key)!.map(({ value }) => value));
    return this.trace
      .filter((line) => {
        const words = line.split(" ");
        return words.includes(key) || words.some((word) => values.has(word)) || /^\S+ #/.test(line);
      })
      .join("\n");
  }

  #track({ node }: RingClient, work: Promise<unknown>, done: (error: string | null) => void): void {
    const died = new Promise<void>((_, reject) =>
      node.deaths.push(() => reject(new OperatingError("CLOSED", "the node died"))),
    );
    this.#works.push(
      Promise.race([work, died]).then(
        () => done(null),
        (error: Error & { code?: string }) => {
          if (error.code === undefined) throw error;
          done(`${error.code} ${error.message}`);
        },
      ),
    );
  }

  async finish(): Promise<void> {
    await this.world.run(Promise.all(this.#works.splice(0)));
  }
}

/**
 * What may be read after these writes of one client at a time: the last that is stored, and whatever may yet take effect: one
 * whose outcome is unknown may do so long after it was given up.
 */
function allowedOf(writes: readonly Write[]): (string | null)[] {
  const last = writes.findLastIndex(({ outcome }) => outcome === "stored");
  const allowed: (string | null)[] = last < 0 ? [null] : [writes[last]!.value];
  for (const [at, { outcome, value }] of writes.entries()) {
    if (outcome === "unknown" || (outcome === "open" && at > last)) allowed.push(value);
  }
  return allowed;
}

/** Troubles of one node at a time, so that a majority of every key's owners stays; each is over before the next begins. */
async function trouble(history: History, kind: number): Promise<() => Promise<void>> {
  const { world, random } = history;
  const number = random.pick(history.live());
  switch (kind) {
    case 0:
      history.note(`# split ${number}`);
      world.split(number);
      return async () => world.heal();
    case 1:
      history.note(`# freeze ${number}`);
      world.freeze(number);
      return async () => world.thaw(number);
    case 2:
      history.note(`# kill ${number}`);
      await world.kill(number);
      return async () => {
        await world.restart(number);
      };
    case 3: {
      history.note(`# disk of ${number} refuses`);
      const { disk } = world.node(number);
      disk.faults.appendFailure = 0.5;
      return async () => {
        disk.faults.appendFailure = 0;
      };
    }
    case 4: {
      history.note(`# disk of ${number} is slow`);
      const { store } = world.node(number);
      store.coldness = 0.5;
      store.readMsMax = 80;
      return async () => {
        store.coldness = 0;
      };
    }
    default: {
      const other = random.pick(history.live().filter((one) => one !== number));
      history.note(`# way ${number} > ${other} is cut`);
      world.network.cutWay(world.idOf(number), world.idOf(other));
      return async () => world.heal();
    }
  }
}

async function runHistory(seed: number, options: { nodes: number; words: string }): Promise<History> {
  const random = new SimRandom(seed);
  const world = await RingWorld.start({ nodes: options.nodes, seed, delayMs: random.pick([0.1, 0.5, 5]) });
  for (const node of world.nodes) node.clock.wallAheadMs = random.pick([0, 0, -3_000, 5_000]);
  const history = new History(world, random, 8);
  let over: (() => Promise<void>) | null = null;
  for (let at = 0; at < OPERATIONS; at++) {
    const client = world.client(random.pick(history.live()), options.words);
    if (random.chance(0.5)) history.write(client);
    else history.read(client, true);
    if (random.chance(0.6)) await world.pass(random.fraction() * random.pick([1, 20, 100]));
    if (!random.chance(0.06)) continue;
    if (over === null) over = await trouble(history, random.below(6));
    else {
      history.note("# over");
      await over();
      over = null;
      await world.pass(random.pick([0, 5, 500]));
    }
  }
  await over?.();
  history.note("# end");
  await history.finish();
  return history;
}

async function settle(history: History): Promise<void> {
  const { world } = history;
  await world.pass(5_000);
  await world.untilNoHints();
  for (const key of history.keys) await world.run(world.client(1, "ALL STRICT").get(key));
  await world.expectConverged(history.keys);
}

const SEEDS = Number(process.env.RING_SEEDS ?? 4);
const FIRST_SEED = Number(process.env.RING_SEED ?? 1);

describe("histories of a ring with one node in trouble at a time", function () {
  this.timeout(600_000);

  for (const { nodes, words } of [
    { nodes: 3, words: "QUORUM STRICT" },
    { nodes: 5, words: "QUORUM STRICT" },
    { nodes: 3, words: "READ 1 WRITE 3 STRICT" },
    { nodes: 4, words: "READ 3 WRITE 2 STRICT" },
  ]) {
    it(`of ${nodes} nodes at ${words}: reads see every acknowledged write, and copies converge`, async () => {
      for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
        try {
          const history = await runHistory(seed, { nodes, words });
          await settle(history);
          for (const key of history.keys) {
            const value = await history.world.run(history.world.client(2, "ALL STRICT").get(key));
            const allowed = allowedOf(history.writes.get(key)!);
            expect(allowed, `${key}\n${history.traceOf(key)}`).to.include(value);
          }
        } catch (error) {
          throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : error}`);
        }
      }
    });
  }
});
