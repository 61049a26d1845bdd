/**
 * A copy of a store that goes on serving: the store as of one instant, in another directory. Tables and segments of the log never
 * change once they are there, so hard links are enough; the log is taken as it is, since a segment that has ended costs a link and a
 * flush would cost a table of level 0 each time. Where the system refuses links, files are copied, one at a time, off the thread of requests.
 *
 * Invariants: the copy has no manifest before all that the manifest names is durable in it: without one it cannot be opened. The
 * store is only read; what it would remove meanwhile stays until the copy is done.
 */
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";
import { segmentFileName } from "./log-format.js";
import { MANIFEST_FILE, MANIFEST_NEW_FILE, type ManifestState, writeManifest } from "./manifest.js";
import { tableFileName } from "./table-format.js";

/** Where a copy goes, and how whoever wants it follows it. */
export interface CheckpointTarget {
  /** It is there and empty. */
  readonly directory: string;
  /** Asked between two files: true ends the work, with CLOSED. */
  readonly isCancelled: () => boolean;
  readonly onProgress: (progress: CheckpointProgress) => void;
}

export interface CheckpointProgress {
  readonly filesDone: number;
  readonly files: number;
  /** Of files that share their bytes with the store, and of those that do not. */
  readonly linkedBytes: number;
  readonly copiedBytes: number;
}

/** A store at one instant. Its files stay until `release`, which is called once. */
export interface StoreCapture {
  readonly state: ManifestState;
  /** Ascending. */
  readonly segments: readonly number[];
  readonly release: () => void;
}

/** The thread of requests is kept from its work for no longer at a time: a link takes some 10 microseconds. */
const SLICE_MS_MAX = 2;

export async function writeCheckpoint(options: {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly directory: string;
  readonly capture: StoreCapture;
  /** Makes the log durable in the store: where that fails, the store has to know. */
  readonly syncLog: () => Promise<void>;
  readonly target: CheckpointTarget;
}): Promise<CheckpointProgress> {
  const { disk, directory, capture, target } = options;
  const run = new CheckpointRun(options);
  try {
    await options.syncLog();
    for (const id of capture.segments) {
      await run.take(segmentFileName(id));
      // One that the store has needed no more since is not synced by it.
      await syncFile(disk, `${target.directory}/${segmentFileName(id)}`);
    }
    for (const { number } of capture.state.levels.flat()) await run.take(tableFileName(number));
    await disk.syncDirectory(target.directory);
    run.requireWanted();
    await writeManifest(disk, target.directory, capture.state);
    return run.progress;
  } catch (error) {
    run.removeAll();
    if (!(error instanceof OperatingError) || error.code === "CLOSED") throw error;
    const text = `${directory} was not copied to ${target.directory}: ${messageOf(error)}`;
    throw new OperatingError(error.code, text, { cause: error });
  } finally {
    disk.forgetDirectory(target.directory);
    capture.release();
  }
}

class CheckpointRun {
  progress: CheckpointProgress;
  readonly #options: Parameters<typeof writeCheckpoint>[0];
  readonly #names: string[] = [];
  #isLinking = true;
  #sliceMs: number;

  constructor(options: Parameters<typeof writeCheckpoint>[0]) {
    const { segments, state } = options.capture;
    this.#options = options;
    this.progress = { filesDone: 0, files: segments.length + state.levels.flat().length, linkedBytes: 0, copiedBytes: 0 };
    this.#sliceMs = options.clock.monotonicMs();
  }

  requireWanted(): void {
    if (this.#options.target.isCancelled()) throw new OperatingError("CLOSED", "the copy was given up: this node is stopping");
  }

  /** Links the file; copies it, and all that follow, where the system does not link. */
  async take(name: string): Promise<void> {
    const { disk, clock, directory, target } = this.#options;
    this.requireWanted();
    const from = `${directory}/${name}`;
    const to = `${target.directory}/${name}`;
    if (this.#isLinking) this.#isLinking = disk.link(from, to);
    this.#names.push(name);
    if (!this.#isLinking) {
      await disk.copyFile(from, to);
      await syncFile(disk, to);
    }
    this.#note(sizeOf(disk, to));
    if (clock.monotonicMs() - this.#sliceMs < SLICE_MS_MAX) return;
    await pause(clock, 0);
    this.#sliceMs = clock.monotonicMs();
  }

  /** What is left of a copy that failed must not pass for one. */
  removeAll(): void {
    const { disk, log, target } = this.#options;
    const left: string[] = [];
    for (const name of [MANIFEST_FILE, MANIFEST_NEW_FILE, ...this.#names]) {
      try {
        disk.remove(`${target.directory}/${name}`);
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        left.push(name);
      }
    }
    if (left.length === 0) return;
    log.warn({ directory: target.directory, names: left }, "files of a copy that failed could not be removed: remove them");
  }

  #note(bytes: number): void {
    const { filesDone, linkedBytes, copiedBytes, files } = this.progress;
    const isLink = this.#isLinking;
    this.progress = {
      files,
      filesDone: filesDone + 1,
      linkedBytes: linkedBytes + (isLink ? bytes : 0),
      copiedBytes: copiedBytes + (isLink ? 0 : bytes),
    };
    this.#options.target.onProgress(this.progress);
  }
}

async function syncFile(disk: Disk, path: string): Promise<void> {
  const file = disk.open(path);
  if (file === null) throw new OperatingError("IO", `${path} was removed while it was copied`);
  try {
    await file.sync();
  } finally {
    file.close();
  }
}

function sizeOf(disk: Disk, path: string): number {
  const file = disk.open(path);
  const size = file?.size ?? 0;
  file?.close();
  return size;
}
