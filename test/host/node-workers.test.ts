/** Jobs in a real thread, with the engine's own job table. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "chai";
import { type JobAnswer, JobRunner } from "../../lib/host/job-runner.js";
import { NodeClock } from "../../lib/host/node-clock.js";
import { NodeDisk } from "../../lib/host/node-disk.js";
import { NodeWorkers } from "../../lib/host/node-workers.js";
import type { Job } from "../../lib/host/workers.js";
import { silentLog } from "../../lib/log.js";
import type { FlushInput } from "../../lib/lsm/flush.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings } from "../../lib/lsm/lsm-settings.js";

const MB = 1024 * 1024;

describe("NodeWorkers", () => {
  let directory: string;
  let workers: NodeWorkers;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "kindred-workers-"));
    workers = new NodeWorkers({ heapBytesMax: 128 * MB, rateBytes: 0 });
  });
  afterEach(async () => {
    await workers.close();
    rmSync(directory, { recursive: true });
  });

  /** A memory table whose index is empty where it claims to have a key. */
  const damaged = (): FlushInput => ({
    directory,
    slab: new Uint8Array(16),
    indexSlots: new Int32Array(16),
    entries: 1,
    number: 1,
    blockBytes: 4096,
    filterFalsePositives: 0.01,
    nowMs: 0,
    tombstones: "keep",
  });

  it("flushes and compacts an engine's tables in a thread", async () => {
    const engine = await Lsm.open({
      disk: new NodeDisk(),
      clock: new NodeClock(),
      workers,
      log: silentLog,
      directory,
      settings: { ...defaultLsmSettings, fsync: "no", memoryTableBytes: 256 * 1024, levelZeroTables: 2, levelBytesBase: MB },
    });
    const value = Buffer.alloc(100, "v");
    for (let at = 0; at < 40_000; at++) {
      engine.put(`key ${at % 5_000}`, value, 0, value.length);
      if (at % 50 !== 49) continue;
      engine.commit();
      await engine.room();
    }
    while (engine.stats().compactions === 0) await new Promise((resolve) => setImmediate(resolve));
    for (let at = 0; at < 5_000; at += 97) expect(await engine.read(`key ${at}`)).to.deep.equal(value);
    await engine.close();
    expect(readdirSync(directory).some((name) => name.endsWith(".table"))).to.equal(true);
  });

  it("rejects with the error of the job, code and message", async () => {
    const error = await workers.start("flush", damaged()).result.catch((reason: unknown) => reason);
    expect(error).to.include({ name: "OperatingError", code: "CORRUPT" });
    expect((error as Error).message).to.match(/a memory table of 1 keys has 0 in its index/);
  });

  it("fails what was queued when it is closed, and starts a new thread when asked again", async () => {
    const { result } = workers.start("flush", damaged());
    const outcome = result.catch((error: unknown) => (error as { code: string }).code);
    await workers.close();
    expect(["CLOSED", "CORRUPT"]).to.include(await outcome);
    const again = await workers.start("flush", damaged()).result.catch((error: unknown) => (error as { code: string }).code);
    expect(again).to.equal("CORRUPT");
  });
});

describe("JobRunner", () => {
  const endless: Job<never, unknown> = function* () {
    for (;;) yield 0;
  };
  const short: Job<never, unknown> = function* () {
    yield 0;
    return "short";
  };
  const broken: Job<never, unknown> = function* () {
    yield 0;
    throw new Error("a bug");
  };

  const runnerWith = (answers: JobAnswer[], onAnswer: () => void): JobRunner =>
    new JobRunner({
      host: { disk: new NodeDisk() },
      jobs: { endless, short, broken },
      rateBytes: 0,
      answer: (answer) => {
        answers.push(answer);
        onAnswer();
      },
    });

  it("runs an urgent job between the steps of a long one, and ends the long one when it is cancelled", async () => {
    const answers: JobAnswer[] = [];
    await new Promise<void>((resolve) => {
      const runner = runnerWith(answers, () => {
        if (answers.length === 1) runner.receive({ kind: "cancel", id: 1 });
        else resolve();
      });
      runner.receive({ kind: "start", id: 1, job: "endless", input: null, place: "last" });
      runner.receive({ kind: "start", id: 2, job: "short", input: null, place: "first" });
    });
    expect(answers).to.deep.equal([
      { kind: "done", id: 2, output: "short" },
      { kind: "failed", id: 1, code: "CLOSED", message: "the job was cancelled" },
    ]);
  });

  it("tells a bug from an expected failure", async () => {
    const answers: JobAnswer[] = [];
    await new Promise<void>((resolve) => {
      runnerWith(answers, resolve).receive({ kind: "start", id: 1, job: "broken", input: null, place: "last" });
    });
    expect(answers[0]).to.include({ kind: "broken", id: 1 });
  });
});
