/** Backups on a simulated disk: what makes one whole, and data directories made of them. */
import { expect } from "chai";
import { silentLog } from "../../lib/log.js";
import { type BackupOrigin, readBackup, takeBackup } from "../../lib/lsm/backup.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings } from "../../lib/lsm/lsm-settings.js";
import { readRestoredMark, removeRestoredMark, restoreBackup } from "../../lib/lsm/restore.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { Trace } from "../sim/trace.js";
import { scanAll } from "./lsm-life.js";

const ORIGIN: BackupOrigin = {
  cluster: "c".repeat(32),
  memberId: "a".repeat(16),
  member: "node-a",
  members: ["node-a", "node-b"],
  ringVersion: 7,
  version: "1.2.3",
};

class Machine {
  readonly clock = new SimClock();
  readonly #random = new SimRandom(3);
  readonly #trace = new Trace();
  disk = new SimDisk({ clock: this.clock, random: this.#random.fork(), trace: this.#trace });

  open(directory: string): Promise<Lsm> {
    const { clock, disk } = this;
    const workers = new SimWorkers({ clock, disk, random: this.#random.fork(), jobs: lsmJobs(), stepMsMax: 1 });
    const settings = { ...defaultLsmSettings, counters: 1, memoryTableBytes: 4_096, blockCacheBytes: 65_536 };
    return clock.run(Lsm.open({ disk, clock, workers, log: silentLog, directory, settings }));
  }

  async filled(): Promise<Lsm> {
    const engine = await this.open("/data/store");
    for (let at = 0; at < 200; at++) {
      engine.put(`key:${at}`, Buffer.alloc(50, at), 0, 50);
      engine.commit();
      await this.clock.advance(5);
    }
    return engine;
  }

  take(store: Lsm, directory = "/backups/one"): Promise<unknown> {
    const { disk, clock } = this;
    const rest = { isCancelled: () => false, onProgress: () => undefined };
    return this.clock.run(takeBackup({ disk, clock, log: silentLog, store, origin: ORIGIN, directory, ...rest }));
  }

  restore(directory: string): Promise<unknown> {
    const { disk, clock } = this;
    const what = { backup: "/backups/one", directory, as: "replacement", without: [] } as const;
    return clock.run(restoreBackup({ disk, clock, log: silentLog, ...what, onProgress: () => undefined }));
  }

  restart(): void {
    this.disk = this.disk.restart({ clock: this.clock, random: this.#random.fork(), trace: this.#trace });
  }

  async failureOf(work: Promise<unknown>): Promise<string> {
    return work.then(
      () => "nothing failed",
      (error: Error) => error.message,
    );
  }
}

describe("a backup", function () {
  this.timeout(30_000);

  it("says of whom it is, and is restored more than once", async () => {
    const machine = new Machine();
    const engine = await machine.filled();
    await machine.take(engine);
    expect(readBackup(machine.disk, "/backups/one")).to.deep.include({ ...ORIGIN, format: 1 }, "its note");
    expect(await machine.failureOf(machine.take(engine))).to.equal(
      "/backups/one holds a backup already: name a directory that is not there yet",
    );
    for (const directory of ["/first", "/second"]) {
      await machine.restore(directory);
      expect(readRestoredMark(machine.disk, directory)).to.deep.include({ as: "replacement", without: [] });
      const restored = await machine.open(`${directory}/store`);
      expect((await machine.clock.run(scanAll(restored, 50))).size).to.equal(200);
      restored.put("new", Buffer.alloc(1), 0, 1);
      await machine.clock.run(restored.close());
      removeRestoredMark(machine.disk, directory);
      expect(readRestoredMark(machine.disk, directory)).to.equal(null);
    }
    await machine.clock.run(engine.close());
  });

  it("that is damaged, or lacks a file, is not restored", async () => {
    for (const spoil of ["damage", "remove"] as const) {
      const machine = new Machine();
      const engine = await machine.filled();
      await machine.clock.run(engine.close());
      await machine.take(await machine.open("/data/store"));
      const table = machine.disk.paths().find((path) => path.startsWith("/backups/one/") && path.endsWith(".table"))!;
      if (spoil === "damage") machine.disk.damage(table, 30);
      else machine.disk.remove(table);
      expect(await machine.failureOf(machine.restore("/restored")), spoil).to.include(
        "/backups/one is damaged and cannot be restored",
      );
      expect(machine.disk.list("/restored")).to.deep.equal([]);
    }
  });

  it("or a directory made of one, is either whole or not taken for one, wherever a crash comes", async () => {
    const seen = { noBackup: 0, noDirectory: 0, whole: 0 };
    for (let operations = 1, isPast = false; !isPast; operations++) {
      const machine = new Machine();
      const engine = await machine.filled();
      machine.disk.crashAfter(operations);
      await machine.take(engine).catch(() => undefined);
      if (!machine.disk.isCrashed) await machine.restore("/restored");
      isPast = !machine.disk.isCrashed;
      machine.restart();
      if (!machine.disk.paths().includes("/backups/one/backup.json")) {
        seen.noBackup++;
        expect(() => readBackup(machine.disk, "/backups/one")).to.throw(/unfinished backup|no backup/);
        continue;
      }
      readBackup(machine.disk, "/backups/one");
      const names = machine.disk.list("/restored")!;
      if (names.includes("restored.json")) {
        seen.whole++;
        const restored = await machine.open("/restored/store");
        expect((await machine.clock.run(scanAll(restored, 50))).size, `${operations}`).to.equal(200);
      } else if (names.includes("store/manifest")) {
        seen.noDirectory++;
        expect(() => readRestoredMark(machine.disk, "/restored")).to.throw("was cut short");
      }
    }
    for (const times of Object.values(seen)) expect(times).to.be.greaterThan(0);
  });
});
