/** When the log is made durable in the background, as the policy has it: after each batch, once a second, or never. */
import { background } from "../background.js";
import type { Clock } from "../host/clock.js";
import type { Log } from "../log.js";
import type { LogWriter } from "./log-writer.js";
import type { FsyncPolicy } from "./lsm-settings.js";

const SYNC_INTERVAL_MS = 1000;

export class LogSyncs {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #writer: LogWriter;
  readonly #onChange: () => void;
  #policy: FsyncPolicy;
  /** Written since the start, and of those known durable by these syncs. */
  #batches = 0;
  #syncedBatches = 0;
  #isDue = false;
  /** The sync that was under way at the last look. */
  #watched = 0;
  /** A sync takes longer than the interval between syncs. */
  isLate = false;
  #isClosed = false;

  /** `onChange` is called when `isLate` may have changed. */
  constructor(options: { clock: Clock; log: Log; writer: LogWriter; policy: FsyncPolicy; onChange: () => void }) {
    this.#clock = options.clock;
    this.#log = options.log;
    this.#writer = options.writer;
    this.#policy = options.policy;
    this.#onChange = options.onChange;
  }

  get policy(): FsyncPolicy {
    return this.#policy;
  }

  setPolicy(policy: FsyncPolicy): void {
    this.#policy = policy;
    if (policy !== "no" && !this.#isDue) this.#schedule();
  }

  get unsyncedBatches(): number {
    return this.#batches - this.#syncedBatches;
  }

  /** A batch is in the log. */
  batchWritten(): void {
    this.#batches++;
    if (this.#policy === "always") background(this.#sync());
    else if (this.#policy === "everysec" && !this.#isDue) this.#schedule();
  }

  close(): void {
    this.#isClosed = true;
  }

  #schedule(): void {
    this.#isDue = true;
    this.#clock.after(SYNC_INTERVAL_MS, () => {
      this.#isDue = false;
      if (this.#isClosed || this.#policy !== "everysec" || this.#writer.failure !== null) return;
      if (this.#writer.syncedBytes === this.#writer.appendedBytes) return;
      const { syncUnderWay } = this.#writer;
      if (syncUnderWay !== 0 && syncUnderWay === this.#watched) {
        // Still at the sync of a second ago: writers wait rather than have more at stake.
        this.isLate = true;
        this.#onChange();
      } else background(this.#sync());
      this.#watched = this.#writer.syncUnderWay;
      this.#schedule();
    });
  }

  async #sync(): Promise<void> {
    const batches = this.#batches;
    try {
      await this.#writer.sync();
      this.#syncedBatches = Math.max(this.#syncedBatches, batches);
    } catch (error) {
      this.#log.error({ err: error }, "the log could not be synced");
    }
    this.isLate = false;
    this.#onChange();
  }
}
