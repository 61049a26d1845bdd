/** The clients that are connected, and the pause that CLIENT PAUSE puts on them. */
import { assert } from "../assert.js";
import type { Clock, Timer } from "../host/clock.js";
import type { ClientSession } from "./client-session.js";

export type PauseMode = "write" | "all";

export class Clients {
  readonly #clock: Clock;
  readonly #sessions = new Map<number, ClientSession>();
  #nextId = 1;
  #pause: { mode: PauseMode; endMs: number; timer: Timer } | null = null;
  #waiting: (() => void)[] = [];
  /** Connections accepted since the start or CONFIG RESETSTAT. */
  accepted = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** An id that no client of this process had before. */
  newId(): number {
    return this.#nextId++;
  }

  add(session: ClientSession): void {
    assert(!this.#sessions.has(session.id), "clients: an id is given twice");
    this.#sessions.set(session.id, session);
    this.accepted++;
  }

  remove(session: ClientSession): void {
    this.#sessions.delete(session.id);
  }

  get count(): number {
    return this.#sessions.size;
  }

  /** By id; null when there is none. */
  find(id: number): ClientSession | null {
    return this.#sessions.get(id) ?? null;
  }

  /** A copy, oldest first. */
  all(): readonly ClientSession[] {
    return [...this.#sessions.values()];
  }

  /** What is held back now; null when nothing is. */
  get paused(): PauseMode | null {
    return this.#pause === null ? null : this.#pause.mode;
  }

  /** Holds commands back for `durationMs`. A pause under way is never shortened or softened, as in Redis. */
  pause(mode: PauseMode, durationMs: number): void {
    const now = this.#clock.monotonicMs();
    const endMs = Math.max(now + durationMs, this.#pause?.endMs ?? 0);
    const widest = this.#pause?.mode === "all" ? "all" : mode;
    this.#pause?.timer.cancel();
    this.#pause = { mode: widest, endMs, timer: this.#clock.after(endMs - now, () => this.unpause()) };
  }

  /** Ends the pause; what waited runs in the order of arrival. */
  unpause(): void {
    this.#pause?.timer.cancel();
    this.#pause = null;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resume of waiting) resume();
  }

  /** Resolves when the pause is over. */
  whenUnpaused(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#pause === null) resolve();
      else this.#waiting.push(resolve);
    });
  }
}
