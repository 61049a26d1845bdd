/**
 * Where frames are written, once, straight into the bytes that a turn's one write hands to the connection. Whoever was
 * given it by a `begin...` writes at `at` into `bytes`, moves `at`, and calls the matching `end...` in the same turn.
 *
 * INVARIANT: bytes that were taken for a write are not touched until the connection has handed all of them to the system.
 */
import { assert } from "../assert.js";

const SLAB_BYTES = 65_536;
/** A slab that a long turn needed is not kept. */
const KEPT_BYTES_MAX = 1_048_576;
const NO_BYTES = Buffer.alloc(0);

export class OutBuffer {
  bytes: Buffer = NO_BYTES;
  /** Where the next byte goes. */
  at = 0;
  /** What stands before it was taken. */
  #start = 0;

  /** Bytes that wait to be taken. */
  get length(): number {
    return this.at - this.#start;
  }

  /** Where the bytes that wait begin. */
  get start(): number {
    return this.#start;
  }

  /** Makes sure that `length` bytes fit at `at`; `bytes`, `start` and `at` may change, the bytes between them do not. */
  reserve(length: number): void {
    if (this.at + length <= this.bytes.length) return;
    const waiting = this.length;
    const grown = Math.max(SLAB_BYTES, waiting + length, waiting > SLAB_BYTES / 2 ? 2 * waiting : 0);
    const slab = Buffer.allocUnsafeSlow(grown);
    this.bytes.copy(slab, 0, this.#start, this.at);
    this.bytes = slab;
    this.#start = 0;
    this.at = waiting;
  }

  /** The bytes that wait, from now on the connection's. */
  take(): Buffer {
    const taken = this.bytes.subarray(this.#start, this.at);
    this.#start = this.at;
    return taken;
  }

  /** All that was ever taken has left: its room is used again. */
  reuse(): void {
    assert(this.length === 0, "out buffer: nothing waits when its room is used again");
    if (this.bytes.length > KEPT_BYTES_MAX) this.bytes = NO_BYTES;
    this.at = 0;
    this.#start = 0;
  }
}
