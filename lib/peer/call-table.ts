/**
 * The calls to one peer that wait for their answers, by integer id: adding and taking one allocates nothing. An id is a slot
 * and the slot's generation, so that an answer to a call that was given up does not go to the next one in its slot.
 */
import { assert } from "../assert.js";
import type { PeerCallHead } from "./peer-call.js";

export const CALLS_MAX = 65_536;
const SLOTS_MIN = 64;
const GENERATION_MAX = 65_535;

export class CallTable {
  readonly #slotsMax: number;
  #calls: (PeerCallHead | null)[] = [];
  #deadlinesMs = new Float64Array(SLOTS_MIN);
  #sentMs = new Float64Array(SLOTS_MIN);
  /** 1 to GENERATION_MAX, so that no id is 0. */
  #generations = new Uint16Array(SLOTS_MIN).fill(1);
  /** Slots that were used and are free: a stack. */
  #free = new Uint16Array(SLOTS_MIN);
  #freeCount = 0;
  #count = 0;
  /** When the call that was last taken had been sent. */
  takenSentMs = 0;

  constructor(callsMax: number) {
    assert(callsMax >= 1 && callsMax <= CALLS_MAX, "calls: 1 to 65536 at a time");
    this.#slotsMax = callsMax;
  }

  get count(): number {
    return this.#count;
  }

  /** The id of the call from now on, above 0; 0 when there is no room. */
  add(call: PeerCallHead, deadlineMs: number, nowMs: number): number {
    const slot = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#calls.length;
    if (slot >= this.#slotsMax) return 0;
    if (slot >= this.#deadlinesMs.length) this.#grow();
    this.#calls[slot] = call;
    this.#deadlinesMs[slot] = deadlineMs;
    this.#sentMs[slot] = nowMs;
    this.#count++;
    return this.#generations[slot]! * CALLS_MAX + slot;
  }

  /** Takes a call out; null when it is not waiting (any more). */
  take(id: number): PeerCallHead | null {
    const slot = id % CALLS_MAX;
    if (slot >= this.#calls.length || this.#generations[slot] !== Math.floor(id / CALLS_MAX)) return null;
    return this.#takeSlot(slot);
  }

  /** The earliest deadline of all; infinite when there is none. */
  earliestMs(): number {
    let earliestMs = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot < this.#calls.length; slot++) {
      if (this.#calls[slot] !== null) earliestMs = Math.min(earliestMs, this.#deadlinesMs[slot]!);
    }
    return earliestMs;
  }

  /** Adds every call that is past its deadline to `expired` and takes it out. */
  drainExpired(nowMs: number, expired: PeerCallHead[]): void {
    for (let slot = 0; slot < this.#calls.length; slot++) {
      if (this.#calls[slot] === null || this.#deadlinesMs[slot]! > nowMs) continue;
      const call = this.#takeSlot(slot);
      if (call !== null) expired.push(call);
    }
  }

  #takeSlot(slot: number): PeerCallHead | null {
    const call = this.#calls[slot] ?? null;
    if (call === null) return null;
    this.#calls[slot] = null;
    this.takenSentMs = this.#sentMs[slot]!;
    const generation = this.#generations[slot]!;
    this.#generations[slot] = generation === GENERATION_MAX ? 1 : generation + 1;
    this.#free[this.#freeCount++] = slot;
    this.#count--;
    return call;
  }

  #grow(): void {
    const slots = 2 * this.#deadlinesMs.length;
    this.#deadlinesMs = moved(this.#deadlinesMs, new Float64Array(slots));
    this.#sentMs = moved(this.#sentMs, new Float64Array(slots));
    this.#generations = moved(this.#generations, new Uint16Array(slots).fill(1));
    this.#free = moved(this.#free, new Uint16Array(slots));
  }
}

function moved<Numbers extends Float64Array | Uint16Array>(from: Numbers, to: Numbers): Numbers {
  to.set(from);
  return to;
}
