/**
 * Writes that an intended replica did not take, kept for it until it is back: whole records on a stand-in, which is no
 * replica of the key, and marks on the coordinator, whose own record is what the other lacks. Handing them over is
 * handoff.ts's business.
 *
 * Invariants: all hints change here; a change has a tag that no other has, so that the acknowledgement of an older state does
 * not delete a newer one. What is put here is in the caller's batch.
 */
import { background } from "../background.js";
import { copyBytes } from "../bytes/copy.js";
import { SLOTS } from "../bytes/slot.js";
import { merge, type Record } from "../causality/record.js";
import { decodeRecord, encodeRecord } from "../causality/record-encoding.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Lsm } from "../lsm/lsm.js";
import { Peek } from "../lsm/peek.js";
import { slotOfDataKey } from "./data-key.js";
import { DirtySlots } from "./dirty-slots.js";
import {
  createdOf,
  HINT_HEAD_BYTES,
  HINTS_END,
  HINTS_START,
  HintKind,
  hintEndOf,
  hintPrefix,
  slotOfHintKey,
  splitHintKey,
  tagOf,
  writeHintHead,
} from "./hint-key.js";
import { HintTotals, type TargetTotals, type Waiting } from "./hint-totals.js";
import { KeyQueues } from "./key-queues.js";
import type { MetaStore } from "./meta-store.js";

/** A page of hints: so many, or so many bytes. */
const PAGE_HINTS = 256;
const PAGE_BYTES = 1_048_576;
/** Hints that may wait for the disk at once. */
const READS_MAX = 1_024;
/** Past so many it is not looked which slots have hints. */
const LISTED_MAX = 100_000;
const LISTED_PAGE = 4_096;
const SCRATCH_BYTES_KEPT = 1_048_576;

/** Read at each use. */
export interface HintSettings {
  /** Of keys and values, all targets together. */
  readonly hintsMaxBytes: number;
  readonly hintsMaxAgeMs: number;
}

export interface HintsOptions {
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly settings: HintSettings;
}

export type { TargetTotals };

/** `full`: there was no room; the slot is dirty for the target (`Hints.dirtySlots`). */
export type Kept = "kept" | "full";

/** A hint as it was when its page was read. */
export interface Hint {
  readonly key: string;
  readonly target: MemberId;
  readonly kind: HintKind;
  readonly dataKey: string;
  /** When the oldest write of it was missed: ms of Unix time. */
  readonly createdMs: number;
  readonly tag: number;
  /** What the target lacks; null for a mark. */
  readonly record: Buffer | null;
}

/** Where the value of a hint lies. */
interface Place {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
}

export class Hints {
  /** What members lack that no hint says any more. */
  readonly dirtySlots: DirtySlots;
  /** Hints dropped since the start: for want of room, and for their age. */
  droppedFull = 0;
  droppedOld = 0;
  /** Whole records that were removed since the start: after one, this store may not have seen all its own dots of that key. */
  removedRecords = 0;
  readonly #lsm: Lsm;
  readonly #clock: Clock;
  readonly #settings: HintSettings;
  readonly #totals: HintTotals;
  /** Hints that wait for the disk, by their keys: nobody else changes them meanwhile. */
  readonly #queues = new KeyQueues(READS_MAX);
  readonly #head = Buffer.alloc(HINT_HEAD_BYTES);
  #scratch = Buffer.alloc(16_384);
  #lastTag = 0;
  /** Of each slot the tag of the last change that kept or marked something of it, since the start. */
  readonly #lastTags = new Float64Array(SLOTS);
  #isClosed = false;
  /** Works under way that keep hints in the place of others. */
  #moves = 0;

  private constructor(options: HintsOptions) {
    this.#lsm = options.lsm;
    this.#clock = options.clock;
    this.#settings = options.settings;
    this.#totals = new HintTotals(options.lsm, (target, slot) => this.dirtySlots.mark(target, slot));
    this.dirtySlots = new DirtySlots(options);
  }

  /** Reads all hints once, for the totals. Rejects with IO or CORRUPT. */
  static async open(options: HintsOptions): Promise<Hints> {
    const hints = new Hints(options);
    for (let from: string | null = HINTS_START; from !== null; ) {
      const range = { from, to: HINTS_END, limit: PAGE_HINTS, bytesMax: PAGE_BYTES, values: "with" } as const;
      const page: Awaited<ReturnType<Lsm["scan"]>> = await options.lsm.scan(range);
      for (const { key, value } of page.entries) hints.#meet(hintOf(key, value!), value!.length);
      from = page.next;
    }
    const { count, bytes } = hints;
    if (count > 0) options.log.info({ count, bytes }, "hints wait for members that were away");
    return hints;
  }

  /**
   * Keeps what stands in `bytes[start, end)`, a record without a local area, for `target`, merged with what is kept for it of
   * the same key. `unread`: only the disk tells what that is; call `keepRead`. Throws IO, and CORRUPT for a damaged record
   * where it has to be merged. Looks into the engine, so what `peek` found there is void.
   */
  keep(target: MemberId, dataKey: string, bytes: Uint8Array, start: number, end: number): Kept | "unread" {
    const waiting = this.#totals.of(target);
    const key = waiting.keyOf(HintKind.record, dataKey);
    if (this.#queues.isTaken(key)) return "unread";
    const peeked = this.#lsm.peek(key);
    if (peeked === Peek.UNREAD) return "unread";
    return this.#keepOver(waiting, dataKey, peeked === Peek.FOUND ? this.#lsm.found : null, bytes, start, end);
  }

  /** The same when the disk has to be asked. Rejects with IO or CORRUPT. */
  async keepRead(target: MemberId, dataKey: string, bytes: Uint8Array, start: number, end: number): Promise<Kept> {
    const waiting = this.#totals.of(target);
    const key = waiting.keyOf(HintKind.record, dataKey);
    const copy = Buffer.from(bytes.subarray(start, end));
    if (this.#queues.waiting >= READS_MAX) return this.#dropFull(waiting, dataKey);
    return this.#queues.run(key, async () => {
      const peeked = this.#lsm.peek(key);
      if (peeked === Peek.FOUND) return this.#keepOver(waiting, dataKey, this.#lsm.found, copy, 0, copy.length);
      const value = peeked === Peek.ABSENT ? null : await this.#lsm.read(key);
      return this.#keepOver(waiting, dataKey, value === null ? null : placeOf(value), copy, 0, copy.length);
    });
  }

  /**
   * Notes that `target` lacks what this node's own record of the key is, or will be when it is handed over. Returns the tag
   * that `unmark` wants, or 0 when there was no room: then the slot is dirty. Looks into the engine, as `keep` does.
   */
  mark(target: MemberId, dataKey: string): number {
    const waiting = this.#totals.of(target);
    const key = waiting.keyOf(HintKind.mark, dataKey);
    const bytes = key.length + HINT_HEAD_BYTES;
    let createdMs = this.#clock.wallMs();
    const peeked = this.#peekMark(key);
    if (peeked === Peek.FOUND) {
      createdMs = Math.min(createdMs, createdOf(this.#lsm.found.buffer, this.#lsm.found.start));
    } else if (!this.#hasRoom(bytes)) {
      this.#dropFull(waiting, dataKey);
      return 0;
    }
    const before = peeked === Peek.UNREAD ? this.#totals.readBefore(key) : null;
    this.#put(key, createdMs, this.#head, HINT_HEAD_BYTES);
    if (peeked !== Peek.FOUND) {
      waiting.oldestMs = Math.min(waiting.oldestMs, createdMs);
      this.#totals.changed({ waiting, kind: HintKind.mark, count: 1, bytes, slot: slotOfDataKey(dataKey) });
    }
    if (before !== null) background(this.#totals.correct(before, { waiting, kind: HintKind.mark, count: -1, bytes: -bytes }));
    return this.#lastTag;
  }

  /** The target acknowledged late what it was marked for: the mark goes, unless it was renewed or only the disk tells. */
  unmark(target: MemberId, dataKey: string, tag: number): void {
    const waiting = this.#totals.of(target);
    const key = waiting.keyOf(HintKind.mark, dataKey);
    if (tag === 0 || this.#queues.isTaken(key) || this.#peekMark(key) !== Peek.FOUND) return;
    const { buffer, start } = this.#lsm.found;
    if (tagOf(buffer, start) === tag) this.#remove({ target, key, kind: HintKind.mark }, HINT_HEAD_BYTES);
  }

  /**
   * The merged record of what is kept of the key for any of `targets`, owned by the caller, or null; `unread`: call `read`.
   * Marks say nothing: this node's own record does. Throws IO and CORRUPT.
   */
  peek(dataKey: string, targets: readonly MemberId[]): Buffer | null | "unread" {
    if (this.#totals.records === 0) return null;
    let merged: Buffer | null = null;
    for (const target of targets) {
      const key = this.#recordKey(target, dataKey);
      if (key === null) continue;
      const peeked = this.#lsm.peek(key);
      if (peeked === Peek.UNREAD) return "unread";
      if (peeked === Peek.FOUND) merged = mergedWith(merged, this.#lsm.found);
    }
    return merged;
  }

  /** The same when the disk has to be asked. Rejects with IO or CORRUPT. */
  async read(dataKey: string, targets: readonly MemberId[]): Promise<Buffer | null> {
    if (this.#totals.records === 0) return null;
    const keys = targets.flatMap((target) => this.#recordKey(target, dataKey) ?? []);
    const values = await Promise.all(keys.map((key) => this.#lsm.read(key)));
    return values.reduce<Buffer | null>(
      (merged, value) => (value === null ? merged : mergedWith(merged, placeOf(value))),
      null,
    );
  }

  /** Refuses new hints from now on, as if there were no room: this member is about to leave. */
  close(): void {
    this.#isClosed = true;
  }

  /** What `work` keeps takes the place of a hint that goes: that is no new one, and is taken also by who is about to leave. */
  async inPlaceOfOther<Result>(work: () => Promise<Result>): Promise<Result> {
    this.#moves++;
    try {
      return await work();
    } finally {
      this.#moves--;
    }
  }

  /** True when no whole record waits: then a read need not look for one. */
  get hasNoRecords(): boolean {
    return this.#totals.records === 0;
  }

  /** True when hints for the target wait. */
  has(target: MemberId): boolean {
    const waiting = this.#totals.find(target);
    return waiting !== null && waiting.count > 0;
  }

  /** Those for whom hints wait. Live views. */
  totals(): readonly TargetTotals[] {
    return this.#totals.list();
  }

  get count(): number {
    return this.#totals.count;
  }

  /** Of keys and values. */
  get bytes(): number {
    return this.#totals.bytes;
  }

  /** The tag of the last change: the same twice means that nothing was kept or marked between. */
  get lastTag(): number {
    return this.#lastTag;
  }

  /** True when something of the slot was kept or marked since `lastTag` was this. */
  hasGrown(slot: number, sinceTag: number): boolean {
    return this.#lastTags[slot]! > sinceTag;
  }

  /** The slots that hints are about; null where there are too many hints to look. Rejects with IO or CORRUPT. */
  async slots(): Promise<ReadonlySet<number> | null> {
    const slots = new Set<number>();
    if (this.count > LISTED_MAX) return null;
    for (let from: string | null = HINTS_START; from !== null; ) {
      const range = { from, to: HINTS_END, limit: LISTED_PAGE, values: "without" } as const;
      const page: Awaited<ReturnType<Lsm["scan"]>> = await this.#lsm.scan(range);
      for (const { key } of page.entries) slots.add(slotOfHintKey(key));
      from = page.next;
    }
    return slots;
  }

  /** Some hints for a target, records before marks, in the order of their keys. Rejects with IO or CORRUPT. */
  async page(
    target: MemberId,
    from: string | null,
  ): Promise<{ readonly hints: readonly Hint[]; readonly next: string | null }> {
    const start = from ?? hintPrefix(target, HintKind.record);
    const range = { from: start, to: hintEndOf(target), limit: PAGE_HINTS, bytesMax: PAGE_BYTES, values: "with" } as const;
    const { entries, next } = await this.#lsm.scan(range);
    return { hints: entries.map(({ key, value }) => hintOf(key, value!)), next };
  }

  /** Removes a hint that was delivered, unless it has changed since its page was read. Rejects with IO or CORRUPT. */
  async remove(hint: Hint): Promise<boolean> {
    const { key } = hint;
    if (this.#queues.isTaken(key)) return false;
    const peeked = this.#lsm.peek(key);
    if (peeked === Peek.FOUND) return this.#removeIf(hint, this.#lsm.found);
    if (peeked === Peek.ABSENT || this.#queues.waiting >= READS_MAX) return false;
    return this.#queues.run(key, async () => {
      const { lastTag } = this;
      const value = await this.#lsm.read(key);
      const now = this.#lsm.peek(key);
      if (now === Peek.FOUND) return this.#removeIf(hint, this.#lsm.found);
      // A mark is written without waiting for its turn, and could have left the memory again.
      const isCurrent = hint.kind === HintKind.record || lastTag === this.lastTag;
      return now === Peek.UNREAD && value !== null && isCurrent && this.#removeIf(hint, placeOf(value));
    });
  }

  /**
   * Drops the hints for a target that are older than they may be; their slots are dirty from then on. Walks over all hints
   * for it, until `isCancelled`. Rejects with IO or CORRUPT.
   */
  async dropOld(target: MemberId, isCancelled: () => boolean): Promise<void> {
    const nowMs = this.#clock.wallMs();
    let oldestMs = nowMs;
    for (let from: string | null = null; ; ) {
      const { hints, next }: Awaited<ReturnType<Hints["page"]>> = await this.page(target, from);
      const bornMs = nowMs - this.#settings.hintsMaxAgeMs;
      const old = hints.filter((hint) => hint.createdMs < bornMs);
      for (const hint of old) this.dirtySlots.mark(target, slotOfDataKey(hint.dataKey));
      if (old.length > 0) this.dirtySlots.save();
      for (const hint of hints) {
        if (hint.createdMs < bornMs && (await this.remove(hint))) this.droppedOld++;
        else oldestMs = Math.min(oldestMs, hint.createdMs);
      }
      if (next === null) break;
      from = next;
      await pause(this.#clock, 0);
      if (isCancelled()) return;
    }
    const waiting = this.#totals.of(target);
    waiting.oldestMs = waiting.count === 0 ? Number.POSITIVE_INFINITY : oldestMs;
  }

  /**
   * Who walked over all hints for a target, and met none, tells what `lastTag` was before: where nothing has changed since,
   * there are none, whatever the totals say.
   */
  metNone(target: MemberId, lastTag: number): void {
    if (lastTag === this.#lastTag) this.#totals.metNone(target);
  }

  /** The engine was emptied in this turn. */
  cleared(): void {
    this.#totals.cleared();
  }

  /** Before the engine is closed. */
  stop(): void {
    this.dirtySlots.save();
  }

  /** The key of a whole record for the target; null where there is none for it. */
  #recordKey(target: MemberId, dataKey: string): string | null {
    const waiting = this.#totals.find(target);
    if (waiting === null || waiting.counts[HintKind.record] === 0) return null;
    return waiting.keyOf(HintKind.record, dataKey);
  }

  /** At the start: a hint that is there. */
  #meet({ target, kind, createdMs, tag, key }: Hint, valueBytes: number): void {
    const waiting = this.#totals.of(target);
    waiting.oldestMs = Math.min(waiting.oldestMs, createdMs);
    this.#lastTag = Math.max(this.#lastTag, tag);
    this.#totals.add({ waiting, kind, count: 1, bytes: key.length + valueBytes });
  }

  /** A damaged table must not fail a write that only wants to leave a mark. */
  #peekMark(key: string): Peek {
    try {
      return this.#lsm.peek(key);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return Peek.UNREAD;
    }
  }

  #keepOver(waiting: Waiting, dataKey: string, old: Place | null, bytes: Uint8Array, start: number, end: number): Kept {
    let merged = { bytes, start, end };
    let createdMs = this.#clock.wallMs();
    let oldBytes = 0;
    if (old !== null) {
      const before = decodeRecord(old.buffer, old.start + HINT_HEAD_BYTES, old.end);
      const fresh = decodeRecord(bytes, start, end);
      const after = merge(before, fresh);
      if (after === before) return "kept";
      if (after !== fresh) merged = wholeOf(encodeRecord(after));
      createdMs = Math.min(createdMs, createdOf(old.buffer, old.start));
      oldBytes = old.end - old.start;
    }
    const key = waiting.keyOf(HintKind.record, dataKey);
    const valueBytes = HINT_HEAD_BYTES + merged.end - merged.start;
    const grown = valueBytes - oldBytes + (old === null ? key.length : 0);
    if (!this.#hasRoom(grown)) return this.#dropFull(waiting, dataKey);
    const scratch = this.#room(valueBytes);
    copyBytes(merged.bytes, merged.start, merged.end, scratch, HINT_HEAD_BYTES);
    this.#put(key, createdMs, scratch, valueBytes);
    waiting.oldestMs = Math.min(waiting.oldestMs, createdMs);
    this.#totals.changed({ waiting, kind: HintKind.record, count: old === null ? 1 : 0, bytes: grown });
    return "kept";
  }

  /** Room for a value. */
  #room(bytes: number): Buffer {
    if (bytes <= this.#scratch.length) return this.#scratch;
    const larger = Buffer.allocUnsafeSlow(bytes);
    if (bytes <= SCRATCH_BYTES_KEPT) this.#scratch = larger;
    return larger;
  }

  #put(key: string, createdMs: number, value: Buffer, valueBytes: number): void {
    writeHintHead(value, { createdMs, tag: ++this.#lastTag });
    this.#lastTags[slotOfHintKey(key)] = this.#lastTag;
    this.#lsm.put(key, value, 0, valueBytes);
  }

  #removeIf(hint: Hint, { buffer, start, end }: Place): boolean {
    if (tagOf(buffer, start) !== hint.tag) return false;
    this.#remove(hint, end - start);
    return true;
  }

  #remove({ target, key, kind }: Pick<Hint, "target" | "key" | "kind">, valueBytes: number): void {
    this.#lsm.remove(key);
    if (kind === HintKind.record) this.removedRecords++;
    this.#totals.changed({ waiting: this.#totals.of(target), kind, count: -1, bytes: -(key.length + valueBytes) });
  }

  #hasRoom(grownBytes: number): boolean {
    if (this.#isClosed && this.#moves === 0) return false;
    return grownBytes <= 0 || this.#totals.bytes + grownBytes <= this.#settings.hintsMaxBytes;
  }

  #dropFull(waiting: Waiting, dataKey: string): "full" {
    this.droppedFull++;
    this.dirtySlots.mark(waiting.target, slotOfDataKey(dataKey));
    return "full";
  }
}

function hintOf(key: string, value: Buffer): Hint {
  if (value.length < HINT_HEAD_BYTES) throw new OperatingError("CORRUPT", "a hint is cut off");
  const { target, kind, dataKey } = splitHintKey(key);
  const record = kind === HintKind.record ? value.subarray(HINT_HEAD_BYTES) : null;
  return { key, target, kind, dataKey, createdMs: createdOf(value, 0), tag: tagOf(value, 0), record };
}

function placeOf(buffer: Buffer): Place {
  return { buffer, start: 0, end: buffer.length };
}

function wholeOf(bytes: Uint8Array): { bytes: Uint8Array; start: number; end: number } {
  return { bytes, start: 0, end: bytes.length };
}

/** A record joined with the one of a hint, encoded. */
function mergedWith(before: Buffer | null, { buffer, start, end }: Place): Buffer {
  const record = buffer.subarray(start + HINT_HEAD_BYTES, end);
  if (before === null) return Buffer.from(record);
  const held: Record = decodeRecord(before);
  const after = merge(held, decodeRecord(record));
  return after === held ? before : encodeRecord(after);
}
