/**
 * Active expiry: walks the index of expiries in time order. On a ring of one records that have nothing live left go at once;
 * elsewhere expired versions become tombstones, which go when all replicas agree. What the index names is checked against
 * the record first, inside the key's queue.
 *
 * It starts each pass where the last one stopped, because everything before it is gone, or could not be read; when the wall
 * clock goes back, or after a pass that found no more, it looks from the start again now and then.
 */
import { background } from "../background.js";
import { OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { Log } from "../log.js";
import { EXPIRY_START, expiryKeyFloor, splitExpiryKey } from "./data-key.js";
import { RareWarning } from "./rare-warning.js";
import type { Records, Replica } from "./replica.js";

const PASS_EVERY_MS = 100;
/** Index entries handled between two looks at the clock. */
const BATCH = 256;
/** Work in one pass before others get their turn again. */
const PASS_MS_MAX = 25;
/** A full look from the start of the index every so many passes. */
const PASSES_PER_ROUND = 600;

export interface ReaperOptions {
  readonly replica: Replica;
  readonly clock: Clock;
  readonly log: Log;
}

export class Reaper {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #warning: RareWarning;
  #timer: Timer | null = null;
  #running: Promise<void> | null = null;
  #isPaused = false;
  #from = EXPIRY_START;
  #passes = 0;
  #lastWallMs = 0;
  /** Keys that went because they expired, since the start. */
  expiredKeys = 0;

  constructor(options: ReaperOptions) {
    this.#replica = options.replica;
    this.#clock = options.clock;
    this.#warning = new RareWarning(options);
  }

  start(): void {
    this.#schedule();
  }

  /** DEBUG SET-ACTIVE-EXPIRE 0 and 1. */
  setPaused(paused: { readonly isPaused: boolean }): void {
    this.#isPaused = paused.isPaused;
  }

  /**
   * Collects a record that a read found expired when its key's turn comes, paused or not. Where others wait for the key or
   * for room it stays for a later pass. REQUIRES that it is the record at hand: one that was removed needs nothing.
   */
  collectSoon(dataKey: string): void {
    if (this.#replica.record.isRemoved) return;
    if (this.#replica.queues.isTaken(dataKey) || this.#replica.backlog() !== "open") return;
    background(this.#collectRead(dataKey));
  }

  async #collectRead(dataKey: string): Promise<void> {
    try {
      await this.#reapInTurn(dataKey);
    } catch (error) {
      // The next pass meets it again, and says so.
      if (!(error instanceof OperatingError)) throw error;
    }
  }

  /** Resolves when the pass under way is done; no other starts. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    this.#isPaused = true;
    await this.#running;
  }

  #schedule(): void {
    this.#timer = this.#clock.after(PASS_EVERY_MS, () => {
      this.#running = this.#pass();
      background(this.#running);
    });
  }

  async #pass(): Promise<void> {
    try {
      if (!this.#isPaused) await this.#collect();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#warn(error);
    }
    this.#running = null;
    if (this.#timer !== null) this.#schedule();
  }

  async #collect(): Promise<void> {
    if (!this.#replica.hasExpiring()) return;
    const nowMs = this.#clock.wallMs();
    if (nowMs < this.#lastWallMs || ++this.#passes % PASSES_PER_ROUND === 0) this.#from = EXPIRY_START;
    this.#lastWallMs = nowMs;
    const to = expiryKeyFloor(nowMs + 1);
    const startedMs = this.#clock.monotonicMs();
    while (this.#from < to && !this.#isPaused) {
      if (this.#replica.backlog() === "stopped") await this.#replica.room();
      const page = await this.#replica.scan({ from: this.#from, to, limit: BATCH, values: "without" });
      for (const { key } of page.entries) await this.#collectOne(key);
      // What is added from now on expires after `nowMs`, so it lies behind `to`.
      this.#from = page.next ?? to;
      if (page.next === null || this.#clock.monotonicMs() - startedMs > PASS_MS_MAX) return;
    }
  }

  /** A record that cannot be read stays until a later look from the start: those behind it have expired too. */
  async #collectOne(indexKey: string): Promise<void> {
    try {
      await this.#reapInTurn(splitExpiryKey(indexKey).dataKey, () => this.#replica.dropIndexEntry(indexKey));
    } catch (error) {
      if (!(error instanceof OperatingError && (error.code === "CORRUPT" || error.code === "IO"))) throw error;
      this.#warn(error);
    }
  }

  #warn(error: OperatingError): void {
    this.#warning.say({ error: error.message }, "expired keys stay for now: they could not be removed");
  }

  /** Looks at the record in its key's turn; `onAbsent` is called where there is none. */
  async #reapInTurn(dataKey: string, onAbsent: () => void = () => {}): Promise<void> {
    const replica = this.#replica;
    await replica.queues.run(dataKey, async () => {
      const fetched: Records = new Map();
      let records = replica.gather([dataKey], fetched);
      for (; records === null; records = replica.gather([dataKey], fetched)) await replica.fetch([dataKey], fetched);
      if (replica.at(dataKey, records) === null) onAbsent();
      else if (replica.reap(dataKey)) this.expiredKeys++;
    });
  }
}
