/**
 * One seed of the engine's simulation: an engine on a simulated disk under random operations, compared with a plain Map at
 * every turn; crashes at random points, failing and full disks, flipped bits; after each start the engine must hold the
 * state after some prefix of its batches, with everything in it that it had acknowledged.
 */
import { silentLog } from "../../lib/log.js";
import { checkStore } from "../../lib/lsm/check.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings, type FsyncPolicy, type LsmSettings } from "../../lib/lsm/lsm-settings.js";
import { Peek } from "../../lib/lsm/peek.js";
import { salvageStore } from "../../lib/lsm/salvage.js";
import { SimClock, settle } from "../sim/sim-clock.js";
import { faultless, SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { Trace } from "../sim/trace.js";
import { apply, EVERYTHING, Life, requireCorrupt, requireEqual, requireIo, requireRefusal, scanAll } from "./lsm-life.js";
import { LsmModel, type ModelOperation, type ModelState } from "./lsm-model.js";

export interface LsmSeedOptions {
  /** Drawn from the seed when missing. */
  readonly fsync?: FsyncPolicy;
  /** Which faults happen besides crashes. Default: drawn from the seed. */
  readonly faults?: "none" | "drawn";
  /** A device whose syncs do nothing: seeds must notice. */
  readonly device?: "honest" | "lying";
  readonly startsMax?: number;
  readonly turnsMax?: number;
}

/** What happened, to prove that the seeds reach what they are for. */
export interface LsmSeedReport {
  readonly seed: number;
  readonly trace: string;
  readonly counts: Readonly<Record<LsmSeedEvent, number>>;
}

export type LsmSeedEvent =
  | "starts"
  | "batches"
  | "crashes"
  | "stops"
  | "cutTails"
  | "lostBatches"
  | "refusedBatches"
  | "failedSyncs"
  | "clears"
  | "flipsRefused"
  | "flipsHarmless"
  | "flipsCut"
  | "salvages"
  | "flushes"
  | "compactions"
  | "moves"
  | "scans"
  | "crashedFlushes"
  | "crashedCompactions";

const DIRECTORY = "/store";
const COUNTERS = 8;
/** Every batch puts its number under this key, so that a start shows which batches it found. */
const NUMBER_KEY = "\x00number";

/** Runs one seed. Throws an Error that names it when the engine breaks a promise. */
export async function runLsmSeed(seed: number, options: LsmSeedOptions = {}): Promise<LsmSeedReport> {
  const run = new SeedRun(seed, options);
  try {
    await run.run();
  } catch (error) {
    throw new Error(`engine seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return { seed, trace: run.trace.digest(), counts: run.counts };
}

class SeedRun {
  readonly trace = new Trace();
  readonly counts: Record<LsmSeedEvent, number> = {
    starts: 0,
    batches: 0,
    crashes: 0,
    stops: 0,
    cutTails: 0,
    lostBatches: 0,
    refusedBatches: 0,
    failedSyncs: 0,
    clears: 0,
    flipsRefused: 0,
    flipsHarmless: 0,
    flipsCut: 0,
    salvages: 0,
    flushes: 0,
    compactions: 0,
    moves: 0,
    scans: 0,
    crashedFlushes: 0,
    crashedCompactions: 0,
  };
  readonly #random: SimRandom;
  readonly #options: LsmSeedOptions;
  readonly #settings: LsmSettings;
  readonly #model = new LsmModel(COUNTERS);
  readonly #keys: readonly string[];
  #clock: SimClock;
  #disk: SimDisk;
  #workers: SimWorkers | null = null;
  /** The engine was closed in good order: the next start must know. */
  #isStopped = false;
  /** Batches up to this number must be found by the next start. */
  #required = 0;

  constructor(seed: number, options: LsmSeedOptions) {
    this.#random = new SimRandom(seed);
    this.#options = options;
    const random = this.#random;
    this.#settings = {
      ...defaultLsmSettings,
      fsync: options.fsync ?? random.pick<FsyncPolicy>(["always", "everysec", "no"]),
      counters: COUNTERS,
      memoryTableBytes: random.pick([2048, 4096, 16_384, 262_144]),
      memoryTableEntries: random.pick([20, 1000]),
      blockBytes: 4096,
      blockCacheBytes: 16 * 4096,
      tableBytes: random.pick([4096, 16_384]),
      levelZeroTables: random.pick([2, 4]),
      levelBytesBase: random.pick([8192, 65_536]),
      levelBytesFactor: random.pick([2, 10]),
      maxOpenFiles: random.pick([2, 100]),
    };
    this.#keys = Array.from({ length: random.pick([5, 60, 200]) }, () => this.#drawKey());
    this.#clock = new SimClock();
    this.#disk = new SimDisk({ clock: this.#clock, random: random.fork(), trace: this.trace });
  }

  async run(): Promise<void> {
    const starts = 1 + this.#random.below(this.#options.startsMax ?? 4);
    for (let start = 0; start < starts; start++) await this.#live();
    await this.#verifyOnce();
  }

  /** From one start of the engine to its end. */
  async #live(): Promise<void> {
    const random = this.#random;
    const disk = this.#disk;
    if (random.chance(0.7)) disk.crashAfter(1 + random.below(random.pick([5, 50, 400])));
    const engine = await this.#start(disk, this.#clock);
    if (engine === null) return this.#restart();
    this.counts.starts++;
    if (!disk.isCrashed) await this.#verify(engine);
    // This start may have taken the mark of the stop away before it crashed.
    this.#isStopped = false;
    const life = new Life(engine, disk, this.#settings.fsync);
    this.#drawFaults(disk);
    disk.faults.hasLyingSyncs = this.#options.device === "lying";
    const turns = random.below(this.#options.turnsMax ?? 80);
    for (let turn = 0; turn < turns && !disk.isCrashed; turn++) await this.#turn(life);
    if (life.scan !== null && !disk.isCrashed) await this.#clock.run(life.scan);
    this.#noteRequired(life);
    this.#noteJobs(engine);
    Object.assign(disk.faults, faultless);
    const isStopping = !disk.isCrashed && random.chance(0.4);
    if (isStopping) await this.#stop(life);
    if (disk.isCrashed || !isStopping) this.counts.crashes++;
    this.#restart();
    if (random.chance(0.3)) await this.#flipBit();
  }

  async #stop(life: Life): Promise<void> {
    this.counts.stops++;
    try {
      await this.#clock.run(life.engine.close());
      if (life.disk.isCrashed) return;
      this.#required = this.#model.committed;
      this.#isStopped = true;
    } catch (error) {
      requireIo(error);
    }
  }

  /** What background work there was, and what of it a crash has cut short. */
  #noteJobs(engine: Lsm): void {
    const { flushes, compactions, tableMoves } = engine.stats();
    this.counts.flushes += flushes;
    this.counts.compactions += compactions;
    this.counts.moves += tableMoves;
    if (this.#workers!.unfinished.includes("flush")) this.counts.crashedFlushes++;
    if (this.#workers!.unfinished.includes("compaction")) this.counts.crashedCompactions++;
  }

  #restart(): void {
    const clock = this.#clock;
    this.#clock = new SimClock({ monotonicMs: 0, wallMs: clock.wallMs() });
    this.#disk = this.#disk.restart({ clock: this.#clock, random: this.#random.fork(), trace: this.trace });
  }

  /** Null when the disk crashed so early that the start failed. */
  async #start(disk: SimDisk, clock: SimClock): Promise<Lsm | null> {
    this.#workers = new SimWorkers({
      clock,
      disk,
      random: this.#random.fork(),
      jobs: lsmJobs(),
      stepMsMax: this.#random.pick([0.01, 1, 50]),
    });
    const workers = this.#workers;
    const opening = Lsm.open({ disk, clock, workers, log: silentLog, directory: DIRECTORY, settings: this.#settings });
    return clock.run(opening);
  }

  #drawFaults(disk: SimDisk): void {
    const random = this.#random;
    if (this.#options.faults === "none" || random.chance(0.4)) return;
    const { faults } = disk;
    if (random.chance(0.3)) faults.syncFailure = random.pick([0.01, 0.1]);
    if (random.chance(0.4)) faults.appendFailure = random.pick([0.01, 0.2]);
    if (random.chance(0.4)) faults.truncateFailure = random.pick([0.1, 1]);
    if (random.chance(0.4)) faults.capacityBytes = disk.usedBytes + random.below(30_000);
    if (random.chance(0.5)) faults.syncMsMax = random.pick([20, 3000]);
    if (random.chance(0.5)) faults.readMsMax = 50;
  }

  /** Some operations, their commit, and some time. */
  async #turn(life: Life): Promise<void> {
    const random = this.#random;
    const { engine, disk } = life;
    const batch = this.#drawBatch();
    for (const operation of batch) apply(engine, operation);
    const expected = this.#model.current.copy();
    for (const operation of batch) expected.apply(operation);
    if (random.chance(0.3)) await this.#compareSome(engine, expected);
    try {
      engine.commit();
      this.#model.commit(batch);
      this.counts.batches++;
      life.appended.push({ number: this.#model.committed, bytes: engine.stats().logAppendedBytes });
      this.#awaitAcknowledgement(life, this.#model.committed);
    } catch (error) {
      requireRefusal(error);
      this.counts.refusedBatches++;
      if (random.chance(0.3)) disk.faults.capacityBytes += 100_000;
    }
    if (disk.isCrashed) return;
    await this.#compareSome(engine, this.#model.current);
    if (random.chance(0.5)) await this.#clock.advance(random.fraction() * random.pick([1, 20, 1500]));
    else await settle();
    this.#noteRequired(life);
    if (this.#settings.fsync !== "always" && !engine.isAcknowledged) this.#noteFailedSync(life);
    life.checkFailure();
    for (const operation of batch) life.touch(operation);
    if (life.scan === null && random.chance(0.1)) this.#startScan(life);
    if (random.chance(0.2)) await this.#readOne(engine);
    if (engine.backlog() === "stopped" && random.chance(0.8)) {
      await this.#clock.run(engine.room().catch(requireIo), 100_000);
    }
  }

  /** A scan that goes on while turns pass: keys that nobody touches meanwhile must be in it as they were. */
  #startScan(life: Life): void {
    const before = this.#model.current.copy();
    const touched = new Set<string>();
    life.touched = touched;
    const limit = this.#random.pick([1, 3, 1000]);
    life.scan = scanAll(life.engine, limit).then(
      (have) => {
        life.scan = null;
        life.touched = null;
        if (life.disk.isCrashed) return;
        this.counts.scans++;
        if (touched.has(EVERYTHING)) return;
        for (const [key, value] of before.entries) if (!touched.has(key)) requireEqual(key, have.get(key), value);
        for (const key of have.keys())
          if (!touched.has(key) && !before.entries.has(key)) throw new Error(`scan made up ${key}`);
      },
      (error: unknown) => {
        if (!life.disk.isCrashed) throw error;
      },
    );
    life.scan.catch(() => undefined);
  }

  async #readOne(engine: Lsm): Promise<void> {
    const key = this.#random.pick(this.#keys);
    const want = this.#model.current.entries.get(key);
    const have = await this.#clock.run(engine.read(key));
    requireEqual(key, have ?? undefined, want);
  }

  #awaitAcknowledgement(life: Life, number: number): void {
    life.engine.acknowledged().then(
      () => {
        if (life.disk.isCrashed || this.#settings.fsync !== "always") return;
        life.checkMayAcknowledge();
        this.#required = Math.max(this.#required, number);
      },
      (error) => {
        requireIo(error);
        this.#noteFailedSync(life);
      },
    );
  }

  #noteFailedSync(life: Life): void {
    if (!life.isFailed) this.counts.failedSyncs++;
    life.isFailed = true;
  }

  /** Whatever the policy: what a completed sync covered must be there. */
  #noteRequired(life: Life): void {
    if (life.disk.isCrashed) return;
    const { logSyncedBytes } = life.engine.stats();
    for (const { number, bytes } of life.appended)
      if (bytes <= logSyncedBytes) this.#required = Math.max(this.#required, number);
  }

  /** After a start: the engine holds a prefix of the batches, and everything required. */
  async #verify(engine: Lsm): Promise<void> {
    const number = await this.#foundNumber(engine);
    if (engine.recovery.cut !== null) this.counts.cutTails++;
    if (number < this.#required) throw new Error(`batch ${this.#required} was durable, but only ${number} were found`);
    this.#compareRequired(number);
    if (this.#isStopped && !engine.wasStopped) throw new Error("an orderly stop was not recognized");
    this.#isStopped = false;
    this.counts.lostBatches += this.#model.committed - number;
    this.#model.restartAt(number);
    this.#required = number;
    await this.#compareAll(engine, this.#model.current);
  }

  #compareRequired(number: number): void {
    if (this.#model.stateAfter(number) === null) throw new Error(`batch ${number} was found, but it was never committed`);
  }

  async #foundNumber(engine: Lsm): Promise<number> {
    const value = await this.#clock.run(engine.read(NUMBER_KEY));
    return value === null ? 0 : Number(value.toString("latin1"));
  }

  /** The end of the seed: one more start without any fault, and a whole check. */
  async #verifyOnce(): Promise<void> {
    const engine = await this.#start(this.#disk, this.#clock);
    if (engine === null) throw new Error("a start without faults failed");
    await this.#verify(engine);
    await this.#clock.advance(100_000);
    await this.#compareAll(engine, this.#model.current);
    this.#noteJobs(engine);
    await this.#clock.run(engine.close());
    const { problems } = await checkStore({ disk: this.#disk, directory: DIRECTORY });
    if (problems.length > 0) throw new Error(`check: ${problems.join("; ")}`);
  }

  /** A copy of the disk with one flipped bit: it is noticed, or it changes nothing but where the tail is cut. */
  async #flipBit(): Promise<void> {
    const random = this.#random;
    const clock = new SimClock({ wallMs: this.#clock.wallMs() });
    const disk = this.#disk.copy({ clock, random: random.fork(), trace: this.trace });
    const what = disk.flipBit(random, (path) => !path.endsWith("/lock"));
    if (what === null) return;
    const held = this.#clock;
    this.#clock = clock;
    try {
      const engine = (await this.#start(disk, clock))!;
      const number = await this.#foundNumber(engine);
      const state = this.#model.stateAfter(number);
      if (state === null) throw new Error(`after ${what}, batch ${number} was found, but it was never committed`);
      await this.#compareAll(engine, state);
      if (engine.recovery.cut !== null) this.counts.flipsCut++;
      else this.counts.flipsHarmless++;
    } catch (error) {
      requireCorrupt(error);
      this.counts.flipsRefused++;
      if (!what.includes("manifest"))
        await this.#salvage(disk.restart({ clock, random: random.fork(), trace: this.trace }), clock);
    } finally {
      this.#clock = held;
    }
  }

  /** What salvage leaves can be opened and is whole, and every value in it was once the key's. */
  async #salvage(disk: SimDisk, clock: SimClock): Promise<void> {
    const options = { disk, directory: DIRECTORY, settings: this.#settings, nowMs: clock.wallMs() };
    await clock.run(salvageStore(options));
    const { problems } = await checkStore({ disk, directory: DIRECTORY });
    if (problems.length > 0) throw new Error(`check after salvage: ${problems.join("; ")}`);
    const engine = (await this.#start(disk, clock))!;
    for (const [key, value] of await clock.run(scanAll(engine, 100))) {
      if (!this.#model.hasHeld(key, value)) throw new Error(`salvage made up a value of ${JSON.stringify(key)}`);
    }
    this.counts.salvages++;
  }

  async #compareSome(engine: Lsm, expected: ModelState): Promise<void> {
    for (let times = this.#random.below(4); times > 0; times--) {
      const key = this.#random.pick(this.#keys);
      const peeked = engine.peek(key);
      const want = expected.entries.get(key);
      if (peeked === Peek.UNREAD) continue;
      const { buffer, start, end } = engine.found;
      const have = peeked === Peek.FOUND ? buffer.subarray(start, end) : undefined;
      requireEqual(key, have, want);
    }
    for (let index = 0; index < COUNTERS; index++) {
      if (engine.counter(index) !== expected.counters[index]) throw new Error(`counter ${index} is ${engine.counter(index)}`);
    }
  }

  async #compareAll(engine: Lsm, expected: ModelState): Promise<void> {
    for (const key of new Set([...this.#keys, ...expected.entries.keys()])) {
      const have = await this.#clock.run(engine.read(key));
      requireEqual(key, have ?? undefined, expected.entries.get(key));
    }
    const entries = await this.#clock.run(scanAll(engine, this.#random.pick([1, 7, 1000])));
    if (entries.size !== expected.entries.size)
      throw new Error(`a scan finds ${entries.size} keys of ${expected.entries.size}`);
    for (const [key, value] of expected.entries) requireEqual(key, entries.get(key), value);
    await this.#compareSome(engine, expected);
  }

  #drawKey(): string {
    const random = this.#random;
    const length = random.pick([0, 1, 3, 8, 20]);
    let key = random.pick(["", "\x01ab\x00", "\x01ab\x01", "\x02zz"]);
    for (let at = 0; at < length; at++) key += String.fromCharCode(random.pick([97, 98, 99, 0, 255]));
    return key;
  }

  #drawBatch(): ModelOperation[] {
    const random = this.#random;
    const batch: ModelOperation[] = [];
    for (let times = random.below(6); times > 0; times--) {
      const key = random.pick(this.#keys);
      const draw = random.fraction();
      if (draw < 0.6) batch.push({ kind: "put", key, value: this.#drawValue() });
      else if (draw < 0.8) batch.push({ kind: "remove", key });
      else if (draw < 0.985) batch.push({ kind: "count", index: random.below(COUNTERS), delta: random.below(2000) - 1000 });
      else {
        batch.push({ kind: "clear" });
        this.counts.clears++;
      }
    }
    const number = String(this.#model.committed + 1);
    batch.push({ kind: "put", key: NUMBER_KEY, value: Buffer.from(number, "latin1") });
    return batch;
  }

  #drawValue(): Buffer {
    const random = this.#random;
    const length = random.pick([0, 1, 10, 100, 100, 127, 128, 700, 5000]);
    return random.chance(0.5) ? random.bytes(length) : Buffer.alloc(length, 97 + random.below(20));
  }
}
