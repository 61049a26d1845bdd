/** Copies of an engine that goes on serving, on a simulated disk: what they hold, and that the store never suffers. */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { silentLog } from "../../lib/log.js";
import { checkStore } from "../../lib/lsm/check.js";
import type { CheckpointProgress } from "../../lib/lsm/checkpoint.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings, type LsmSettings } from "../../lib/lsm/lsm-settings.js";
import { readManifest } from "../../lib/lsm/manifest.js";
import { tableFileName } from "../../lib/lsm/table-format.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { Trace } from "../sim/trace.js";
import { scanAll } from "./lsm-life.js";

const COUNTERS = 4;

class Machine {
  readonly clock = new SimClock();
  readonly random: SimRandom;
  disk: SimDisk;
  readonly #trace = new Trace();

  constructor(seed = 7) {
    this.random = new SimRandom(seed);
    this.disk = new SimDisk({ clock: this.clock, random: this.random.fork(), trace: this.#trace });
  }

  open(directory: string, settings: Partial<LsmSettings> = {}): Promise<Lsm> {
    const { clock, disk } = this;
    const small = {
      memoryTableBytes: 4_096,
      tableBytes: 4_096,
      levelZeroTables: 2,
      levelBytesBase: 16_384,
      blockCacheBytes: 65_536,
    };
    return clock.run(
      Lsm.open({
        disk,
        clock,
        workers: new SimWorkers({ clock, disk, random: this.random.fork(), jobs: lsmJobs(), stepMsMax: 1 }),
        log: silentLog,
        directory,
        settings: { ...defaultLsmSettings, counters: COUNTERS, ...small, ...settings },
      }),
    );
  }

  restart(): void {
    this.disk = this.disk.restart({ clock: this.clock, random: this.random.fork(), trace: this.#trace });
  }

  /** Everything in the store at that directory, and its first counter. */
  async contents(directory: string): Promise<{ readonly entries: ReadonlyMap<string, string>; readonly counter: number }> {
    const engine = await this.open(directory);
    const entries = new Map(
      [...(await this.clock.run(scanAll(engine, 100)))].map(([key, value]) => [key, value.toString("latin1")]),
    );
    const counter = engine.counter(0);
    await this.clock.run(engine.close());
    return { entries, counter };
  }

  async problemsOf(directory: string): Promise<readonly string[]> {
    return (await checkStore({ disk: this.disk, directory })).problems;
  }
}

const noted = (onProgress: (progress: CheckpointProgress) => void = () => undefined, isCancelled = () => false) => ({
  directory: "/copy",
  onProgress,
  isCancelled,
});

/** Puts a key, as a batch of its own, and counts it. */
function put(engine: Lsm, model: Map<string, string>, key: string, value: string): void {
  const bytes = Buffer.from(value, "latin1");
  engine.put(key, bytes, 0, bytes.length);
  if (!model.has(key)) engine.count(0, 1);
  model.set(key, value);
  engine.commit();
}

/** Text that does not compress to nothing. */
function noise(random: SimRandom, length: number): string {
  return Array.from({ length }, () => String.fromCharCode(32 + random.below(90))).join("");
}

/** Keys in tables of several levels, in a frozen table and in the log. */
async function fill(machine: Machine, engine: Lsm, model: Map<string, string>, keys = 150): Promise<void> {
  for (let at = 0; at < keys; at++) {
    put(engine, model, `key:${machine.random.below(1_000)}`, `${at} ${noise(machine.random, machine.random.below(200))}`);
    if (engine.backlog() === "stopped") await machine.clock.run(engine.room());
    if (at % 10 === 0) await machine.clock.advance(20);
  }
}

describe("a checkpoint of the engine", function () {
  this.timeout(60_000);

  it("holds what was committed when it began and nothing later, while flushes and compactions go on", async () => {
    const machine = new Machine();
    const engine = await machine.open("/store", { fsync: "no" });
    const model = new Map<string, string>();
    await fill(machine, engine, model);
    machine.disk.faults.syncMsMax = 50;
    const expected = new Map(model);
    const before = engine.stats();
    let isDone = false;
    const copying = engine.checkpoint(noted()).finally(() => {
      isDone = true;
    });
    for (let at = 0; !isDone; at++) {
      put(engine, model, `late:${at % 40}`, "y".repeat(300));
      await machine.clock.advance(0.5);
      if (engine.backlog() === "stopped") await machine.clock.run(engine.room());
    }
    const progress = await copying;
    expect(progress).to.include({ filesDone: progress.files, copiedBytes: 0 });
    expect(progress.linkedBytes).to.be.greaterThan(4_096);
    const after = engine.stats();
    expect(after.flushes, "flushes while it was taken").to.be.greaterThan(before.flushes);
    await machine.clock.run(engine.close());
    expect(await machine.problemsOf("/copy")).to.deep.equal([]);
    expect(await machine.contents("/copy")).to.deep.equal({ entries: expected, counter: expected.size });
    expect(await machine.contents("/store")).to.deep.equal({ entries: model, counter: model.size });
  });

  it("keeps files that the store needs no more until it is done, and none of them longer", async () => {
    const machine = new Machine();
    const engine = await machine.open("/store");
    const model = new Map<string, string>();
    await fill(machine, engine, model);
    const names = new Set(machine.disk.paths());
    machine.disk.faults.syncMsMax = 3_000;
    const copying = engine.checkpoint(noted());
    for (let at = 0; at < 300; at++) {
      put(engine, model, `key:${at % 100}`, "z".repeat(200));
      await machine.clock.advance(1);
      if (engine.backlog() === "stopped") await machine.clock.run(engine.room());
    }
    await machine.clock.run(copying);
    machine.disk.faults.syncMsMax = 1;
    await machine.clock.advance(5_000);
    const gone = [...names].filter((path) => !machine.disk.paths().includes(path));
    expect(gone.length, "files of before that are gone").to.be.greaterThan(1);
    const named = readManifest(machine.disk, "/store", COUNTERS)!
      .levels.flat()
      .map((meta) => `/store/${tableFileName(meta.number)}`);
    const tables = machine.disk.paths().filter((path) => path.startsWith("/store/") && path.endsWith(".table"));
    expect(tables).to.deep.equal(named.sort());
    const segments = machine.disk.paths().filter((path) => path.startsWith("/store/") && path.endsWith(".log"));
    expect(segments.length).to.be.at.most(4);
    await machine.clock.run(engine.close());
    expect(await machine.problemsOf("/copy")).to.deep.equal([]);
  });

  it("is the same after all was cleared, before the tables of before are gone", async () => {
    const machine = new Machine();
    const engine = await machine.open("/store");
    const model = new Map<string, string>();
    await fill(machine, engine, model);
    engine.clear();
    model.clear();
    put(engine, model, "only", "this");
    await machine.clock.run(engine.checkpoint(noted()));
    expect(await machine.contents("/copy")).to.deep.equal({ entries: new Map([["only", "this"]]), counter: 1 });
    await machine.clock.run(engine.close());
  });

  it("copies where the system does not link", async () => {
    const machine = new Machine();
    const engine = await machine.open("/store");
    const model = new Map<string, string>();
    await fill(machine, engine, model);
    machine.disk.faults.refusesLinks = true;
    const progress = await machine.clock.run(engine.checkpoint(noted()));
    expect(progress.linkedBytes).to.equal(0);
    expect(progress.copiedBytes).to.be.greaterThan(4_096);
    // What is done to the one is not done to the other.
    machine.disk.damage(machine.disk.paths().find((path) => path.startsWith("/store/") && path.endsWith(".table"))!, 100);
    expect(await machine.problemsOf("/copy")).to.deep.equal([]);
    expect(await machine.contents("/copy")).to.deep.equal({ entries: model, counter: model.size });
    await machine.clock.run(engine.close());
  });

  const refusals: readonly (readonly [string, (disk: SimDisk) => void])[] = [
    [
      "a disk that is full",
      (disk) => Object.assign(disk.faults, { refusesLinks: true, capacityBytes: disk.usedBytes + 10_000 }),
    ],
    ["a disk that fails to write", (disk) => Object.assign(disk.faults, { refusesLinks: true, appendFailure: 1 })],
  ];
  for (const [what, break_] of refusals) {
    it(`leaves nothing behind on ${what}, and the store goes on`, async () => {
      const machine = new Machine();
      const engine = await machine.open("/store");
      const model = new Map<string, string>();
      await fill(machine, engine, model, 300);
      await machine.clock.advance(2_000);
      const healthy = { ...machine.disk.faults };
      break_(machine.disk);
      const failure = await machine.clock.run(engine.checkpoint(noted()).catch((error: unknown) => error));
      expect(failure).to.be.instanceOf(OperatingError).with.property("code", "IO");
      expect((failure as Error).message).to.match(/^\/store was not copied to \/copy: /);
      expect(machine.disk.paths().filter((path) => path.startsWith("/copy"))).to.deep.equal([]);
      Object.assign(machine.disk.faults, healthy);
      put(engine, model, "later", "value");
      await machine.clock.run(engine.checkpoint(noted()));
      expect(await machine.contents("/copy")).to.deep.equal({ entries: model, counter: model.size });
      await machine.clock.run(engine.close());
    });
  }

  it("is given up when it is cancelled", async () => {
    const machine = new Machine();
    const engine = await machine.open("/store");
    await fill(machine, engine, new Map());
    let files = 0;
    const target = noted(
      () => files++,
      () => files >= 2,
    );
    const failure = await machine.clock.run(engine.checkpoint(target).catch((error: unknown) => error));
    expect(failure).to.be.instanceOf(OperatingError).with.property("code", "CLOSED");
    expect(machine.disk.paths().filter((path) => path.startsWith("/copy"))).to.deep.equal([]);
    await machine.clock.run(engine.close());
  });

  it("lets others have their turn between many files", async () => {
    const machine = new Machine();
    const engine = await machine.open("/store");
    await fill(machine, engine, new Map(), 1_500);
    // Each link takes a millisecond.
    const { disk, clock } = machine;
    const link = disk.link.bind(disk);
    disk.link = (from, to) => {
      clock.stall(1);
      return link(from, to);
    };
    let [turns, longestMs, lastMs] = [0, 0, clock.monotonicMs()];
    let isDone = false;
    const tick = (): void => {
      longestMs = Math.max(longestMs, clock.monotonicMs() - lastMs);
      lastMs = clock.monotonicMs();
      turns++;
      if (!isDone) clock.after(0.1, tick);
    };
    tick();
    const { files } = await clock.run(engine.checkpoint(noted()));
    isDone = true;
    expect(files).to.be.greaterThan(10);
    expect(turns).to.be.greaterThan(files / 3);
    expect(longestMs).to.be.below(4);
    await clock.run(engine.close());
  });

  it("leaves the store as it was wherever a crash comes, and a copy only whole", async () => {
    let wholes = 0;
    let unfinished = 0;
    for (let operations = 1, isPast = false; !isPast; operations++) {
      const machine = new Machine(operations);
      const engine = await machine.open("/store", { fsync: "always" });
      const model = new Map<string, string>();
      await fill(machine, engine, model, 500);
      await machine.clock.run(engine.sync());
      machine.disk.faults.refusesLinks = operations % 3 === 0;
      machine.disk.crashAfter(operations);
      await machine.clock.run(engine.checkpoint(noted()).catch(() => undefined));
      isPast = !machine.disk.isCrashed;
      const isAcknowledged = isPast;
      machine.restart();
      expect(await machine.contents("/store"), `${operations} operations`).to.deep.equal({
        entries: model,
        counter: model.size,
      });
      const isWhole = machine.disk.paths().includes("/copy/manifest");
      if (isAcknowledged) expect(isWhole).to.equal(true);
      if (isWhole) {
        wholes++;
        expect(await machine.problemsOf("/copy")).to.deep.equal([]);
        expect(await machine.contents("/copy")).to.deep.equal({ entries: model, counter: model.size });
      } else unfinished++;
    }
    expect(unfinished).to.be.greaterThan(15);
    expect(wholes).to.be.greaterThan(0);
  });
});
