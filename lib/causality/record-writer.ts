/**
 * The record of a plain SET or DEL, written from the old record's bytes into a reused buffer: no objects, no allocation. The
 * bytes are those of `encodeRecord(supersede(decodeRecord(old), COVERS_ALL, version))`; a test holds the two together.
 */
import { assert } from "../assert.js";
import { copyBytes } from "../bytes/copy.js";
import { writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { Views } from "../bytes/views.js";
import { ACTOR_BYTES, type Actor } from "./actor.js";
import {
  CONTEXT,
  corruptRecord,
  DOT_HEAD_BYTES,
  EXPIRY,
  FIELDS,
  NO_VALUE,
  RECORD_FORMAT,
  readAtLeast,
  skip,
  TYPE_STRING,
  TYPE_TOMBSTONE,
  WRITE_ID,
  writeStamp,
} from "./record-format.js";
import { RecordView } from "./record-view.js";

/** The event that a write is. May be one object that its owner fills anew for each write. */
export interface Mint {
  readonly actor: Actor;
  /** Higher than any of the actor that the old record has seen. */
  readonly sequence: number;
  /** Hybrid clock stamp. */
  readonly stamp: number;
}

const VARINT_BYTES_MAX = 8;
const ENTRY_BYTES_MAX = ACTOR_BYTES + VARINT_BYTES_MAX;
/** Format, flags and kind, expiry and body length, the dot, the context's count. */
const HEAD_BYTES_MAX = 3 + 2 * VARINT_BYTES_MAX + DOT_HEAD_BYTES + 2 * VARINT_BYTES_MAX;
const SCRATCH_BYTES = 16_384;

export class RecordWriter {
  /** The record last written is `bytes[0, end)`, until the next write. */
  bytes: Buffer = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  end = 0;
  readonly #views = new Views();

  readonly #old = new RecordView();
  readonly #cursor: Cursor = { at: 0 };
  #actor: Actor = "";
  readonly #actorBytes = Buffer.allocUnsafeSlow(ACTOR_BYTES);
  /** The entries of the context to write, as far as it is not the new dot alone. */
  #context: Buffer = Buffer.allocUnsafeSlow(1_024);
  #contextEnd = 0;
  #entries = 0;

  /**
   * Writes the record of SET over the old record in `old[oldStart, oldEnd)` (null: there is none). `expiryMs` 0: never.
   * REQUIRES that `old` and `value` do not lie in this writer's own buffer. Throws CORRUPT where the old record is damaged.
   */
  putBytes(mint: Mint, value: Uint8Array, expiryMs: number, old: Uint8Array | null, oldStart: number, oldEnd: number): void {
    const { length } = value;
    this.#findContext(mint, old, oldStart, oldEnd);
    const at = this.#writeHead(mint, TYPE_STRING, expiryMs, length);
    this.end = copyBytes(value, 0, length, this.bytes, at);
  }

  /** The same with a latin1 string as the value. */
  putString(mint: Mint, value: string, expiryMs: number, old: Uint8Array | null, oldStart: number, oldEnd: number): void {
    this.#findContext(mint, old, oldStart, oldEnd);
    const at = this.#writeHead(mint, TYPE_STRING, expiryMs, value.length);
    this.end = writeLatin1(this.bytes, at, value);
  }

  /** Writes the record of DEL: a tombstone that supersedes all. */
  remove(mint: Mint, old: Uint8Array | null, oldStart: number, oldEnd: number): void {
    this.#findContext(mint, old, oldStart, oldEnd);
    this.end = this.#writeHead(mint, TYPE_TOMBSTONE | NO_VALUE, 0, 0);
  }

  /** The record last written, until the next write. */
  view(): Uint8Array {
    return this.#views.of(this.bytes, 0, this.end);
  }

  /** Writes everything before the value, with room for that; returns where it starts. */
  #writeHead(mint: Mint, kind: number, expiryMs: number, valueLength: number): number {
    const hasContext = this.#entries > 1;
    const contextLength = hasContext ? varintLength(this.#entries) + this.#contextEnd : 0;
    const bodyLength = DOT_HEAD_BYTES + varintLength(mint.sequence) + contextLength;
    this.bytes = withRoom(this.bytes, 0, HEAD_BYTES_MAX + contextLength + valueLength);
    const { bytes } = this;
    bytes[0] = RECORD_FORMAT;
    bytes[1] = hasContext ? CONTEXT : 0;
    bytes[2] = expiryMs === 0 ? kind : kind | EXPIRY;
    let at = 3;
    if (expiryMs !== 0) at = writeVarint(bytes, at, expiryMs);
    at = writeVarint(bytes, at, bodyLength);
    at = copyBytes(this.#actorBytes, 0, ACTOR_BYTES, bytes, at);
    at = writeStamp(bytes, at, mint.stamp);
    at = writeVarint(bytes, at, mint.sequence);
    if (!hasContext) return at;
    at = writeVarint(bytes, at, this.#entries);
    return copyBytes(this.#context, 0, this.#contextEnd, bytes, at);
  }

  /** Collects the entries of the new context: the old ones, the actor's own replaced or put in its place. */
  #findContext(mint: Mint, old: Uint8Array | null, oldStart: number, oldEnd: number): void {
    if (mint.actor !== this.#actor) this.#useActor(mint.actor);
    this.#entries = 1;
    this.#contextEnd = 0;
    if (old === null) return;
    const view = this.#old;
    view.read(old, oldStart, oldEnd);
    const end = view.valueStart;
    const cursor = this.#cursor;
    cursor.at = view.bodyStart + DOT_HEAD_BYTES;
    if ((view.flags & CONTEXT) === 0) {
      const sequence = readAtLeast(old, cursor, end, 1);
      const order = this.#compareActor(old, view.bodyStart);
      if (order === 0) {
        assert(sequence < mint.sequence, "record: a new version's dot was never seen");
        return;
      }
      this.#entries = 2;
      if (order > 0) this.#appendOwn(mint);
      this.#append(old, view.bodyStart, sequence);
      if (order < 0) this.#appendOwn(mint);
      return;
    }
    readVarint(old, cursor, end);
    if ((view.kind & WRITE_ID) !== 0) skip(cursor, readAtLeast(old, cursor, end, 1), end);
    if ((view.kind & FIELDS) !== 0) skip(cursor, readAtLeast(old, cursor, end, 1), end);
    this.#mergeEntries(mint, old, end);
  }

  #mergeEntries(mint: Mint, old: Uint8Array, end: number): void {
    const cursor = this.#cursor;
    const count = readAtLeast(old, cursor, end, 1);
    if (count > (end - cursor.at) / (ACTOR_BYTES + 1)) throw corruptRecord("a context has more entries than there is room for");
    const first = cursor.at;
    // Where the actor's own entry goes, and where the old ones go on behind it.
    let ownAt = -1;
    let restAt = -1;
    this.#entries = count + 1;
    for (let index = 0; index < count; index++) {
      const actorStart = skip(cursor, ACTOR_BYTES, end);
      const sequence = readAtLeast(old, cursor, end, 1);
      if (ownAt >= 0) continue;
      const order = this.#compareActor(old, actorStart);
      if (order < 0) continue;
      ownAt = restAt = actorStart;
      if (order > 0) continue;
      assert(sequence < mint.sequence, "record: a new version's dot was never seen");
      restAt = cursor.at;
      this.#entries = count;
    }
    if (ownAt < 0) ownAt = restAt = cursor.at;
    this.#context = withRoom(this.#context, 0, cursor.at - first + ENTRY_BYTES_MAX);
    this.#contextEnd = copyBytes(old, first, ownAt, this.#context, 0);
    this.#appendOwn(mint);
    this.#contextEnd = copyBytes(old, restAt, cursor.at, this.#context, this.#contextEnd);
  }

  #appendOwn(mint: Mint): void {
    this.#append(this.#actorBytes, 0, mint.sequence);
  }

  #append(from: Uint8Array, actorStart: number, sequence: number): void {
    this.#context = withRoom(this.#context, this.#contextEnd, ENTRY_BYTES_MAX);
    const at = copyBytes(from, actorStart, actorStart + ACTOR_BYTES, this.#context, this.#contextEnd);
    this.#contextEnd = writeVarint(this.#context, at, sequence);
  }

  /** How the actor at `at` stands to the writing one: negative when it sorts before. */
  #compareActor(bytes: Uint8Array, at: number): number {
    const own = this.#actorBytes;
    for (let index = 0; index < ACTOR_BYTES; index++) {
      const difference = bytes[at + index]! - own[index]!;
      if (difference !== 0) return difference;
    }
    return 0;
  }

  #useActor(actor: Actor): void {
    assert(actor.length === ACTOR_BYTES, "record: an actor is 12 bytes");
    writeLatin1(this.#actorBytes, 0, actor);
    this.#actor = actor;
  }
}

/** The buffer, or a larger copy of its first `used` bytes, with room for `extra` bytes behind them. */
function withRoom(buffer: Buffer, used: number, extra: number): Buffer {
  if (used + extra <= buffer.length) return buffer;
  const larger = Buffer.allocUnsafeSlow(Math.max(2 * buffer.length, used + extra));
  buffer.copy(larger, 0, 0, used);
  return larger;
}
