/**
 * Finds out the sums of slots that are not known (slot-digests.ts): all of them once a ring of one gets company, single ones that
 * are doubted. Walks the records of such slots in the background, at a bounded rate; a slot in which something was stored
 * meanwhile is walked again.
 *
 * Invariant: a sum is learned in the synchronous step in which it is known that nothing was stored, and nothing taken back,
 * since the slot's first record was read.
 */
import { background } from "../background.js";
import { SLOTS } from "../bytes/slot.js";
import { DIGEST_SPAN, digestOf } from "../causality/record-digest.js";
import { RecordView } from "../causality/record-view.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import { DATA_END, dataKeyFloor, hashOfDataKey, slotOfDataKey } from "./data-key.js";
import type { StoredRecords } from "./stored-records.js";
import { TokenBucket } from "./token-bucket.js";

const PAGE_RECORDS = 512;
const PAGE_BYTES = 262_144;
const AFTER_FAILURE_MS = 1_000;
/** Slots in between whose sums are known are read, too, rather than beginning a page behind them, while that is so few records. */
const BRIDGED_RECORDS = 64;
/** A slot that changes all the time is tried so often in one walk; the next walk comes after a pause. */
const AGAIN_MS = 200;

export interface DigestRebuildOptions {
  readonly records: StoredRecords;
  readonly clock: Clock;
  readonly log: Log;
  /** Bytes of records a second that may be read. Read at each use. */
  readonly settings: { readonly repairRateBytes: number };
}

export class DigestRebuild {
  readonly #options: DigestRebuildOptions;
  readonly #bucket = new TokenBucket();
  readonly #view = new RecordView();
  readonly #changesBefore = new Uint32Array(SLOTS);
  #running: Promise<void> | null = null;
  #isDue = false;
  #isStopped = false;
  /** Records of a slot, in the mean of what was read last. */
  #recordsPerSlot = 1;
  /** Slots whose sum was found out, since the start. */
  rebuilt = 0;

  constructor(options: DigestRebuildOptions) {
    this.#options = options;
  }

  /** There may be slots whose sums are not known. */
  start(): void {
    this.#isDue = true;
    if (this.#running !== null || this.#isStopped) return;
    this.#running = this.#run().finally(() => {
      this.#running = null;
    });
    background(this.#running);
  }

  /** Doubts a slot's sum. */
  doubt(slot: number): void {
    this.#options.records.digests.forget(slot);
    this.start();
  }

  /** Doubts all sums. */
  doubtAll(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.#options.records.digests.forget(slot);
    this.start();
  }

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Slots whose sums are not known. */
  get missing(): number {
    const { digests } = this.#options.records;
    let missing = 0;
    for (let slot = 0; slot < SLOTS; slot++) if (digests.sumOf(slot) === null) missing++;
    return missing;
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    // Begins in a turn of its own: what has led to it goes first.
    await pause(clock, 0);
    while (this.#isDue && !this.#isStopped) {
      this.#isDue = false;
      try {
        await this.#walk();
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        log.warn({ code: error.code }, `sums of slots are not known yet: ${messageOf(error)}`);
        this.#isDue = true;
        await pause(clock, AFTER_FAILURE_MS);
      }
      if (this.#isDue) await pause(clock, AGAIN_MS);
    }
  }

  /** One walk over the slots whose sums are not known. */
  async #walk(): Promise<void> {
    const { digests } = this.#options.records;
    for (let slot = 0; slot < SLOTS && !this.#isStopped; ) {
      if (digests.sumOf(slot) !== null) {
        slot++;
        continue;
      }
      const bridged = BRIDGED_RECORDS / this.#recordsPerSlot;
      let end = slot + 1;
      for (let next = end; next < SLOTS && next - end <= bridged; next++) if (digests.sumOf(next) === null) end = next + 1;
      await this.#sumUp(slot, end);
      slot = end;
    }
  }

  /** Sums up the slots from `first` to before `end`. */
  async #sumUp(first: number, end: number): Promise<void> {
    const { records, clock, settings } = this.#options;
    const { digests } = records;
    const to = end === SLOTS ? DATA_END : dataKeyFloor(end, 0, 0);
    const before = this.#changesBefore;
    let refusedBefore = records.commitsRefused;
    /** The slot whose records are read now; those before it are done. */
    let slot = first;
    let sum = 0;
    let count = 0;
    const learn = (isKept: boolean): void => {
      this.#learn(slot++, { sum, records: count, isKept });
      sum = count = 0;
    };
    let read = 0;
    for (let from: string | null = dataKeyFloor(first, 0, 0); from !== null; ) {
      if (this.#isStopped) return;
      await this.#turn();
      // Of the slot in which the page before this one ended, the changes before that page are what counts.
      const isWithin = from !== dataKeyFloor(slot, 0, 0);
      if (!isWithin) refusedBefore = records.commitsRefused;
      for (let next = isWithin ? slot + 1 : slot; next < end; next++) before[next] = digests.changesOf(next);
      const page = await records.scan({ from, to, limit: PAGE_RECORDS, values: "with", bytesMax: PAGE_BYTES });
      const isKept = records.commitsRefused === refusedBefore;
      let bytes = 0;
      for (const { key, value } of page.entries) {
        bytes += key.length + value!.length;
        for (const at = slotOfDataKey(key); slot < at; ) learn(isKept);
        this.#view.read(value!, 0, value!.length);
        count++;
        sum = (sum + digestOf(this.#view, hashOfDataKey(key))) % DIGEST_SPAN;
      }
      this.#bucket.take(bytes);
      read += page.entries.length;
      from = page.next;
      for (const at = from === null ? end : slotOfDataKey(from); slot < at; ) learn(isKept);
      if (bytes > 0 && settings.repairRateBytes > 0) await pause(clock, 0);
    }
    this.#recordsPerSlot = Math.max(read / (end - first), 1);
  }

  #learn(slot: number, { sum, records, isKept }: { sum: number; records: number; isKept: boolean }): void {
    const { digests } = this.#options.records;
    if (digests.sumOf(slot) !== null) return;
    if (isKept && digests.changesOf(slot) === this.#changesBefore[slot]) {
      digests.learn(slot, sum, records);
      this.rebuilt++;
    } else this.#isDue = true;
  }

  /** Waits until the rate allows more. */
  async #turn(): Promise<void> {
    const { clock, settings, records } = this.#options;
    if (records.backlog() === "stopped") await records.room();
    const waitMs = this.#bucket.waitMs(clock.monotonicMs(), settings.repairRateBytes);
    if (waitMs > 0) await pause(clock, waitMs);
  }
}
