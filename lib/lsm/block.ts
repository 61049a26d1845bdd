/**
 * Blocks: runs of entries in key order, the unit that tables compress, check and cache. Layout, little-endian:
 *
 *     entry ...  restart u16 ...  restarts u16
 *     entry:     shared varint | unshared varint | 2 * valueBytes + kind varint | unshared key bytes | value bytes
 *
 * `shared` is how many bytes a key has in common with the one before; at every 16th entry (a restart) it is 0, and the
 * restart array holds where those entries begin. A block is at most `blockBytes` long, or holds exactly one entry: so
 * 16 bits are enough for a restart. Blocks reach this file after their checksum was verified.
 */
import { assert } from "../assert.js";
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { type EntryKind, TOMBSTONE } from "./entry.js";

/** Entries from one restart to the next: more compress better, fewer are searched faster. */
const RESTART_INTERVAL = 16;
/** Restarts are 16 bits. */
export const BLOCK_BYTES_MAX = 32_768;
/** The longest key, in bytes. Everything that holds keys (logs, tables, indexes) is dimensioned for it. */
export const KEY_BYTES_MAX = 65_536;

/** Collects entries in ascending key order into one block after the other; the buffer is reused. */
export class BlockBuilder {
  readonly #blockBytes: number;
  #buffer: Buffer;
  #at = 0;
  #entries = 0;
  #restarts: number[] = [];
  #lastKey = "";

  constructor(blockBytes: number) {
    assert(blockBytes >= 64 && blockBytes <= BLOCK_BYTES_MAX, "block bytes: out of range");
    this.#blockBytes = blockBytes;
    this.#buffer = Buffer.allocUnsafeSlow(2 * blockBytes);
  }

  get isEmpty(): boolean {
    return this.#entries === 0;
  }

  /** The key of the last entry added since `clear`. */
  get lastKey(): string {
    return this.#lastKey;
  }

  /** Whether the block stays within its size with this entry. Always true for the first one. */
  hasRoomFor(key: string, valueBytes: number): boolean {
    if (this.#entries === 0) return true;
    const isRestart = this.#entries % RESTART_INTERVAL === 0;
    const shared = isRestart ? 0 : sharedLength(this.#lastKey, key);
    const restarts = this.#restarts.length + (isRestart ? 1 : 0);
    return this.#at + entryLength(shared, key.length, valueBytes) + 2 * restarts + 2 <= this.#blockBytes;
  }

  /** Adds an entry with the value `bytes[start, end)`, empty for a tombstone. REQUIRES `hasRoomFor` it and a key above the last. */
  add(key: string, kind: EntryKind, bytes: Uint8Array, start: number, end: number): void {
    assert(this.#entries === 0 || key > this.#lastKey, "block: keys ascend");
    assert(kind !== TOMBSTONE || start === end, "block: a tombstone has no value");
    const isRestart = this.#entries % RESTART_INTERVAL === 0;
    const shared = isRestart ? 0 : sharedLength(this.#lastKey, key);
    if (isRestart) this.#restarts.push(this.#at);
    const valueBytes = end - start;
    this.#reserve(entryLength(shared, key.length, valueBytes));
    const buffer = this.#buffer;
    let at = writeVarint(buffer, this.#at, shared);
    at = writeVarint(buffer, at, key.length - shared);
    at = writeVarint(buffer, at, 2 * valueBytes + kind);
    at = writeLatin1(buffer, at, shared === 0 ? key : key.slice(shared));
    if (valueBytes > 0) buffer.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), at);
    this.#at = at + valueBytes;
    this.#entries++;
    this.#lastKey = key;
  }

  /** The finished block, borrowed until `clear`. REQUIRES that it is not empty; nothing may be added before `clear`. */
  finish(): Buffer {
    assert(this.#entries > 0, "block: holds an entry");
    const restarts = this.#restarts;
    this.#reserve(2 * restarts.length + 2);
    for (const restart of restarts) this.#at = this.#buffer.writeUInt16LE(restart, this.#at);
    this.#at = this.#buffer.writeUInt16LE(restarts.length, this.#at);
    return this.#buffer.subarray(0, this.#at);
  }

  clear(): void {
    this.#at = 0;
    this.#entries = 0;
    this.#restarts = [];
    // A buffer that grew for one long value is not kept for the short ones after it.
    if (this.#buffer.length > 4 * BLOCK_BYTES_MAX) this.#buffer = Buffer.allocUnsafeSlow(2 * this.#blockBytes);
  }

  #reserve(bytes: number): void {
    const needed = this.#at + bytes;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed + 64, 2 * this.#buffer.length));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

/**
 * The header of one entry, decoded in place: fields instead of a result, so that a search allocates nothing. Positions
 * are of the buffer that was given.
 */
class EntryHeader {
  shared = 0;
  unshared = 0;
  kind: EntryKind = TOMBSTONE;
  /** Where the unshared part of the key begins; the value follows it. */
  keyStart = 0;
  valueStart = 0;
  /** Where the value ends and the next entry begins. */
  end = 0;
  #at = 0;

  /** Throws `CORRUPT` when the entry at `at` does not end by `limit`. */
  decode(buffer: Buffer, at: number, limit: number): void {
    let shared = buffer[at]!;
    let unshared = buffer[at + 1]!;
    let packed = buffer[at + 2]!;
    // Nearly all keys are short (one byte for each length), and values below 8 KB: one or two bytes.
    const next = buffer[at + 3]!;
    if ((shared | unshared | packed) < 128) {
      this.#at = at + 3;
    } else if ((shared | unshared | next) < 128) {
      packed = (packed & 127) | (next << 7);
      this.#at = at + 4;
    } else {
      this.#at = at;
      shared = this.#integer(buffer);
      unshared = this.#integer(buffer);
      packed = this.#integer(buffer);
    }
    this.shared = shared;
    this.unshared = unshared;
    this.kind = (packed & 1) as EntryKind;
    this.keyStart = this.#at;
    this.valueStart = this.#at + unshared;
    this.end = this.valueStart + (packed >>> 1);
    if (this.end > limit) throw new OperatingError("CORRUPT", "an entry is longer than its block");
  }

  /** A varint of at most five bytes; the lengths here stay below 2^31. */
  #integer(buffer: Buffer): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = buffer[this.#at++]!;
      value |= (byte & 127) << shift;
      if (byte < 128) break;
    }
    return value >>> 0;
  }
}

/** Finds single keys in blocks that lie anywhere in a buffer. The result stands in the fields. */
export class BlockSearch {
  kind: EntryKind = TOMBSTONE;
  /** The value of the entry found, as positions of the buffer that was searched. */
  start = 0;
  end = 0;
  readonly #header = new EntryHeader();

  /** Whether the block in `buffer[base, base + length)` holds `key`. */
  find(buffer: Buffer, base: number, length: number, key: string): boolean {
    const header = this.#header;
    const limit = entriesEnd(buffer, base, length);
    let at = restartBefore(buffer, base, limit, length, key, header);
    // How many leading bytes of `key` the last passed entry has; that entry is below `key`.
    let matched = 0;
    while (at < limit) {
      header.decode(buffer, at, limit);
      const { shared } = header;
      at = header.end;
      // It differs from its (smaller) predecessor before the predecessor differed from `key`: it is above `key`.
      if (shared < matched) return false;
      // It has the byte in which its predecessor was below `key`: it is below, too.
      if (shared > matched) continue;
      const tail = header.keyStart - shared;
      const keyEnd = shared + header.unshared;
      const common = Math.min(keyEnd, key.length);
      while (matched < common && buffer[tail + matched] === key.charCodeAt(matched)) matched++;
      if (matched < common) {
        if (buffer[tail + matched]! > key.charCodeAt(matched)) return false;
      } else if (keyEnd === key.length) {
        this.kind = header.kind;
        this.start = header.valueStart;
        this.end = header.end;
        return true;
      } else if (keyEnd > key.length) {
        return false;
      }
    }
    return false;
  }
}

/** Walks the entries of one block in order. Fields are valid while `next` or `seek` answered true. */
export class BlockWalk {
  kind: EntryKind = TOMBSTONE;
  buffer: Buffer = EMPTY;
  /** The value, as positions of `buffer`. */
  start = 0;
  end = 0;
  readonly #header = new EntryHeader();
  #keyBytes = Buffer.allocUnsafeSlow(256);
  #keyLength = 0;
  #at = 0;
  #base = 0;
  #length = 0;
  #limit = 0;

  /** Goes before the first entry of the block in `buffer[base, base + length)`, which must stay as it is. */
  open(buffer: Buffer, base: number, length: number): void {
    this.buffer = buffer;
    this.#base = base;
    this.#length = length;
    this.#limit = entriesEnd(buffer, base, length);
    this.#at = base;
    this.#keyLength = 0;
  }

  /** Lets go of the block: `next` answers false until `open`. */
  close(): void {
    this.buffer = EMPTY;
    this.#at = 0;
    this.#limit = 0;
  }

  /** A copy of the key of the entry. */
  key(): string {
    return latin1Of(this.#keyBytes, 0, this.#keyLength);
  }

  /** Goes to the next entry; false when there is none. */
  next(): boolean {
    if (this.#at >= this.#limit) return false;
    const header = this.#header;
    header.decode(this.buffer, this.#at, this.#limit);
    const { shared, unshared, keyStart } = header;
    if (shared > this.#keyLength) throw new OperatingError("CORRUPT", "an entry shares more than its predecessor has");
    const length = shared + unshared;
    if (length > this.#keyBytes.length) this.#grow(length);
    this.buffer.copy(this.#keyBytes, shared, keyStart, keyStart + unshared);
    this.#keyLength = length;
    this.kind = header.kind;
    this.start = header.valueStart;
    this.end = header.end;
    this.#at = header.end;
    return true;
  }

  /** Goes to the first entry whose key is at least `key`; false when the block has none. */
  seek(key: string): boolean {
    this.#at = restartBefore(this.buffer, this.#base, this.#limit, this.#length, key, this.#header);
    this.#keyLength = 0;
    while (this.next()) if (this.key() >= key) return true;
    return false;
  }

  #grow(length: number): void {
    const larger = Buffer.allocUnsafeSlow(2 * length);
    this.#keyBytes.copy(larger, 0, 0, this.#keyLength);
    this.#keyBytes = larger;
  }
}

const EMPTY = Buffer.alloc(0);

/** Bytes that two keys have in common from their start. */
export function sharedLength(a: string, b: string): number {
  const limit = Math.min(a.length, b.length);
  let shared = 0;
  while (shared < limit && a.charCodeAt(shared) === b.charCodeAt(shared)) shared++;
  return shared;
}

function entryLength(shared: number, keyBytes: number, valueBytes: number): number {
  const unshared = keyBytes - shared;
  return varintLength(shared) + varintLength(unshared) + varintLength(2 * valueBytes + 1) + unshared + valueBytes;
}

/** Where the entries end and the restarts begin. */
function entriesEnd(buffer: Buffer, base: number, length: number): number {
  const restarts = length >= 2 ? uint16At(buffer, base + length - 2) : 0;
  const end = base + length - 2 - 2 * restarts;
  if (restarts === 0 || end <= base) throw new OperatingError("CORRUPT", "a block has an impossible restart count");
  return end;
}

/** The position of the last restart whose key is at most `key`, or of the first. */
function restartBefore(buffer: Buffer, base: number, limit: number, length: number, key: string, header: EntryHeader): number {
  let low = 0;
  let high = (base + length - 2 - limit) >>> 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    header.decode(buffer, base + uint16At(buffer, limit + 2 * middle), limit);
    if (compareKey(buffer, header.keyStart, header.unshared, key) <= 0) low = middle;
    else high = middle;
  }
  return base + uint16At(buffer, limit + 2 * low);
}

/** Compares `buffer[at, at + length)` with the bytes that `key` stands for from `from` on: below 0, 0, above 0. */
export function compareKey(buffer: Uint8Array, at: number, length: number, key: string, from = 0): number {
  const common = Math.min(length, key.length - from);
  for (let index = 0; index < common; index++) {
    const difference = buffer[at + index]! - key.charCodeAt(from + index);
    if (difference !== 0) return difference;
  }
  return length - (key.length - from);
}

function uint16At(buffer: Buffer, at: number): number {
  return buffer[at]! | (buffer[at + 1]! << 8);
}
