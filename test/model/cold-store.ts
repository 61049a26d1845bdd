/**
 * An engine that answers UNREAD and makes reads and scans wait whenever its seed says so, for everything that is committed:
 * whatever an operation may meet when its key is only on the disk. It also tells what is stored, removed and refused.
 */
import type { KeysAhead } from "../../lib/lsm/keys-ahead.js";
import type { Lsm, ScanPage } from "../../lib/lsm/lsm.js";
import { type Found, Peek } from "../../lib/lsm/peek.js";
import { viewValue } from "../../lib/lsm/slab.js";
import type { SimClock } from "../sim/sim-clock.js";
import type { SimRandom } from "../sim/sim-random.js";

export interface StoreEvents {
  onPut(key: string, bytes: Uint8Array, start: number, end: number): void;
  onRemove(key: string): void;
  onClear(): void;
  /** A batch was committed, or refused and undone. */
  onBatch(outcome: "committed" | "refused"): void;
}

export const NO_EVENTS: StoreEvents = { onPut() {}, onRemove() {}, onClear() {}, onBatch() {} };

/** What of Lsm the replica uses. */
export class ColdStore {
  /** Probability that a peek answers UNREAD; longest time of a read in milliseconds. */
  coldness = 0;
  readMsMax = 0;
  backlogNow: "open" | "slow" | "stopped" = "open";
  events: StoreEvents = NO_EVENTS;
  readonly #lsm: Lsm;
  readonly #clock: SimClock;
  readonly #random: SimRandom;
  /** What the batch being built has changed is in memory for certain. */
  readonly #pending = new Set<string>();
  /** Keys put since the last clear: an emptied engine knows of all others that they are absent. Null: never cleared. */
  #put: Set<string> | null = null;
  #isClearing = false;

  constructor(lsm: Lsm, clock: SimClock, random: SimRandom) {
    this.#lsm = lsm;
    this.#clock = clock;
    this.#random = random;
  }

  get commitsTried(): number {
    return this.#lsm.commitsTried;
  }

  get commitsRefused(): number {
    return this.#lsm.commitsRefused;
  }

  /** As the replica takes it: an engine in all that it uses of one. */
  asLsm(): Lsm {
    return this as unknown as Lsm;
  }

  get found(): Found {
    return this.#lsm.found;
  }

  peek(key: string): Peek {
    const mayBeOnDisk = this.#put === null || this.#put.has(key);
    if (mayBeOnDisk && !this.#pending.has(key) && this.#random.chance(this.coldness)) return Peek.UNREAD;
    return this.#lsm.peek(key);
  }

  async read(key: string): Promise<Buffer | null> {
    const bytes = await this.#lsm.read(key);
    await this.#wait();
    return bytes;
  }

  async scan(range: Parameters<Lsm["scan"]>[0]): Promise<ScanPage> {
    const page = await this.#lsm.scan(range);
    await this.#wait();
    return page;
  }

  put(key: string, bytes: Uint8Array, start: number, end: number): void {
    this.#pending.add(key);
    this.#put?.add(key);
    this.#lsm.put(key, bytes, start, end);
    this.events.onPut(key, bytes, start, end);
  }

  putPair(key: string, bytes: Uint8Array, start: number, end: number): void {
    this.#pending.add(key);
    this.#put?.add(key);
    this.#lsm.putPair(key, bytes, start, end);
    const value = { start: 0, end: 0 };
    viewValue(bytes, start, value);
    this.events.onPut(key, bytes, value.start, value.end);
  }

  get pair(): Lsm["pair"] {
    return this.#lsm.pair;
  }

  prefetch(ahead: KeysAhead): void {
    this.#lsm.prefetch(ahead);
  }

  remove(key: string): void {
    this.#pending.add(key);
    this.#lsm.remove(key);
    this.events.onRemove(key);
  }

  count(index: number, delta: number): void {
    this.#lsm.count(index, delta);
  }

  counter(index: number): number {
    return this.#lsm.counter(index);
  }

  clear(): void {
    this.#lsm.clear();
    this.#put = new Set();
    this.#isClearing = true;
    this.events.onClear();
  }

  commit(): void {
    this.ending(() => this.#lsm.commit());
  }

  get isCommitted(): boolean {
    return this.#lsm.isCommitted;
  }

  committed(): Promise<void> {
    return this.#lsm.committed();
  }

  syncNow(): void {
    this.commit();
    this.#lsm.syncNow();
  }

  backlog(): "open" | "slow" | "stopped" {
    return this.backlogNow;
  }

  async room(): Promise<void> {
    while (this.backlogNow === "stopped") await this.#clockWait(5);
  }

  /** Runs something that ends the batch being built. */
  ending(commit: () => void): void {
    try {
      commit();
    } catch (error) {
      this.ended("refused");
      throw error;
    }
    this.ended("committed");
  }

  ended(outcome: "committed" | "refused"): void {
    this.#pending.clear();
    if (outcome === "refused" && this.#isClearing) this.#put = null;
    this.#isClearing = false;
    this.events.onBatch(outcome);
  }

  async #wait(): Promise<void> {
    if (this.readMsMax > 0 && this.#random.chance(this.coldness))
      await this.#clockWait(this.#random.fraction() * this.readMsMax);
  }

  #clockWait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(ms, resolve);
    });
  }
}
