/** What every implementation of the Disk seam does, run against Node's and the simulated one. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { OperatingError } from "../../lib/errors.js";
import type { Disk } from "../../lib/host/disk.js";
import { NodeDisk } from "../../lib/host/node-disk.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { Trace } from "../sim/trace.js";

interface Subject {
  readonly disk: Disk;
  readonly directory: string;
  /** Lets asynchronous work go on. */
  run<Result>(work: Promise<Result>): Promise<Result>;
  remove(): void;
}

function nodeSubject(): Subject {
  const directory = mkdtempSync(join(tmpdir(), "kindred-disk-"));
  return {
    disk: new NodeDisk(),
    directory,
    run: (work) => work,
    remove: () => rmSync(directory, { recursive: true }),
  };
}

function simSubject(): Subject {
  const clock = new SimClock();
  const disk = new SimDisk({ clock, random: new SimRandom(1), trace: new Trace() });
  return { disk, directory: "/sim", run: (work) => clock.run(work), remove: () => undefined };
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return error instanceof OperatingError ? error.code : String(error);
  }
  return "nothing was thrown";
}

for (const [name, makeSubject] of [
  ["NodeDisk", nodeSubject],
  ["SimDisk", simSubject],
] as const) {
  describe(`the disk: ${name}`, () => {
    let subject: Subject;
    let path: string;

    beforeEach(() => {
      subject = makeSubject();
      path = `${subject.directory}/file`;
    });
    afterEach(() => subject.remove());

    it("appends parts of buffers and reads them back, blocking or not", async () => {
      const { disk } = subject;
      const file = disk.create(path);
      file.append(Buffer.from("xxhelloxx"), 2, 5);
      file.append(Buffer.from(" world"));
      expect(file.size).to.equal(11);
      const target = Buffer.alloc(20, "-");
      expect(file.readNow(6, target, 1, 5)).to.equal(5);
      expect(target.toString("latin1", 0, 7)).to.equal("-world-");
      expect(await subject.run(file.read(0, target, 0, 5))).to.equal(5);
      expect(target.toString("latin1", 0, 5)).to.equal("hello");
      file.close();
    });

    it("reads fewer bytes only at the end", async () => {
      const file = subject.disk.create(path);
      file.append(Buffer.from("abc"));
      const target = Buffer.alloc(10);
      expect(file.readNow(1, target, 0, 10)).to.equal(2);
      expect(file.readNow(3, target, 0, 10)).to.equal(0);
      expect(await subject.run(file.read(2, target, 0, 10))).to.equal(1);
      file.close();
    });

    it("refuses to create what exists, and opens what does not as null", () => {
      const { disk } = subject;
      disk.create(path).close();
      expect(codeOf(() => disk.create(path))).to.equal("IO");
      expect(disk.open(`${path}.other`)).to.equal(null);
      expect(disk.open(path)?.size).to.equal(0);
    });

    it("lists, replaces and removes names, missing ones without complaint", async () => {
      const { disk, directory } = subject;
      const first = disk.create(path);
      first.append(Buffer.from("first"));
      first.close();
      disk.create(`${path}.other`).close();
      disk.rename(path, `${path}.other`);
      expect(disk.list(directory)).to.deep.equal(["file.other"]);
      expect(disk.open(`${path}.other`)?.size).to.equal(5);
      disk.remove(`${path}.other`);
      disk.remove(`${path}.other`);
      expect(disk.list(directory)).to.deep.equal([]);
      expect(codeOf(() => disk.rename(path, `${path}.x`))).to.equal("IO");
      await subject.run(disk.syncDirectory(directory));
      disk.syncDirectoryNow(directory);
    });

    it("cuts a file and goes on appending at its new end", async () => {
      const file = subject.disk.create(path);
      file.append(Buffer.from("hello world"));
      file.truncate(5);
      file.append(Buffer.from("!"));
      const target = Buffer.alloc(10);
      expect(target.toString("latin1", 0, file.readNow(0, target, 0, 10))).to.equal("hello!");
      await subject.run(file.sync());
      file.syncNow();
      file.close();
      const again = subject.disk.open(path);
      again?.truncate(2);
      expect(again?.size).to.equal(2);
      again?.close();
    });

    it("fails reads that are under way when the file is closed with CLOSED", async () => {
      const file = subject.disk.create(path);
      file.append(Buffer.from("hello"));
      const reading = file.read(0, Buffer.alloc(5), 0, 5).then(
        () => "read",
        (error: unknown) => (error as OperatingError).code,
      );
      file.close();
      file.close();
      expect(await subject.run(reading)).to.equal("CLOSED");
      expect(codeOf(() => file.append(Buffer.alloc(1)))).to.equal("CLOSED");
    });

    it("knows how much room there is", () => {
      expect(subject.disk.freeBytes(subject.directory)).to.be.greaterThan(0);
    });
  });
}

describe("NodeDisk", () => {
  it("says what was tried, where, and what to do about it", () => {
    const disk = new NodeDisk();
    expect(() => disk.create("/proc/none/of/this")).to.throw(
      OperatingError,
      /cannot create \/proc\/none\/of\/this: .*\(ENOENT\)/,
    );
    expect(disk.list("/proc/none/of/this")).to.equal(null);
  });
});
