/**
 * The records of this node as they are stored: what is looked up in memory or fetched from the disk, and, for Replica, the
 * changes underneath: each goes with what must change in the same batch (record-index.ts), and with notice to those who have
 * fetched the record (fetch-watch.ts).
 *
 * Invariant: what was fetched in a turn is used only if nothing was stored under its key since. Which changes there may be is
 * decided in replica.ts.
 */
import { assert } from "../assert.js";
import { SLOTS } from "../bytes/slot.js";
import { contextOf, decodeRecord, encodeRecord, forSending, withLocalArea } from "../causality/record-encoding.js";
import { RecordView } from "../causality/record-view.js";
import type { VersionVector } from "../causality/version-vector.js";
import type { KeysAhead } from "../lsm/keys-ahead.js";
import type { Backlog, Lsm, ScanPage, ScanRange } from "../lsm/lsm.js";
import { Peek } from "../lsm/peek.js";
import { DATABASES, DataKeys, databaseOfDataKey, slotOfDataKey } from "./data-key.js";
import { DoomedCounts } from "./doomed-counts.js";
import { type EncodedRecord, NO_PAIR } from "./encoded-record.js";
import { FetchWatch, type Records } from "./fetch-watch.js";
import { Flushes } from "./flushes.js";
import { type Footprint, footprintOf, footprintOfView, NO_FOOTPRINT, RecordIndex } from "./record-index.js";
import { SlotDigests } from "./slot-digests.js";

/** What memory tells of a record: where it says `unread`, only the disk can tell. */
export type Look = "found" | "absent" | "unread";

const NO_BYTES: Uint8Array = new Uint8Array(0);

export class StoredRecords {
  /**
   * The record found by the last `peek` or opened by the last `view`; valid until the next of either, a change or the next
   * await.
   */
  readonly record = new RecordView();
  readonly keys = new DataKeys();
  protected readonly watch = new FetchWatch();
  readonly digests: SlotDigests;
  readonly #lsm: Lsm;
  readonly #index: RecordIndex;
  readonly #appearances = new Uint32Array(SLOTS);
  /**
   * What was stored since `record` was found or opened; `bytes` null: nothing. `pairId`: of the engine's pair that it is, NO_PAIR
   * where that has a local area.
   */
  readonly #stored = { bytes: null as Uint8Array | null, start: 0, end: 0, pairId: NO_PAIR };
  readonly #sendable = { bytes: NO_BYTES, start: 0, end: 0, pairStart: NO_PAIR };
  readonly #sent = new RecordView();
  /** What was removed with all its database. */
  readonly flushes = new Flushes();
  /** Some of that may still be stored. */
  #isSweeping = false;
  readonly #doomed = new DoomedCounts();

  constructor(lsm: Lsm) {
    this.#lsm = lsm;
    this.#index = new RecordIndex(lsm);
    this.digests = new SlotDigests(lsm);
  }

  /** Looks in memory. Where it is found, `record` shows it. What a flush has removed of it is dropped first. */
  peek(dataKey: string): Look {
    const peeked = this.#lsm.peek(dataKey);
    if (peeked !== Peek.FOUND) return peeked === Peek.ABSENT ? "absent" : "unread";
    const { buffer, start, end } = this.#lsm.found;
    this.record.read(buffer, start, end);
    this.#stored.bytes = null;
    return this.#isSweeping && this.flushes.mayConcern(dataKey, this.record) ? this.#dropAtHand(dataKey) : "found";
  }

  /** These keys are peeked next: one wait for memory instead of one each. */
  prefetch(ahead: KeysAhead): void {
    this.#lsm.prefetch(ahead);
    this.digests.prefetch(ahead.keys);
  }

  /** The same of clients' keys, which are the next that `keys.of` is asked for, by these objects (see DataKeys). */
  prefetchAhead(database: number, keys: readonly Uint8Array[]): void {
    this.prefetch(this.keys.ahead(database, keys));
  }

  /** The encoded record as of the call, without what a flush has removed, or null. */
  async read(dataKey: string): Promise<Buffer | null> {
    const bytes = await this.#lsm.read(dataKey);
    // Asked in any case: what was read may be older than a sweep that is over by now.
    return bytes === null ? null : this.flushes.leftOf(dataKey, bytes);
  }

  /**
   * Reads those of the keys into `fetched` that memory says nothing of. REQUIRES that whoever fetches goes on to `gather` at
   * once, and again until that succeeds or this rejects: until then the keys are watched. Rejects with IO or CORRUPT.
   */
  async fetch(dataKeys: readonly string[], fetched: Records): Promise<void> {
    const unread = dataKeys.filter((dataKey) => !fetched.has(dataKey) && this.peek(dataKey) === "unread");
    for (const dataKey of unread) this.watch.begin(dataKey, fetched);
    try {
      const reads = unread.map(async (dataKey) => this.watch.add(dataKey, fetched, await this.#lsm.read(dataKey)));
      await Promise.all(reads);
    } catch (error) {
      this.watch.end([...unread, ...fetched.keys()], fetched);
      throw error;
    }
  }

  /**
   * Copies of all these records at one instant, or null when some are neither in memory nor fetched, or were stored anew since
   * they were: what was in memory may have left it while others were fetched, so whoever fetches tries again. Valid for the
   * synchronous step that follows; what was fetched is spent.
   */
  gather(dataKeys: readonly string[], fetched: Records): Records | null {
    const gathered: Records = new Map();
    for (const dataKey of dataKeys) {
      const look = this.peek(dataKey);
      const fromDisk = fetched.get(dataKey);
      if (look === "unread" && fromDisk === undefined) return null;
      gathered.set(
        dataKey,
        look === "found" ? this.copyAtHand() : look === "absent" ? null : this.#unflushed(dataKey, fromDisk!),
      );
    }
    this.watch.end(fetched.keys(), fetched);
    return gathered;
  }

  /** The gathered record of a key, or what an earlier change of this same step has made of it. */
  at(dataKey: string, gathered: Records): RecordView | null {
    switch (this.peek(dataKey)) {
      case "found":
        return this.record;
      case "absent":
        return null;
      default: {
        // A look-up of another key may have pushed it out of the cache, but then this step has not changed it.
        const bytes = gathered.get(dataKey);
        assert(bytes !== undefined, "replica: gathered before it is looked at");
        return this.view(bytes);
      }
    }
  }

  /** Shows bytes that `read` returned through `record`. */
  view(bytes: Buffer | null): RecordView | null {
    if (bytes === null) return null;
    this.record.read(bytes, 0, bytes.length);
    this.#stored.bytes = null;
    return this.record;
  }

  /**
   * The record at hand as others may see it, usually the very bytes: what `record` shows, or what was minted or merged over it
   * since. REQUIRES that there is one. Borrowed until the next look-up or change and the next await.
   */
  encodedAtHand(): EncodedRecord {
    const { record } = this;
    const { bytes, start, end, pairId } = this.#stored;
    if (bytes === null) {
      return record.hasLocalArea
        ? this.#withoutLocalArea(record.bytes, record.start, record.end)
        : this.#asSendable(record.bytes, record.start, record.end, NO_PAIR);
    }
    if (pairId === NO_PAIR) return this.#withoutLocalArea(bytes, start, end);
    const { pair } = this.#lsm;
    // Unless something else was put since, or the batch with it written.
    if (pair.id !== pairId) return this.#asSendable(bytes, start, end, NO_PAIR);
    return this.#asSendable(pair.bytes, pair.bytes.length - (end - start), pair.bytes.length, 0);
  }

  #withoutLocalArea(bytes: Uint8Array, start: number, end: number): EncodedRecord {
    const sent = forSending(bytes.subarray(start, end));
    return this.#asSendable(sent, 0, sent.length, NO_PAIR);
  }

  #asSendable(bytes: Uint8Array, start: number, end: number, pairStart: number): EncodedRecord {
    const sendable = this.#sendable;
    sendable.bytes = bytes;
    sendable.start = start;
    sendable.end = end;
    sendable.pairStart = pairStart;
    return sendable;
  }

  /** All that this replica has seen of the key whose record is at hand, as for `encodedAtHand`. */
  contextAtHand(): VersionVector {
    const { record } = this;
    const { bytes, start, end } = this.#stored;
    if (bytes === null) return contextOf(record);
    this.#sent.read(bytes, start, end);
    return contextOf(this.#sent);
  }

  /** May writes go on at once, a little later, or not before `room` resolves? */
  backlog(): Backlog {
    return this.#lsm.backlog();
  }

  /** False while this turn has changes that are not in the log yet, and may be taken back. */
  get isCommitted(): boolean {
    return this.#lsm.isCommitted;
  }

  /** True when the log could not be made durable: what is read here may be what a restart takes back. */
  get isDoubtful(): boolean {
    return this.#lsm.hasFailedSync;
  }

  /** Commits that the disk refused so far: what was read before the last of them may have been taken back. */
  get commitsRefused(): number {
    return this.#lsm.commitsRefused;
  }

  /** Resolves when all changes so far are in the log. Rejects with IO when they were refused and taken back. */
  committed(): Promise<void> {
    return this.#lsm.committed();
  }

  room(): Promise<void> {
    return this.#lsm.room();
  }

  /** Removes the record that `record` shows for good, with its count and index entries: for what nobody else has to be told. */
  remove(dataKey: string): void {
    this.#index.move(dataKey, footprintOfView(this.record), NO_FOOTPRINT);
    this.digests.removed(dataKey, this.record);
    this.#lsm.remove(dataKey);
    this.watch.noteChange(dataKey);
  }

  /** Removes an index entry whose record is no longer there. */
  dropIndexEntry(key: string): void {
    this.#lsm.remove(key);
  }

  scan(range: ScanRange): Promise<ScanPage> {
    return this.#lsm.scan(range);
  }

  /** How often a key of this one's slot that could not be read came to be, since the start: whether this one did meanwhile. */
  appearances(dataKey: string): number {
    return this.#appearances[slotOfDataKey(dataKey)]!;
  }

  /** Keys of one database whose newest version is a value, expired ones that are not yet collected included. */
  size(database: number): number {
    return Math.max(0, this.#index.size(database) - this.#doomed.total(database));
  }

  sizeOfSlot(database: number, slot: number): number {
    return Math.max(0, this.#index.sizeOfSlot(database, slot) - this.#doomed.of(database, slot));
  }

  /** True when a scan finds no keys there. `sizeOfSlot` may be 0 all the same while a flush is being swept. */
  isSlotEmpty(database: number, slot: number): boolean {
    return this.#index.sizeOfSlot(database, slot) === 0;
  }

  /** Keys with a version that expires. */
  expiringSize(database: number): number {
    return this.#index.expiringSize(database);
  }

  /** Keys that read as removed though an older sibling is a value; `size` does not count them. */
  hiddenSize(database: number): number {
    return this.#index.hiddenSize(database);
  }

  /** Records that may be reaped or pruned once all owners agree. */
  get reapable(): number {
    return this.#index.reapable;
  }

  /** True when some record in some database expires. */
  hasExpiring(): boolean {
    for (let database = 0; database < DATABASES; database++) if (this.expiringSize(database) > 0) return true;
    return false;
  }

  // What flushes have removed.

  /** Records may be stored of which flushes removed something; in these databases all that is counted now is one. */
  beginSweep(databases: readonly number[]): void {
    this.#isSweeping = true;
    for (const database of databases) this.#doomed.doom(database, (slot) => this.#index.sizeOfSlot(database, slot));
  }

  /** Nothing flushed is stored in slots before this one. */
  sweptTo(slot: number): void {
    this.#doomed.sweptTo(slot);
  }

  /** Nothing flushed is stored any more. */
  endSweep(): void {
    this.#isSweeping = false;
    this.#doomed.clear();
  }

  /** Drops what flushes have removed of a key's record. Rejects with IO or CORRUPT. */
  async dropFlushed(dataKey: string): Promise<void> {
    if (this.peek(dataKey) !== "unread") return;
    const fetched: Records = new Map();
    while (this.gather([dataKey], fetched) === null) await this.fetch([dataKey], fetched);
  }

  /** What is left of a record that was fetched; what is not is dropped in this step. */
  #unflushed(dataKey: string, bytes: Buffer | null): Buffer | null {
    if (bytes === null || !this.#isSweeping) return bytes;
    const view = this.view(bytes)!;
    if (!this.flushes.mayConcern(dataKey, view) || this.#dropAtHand(dataKey) === "found") return this.copyAtHand();
    return null;
  }

  /** Drops what flushes have removed of the record at hand; `record` shows what is left. */
  #dropAtHand(dataKey: string): "found" | "absent" {
    const { record } = this;
    const before = decodeRecord(record.bytes, record.start, record.end);
    const after = this.flushes.left(dataKey, before);
    if (after === before) return "found";
    const footprint = footprintOf(before);
    const left = after === null ? NO_FOOTPRINT : footprintOf(after);
    if (footprint.isCounted && !left.isCounted) this.#doomed.dropped(databaseOfDataKey(dataKey), slotOfDataKey(dataKey));
    if (after === null) {
      this.remove(dataKey);
      return "absent";
    }
    const bytes = encodeRecord(after);
    this.put(dataKey, record, bytes, 0, bytes.length, footprint, left);
    const stored = this.#stored;
    record.read(stored.bytes!, stored.start, stored.end);
    stored.bytes = null;
    return "found";
  }

  /** Stores a record over `old`, whose local area it keeps. Counters and index change from `before` to `after`. */
  protected put(
    dataKey: string,
    old: RecordView | null,
    bytes: Uint8Array,
    start: number,
    end: number,
    before: Footprint,
    after: Footprint,
  ): void {
    this.#index.move(dataKey, before, after);
    this.digests.changed(dataKey, old, bytes, start, end);
    if (old?.hasLocalArea) {
      const whole = withLocalArea(bytes, start, end, old.bytes.subarray(old.valueEnd, old.end));
      this.#lsm.put(dataKey, whole, 0, whole.length);
      this.#noteStored(whole, 0, whole.length, NO_PAIR);
    } else {
      this.#lsm.put(dataKey, bytes, start, end);
      this.#noteStored(bytes, start, end, this.#lsm.pair.id);
    }
    this.watch.noteChange(dataKey);
  }

  /** The same of a record that came with its key. */
  protected putEncoded(
    dataKey: string,
    old: RecordView | null,
    record: EncodedRecord,
    before: Footprint,
    after: Footprint,
  ): void {
    const { bytes, start, end, pairStart } = record;
    if (pairStart === NO_PAIR || old?.hasLocalArea) return this.put(dataKey, old, bytes, start, end, before, after);
    this.#index.move(dataKey, before, after);
    this.digests.changed(dataKey, old, bytes, start, end);
    this.#lsm.putPair(dataKey, bytes, pairStart, end);
    this.#noteStored(bytes, start, end, this.#lsm.pair.id);
    this.watch.noteChange(dataKey);
  }

  #noteStored(bytes: Uint8Array, start: number, end: number, pairId: number): void {
    const stored = this.#stored;
    stored.bytes = bytes;
    stored.start = start;
    stored.end = end;
    stored.pairId = pairId;
  }

  /** A key came to be: a read would have found nothing, and finds a value now. */
  protected noteAppearance(dataKey: string): void {
    this.#appearances[slotOfDataKey(dataKey)]!++;
  }

  /** An owned copy of what `record` shows. */
  protected copyAtHand(): Buffer {
    return Buffer.from(this.record.bytes.subarray(this.record.start, this.record.end));
  }
}
