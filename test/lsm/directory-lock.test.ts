import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { Processes, ProcessIdentity } from "../../lib/host/processes.js";
import { DirectoryLock } from "../../lib/lsm/directory-lock.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { Trace } from "../sim/trace.js";

/** Processes of a made-up machine. */
class FakeProcesses implements Processes {
  readonly #self: ProcessIdentity;
  readonly #running: ReadonlySet<string>;

  constructor(self: ProcessIdentity, running: readonly ProcessIdentity[]) {
    this.#self = self;
    this.#running = new Set(running.map((identity) => JSON.stringify(identity)));
  }

  self(): ProcessIdentity {
    return this.#self;
  }

  isRunning(identity: ProcessIdentity): boolean {
    return this.#running.has(JSON.stringify(identity));
  }
}

describe("the lock of a data directory", () => {
  const first = { pid: 1, boot: "b1", started: "100" };
  const second = { pid: 1, boot: "b1", started: "200" };
  let disk: SimDisk;

  const acquire = (self: ProcessIdentity, running: readonly ProcessIdentity[]) =>
    DirectoryLock.acquire({ disk, processes: new FakeProcesses(self, running), directory: "/data" });

  beforeEach(() => {
    disk = new SimDisk({ clock: new SimClock(), random: new SimRandom(1), trace: new Trace() });
  });

  it("is refused while a running process holds it, with a message that says who and what to do", () => {
    acquire(first, [first]);
    expect(() => acquire(second, [first, second])).to.throw(OperatingError, /in use by process 1.*--dir/s);
  });

  it("is taken over from a process that is gone, also when its pid is ours", () => {
    acquire(first, [first]);
    acquire(second, [second]);
    expect(() => acquire(first, [first, second])).to.throw(OperatingError);
  });

  it("can be taken again after it was released", () => {
    acquire(first, [first]).release();
    expect(disk.paths()).to.deep.equal([]);
    acquire(second, [first, second]);
  });

  it("is taken over when its file was cut off by a crash", () => {
    disk.create("/data/lock").append(Buffer.from('{"pid":1'));
    acquire(second, [first, second]);
  });

  it("is not removed by a former owner", () => {
    const lost = acquire(first, [first]);
    acquire(second, [second]);
    lost.release();
    expect(disk.paths()).to.deep.equal(["/data/lock"]);
  });
});
