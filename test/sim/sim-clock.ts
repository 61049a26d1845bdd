/**
 * Virtual time. Nothing happens until the clock is stepped: each step fires the earliest timer and then lets all promises
 * that it settled run, so that one seed gives one order of events.
 */
import { assert } from "../../lib/assert.js";
import type { Clock, Timer } from "../../lib/host/clock.js";

interface Event {
  readonly atMs: number;
  readonly order: number;
  fire: (() => void) | null;
}

export class SimClock implements Clock {
  #nowMs: number;
  #wallOffsetMs: number;
  #order = 0;
  /** A binary heap, earliest first. */
  readonly #heap: Event[] = [];

  constructor(options: { wallMs?: number; monotonicMs?: number } = {}) {
    this.#nowMs = options.monotonicMs ?? 0;
    this.#wallOffsetMs = (options.wallMs ?? 1_700_000_000_000) - this.#nowMs;
  }

  wallMs(): number {
    return Math.floor(this.#nowMs + this.#wallOffsetMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, fire: () => void): Timer {
    const event: Event = { atMs: this.#nowMs + delayMs, order: this.#order++, fire };
    this.#push(event);
    return {
      cancel: () => {
        event.fire = null;
      },
    };
  }

  defer(run: () => void): void {
    this.after(0, run);
  }

  /** The wall clock jumps; monotonic time does not. */
  jumpWall(byMs: number): void {
    this.#wallOffsetMs += byMs;
  }

  /** The thread is blocked for this long: time passes and nothing fires. */
  stall(forMs: number): void {
    this.#nowMs += forMs;
  }

  /** When the next timer fires; null when there is none. */
  get nextAtMs(): number | null {
    return this.#heap[0]?.atMs ?? null;
  }

  /** Fires the earliest timer. False when there is none. */
  async step(): Promise<boolean> {
    const event = this.#pop();
    if (event === undefined) return false;
    this.#nowMs = Math.max(this.#nowMs, event.atMs);
    // A cancelled one lets nothing go on.
    if (event.fire === null) return true;
    event.fire();
    await settle();
    return true;
  }

  /** Lets `forMs` pass. */
  async advance(forMs: number): Promise<void> {
    await settle();
    const untilMs = this.#nowMs + forMs;
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= untilMs) await this.step();
    this.#nowMs = Math.max(this.#nowMs, untilMs);
  }

  /** Lets time pass until `work` is settled, and returns its outcome. Fails after `limitMs` or when nothing is left to happen. */
  async run<Result>(work: Promise<Result>, limitMs = 600_000): Promise<Result> {
    let isSettled = false;
    const noted = work.finally(() => {
      isSettled = true;
    });
    noted.catch(() => undefined);
    const untilMs = this.#nowMs + limitMs;
    await settle();
    while (!isSettled) {
      assert(await this.step(), "clock: waiting for something that nothing will bring about");
      assert(this.#nowMs <= untilMs, "clock: waited too long");
    }
    return noted;
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isEarlier(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isEarlier(heap[child + 1]!, heap[child]!)) child++;
      if (!isEarlier(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return first;
  }
}

function isEarlier(a: Event, b: Event): boolean {
  return a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs;
}

/** Lets every promise that can go on without a timer go on. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
