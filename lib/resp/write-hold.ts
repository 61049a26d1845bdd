/**
 * Holds back late writes that the engine has no room for, so that a disk that is slow slows clients down instead of failing
 * them: a write that is held has not begun, its connection runs nothing behind it and soon is not read any more, and TCP
 * tells the client. What has begun waits in the coordinator instead, where `request-timeout` is running.
 *
 * Nobody is held for ever: after `writeHoldMsMax`, or as soon as the disk refuses what would make room, a write begins
 * anyway and is told by the coordinator how that ends.
 *
 * INVARIANT: while writes are held, the engine is stopped and its room is waited for, or a write runs whose end lets the
 * next ones go. Held writes begin in the order in which they came.
 */
import { background } from "../background.js";
import { OperatingError } from "../errors.js";
import type { Clock, Timer } from "../host/clock.js";
import type { CommitGate } from "./call.js";
import type { RespSettings } from "./settings.js";

/**
 * With so many bytes of late writes under way no more begin while the engine is nearly out of room, and of those that were
 * held no more until some are done: what comes in behind the last look at the engine stays small beside a memory table.
 */
const RUNNING_BYTES_MAX = 262_144;

interface Held {
  readonly bytes: number;
  readonly begin: () => void;
  readonly timer: Timer;
}

export interface WriteHoldOptions {
  readonly gate: Pick<CommitGate, "backlog" | "room">;
  readonly clock: Clock;
  readonly settings: Pick<RespSettings, "writeHoldMsMax">;
}

export class WriteHold {
  readonly #gate: Pick<CommitGate, "backlog" | "room">;
  readonly #clock: Clock;
  readonly #settings: Pick<RespSettings, "writeHoldMsMax">;
  /** Oldest first. */
  readonly #held = new Set<Held>();
  #runningBytes = 0;
  #isAwaitingRoom = false;

  constructor({ gate, clock, settings }: WriteHoldOptions) {
    this.#gate = gate;
    this.#clock = clock;
    this.#settings = settings;
  }

  /** True when a late write may not begin now. */
  get isShut(): boolean {
    if (this.#held.size > 0) return true;
    const backlog = this.#gate.backlog();
    return backlog === "stopped" || (backlog === "slow" && this.#runningBytes >= RUNNING_BYTES_MAX);
  }

  /** A write of so many bytes begins. REQUIRES that the hold is not shut. */
  begun(bytes: number): void {
    this.#runningBytes += bytes;
  }

  /** A write that had begun is answered. */
  ended(bytes: number): void {
    this.#runningBytes -= bytes;
    if (this.#held.size > 0) this.#letGo();
  }

  /** Calls `begin` once, when the write counts as begun. Returns what takes it out of the queue; idempotent. REQUIRES `isShut`. */
  hold(bytes: number, begin: () => void): () => void {
    const timer = this.#clock.after(this.#settings.writeHoldMsMax, () => this.#begin(held));
    const held: Held = { bytes, begin, timer };
    this.#held.add(held);
    if (this.#gate.backlog() === "stopped") this.#awaitRoom();
    return () => {
      timer.cancel();
      if (this.#held.delete(held)) this.#letGo();
    };
  }

  #begin(held: Held): void {
    held.timer.cancel();
    if (!this.#held.delete(held)) return;
    this.#runningBytes += held.bytes;
    held.begin();
  }

  #letGo(): void {
    for (const held of this.#held) {
      if (this.#gate.backlog() === "stopped") return this.#awaitRoom();
      if (this.#runningBytes >= RUNNING_BYTES_MAX) return;
      this.#begin(held);
    }
  }

  #awaitRoom(): void {
    if (this.#isAwaitingRoom) return;
    this.#isAwaitingRoom = true;
    background(this.#goOnWithRoom());
  }

  async #goOnWithRoom(): Promise<void> {
    try {
      await this.#gate.room();
      this.#isAwaitingRoom = false;
      this.#letGo();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      this.#isAwaitingRoom = false;
      // The same will be told to each of them.
      for (const held of [...this.#held]) this.#begin(held);
    }
  }
}
