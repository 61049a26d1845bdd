/** The engine's promises one by one, on a simulated disk. Crashes in all combinations are crash.test.ts's. */
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import { pause } from "../../lib/host/clock.js";
import { silentLog } from "../../lib/log.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings, type LsmSettings } from "../../lib/lsm/lsm-settings.js";
import { Peek } from "../../lib/lsm/peek.js";
import { SimClock, settle } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { Trace } from "../sim/trace.js";

/** A machine that engines are started on, one after the other. */
class Machine {
  readonly clock = new SimClock();
  disk: SimDisk;
  readonly #random = new SimRandom(7);
  readonly #trace = new Trace();

  constructor() {
    this.disk = new SimDisk({ clock: this.clock, random: this.#random, trace: this.#trace });
  }

  async start(settings: Partial<LsmSettings> = {}): Promise<Lsm> {
    const { clock, disk } = this;
    const random = this.#random.fork();
    return clock.run(
      Lsm.open({
        disk,
        clock,
        workers: new SimWorkers({ clock, disk, random, jobs: lsmJobs(), stepMsMax: 1 }),
        log: silentLog,
        directory: "/store",
        settings: { ...defaultLsmSettings, counters: 4, blockCacheBytes: 1 << 20, memoryTableBytes: 1 << 20, ...settings },
      }),
    );
  }

  crash(): void {
    this.disk = this.disk.restart({ clock: this.clock, random: this.#random, trace: this.#trace });
  }
}

function put(engine: Lsm, key: string, value: string): void {
  const bytes = Buffer.from(value, "latin1");
  engine.put(key, bytes, 0, bytes.length);
}

function peek(engine: Lsm, key: string): string | null {
  const { found } = engine;
  switch (engine.peek(key)) {
    case Peek.FOUND:
      return found.buffer.toString("latin1", found.start, found.end);
    case Peek.ABSENT:
      return null;
    case Peek.UNREAD:
      throw new Error("this look-up was expected not to wait");
  }
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof OperatingError ? error.code : String(error);
  }
  return "nothing was thrown";
}

async function rejectionOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "nothing was thrown",
    (error: unknown) => (error instanceof OperatingError ? error.code : String(error)),
  );
}

describe("the engine", () => {
  let machine: Machine;

  beforeEach(() => {
    machine = new Machine();
  });

  it("shows a write at once, and after a restart when it was committed and synced", async () => {
    const engine = await machine.start();
    put(engine, "key", "value");
    expect(peek(engine, "key")).to.equal("value");
    engine.syncNow();
    put(engine, "key", "lost");
    machine.crash();
    expect(peek(await machine.start(), "key")).to.equal("value");
  });

  it("commits at the end of the turn when nobody does it before", async () => {
    const engine = await machine.start();
    put(engine, "key", "value");
    expect(engine.stats().logAppendedBytes).to.equal(0);
    await machine.clock.advance(0);
    expect(engine.stats().logAppendedBytes).to.be.greaterThan(0);
  });

  it("gives back values of any length, the empty one and large ones included", async () => {
    const engine = await machine.start();
    const lengths = [0, 1, 47, 48, 127, 128, 16_383, 16_384, 3_000_000];
    for (const length of lengths) put(engine, `key ${length}`, "v".repeat(length));
    engine.syncNow();
    await machine.clock.advance(10_000);
    const again = await machine.start();
    for (const length of lengths) {
      const value = await machine.clock.run(again.read(`key ${length}`));
      expect(value?.length).to.equal(length);
    }
  });

  it("takes a batch back as a whole when the log refuses it: values, removals, counters and a clear", async () => {
    const engine = await machine.start();
    put(engine, "old", "1");
    put(engine, "gone", "1");
    engine.count(2, 5);
    engine.commit();
    machine.disk.faults.appendFailure = 1;
    put(engine, "old", "2");
    put(engine, "new", "2");
    engine.remove("gone");
    engine.count(2, 7);
    engine.clear();
    put(engine, "after", "2");
    engine.count(2, 9);
    expect(peek(engine, "old")).to.equal(null);
    expect(engine.counter(2)).to.equal(9);
    expect(codeOf(() => engine.commit())).to.equal("IO");
    expect([peek(engine, "old"), peek(engine, "gone"), peek(engine, "new"), peek(engine, "after")]).to.deep.equal([
      "1",
      "1",
      null,
      null,
    ]);
    expect(engine.counter(2)).to.equal(5);
    const { entries } = await machine.clock.run(engine.scan({ from: "", to: null, limit: 10, values: "without" }));
    expect(entries.map(({ key }) => key)).to.deep.equal(["gone", "old"]);
  });

  it("refuses writes while the disk is full, goes on reading, and writes again when there is room", async () => {
    const engine = await machine.start({ memoryTableBytes: 4096 });
    put(engine, "kept", "1");
    engine.commit();
    machine.disk.faults.capacityBytes = machine.disk.usedBytes + 10;
    put(engine, "refused", "x".repeat(100));
    expect(codeOf(() => engine.commit())).to.equal("IO");
    expect(engine.stats().isWritable).to.equal(false);
    expect([peek(engine, "kept"), peek(engine, "refused")]).to.deep.equal(["1", null]);
    machine.disk.faults.capacityBytes += 100_000;
    await machine.clock.run(pause(machine.clock, 1));
    put(engine, "later", "2");
    engine.commit();
    expect(engine.stats().isWritable).to.equal(true);
    engine.syncNow();
    machine.crash();
    const again = await machine.start();
    expect([peek(again, "kept"), peek(again, "refused"), peek(again, "later")]).to.deep.equal(["1", null, "2"]);
  });

  it("tells everyone who put something into a refused batch, whoever committed it", async () => {
    const engine = await machine.start();
    machine.disk.faults.capacityBytes = machine.disk.usedBytes + 10;
    put(engine, "waits", "x".repeat(100));
    const waiting = rejectionOf(engine.committed());
    expect(codeOf(() => engine.syncNow())).to.equal("IO");
    expect(await waiting).to.equal("IO");
    machine.disk.faults.capacityBytes += 100_000;
    put(engine, "same turn", "1");
    expect(codeOf(() => engine.commit())).to.equal("IO");
    expect([peek(engine, "waits"), peek(engine, "same turn")]).to.deep.equal([null, null]);
    await machine.clock.run(pause(machine.clock, 1));

    put(engine, "next turn", "2");
    const committed = rejectionOf(engine.committed());
    engine.commit();
    expect(await committed).to.equal("nothing was thrown");
    expect(await rejectionOf(engine.committed())).to.equal("nothing was thrown");
    expect(peek(engine, "next turn")).to.equal("2");
  });

  it("tells whoever commits last, also when an earlier refusal of the turn has been told by then", async () => {
    const engine = await machine.start();
    machine.disk.faults.appendFailure = 1;
    put(engine, "first", "1");
    expect(codeOf(() => engine.commit())).to.equal("IO");
    let last = "";
    machine.clock.defer(() => {
      last = codeOf(() => engine.commit());
    });
    put(engine, "second", "2");
    expect(codeOf(() => engine.commit())).to.equal("IO");
    await machine.clock.run(pause(machine.clock, 1));
    expect(last).to.equal("IO");
    expect(peek(engine, "second")).to.equal(null);
  });

  it("acknowledges nothing after a failed sync, and goes on reading", async () => {
    const engine = await machine.start({ fsync: "always" });
    put(engine, "key", "value");
    await machine.clock.run(engine.acknowledged());
    expect(engine.isAcknowledged).to.equal(true);
    machine.disk.faults.syncFailure = 1;
    put(engine, "key", "unsure");
    expect(await machine.clock.run(rejectionOf(engine.acknowledged()))).to.equal("IO");
    machine.disk.faults.syncFailure = 0;
    put(engine, "key", "refused");
    expect(codeOf(() => engine.commit())).to.equal("IO");
    expect(engine.isAcknowledged).to.equal(false);
    expect(peek(engine, "key")).to.equal("unsure");
  });

  it("acknowledges under `always` only what is synced, many commits with one sync", async () => {
    const engine = await machine.start({ fsync: "always" });
    const before = machine.disk.operations;
    const acknowledged: number[] = [];
    for (let at = 0; at < 10; at++) {
      put(engine, `key ${at}`, "value");
      engine.commit();
      void engine.acknowledged().then(() => acknowledged.push(at));
    }
    await settle();
    expect(acknowledged).to.deep.equal([]);
    await machine.clock.run(engine.acknowledged());
    expect(acknowledged.length).to.equal(10);
    // A segment, its header, ten batches; a sync for the first, one for the rest, and the directory.
    expect(machine.disk.operations - before).to.be.lessThan(17);
  });

  it("syncs about once a second under `everysec`, and not at all when there is nothing to sync", async () => {
    const engine = await machine.start();
    put(engine, "key", "value");
    engine.commit();
    await machine.clock.advance(900);
    expect(engine.stats().unsyncedBytes).to.be.greaterThan(0);
    await machine.clock.advance(200);
    expect(engine.stats().unsyncedBytes).to.equal(0);
    const { operations } = machine.disk;
    await machine.clock.advance(10_000);
    expect(machine.disk.operations).to.equal(operations);
  });

  it("stops writers while a sync takes longer than a second, and lets them go on after it", async () => {
    const engine = await machine.start();
    machine.disk.faults.syncMsMax = 100_000;
    put(engine, "key", "value");
    engine.commit();
    await machine.clock.advance(2_100);
    expect(engine.backlog()).to.equal("stopped");
    await machine.clock.run(engine.room());
    expect(engine.backlog()).to.equal("open");
  });

  it("does not stop writers for a sync that somebody has just asked for", async () => {
    const engine = await machine.start();
    put(engine, "key", "value");
    engine.commit();
    await machine.clock.advance(990);
    machine.disk.faults.syncMsMax = 100;
    const synced = engine.sync();
    await machine.clock.advance(20);
    expect(engine.backlog()).to.equal("open");
    await machine.clock.run(synced);
    await machine.clock.advance(3_000);
    expect(engine.backlog()).to.equal("open");
  });

  it("starts and takes writes after a crash that left two batches far larger than a memory table in the log", async () => {
    const settings = { fsync: "always", memoryTableBytes: 8192 } as const;
    const engine = await machine.start(settings);
    for (const name of ["a", "b"]) {
      for (let at = 0; at < 100; at++) put(engine, `${name}${at}`, "x".repeat(400));
      engine.commit();
      // The flush of the first has not ended.
      engine.syncNow();
    }
    expect(engine.stats()).to.include({ flushes: 0, frozenTables: 1 });
    machine.crash();
    const again = await machine.start(settings);
    put(again, "first", "write");
    again.commit();
    await machine.clock.advance(10_000);
    expect(again.stats()).to.include({ frozenTables: 0 });
    for (const key of ["a0", "a99", "b0", "b99"]) expect((await machine.clock.run(again.read(key)))?.length).to.equal(400);
    expect((await machine.clock.run(again.read("first")))?.toString()).to.equal("write");
  });

  it("turns full memory tables into tables and compacts them, and finds everything in them", async () => {
    const engine = await machine.start({ memoryTableBytes: 8192, tableBytes: 8192, levelBytesBase: 32_768 });
    for (let round = 0; round < 40; round++) {
      for (let at = 0; at < 20; at++) put(engine, `key ${(round * 7 + at * 13) % 300}`, `${round} ${"x".repeat(50)}`);
      engine.commit();
      await machine.clock.advance(100);
    }
    await machine.clock.advance(10_000);
    const stats = engine.stats();
    expect(stats.flushes).to.be.greaterThan(3);
    expect(stats.compactions).to.be.greaterThan(0);
    expect(stats.frozenTables).to.equal(0);
    for (let key = 0; key < 300; key++) {
      const value = await machine.clock.run(engine.read(`key ${key}`));
      expect(value?.toString("latin1")).to.match(/^\d+ x+$/);
    }
    const { entries } = await machine.clock.run(engine.scan({ from: "key 1", to: "key 2", limit: 1000, values: "with" }));
    expect(entries.length).to.equal(111);
  });

  it("leaves no file behind that it does not need", async () => {
    const engine = await machine.start({ memoryTableBytes: 4096, tableBytes: 4096, levelZeroTables: 2 });
    for (let at = 0; at < 400; at++) {
      put(engine, `key ${at % 50}`, "x".repeat(100));
      engine.commit();
      await machine.clock.advance(20);
    }
    await machine.clock.advance(10_000);
    const { levels } = engine.stats();
    const tables = levels.reduce((sum, level) => sum + level.tables, 0);
    expect(machine.disk.paths().filter((path) => path.endsWith(".table")).length).to.equal(tables);
    expect(machine.disk.paths().filter((path) => path.endsWith(".log")).length).to.be.lessThan(3);
  });

  it("gives the space back after a clear, which keeps what is put behind it in the same batch", async () => {
    const engine = await machine.start({ memoryTableBytes: 4096 });
    for (let at = 0; at < 200; at++) {
      put(engine, `key ${at}`, "x".repeat(100));
      engine.commit();
      await machine.clock.advance(20);
    }
    const before = machine.disk.usedBytes;
    engine.count(1, 3);
    engine.clear();
    put(engine, "kept", "1");
    engine.count(1, 2);
    engine.syncNow();
    expect([peek(engine, "key 7"), peek(engine, "kept"), engine.counter(1)]).to.deep.equal([null, "1", 2]);
    await machine.clock.advance(5_000);
    expect(machine.disk.usedBytes).to.be.lessThan(before / 10);
    machine.crash();
    const again = await machine.start();
    expect([peek(again, "key 7"), await machine.clock.run(again.read("kept")), again.counter(1)]).to.deep.equal([
      null,
      Buffer.from("1"),
      2,
    ]);
  });

  it("stops writers when two memory tables are full, and tells them when the disk refuses the flush", async () => {
    const engine = await machine.start({ memoryTableBytes: 4096 });
    machine.disk.faults.capacityBytes = 12_000;
    for (let at = 0; at < 100 && engine.backlog() !== "stopped"; at++) {
      put(engine, `key ${at}`, "x".repeat(100));
      engine.commit();
    }
    expect(engine.backlog()).to.equal("stopped");
    const waiting = rejectionOf(engine.room());
    machine.disk.faults.capacityBytes = 0;
    await machine.clock.advance(2_000);
    expect(await waiting).to.equal("IO");
    machine.disk.faults.capacityBytes = 1_000_000;
    await machine.clock.advance(100_000);
    expect(engine.backlog()).to.equal("open");
    expect(peek(engine, "key 0")).to.equal("x".repeat(100));
  });

  it("flushes within seconds when the disk has room again, however long it was full", async () => {
    const engine = await machine.start({ memoryTableBytes: 4096 });
    for (let at = 0; at < 100 && engine.backlog() !== "stopped"; at++) {
      put(engine, `key ${at}`, "x".repeat(100));
      engine.commit();
    }
    machine.disk.faults.capacityBytes = 0;
    await machine.clock.advance(610_000);
    expect([engine.backlog(), engine.stats().flushes]).to.deep.equal(["stopped", 0]);
    machine.disk.faults.capacityBytes = 1_000_000;
    await machine.clock.advance(6_000);
    expect(engine.backlog()).to.equal("open");
  });

  it("knows an orderly stop from a crash", async () => {
    const engine = await machine.start();
    expect(engine.wasStopped).to.equal(true);
    put(engine, "key", "value");
    await machine.clock.run(engine.close());
    const second = await machine.start();
    expect(second.wasStopped).to.equal(true);
    machine.crash();
    expect((await machine.start()).wasStopped).to.equal(false);
  });

  it("pages through a range in order, with an end and without values", async () => {
    const engine = await machine.start();
    for (const key of ["b", "a", "d", "c", "e"]) put(engine, key, `value of ${key}`);
    engine.remove("c");
    const first = await engine.scan({ from: "a", to: "e", limit: 2, values: "with" });
    expect(first.entries.map(({ key, value }) => [key, String(value)])).to.deep.equal([
      ["a", "value of a"],
      ["b", "value of b"],
    ]);
    expect(first.next).to.equal("d");
    const second = await engine.scan({ from: "d", to: "e", limit: 2, values: "without" });
    expect(second).to.deep.equal({ entries: [{ key: "d", value: null }], next: null });
  });

  it("ends a page of a range with the entry that makes it long enough", async () => {
    const engine = await machine.start();
    for (const key of ["a", "b", "c", "d"]) put(engine, key, "v".repeat(99));
    const pageOf = (bytesMax: number) => engine.scan({ from: "", to: null, limit: 10, values: "with", bytesMax });
    expect((await pageOf(1)).entries.length).to.equal(1);
    expect((await pageOf(200)).next).to.equal("c");
    expect((await pageOf(201)).next).to.equal("d");
    expect(await pageOf(400)).to.include({ next: null });
  });

  it("counts commits, and those that were refused", async () => {
    const engine = await machine.start();
    const [tried, refused] = [engine.commitsTried, engine.commitsRefused];
    engine.commit();
    put(engine, "a", "1");
    engine.commit();
    expect([engine.commitsTried - tried, engine.commitsRefused - refused]).to.deep.equal([1, 0]);
    machine.disk.faults.appendFailure = 1;
    put(engine, "a", "2");
    expect(codeOf(() => engine.commit())).to.equal("IO");
    expect([engine.commitsTried - tried, engine.commitsRefused - refused]).to.deep.equal([2, 1]);
  });

  it("refuses a directory that holds data but no manifest", async () => {
    const engine = await machine.start();
    put(engine, "key", "value");
    engine.syncNow();
    machine.disk.remove("/store/manifest");
    expect(await rejectionOf(machine.start())).to.equal("CORRUPT");
  });

  it("refuses to start when a synced part of the log is damaged, and cuts an unsynced one off", async () => {
    const engine = await machine.start();
    put(engine, "first", "1".repeat(1000));
    engine.syncNow();
    put(engine, "second", "2");
    engine.syncNow();
    put(engine, "third", "3");
    engine.commit();
    const log = "/store/00000001.log";
    const damaged = machine.disk.copy({ clock: machine.clock, random: new SimRandom(1), trace: new Trace() });
    damaged.damage(log, 100);
    const whole = machine.disk;
    machine.disk = damaged;
    expect(await rejectionOf(machine.start())).to.equal("CORRUPT");
    machine.disk = whole;
    whole.damage(log, whole.sizeOf(log) - 1);
    const again = await machine.start();
    expect(again.recovery.cut?.at.segment).to.equal(1);
    expect([peek(again, "second"), peek(again, "third")]).to.deep.equal(["2", null]);
  });
});
