/**
 * The batch being built: the operations of one turn in a reused buffer, encoded as the log stores them. The first
 * BATCH_HEADER_BYTES are left free for the header that the log fills in.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import { writeLatin1 } from "../bytes/latin1.js";
import { writeVarint } from "../bytes/varint.js";
import { Views } from "../bytes/views.js";
import { KEY_BYTES_MAX } from "./block.js";
import { BATCH_HEADER_BYTES, Operation, OperationReader, zigzag } from "./log-format.js";

/** A kind byte and the longest two numbers. */
const OPERATION_BYTES_MAX = 17;
const INITIAL_BYTES = 256 * 1024;
/** A buffer that one huge batch has grown beyond this is not kept. */
const KEPT_BYTES_MAX = 4 * 1024 * 1024;

export class WriteBatch {
  bytes: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  readonly #views = new Views();
  /** Where the last operation ends. */
  end = BATCH_HEADER_BYTES;

  get isEmpty(): boolean {
    return this.end === BATCH_HEADER_BYTES;
  }

  /** Adds the operation that stores `source[start, end)` under `key`. Returns where its pair begins; it ends at `end`. */
  put(key: string, source: Uint8Array, start: number, end: number): number {
    const length = end - start;
    const pair = this.end + 1;
    const at = this.#begin(Operation.PUT, key, length);
    this.end = copyBytes(source, start, end, this.bytes, writeVarint(this.bytes, at, length));
    return pair;
  }

  /** The same of a pair that is encoded already, `source[start, end)`. Returns where it begins. */
  putPair(source: Uint8Array, start: number, end: number): number {
    this.#reserve(end - start);
    const pair = this.end + 1;
    this.bytes[this.end] = Operation.PUT;
    this.end = copyBytes(source, start, end, this.bytes, pair);
    return pair;
  }

  /** What was added last, from `start` on. */
  viewFrom(start: number): Uint8Array {
    return this.#views.of(this.bytes, start, this.end);
  }

  remove(key: string): void {
    this.end = this.#begin(Operation.REMOVE, key, 0);
  }

  count(index: number, delta: number): void {
    this.#reserve(0);
    this.bytes[this.end] = Operation.COUNT;
    this.end = writeVarint(this.bytes, writeVarint(this.bytes, this.end + 1, index), zigzag(delta));
  }

  clear(): void {
    this.#reserve(0);
    this.bytes[this.end++] = Operation.CLEAR;
  }

  operations(): OperationReader {
    return new OperationReader(this.bytes, BATCH_HEADER_BYTES, this.end);
  }

  /** Forgets all operations. */
  reset(): void {
    this.end = BATCH_HEADER_BYTES;
    if (this.bytes.length > KEPT_BYTES_MAX) {
      this.bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
      this.#views.forget();
    }
  }

  /** Writes the kind and the key; returns where what follows goes. */
  #begin(kind: Operation, key: string, valueBytes: number): number {
    assert(key.length <= KEY_BYTES_MAX, "write batch: the key is longer than tables can hold");
    this.#reserve(key.length + valueBytes);
    this.bytes[this.end] = kind;
    return writeLatin1(this.bytes, writeVarint(this.bytes, this.end + 1, key.length), key);
  }

  #reserve(contentBytes: number): void {
    const needed = this.end + OPERATION_BYTES_MAX + contentBytes;
    if (needed <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.bytes.length));
    this.bytes.copy(larger, 0, 0, this.end);
    this.bytes = larger;
  }
}
