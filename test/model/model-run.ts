/**
 * One seed of the model test: clients' random operations on a coordinator over a store that is cold at random, compared
 * with plain Maps, through full disks, jumping clocks, stops and crashes.
 */
import { slotOf } from "../../lib/bytes/slot.js";
import { readableDot } from "../../lib/causality/actor.js";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import { pause } from "../../lib/host/clock.js";
import { DATA_END, DATABASES, EXPIRY_START, expiryKey, META_START } from "../../lib/replica/data-key.js";
import { settle } from "../sim/sim-clock.js";
import { Clients } from "./clients.js";
import { textOf } from "./keyspace-model.js";
import { type ModelEvent, nameOf, requireCode, requireCount, SETTINGS } from "./operation.js";
import { bytes, NAMES, World } from "./world.js";

export interface ModelReport {
  readonly counts: Readonly<Record<ModelEvent, number>>;
}

export async function runModelSeed(seed: number): Promise<ModelReport> {
  const run = new ModelRun(seed);
  try {
    await run.run();
  } catch (error) {
    throw new Error(`model seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return { counts: run.counts };
}

class ModelRun extends Clients {
  async run(): Promise<void> {
    this.world = await World.start({ seed: this.seed, settings: { ...SETTINGS, queuedMax: this.queuedMax }, events: this });
    this.model.commit();
    const lives = 1 + this.random.below(3);
    for (let life = 0; life < lives; life++) {
      await this.live();
      if (life + 1 < lives) await this.restart();
    }
  }

  protected async live(): Promise<void> {
    const random = this.random;
    const { store, clock, reaper, disk } = this.world;
    reaper.start();
    store.coldness = random.pick([0, 0.3, 0.9]);
    store.readMsMax = random.pick([0, 1, 10]);
    const isDiskTight = random.chance(0.3);
    for (let step = 10 + random.below(120); step > 0; step--) {
      if (isDiskTight && random.chance(0.1)) disk.faults.capacityBytes = disk.usedBytes + random.pick([0, 100, 1e6]);
      if (random.chance(0.05)) store.backlogNow = random.pick(["open", "slow", "stopped"]);
      for (let calls = 1 + random.below(4); calls > 0; calls--) this.call();
      await settle();
      this.check();
      if (random.chance(0.3)) this.commit();
      if (random.chance(0.4)) await clock.advance(random.fraction() * random.pick([1, 10, 100, 300]));
      if (random.chance(0.05)) this.jump();
      this.watchWalks();
      this.check();
      if (random.chance(0.1)) await this.quiesce();
    }
    disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
    store.backlogNow = "open";
    await this.quiesce();
  }

  protected jump(): void {
    this.counts.jumps++;
    // What has expired by now and comes to life again has not stayed.
    this.watchWalks();
    this.world.clock.jumpWall(Math.floor((this.random.fraction() - 0.5) * this.random.pick([100, 2_000])));
  }

  protected commit(): void {
    try {
      this.world.store.commit();
    } catch (error) {
      requireCode(error, "IO");
    }
  }

  protected check(): void {
    if (this.failure !== null) throw this.failure;
  }

  // Whole checks.

  /** Lets everything under way end, commits, and compares everything. */
  protected async quiesce(): Promise<void> {
    const { store, clock, disk } = this.world;
    const { backlogNow } = store;
    store.backlogNow = "open";
    await clock.run(Promise.all([...this.underway]));
    this.check();
    this.commit();
    await this.compareAll();
    store.backlogNow = backlogNow;
    if (this.random.chance(0.5)) disk.faults.capacityBytes = Number.POSITIVE_INFINITY;
  }

  protected async compareAll(): Promise<void> {
    const { lsm, clock, replica } = this.world;
    const data = await lsm.scan({ from: "", to: DATA_END, limit: 1e6, values: "with" });
    const index = await lsm.scan({ from: EXPIRY_START, to: META_START, limit: 1e6, values: "without" });
    clock.wallMs();
    const stored = new Map(data.entries.map(({ key, value }) => [key, decodeRecord(value!)]));
    const expiries: string[] = [];
    const sizes = new Map<string, number>();
    const add = (name: string): void => void sizes.set(name, (sizes.get(name) ?? 0) + 1);
    for (const target of this.targets) {
      const record = stored.get(target.dataKey);
      const expected = this.model.records.get(target.dataKey);
      if (record === undefined || expected === undefined) {
        if (record !== expected)
          throw new Error(`${nameOf(target)}: stored ${record !== undefined}, expected ${textOf(expected)}`);
        continue;
      }
      this.compare(target, record, expected);
      const distinct = new Set(expected.map(({ expiryMs }) => expiryMs).filter((expiryMs) => expiryMs !== 0));
      for (const expiryMs of distinct) expiries.push(expiryKey(expiryMs, target.dataKey));
      if (expected[0]!.value !== null) {
        add(`${target.database}`);
        add(`${target.database}/${slotOf(bytes(target.key))}`);
      } else add(`${target.database} hidden`);
      if (distinct.size > 0) add(`${target.database} expiring`);
    }
    if (stored.size !== this.model.records.size) throw new Error("there are keys that nobody put");
    const found = index.entries.map(({ key }) => key);
    if (found.join() !== expiries.sort().join())
      throw new Error(`the expiry index has ${found.length} entries, not ${expiries.length}`);
    for (let database = 0; database < DATABASES; database++) {
      requireCount(`size of ${database}`, replica.size(database), sizes.get(`${database}`));
      requireCount(`hidden of ${database}`, replica.hiddenSize(database), sizes.get(`${database} hidden`));
      requireCount(`expiring of ${database}`, replica.expiringSize(database), sizes.get(`${database} expiring`));
    }
    for (const { database, key } of this.targets) {
      const slot = slotOf(bytes(key));
      requireCount(`slot ${slot}`, replica.sizeOfSlot(database, slot), sizes.get(`${database}/${slot}`));
    }
  }

  protected async restart(): Promise<void> {
    const world = this.world;
    const { store } = world;
    const isClean = this.random.chance(0.5);
    this.commit();
    // A refusal holds for its turn.
    await world.run(pause(world.clock, 0));
    await world.run(world.reaper.stop());
    // What was told TIMEOUT may still be fetching.
    await world.clock.advance(1_000);
    if (world.replica.watched > 0) throw new Error("keys are watched that nobody fetches");
    if (isClean) {
      this.counts.stops++;
      await world.stop();
      this.model.history = this.model.history.slice(-1);
    } else {
      this.counts.crashes++;
      if (this.random.chance(0.5)) {
        store.syncNow();
        this.model.history = this.model.history.slice(-1);
      }
    }
    store.events = { onPut() {}, onRemove() {}, onClear() {}, onBatch() {} };
    const epochBefore = world.identity.epoch;
    const wallMs = world.clock.wallMs() + this.random.pick([0, 10, -5_000]);
    const settings = { ...SETTINGS, queuedMax: this.queuedMax };
    this.world = await world.restart({ seed: this.random.below(1e9), settings, wallMs, events: this });
    if ((this.world.identity.epoch === epochBefore) !== isClean)
      throw new Error("an epoch ends exactly where a stop was not clean");
    await this.chooseState();
    this.lanes.clear();
    await this.compareAll();
  }

  /** After a crash the store holds the state after some batch. */
  protected async chooseState(): Promise<void> {
    const page = await this.world.lsm.scan({ from: "", to: DATA_END, limit: 1e6, values: "with" });
    const found = page.entries.map(({ key, value }) => {
      const { versions } = decodeRecord(value!);
      return `${key}=${versions.map(({ dot }) => readableDot(dot, NAMES)).join()}`;
    });
    const { history } = this.model;
    for (let at = history.length - 1; at >= 0; at--) {
      const state = [...history[at]!].sort(([a], [b]) => (a < b ? -1 : 1));
      const texts = state.map(([key, record]) => `${key}=${record.map(({ dot }) => readableDot(dot, NAMES)).join()}`);
      if (texts.join("|") !== found.join("|")) continue;
      this.counts.lost += history.length - 1 - at;
      return this.model.restartWith(history[at]!);
    }
    throw new Error("after a restart the store holds none of the states that it had");
  }
}
