/**
 * How a record from elsewhere stands to the one at hand, told from their bytes: what replicas send each other in quiet times
 * needs no more than this. Reads both contexts in place and allocates nothing; where it says `apart`, only decoding and
 * `merge` can tell.
 *
 * Invariant: where it says anything else, `merge` of the two records gives just that, down to the bytes, and what came is
 * as well formed as `decodeRecord` would have it. A test holds the two together.
 */
import { assert } from "../assert.js";
import { writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint } from "../bytes/varint.js";
import { ACTOR_BYTES, STORE_ID_BYTES } from "./actor.js";
import {
  CONTEXT,
  corruptRecord,
  DOT_HEAD_BYTES,
  FIELDS,
  LOCAL,
  NO_VALUE,
  readAtLeast,
  skip,
  TYPE_MASK,
  TYPE_STRING,
  TYPE_TOMBSTONE,
  WRITE_ID,
} from "./record-format.js";
import type { RecordView } from "./record-view.js";

/**
 * Of a record from elsewhere: `equal` to the one at hand; `ahead`: it is what the two merge to, byte for byte; `behind`: the
 * one at hand is that; `apart`: not known without decoding.
 */
export type Standing = "equal" | "ahead" | "behind" | "apart";

/** Owned by one reader and reused. */
export class RecordComparison {
  /** Of the last comparison that did not say `apart`: are both the same version, whatever their contexts have seen besides? */
  isSameVersion = false;
  /** The last dot of the own store in the context that came: its epoch, 0 where there is none, and its sequence. */
  ownEpoch = 0;
  ownSequence = 0;

  readonly #storeId = Buffer.allocUnsafeSlow(STORE_ID_BYTES);
  readonly #mine = new ContextReader();
  readonly #theirs = new ContextReader();
  readonly #mineAt: Cursor = { at: 0 };
  readonly #theirsAt: Cursor = { at: 0 };

  /** `storeId` (8 latin1 characters): whose dots are looked out for. */
  constructor(storeId: string) {
    assert(storeId.length === STORE_ID_BYTES, "comparison: a store id is 8 bytes");
    writeLatin1(this.#storeId, 0, storeId);
  }

  /** How `incoming` stands to `old` (null: there is none, which anything is ahead of). Throws CORRUPT. */
  compare(old: RecordView | null, incoming: RecordView): Standing {
    this.#reset();
    const isSimple = incoming.versionCount === 1 && (incoming.flags & LOCAL) === 0 && (incoming.kind & FIELDS) === 0;
    if (!isSimple || (old !== null && old.versionCount > 1)) return "apart";
    requireKnownType(incoming);
    if (old !== null && this.#isPlainlyAhead(old, incoming)) return "ahead";
    this.#reset();
    const theirs = this.#theirs;
    theirs.open(incoming);
    if (old === null) {
      while (theirs.isOpen) {
        this.#noteOwnOf(theirs);
        theirs.next();
      }
      theirs.requireWhole();
      return "ahead";
    }
    return this.#compareContexts(old, incoming);
  }

  #reset(): void {
    this.isSameVersion = false;
    this.ownEpoch = 0;
    this.ownSequence = 0;
  }

  /**
   * True in the usual case, told in one pass: the same stores have written both, and what came has seen all of the one at hand
   * and is new to it, so it is ahead. Where it says false anything may be. What came is well formed as far as it is like the one
   * at hand; the rest is checked here.
   */
  #isPlainlyAhead(old: RecordView, incoming: RecordView): boolean {
    if (((old.kind | incoming.kind) & (WRITE_ID | FIELDS)) !== 0 || (old.flags & incoming.flags & CONTEXT) === 0) return false;
    const a = old.bytes;
    const b = incoming.bytes;
    const aDot = old.bodyStart;
    const bDot = incoming.bodyStart;
    const aEnd = old.valueStart;
    const bEnd = incoming.valueStart;
    const mine = this.#mineAt;
    const theirs = this.#theirsAt;
    mine.at = aDot + DOT_HEAD_BYTES;
    theirs.at = bDot + DOT_HEAD_BYTES;
    const mineOfDot = readVarint(a, mine, aEnd);
    const theirsOfDot = readVarint(b, theirs, bEnd);
    const entries = readVarint(a, mine, aEnd);
    if (readVarint(b, theirs, bEnd) !== entries || entries < 2) return false;
    let seesMine = false;
    let coversTheirs = false;
    for (let left = entries; left > 0; left--) {
      const actor = theirs.at;
      if (actor + ACTOR_BYTES >= bEnd || !isSame(a, mine.at, b, actor, ACTOR_BYTES)) return false;
      mine.at += ACTOR_BYTES;
      theirs.at += ACTOR_BYTES;
      const before = readVarint(a, mine, aEnd);
      const after = readVarint(b, theirs, bEnd);
      if (after < before) return false;
      if (isSame(b, actor, this.#storeId, 0, STORE_ID_BYTES)) this.#noteOwn(b, actor, after);
      if (isSame(b, actor, a, aDot, ACTOR_BYTES)) seesMine = after >= mineOfDot;
      if (isSame(b, actor, b, bDot, ACTOR_BYTES)) coversTheirs = after >= theirsOfDot && before < theirsOfDot;
    }
    return seesMine && coversTheirs && theirs.at === bEnd;
  }

  #compareContexts(old: RecordView, incoming: RecordView): Standing {
    const mine = this.#mine;
    const theirs = this.#theirs;
    mine.open(old);
    let isAhead = false;
    let isBehind = false;
    let seesTheirs = false;
    let seesMine = false;
    while (mine.isOpen || theirs.isOpen) {
      const order = !mine.isOpen ? 1 : !theirs.isOpen ? -1 : compareActors(mine, mine.actorStart, theirs, theirs.actorStart);
      if (order <= 0) {
        if (order < 0 || mine.sequence > theirs.sequence) isBehind = true;
        if (order === 0 && theirs.isOfDot && mine.sequence >= theirs.dotSequence) seesTheirs = true;
      }
      if (order >= 0) {
        this.#noteOwnOf(theirs);
        if (order > 0 || theirs.sequence > mine.sequence) isAhead = true;
        if (order === 0 && mine.isOfDot && theirs.sequence >= mine.dotSequence) seesMine = true;
        theirs.next();
      }
      if (order <= 0) mine.next();
    }
    theirs.requireWhole();
    // Both have seen what the other has not: nearly always siblings.
    if (isAhead && isBehind) return "apart";
    this.isSameVersion =
      mine.dotSequence === theirs.dotSequence && compareActors(mine, old.bodyStart, theirs, incoming.bodyStart) === 0;
    if (this.isSameVersion) {
      const surplus = fullnessOf(incoming.kind) - fullnessOf(old.kind);
      if (isAhead) return surplus >= 0 ? "ahead" : "apart";
      if (isBehind) return surplus <= 0 ? "behind" : "apart";
      return surplus === 0 ? "equal" : surplus > 0 ? "ahead" : "behind";
    }
    // What the wider context has seen and does not hold is superseded; that it is its own version cannot be, unless dots were
    // given twice.
    if (isBehind) return seesMine ? "apart" : "behind";
    return seesTheirs ? "apart" : "ahead";
  }

  #noteOwnOf({ bytes, actorStart, sequence }: ContextReader): void {
    if (isSame(bytes, actorStart, this.#storeId, 0, STORE_ID_BYTES)) this.#noteOwn(bytes, actorStart, sequence);
  }

  /** Entries are sorted, so the last one that is noted has the highest epoch. */
  #noteOwn(bytes: Uint8Array, actorStart: number, sequence: number): void {
    const at = actorStart + STORE_ID_BYTES;
    this.ownEpoch = ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
    this.ownSequence = sequence;
  }
}

/** Walks the context of a record of one version, and checks what decoding it would check. */
class ContextReader {
  bytes: Uint8Array = new Uint8Array(0);
  dotSequence = 0;
  /** The entry at hand, unless all have been read: where its actor lies, and its sequence. */
  isOpen = false;
  actorStart = 0;
  sequence = 0;
  /** True when the entry at hand is of the version's own actor. */
  isOfDot = false;

  #dotStart = 0;
  #bodyEnd = 0;
  #entriesLeft = 0;
  #isDotAlone = false;
  #coversDot = false;
  readonly #cursor: Cursor = { at: 0 };

  /** Goes to the first entry. REQUIRES a record of one version. */
  open(view: RecordView): void {
    const { bytes, valueStart: end } = view;
    const cursor = this.#cursor;
    this.bytes = bytes;
    this.#dotStart = view.bodyStart;
    this.#bodyEnd = end;
    cursor.at = view.bodyStart + DOT_HEAD_BYTES;
    this.dotSequence = readAtLeast(bytes, cursor, end, 1);
    if ((view.kind & WRITE_ID) !== 0) skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
    if ((view.kind & FIELDS) !== 0) skip(cursor, readAtLeast(bytes, cursor, end, 1), end);
    this.#isDotAlone = (view.flags & CONTEXT) === 0;
    this.isOpen = true;
    if (this.#isDotAlone) {
      this.#entriesLeft = 0;
      this.actorStart = view.bodyStart;
      this.sequence = this.dotSequence;
      this.isOfDot = true;
      this.#coversDot = true;
      return;
    }
    this.#entriesLeft = readVarint(bytes, cursor, end);
    if (this.#entriesLeft > (end - cursor.at) / (ACTOR_BYTES + 1)) {
      throw corruptRecord("a context has more entries than there is room for");
    }
    this.#coversDot = false;
    const isOnlyEntry = this.#entriesLeft === 1;
    this.actorStart = -1;
    this.next();
    if (isOnlyEntry && this.isOfDot && this.sequence === this.dotSequence) throw corruptRecord("its context is redundant");
  }

  next(): void {
    if (this.#entriesLeft === 0) {
      this.isOpen = false;
      return;
    }
    this.#entriesLeft--;
    const before = this.actorStart;
    this.actorStart = skip(this.#cursor, ACTOR_BYTES, this.#bodyEnd);
    if (before >= 0 && compareActors(this, before, this, this.actorStart) >= 0) throw corruptRecord("a context is not sorted");
    this.sequence = readAtLeast(this.bytes, this.#cursor, this.#bodyEnd, 1);
    this.isOfDot = compareActors(this, this.actorStart, this, this.#dotStart) === 0;
    if (this.isOfDot && this.sequence >= this.dotSequence) this.#coversDot = true;
  }

  /** REQUIRES that all entries were read. Throws CORRUPT where they are not the end of the body, or leave the dot out. */
  requireWhole(): void {
    if (this.#cursor.at !== this.#bodyEnd) throw corruptRecord("its body is longer than its parts");
    if (!this.#coversDot) throw corruptRecord("its context does not cover a version");
  }
}

/** Negative when the actor at `a` sorts before the one at `b`. */
function compareActors(mine: ContextReader, a: number, theirs: ContextReader, b: number): number {
  const left = mine.bytes;
  const right = theirs.bytes;
  for (let at = 0; at < ACTOR_BYTES; at++) {
    const difference = left[a + at]! - right[b + at]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

function isSame(left: Uint8Array, a: number, right: Uint8Array, b: number, length: number): boolean {
  for (let at = 0; at < length; at++) if (left[a + at] !== right[b + at]) return false;
  return true;
}

/** Which of two copies of one version has more: see `fuller` in record.ts. */
function fullnessOf(kind: number): number {
  return (kind & NO_VALUE) === 0 ? 2 : (kind & TYPE_MASK) === TYPE_TOMBSTONE ? 1 : 0;
}

function requireKnownType({ kind }: RecordView): void {
  const type = kind & TYPE_MASK;
  if (type !== TYPE_STRING && type !== TYPE_TOMBSTONE) {
    throw corruptRecord("a version's type is not known to this version of Kindred");
  }
  if (type === TYPE_TOMBSTONE && (kind & NO_VALUE) === 0) throw corruptRecord("a tombstone has a value");
}
