/**
 * Appends batches to the commit log's segments and makes them durable. The policy (when to sync, what to acknowledge) is
 * the engine's.
 *
 * Invariants: `known` is a position up to which the log, the names of its files included, survives a crash. A segment's
 * header names where the valid batches of the previous one end, so what a failed append leaves behind it is never read.
 * After a failed sync nothing is appended any more.
 */
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";
import type { Disk, DiskFile } from "../host/disk.js";
import {
  compareLogPositions,
  encodeSegmentHeader,
  type LogPosition,
  SEGMENT_HEADER_BYTES,
  sealBatch,
  segmentFileName,
} from "./log-format.js";
import type { SegmentRange } from "./log-recovery.js";

interface Segment {
  readonly id: number;
  readonly file: DiskFile;
  /** Where its valid batches end. */
  end: number;
  /** How much of it is durable; 0 also means that its name may not be. */
  syncedEnd: number;
  /** It needs no sync any more: it is closed as soon as none uses it. */
  isDropped: boolean;
}

export class LogWriter {
  readonly #disk: Disk;
  readonly #directory: string;
  #nextId: number;
  #previous: LogPosition;
  #known: LogPosition;
  #current: Segment | null = null;
  /** Segments with bytes that are not durable, oldest first; the current one is among them when it has any. */
  #open: Segment[] = [];
  /** Ended segments since the last `rotate`. */
  #written: SegmentRange[] = [];
  #appendedBytes = 0;
  #syncedBytes = 0;
  /** Begun so far, those that blocked not among them. */
  #syncs = 0;
  #syncing: Promise<void> | null = null;
  #failure: OperatingError | null = null;

  /** `previous` is where the log ends now, `known` how much of it is durable, `nextId` the first id that was never used. */
  constructor(options: { disk: Disk; directory: string; nextId: number; previous: LogPosition; known: LogPosition }) {
    assert(options.nextId > options.previous.segment, "log: ids ascend");
    this.#disk = options.disk;
    this.#directory = options.directory;
    this.#nextId = options.nextId;
    this.#previous = options.previous;
    this.#known = options.known;
  }

  /** Bytes of batches appended, and of those how many are durable, since this writer was made. */
  get appendedBytes(): number {
    return this.#appendedBytes;
  }

  get syncedBytes(): number {
    return this.#syncedBytes;
  }

  get known(): LogPosition {
    return this.#known;
  }

  /** Where the last batch of the log ends. */
  get end(): LogPosition {
    const segment = this.#current;
    if (segment === null || segment.end === SEGMENT_HEADER_BYTES) return this.#previous;
    return { segment: segment.id, offset: segment.end };
  }

  /** The id that the next segment will have at the least. */
  get nextId(): number {
    return this.#nextId;
  }

  /** The error of the sync that failed; nothing is appended or acknowledged after it. */
  get failure(): OperatingError | null {
    return this.#failure;
  }

  /** The number of the sync that is under way; 0 for none. */
  get syncUnderWay(): number {
    return this.#syncing === null ? 0 : this.#syncs;
  }

  /**
   * Appends the batch whose operations stand in `bytes[start + BATCH_HEADER_BYTES, end)`, filling in its header. Throws
   * IO, after which the batch is not part of the log.
   */
  append(bytes: Buffer, start: number, end: number): void {
    if (this.#failure !== null) throw this.#failure;
    const segment = (this.#current ??= this.#create());
    sealBatch(bytes, start, end, { segment: segment.id, offset: segment.end }, this.#known);
    try {
      segment.file.append(bytes, start, end - start);
    } catch (error) {
      this.#cutBack(segment);
      throw error;
    }
    segment.end += end - start;
    this.#appendedBytes += end - start;
  }

  /** Ends the current segment: the next append starts another. Returns the segments written since the last call. */
  rotate(): readonly SegmentRange[] {
    this.#endSegment();
    const written = this.#written;
    this.#written = [];
    return written;
  }

  /** Resolves when all that was appended before the call is durable. Rejects with IO if it never will be. */
  async sync(): Promise<void> {
    const target = this.#appendedBytes;
    while (this.#syncedBytes < target) {
      if (this.#failure !== null) throw this.#failure;
      this.#syncing ??= this.#syncOnce().finally(() => {
        this.#syncing = null;
        this.#closeDropped();
      });
      await this.#syncing;
    }
    if (this.#failure !== null) throw this.#failure;
  }

  /** The same, blocking. */
  syncNow(): void {
    if (this.#failure !== null) throw this.#failure;
    const plan = this.#plan();
    try {
      for (const { segment } of plan.segments) segment.file.syncNow();
      if (plan.hasNewNames) this.#disk.syncDirectoryNow(this.#directory);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#complete(plan);
  }

  /** Segments up to `id` are not needed any more: their contents are durable elsewhere. Does not remove the files. */
  drop(id: number): void {
    for (const segment of this.#open) if (segment.id <= id) segment.isDropped = true;
    if (this.#syncing === null) this.#closeDropped();
  }

  /** Closes the files. REQUIRES that no sync is wanted any more. */
  close(): void {
    this.#endSegment();
    for (const segment of this.#open) segment.file.close();
    this.#open = [];
  }

  #endSegment(): void {
    const segment = this.#current;
    if (segment === null) return;
    this.#previous = this.end;
    this.#current = null;
    if (segment.end > SEGMENT_HEADER_BYTES) this.#written.push({ id: segment.id, end: segment.end });
  }

  #create(): Segment {
    const id = this.#nextId++;
    const path = `${this.#directory}/${segmentFileName(id)}`;
    const file = this.#disk.create(path);
    try {
      file.append(encodeSegmentHeader({ id, previous: this.#previous, synced: this.#known }));
    } catch (error) {
      file.close();
      this.#removeQuietly(path);
      throw error;
    }
    const segment = { id, file, end: SEGMENT_HEADER_BYTES, syncedEnd: 0, isDropped: false };
    this.#open.push(segment);
    return segment;
  }

  /** After a failed append: what it left must not stand between the batches. */
  #cutBack(segment: Segment): void {
    try {
      segment.file.truncate(segment.end);
    } catch {
      // The disk refuses even this, so the segment ends here: the header of the next one will say where.
      this.#endSegment();
    }
  }

  /** A file that stays is harmless: it holds no batch, and recovery ignores it. */
  #removeQuietly(path: string): void {
    try {
      this.#disk.remove(path);
    } catch {
      // Nothing depends on it.
    }
  }

  async #syncOnce(): Promise<void> {
    this.#syncs++;
    const plan = this.#plan();
    try {
      for (const { segment } of plan.segments) if (!segment.isDropped) await segment.file.sync();
      if (plan.hasNewNames) await this.#disk.syncDirectory(this.#directory);
    } catch (error) {
      throw this.#fail(error);
    }
    this.#complete(plan);
  }

  #plan(): SyncPlan {
    const segments = this.#open.map((segment) => ({ segment, end: segment.end }));
    const hasNewNames = this.#open.some((segment) => segment.syncedEnd === 0);
    return { segments, hasNewNames, position: this.end, bytes: this.#appendedBytes };
  }

  #complete(plan: SyncPlan): void {
    for (const { segment, end } of plan.segments) segment.syncedEnd = Math.max(segment.syncedEnd, end);
    this.#syncedBytes = Math.max(this.#syncedBytes, plan.bytes);
    if (plan.segments.length > 0 && compareLogPositions(plan.position, this.#known) > 0) this.#known = plan.position;
    for (const segment of this.#open) {
      if (segment !== this.#current && segment.syncedEnd === segment.end) segment.isDropped = true;
    }
    // A blocking sync may overtake one on the pool, which then still uses the files.
    if (this.#syncing === null) this.#closeDropped();
  }

  #fail(error: unknown): OperatingError {
    this.#failure ??= new OperatingError(
      "IO",
      `the log could not be made durable, so nothing is written until a restart: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
    return this.#failure;
  }

  #closeDropped(): void {
    this.#open = this.#open.filter((segment) => {
      if (segment.isDropped) segment.file.close();
      return !segment.isDropped;
    });
  }
}

interface SyncPlan {
  readonly segments: readonly { readonly segment: Segment; readonly end: number }[];
  readonly hasNewNames: boolean;
  readonly position: LogPosition;
  /** Bytes appended when the plan was made. */
  readonly bytes: number;
}
