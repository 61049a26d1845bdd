/**
 * The header of a stored record, read in place without allocating: all that a GET needs. Owned and reused by its reader.
 * It borrows the bytes: its fields are valid while they are. Checks the header and its bounds, not what lies in the body.
 */
import { latin1Of } from "../bytes/latin1.js";
import { type Cursor, readVarint } from "../bytes/varint.js";
import { ACTOR_BYTES, type Actor } from "./actor.js";
import {
  corruptRecord,
  DOT_BYTES_MIN,
  DOT_HEAD_BYTES,
  EXPIRY,
  LOCAL,
  laterRecord,
  NO_VALUE,
  RECORD_FLAGS,
  RECORD_FORMAT,
  readAtLeast,
  readStamp,
  SIBLINGS,
  TYPE_MASK,
  TYPE_TOMBSTONE,
} from "./record-format.js";

/** Format, flags, kind and body length. */
const HEADER_BYTES_MIN = 4;
const NO_BYTES = new Uint8Array(0);

export class RecordView {
  /** What `read` was given. */
  bytes: Uint8Array = NO_BYTES;
  start = 0;
  end = 0;

  /** At least 1; more are siblings. */
  versionCount = 0;
  /** True when the newest version has no value. An expired version is a tombstone too: `isLive` knows. */
  isTombstone = false;
  /** Of the newest version: Unix time in milliseconds, 0 when it does not expire. */
  expiryMs = 0;
  /** The newest version's value is `bytes[valueStart, valueEnd)`; empty for a tombstone. */
  valueStart = 0;
  valueEnd = 0;

  /** For the other readers of records in this folder. */
  flags = 0;
  kind = 0;
  bodyStart = 0;

  readonly #cursor: Cursor = { at: 0 };

  /** Reads the record in `bytes[start, end)`. Throws CORRUPT on an unknown format or damage; the fields are then void. */
  read(bytes: Uint8Array, start: number, end: number): void {
    if (end - start < HEADER_BYTES_MIN + DOT_BYTES_MIN || end > bytes.length) throw corruptRecord("it is cut off");
    if (bytes[start] !== RECORD_FORMAT) throw laterRecord(bytes[start]!);
    const flags = bytes[start + 1]!;
    const kind = bytes[start + 2]!;
    this.bytes = bytes;
    this.start = start;
    this.end = end;
    this.flags = flags;
    this.kind = kind;
    this.isTombstone = (kind & NO_VALUE) !== 0;
    const bodyLength = bytes[start + 3]!;
    if ((flags & ~(RECORD_FLAGS & ~SIBLINGS & ~LOCAL)) === 0 && (kind & EXPIRY) === 0 && bodyLength < 128) {
      this.versionCount = 1;
      this.expiryMs = 0;
      this.bodyStart = start + HEADER_BYTES_MIN;
      this.valueStart = this.bodyStart + bodyLength;
      this.valueEnd = end;
    } else {
      this.#readLongHeader(bytes, start, end);
    }
    if (this.valueStart - this.bodyStart < DOT_BYTES_MIN || this.valueStart > this.valueEnd) {
      throw corruptRecord("its parts do not fit into it");
    }
    if (this.isTombstone && this.valueStart !== this.valueEnd) throw corruptRecord("a tombstone has a value");
  }

  /** True when the newest version has a value to show at `nowMs`, the answering node's wall clock. */
  isLive(nowMs: number): boolean {
    return !this.isTombstone && (this.expiryMs === 0 || this.expiryMs > nowMs);
  }

  /**
   * True when the newest version is a tombstone by type: a removal, or what the reaper left of an expired value. Unlike
   * `isTombstone`, no compaction changes it.
   */
  get isRemoved(): boolean {
    return (this.kind & TYPE_MASK) === TYPE_TOMBSTONE;
  }

  /** True when something of this replica's own follows the value, in `bytes[valueEnd, end)`. */
  get hasLocalArea(): boolean {
    return this.valueEnd < this.end;
  }

  /** True when the newest version can expire and has: a value that is kept, or was dropped by compaction, past its time. */
  isExpired(nowMs: number): boolean {
    return this.expiryMs !== 0 && this.expiryMs <= nowMs && !this.isRemoved;
  }

  /** The newest version's value as an owned latin1 string. */
  value(): string {
    return latin1Of(this.bytes, this.valueStart, this.valueEnd);
  }

  newestStamp(): number {
    return readStamp(this.bytes, this.bodyStart + ACTOR_BYTES);
  }

  newestActor(): Actor {
    return latin1Of(this.bytes, this.bodyStart, this.bodyStart + ACTOR_BYTES);
  }

  newestSequence(): number {
    this.#cursor.at = this.bodyStart + DOT_HEAD_BYTES;
    return readAtLeast(this.bytes, this.#cursor, this.valueStart, 1);
  }

  #readLongHeader(bytes: Uint8Array, start: number, end: number): void {
    if ((this.flags & ~RECORD_FLAGS) !== 0) throw corruptRecord("it has flags that are not known");
    const cursor = this.#cursor;
    cursor.at = start + 3;
    this.versionCount = (this.flags & SIBLINGS) === 0 ? 1 : readAtLeast(bytes, cursor, end, 2);
    this.expiryMs = (this.kind & EXPIRY) === 0 ? 0 : readAtLeast(bytes, cursor, end, 1);
    const localLength = (this.flags & LOCAL) === 0 ? 0 : readAtLeast(bytes, cursor, end, 1);
    const bodyLength = readVarint(bytes, cursor, end);
    this.bodyStart = cursor.at;
    this.valueStart = cursor.at + bodyLength;
    this.valueEnd = end - localLength;
    if (this.versionCount > bodyLength / DOT_BYTES_MIN) throw corruptRecord("it has more versions than there is room for");
  }
}
