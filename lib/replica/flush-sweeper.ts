/**
 * Gives back the space of what FLUSHDB and FLUSHALL removed: walks all records once after each, some hundred at a time, and
 * drops what is dead. Until it is through, dead records are also dropped by whoever looks at them (stored-records.ts); from then
 * on there are none, because none is merged any more, and looking costs nothing.
 *
 * That it is through is stored; after a restart in between it begins anew. So it does when it met damaged records, which it
 * passes over: looking goes on until then. Hints go when they are handed over: their target lets in nothing that was flushed.
 */
import { background } from "../background.js";
import { SLOTS } from "../bytes/slot.js";
import { RecordView } from "../causality/record-view.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import { DATA_END, slotOfDataKey } from "./data-key.js";
import type { FlushContext } from "./flushes.js";
import type { MetaStore } from "./meta-store.js";
import { RareWarning } from "./rare-warning.js";
import type { Replica } from "./replica.js";

const PAGE_RECORDS = 256;
const PAGE_BYTES = 1_048_576;
/** Between two pages, so that a sweep takes a part of the time only. */
const PAUSE_MS = 1;
const AFTER_FAILURE_MS = 1_000;
/** Name of the record that says what has been swept: 8 bytes of `Flushes.digest`. */
const SWEPT = "swept";

export interface FlushSweeperOptions {
  readonly replica: Replica;
  readonly meta: MetaStore;
  readonly clock: Clock;
  readonly log: Log;
  /** Commits that the disk refused since the start, whoever's they were. */
  readonly commitsRefused: () => number;
}

export class FlushSweeper {
  readonly #options: FlushSweeperOptions;
  readonly #warning: RareWarning;
  readonly #view = new RecordView();
  #hasLearned = false;
  #isStopped = false;
  #isDirty = false;
  #running: Promise<void> | null = null;

  constructor(options: FlushSweeperOptions) {
    this.#options = options;
    this.#warning = new RareWarning(options);
  }

  /**
   * Takes over what the members agree on: from now on it is dead here. First call of a run: what was agreed on when it began.
   */
  learn(contexts: readonly FlushContext[]): void {
    const { replica, meta } = this.#options;
    const isFirst = !this.#hasLearned;
    this.#hasLearned = true;
    const databases = replica.learnFlushes(contexts);
    if (databases.length === 0) return;
    if (isFirst && meta.get(SWEPT)?.equals(replica.flushes.digest())) return;
    replica.beginSweep(isFirst ? [] : databases);
    this.#isDirty = true;
    if (this.#running !== null || this.#isStopped) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
    background(this.#running);
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { replica, meta, clock, commitsRefused } = this.#options;
    // Begins in a turn of its own: what has learned goes first.
    await pause(clock, 0);
    let isComplete = true;
    while (this.#isDirty && !this.#isStopped) {
      this.#isDirty = false;
      const before = commitsRefused();
      try {
        isComplete = await this.#sweep();
        // What others dropped may have been taken back behind the place that was being swept.
        if (commitsRefused() !== before) this.#isDirty = true;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        this.#warning.say({ code: error.code }, `what was flushed is not swept yet: ${messageOf(error)}`);
        this.#isDirty = true;
        await pause(clock, AFTER_FAILURE_MS);
      }
    }
    if (this.#isStopped) return;
    if (!isComplete) return replica.sweptTo(SLOTS);
    replica.endSweep();
    meta.put(SWEPT, replica.flushes.digest());
  }

  /** One walk over all records; gives up where there is more to sweep by now. False when some were damaged. */
  async #sweep(): Promise<boolean> {
    const { replica, clock } = this.#options;
    let isComplete = true;
    for (let from: string | null = ""; from !== null && !this.#isStopped && !this.#isDirty; ) {
      const page = await replica.scan({
        from,
        to: DATA_END,
        limit: PAGE_RECORDS,
        values: "with",
        bytesMax: PAGE_BYTES,
      });
      for (const { key, value } of page.entries) {
        if (!(await this.#sweepOne(key, value!))) isComplete = false;
      }
      await replica.committed();
      from = page.next;
      if (from !== null && !this.#isDirty) replica.sweptTo(slotOfDataKey(from));
      if (replica.backlog() === "stopped") await replica.room();
      await pause(clock, PAUSE_MS);
    }
    return isComplete;
  }

  /** False when the record is damaged. */
  async #sweepOne(dataKey: string, record: Buffer): Promise<boolean> {
    const { replica } = this.#options;
    try {
      this.#view.read(record, 0, record.length);
      if (replica.flushes.mayConcern(dataKey, this.#view)) await replica.dropFlushed(dataKey);
      return true;
    } catch (error) {
      if (!(error instanceof OperatingError && error.code === "CORRUPT")) throw error;
      this.#warning.say({ code: error.code }, `a record stays that may have been flushed: ${messageOf(error)}`);
      return false;
    }
  }
}
