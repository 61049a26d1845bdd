/**
 * Where things live in the engine. Keys are latin1 strings that sort bytewise:
 *
 *     data    00 | slot u16 | database u8 | hash32 of the key u32 | key
 *     hints   01 | ... (hint-key.ts)
 *     expiry  02 | expiry in ms u48 | data key without its space byte
 *     meta    03 | name
 *     reaping 04 | data key without its space byte (record-index.ts)
 *     reaps   05 | slot u16 (slot-reaps.ts)
 *
 * Numbers are big-endian. A page of a scan ends only between hashes, so a cursor is a slot and a hash. The order is part
 * of the stored format: docs/FORMATS.md.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import { hash32 } from "../bytes/hash.js";
import { latin1Of } from "../bytes/latin1.js";
import { SLOTS, slotOf } from "../bytes/slot.js";
import { KEY_BYTES_MAX as ENGINE_KEY_BYTES_MAX } from "../lsm/block.js";
import { KeysAhead } from "../lsm/keys-ahead.js";

export const DATABASES = 16;

const SPACE_DATA = 0;
const SPACE_EXPIRY = 2;
const SPACE_META = 3;
const SPACE_REAPING = 4;
const SPACE_REAPS = 5;

/** Bytes before the raw key in a data key: space, slot, database, hash. */
export const DATA_PREFIX = 8;
/** Of those that are stored: the key of a hint, which has nine bytes more, has to find a place in the engine. */
const DATA_KEY_BYTES_MAX = ENGINE_KEY_BYTES_MAX - 9;
/** The longest key of a client. */
export const RAW_KEY_BYTES_MAX = DATA_KEY_BYTES_MAX - DATA_PREFIX;
/** The data key's bytes after its space, up to the raw key. */
const PLACE_PREFIX = DATA_PREFIX - 1;
const EXPIRY_PREFIX = 7;

/** First key after all data keys. */
export const DATA_END = String.fromCharCode(SPACE_DATA + 1);
export const EXPIRY_START = String.fromCharCode(SPACE_EXPIRY);

/** All keys of the node's own records lie from META_START to before META_END. */
export const META_START = String.fromCharCode(SPACE_META);
export const META_END = String.fromCharCode(SPACE_META + 1);

export const REAPING_START = String.fromCharCode(SPACE_REAPING);
export const REAPING_END = String.fromCharCode(SPACE_REAPING + 1);

/** Builds data keys in one reused buffer. Keys up to `keyBytesMax` bytes. */
export class DataKeys {
  #scratch = Buffer.alloc(1_024);
  /** What `ahead` has made, of which keys, which of them `of` is asked for next, and in one buffer the bytes of all. */
  readonly #ahead = new KeysAhead();
  #keysAhead: readonly Uint8Array[] = [];
  #nextAhead = 0;
  #databaseAhead = 0;
  #scratchAhead = Buffer.alloc(4_096);

  /** The engine key of a client's key. */
  of(database: number, key: Uint8Array): string {
    const next = this.#nextAhead;
    const { keys } = this.#ahead;
    if (next < keys.length && this.#keysAhead[next] === key && database === this.#databaseAhead) {
      this.#nextAhead++;
      return keys[next]!;
    }
    const length = DATA_PREFIX + key.length;
    if (this.#scratch.length < length) this.#scratch = Buffer.alloc(2 * length);
    writeDataKey(this.#scratch, 0, database, key);
    return latin1Of(this.#scratch, 0, length);
  }

  /**
   * The engine keys of keys that `of` is asked for next, by these same objects and in this order: it need not make them again.
   * Borrowed until the next call; the keys must not change before. Without keys: forgets what was made.
   */
  ahead(database: number, keys: readonly Uint8Array[]): KeysAhead {
    const ahead = this.#ahead;
    let bytes = 0;
    for (const key of keys) bytes += DATA_PREFIX + key.length;
    if (this.#scratchAhead.length < bytes) this.#scratchAhead = Buffer.alloc(2 * bytes);
    const scratch = this.#scratchAhead;
    ahead.begin(scratch);
    let start = 0;
    for (const key of keys) {
      writeDataKey(scratch, start, database, key);
      const end = start + DATA_PREFIX + key.length;
      ahead.add(latin1Of(scratch, start, end), start);
      start = end;
    }
    this.#keysAhead = keys;
    this.#databaseAhead = database;
    this.#nextAhead = 0;
    return ahead;
  }
}

function writeDataKey(target: Buffer, at: number, database: number, key: Uint8Array): void {
  assert(database >= 0 && database < DATABASES, "data key: database out of range");
  const slot = slotOf(key);
  const hash = hash32(key, 0, key.length);
  target[at] = SPACE_DATA;
  target[at + 1] = slot >>> 8;
  target[at + 2] = slot & 0xff;
  target[at + 3] = database;
  target[at + 4] = hash >>> 24;
  target[at + 5] = (hash >>> 16) & 0xff;
  target[at + 6] = (hash >>> 8) & 0xff;
  target[at + 7] = hash & 0xff;
  copyBytes(key, 0, key.length, target, at + DATA_PREFIX);
}

/** The first possible data key at a slot, database and hash. */
export function dataKeyFloor(slot: number, database: number, hash: number): string {
  assert(slot >= 0 && slot < SLOTS, "data key: slot out of range");
  return String.fromCharCode(SPACE_DATA, slot >>> 8, slot & 0xff, database) + text32(hash);
}

export function isDataKey(key: string): boolean {
  return key.charCodeAt(0) === SPACE_DATA;
}

/** True for what may be looked up as the engine key of a client's key, whoever names it. */
export function isWholeDataKey(key: string): boolean {
  if (key.length < DATA_PREFIX || !isDataKey(key)) return false;
  return slotOfDataKey(key) < SLOTS && databaseOfDataKey(key) < DATABASES;
}

/** True for one that may be stored. */
export function isStorableDataKey(key: string): boolean {
  return key.length <= DATA_KEY_BYTES_MAX && isWholeDataKey(key);
}

export function slotOfDataKey(dataKey: string): number {
  return (dataKey.charCodeAt(1) << 8) | dataKey.charCodeAt(2);
}

export function databaseOfDataKey(dataKey: string): number {
  return dataKey.charCodeAt(3);
}

export function hashOfDataKey(dataKey: string): number {
  const high = (dataKey.charCodeAt(4) << 8) | dataKey.charCodeAt(5);
  return high * 65_536 + ((dataKey.charCodeAt(6) << 8) | dataKey.charCodeAt(7));
}

/** The client's key, latin1. */
export function rawKeyOf(dataKey: string): string {
  return dataKey.slice(DATA_PREFIX);
}

/** The index entry that says when a record's version expires. */
export function expiryKey(expiryMs: number, dataKey: string): string {
  assert(expiryMs >= 0 && expiryMs < 2 ** 48, "expiry key: time out of range");
  return expiryKeyFloor(expiryMs) + dataKey.slice(1);
}

/** The first possible expiry key at a time. */
export function expiryKeyFloor(expiryMs: number): string {
  const high = Math.floor(expiryMs / 2 ** 32);
  return String.fromCharCode(SPACE_EXPIRY, high >>> 8, high & 0xff) + text32(expiryMs % 2 ** 32);
}

/** The time and the data key of an expiry key. */
export function splitExpiryKey(key: string): { expiryMs: number; dataKey: string } {
  assert(key.length >= EXPIRY_PREFIX + PLACE_PREFIX, "expiry key: too short");
  let expiryMs = 0;
  for (let at = 1; at < EXPIRY_PREFIX; at++) expiryMs = expiryMs * 256 + key.charCodeAt(at);
  return { expiryMs, dataKey: String.fromCharCode(SPACE_DATA) + key.slice(EXPIRY_PREFIX) };
}

/** The index entry of a record that may be reaped or pruned. */
export function reapingKey(dataKey: string): string {
  return REAPING_START + dataKey.slice(1);
}

/** The first possible key of that index in a slot; `SLOTS`: the first behind all. */
export function reapingKeyFloor(slot: number): string {
  return slot === SLOTS ? REAPING_END : REAPING_START + String.fromCharCode(slot >>> 8, slot & 0xff);
}

/** The data key of an entry of that index. */
export function dataKeyOfReaping(key: string): string {
  return String.fromCharCode(SPACE_DATA) + key.slice(1);
}

/** Where it stands when a slot was reaped last. */
export function slotReapKey(slot: number): string {
  return String.fromCharCode(SPACE_REAPS, slot >>> 8, slot & 0xff);
}

/** A key of the node's own records. */
export function metaKey(name: string): string {
  return String.fromCharCode(SPACE_META) + name;
}

function text32(value: number): string {
  return String.fromCharCode(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}
