/**
 * Cursors over tables: over a run, which is tables in key order (one table of level 0, or a deeper level). How blocks come
 * into memory is the one thing in which scans and jobs differ: a scan takes them from the cache or reads a growing number
 * of them ahead, waiting where the read policy says so; a job reads long pieces, blocking.
 */
import { BlockWalk } from "./block.js";
import { NO_FRAME } from "./block-cache.js";
import { type Cursor, Step } from "./cursor.js";
import type { EntryKind } from "./entry.js";
import type { Table } from "./table.js";
import type { TableReader } from "./table-reader.js";
import { type TableSet, tableAtOrAfter } from "./table-set.js";

/** What a scan reads at once at most: short enough to be read blocking. */
const SCAN_BYTES_MAX = 64 * 1024;
/** What a job reads at once. */
const JOB_BYTES = 256 * 1024;

/** Brings blocks into memory. What it hands out is borrowed until its next call. */
export interface BlockSource {
  /** The block, or `null` when it has to be loaded first. */
  take(table: Table, block: number): Buffer | null;
  /** Reads the block so that `take` will hand it out. */
  load(table: Table, block: number): Promise<void>;
  /** A seek: what follows may be elsewhere. */
  reset(): void;
}

/** The cursors of a scan over all levels of `set`, newest first. Pin the set as long as they are used. */
export function cursorsOf(set: TableSet, reader: TableReader): Cursor[] {
  const [newest, ...deeper] = set.levels;
  const runs = [...newest!.map((table) => [table]), ...deeper];
  return runs.filter((run) => run.length > 0).map((run) => new RunCursor(run, new ScanSource(reader)));
}

/** The cursor of a job over `run`, tables in key order: it never answers UNREAD. */
export function jobCursor(run: readonly Table[]): RunCursor {
  return new RunCursor(run, new JobSource());
}

export class RunCursor implements Cursor {
  key = "";
  readonly #run: readonly Table[];
  readonly #source: BlockSource;
  readonly #walk = new BlockWalk();
  /** Where the walk is, or will be once the block is loaded. */
  #table = 0;
  #block = 0;
  /** The key that the step under way seeks; `null` when it only goes on. */
  #target: string | null = null;

  constructor(run: readonly Table[], source: BlockSource) {
    this.#run = run;
    this.#source = source;
  }

  get kind(): EntryKind {
    return this.#walk.kind;
  }

  get buffer(): Buffer {
    return this.#walk.buffer;
  }

  get start(): number {
    return this.#walk.start;
  }

  get end(): number {
    return this.#walk.end;
  }

  /** The number, in its table, of the block that holds the entry. */
  get block(): number {
    return this.#block;
  }

  seek(key: string): Step {
    this.#source.reset();
    this.#walk.close();
    this.#table = tableAtOrAfter(this.#run, key);
    const table = this.#run[this.#table];
    const isInside = table !== undefined && key > table.meta.first;
    this.#block = isInside ? table.index.find(key) : 0;
    this.#target = isInside ? key : null;
    return this.#proceed();
  }

  next(): Step {
    if (this.#walk.next()) {
      this.key = this.#walk.key();
      return Step.ENTRY;
    }
    this.#goOn();
    return this.#proceed();
  }

  async load(): Promise<Step> {
    // One block may turn out to hold nothing of what is sought; then the next one is loaded, too.
    for (;;) {
      await this.#source.load(this.#run[this.#table]!, this.#block);
      const step = this.#proceed();
      if (step !== Step.UNREAD) return step;
    }
  }

  /** Opens the current block, or the ones after it until there is an entry. */
  #proceed(): Step {
    for (;;) {
      const table = this.#run[this.#table];
      if (table === undefined) return Step.END;
      const bytes = this.#source.take(table, this.#block);
      if (bytes === null) return Step.UNREAD;
      this.#walk.open(bytes, 0, bytes.length);
      const isThere = this.#target === null ? this.#walk.next() : this.#walk.seek(this.#target);
      this.#target = null;
      if (isThere) {
        this.key = this.#walk.key();
        return Step.ENTRY;
      }
      this.#goOn();
    }
  }

  #goOn(): void {
    this.#walk.close();
    this.#block++;
    if (this.#block < (this.#run[this.#table]?.index.blocks ?? 0)) return;
    this.#block = 0;
    this.#table++;
  }
}

/** Consecutive sealed blocks of one table that were read together. */
class Piece {
  #table: Table | null = null;
  #bytes: Buffer = Buffer.alloc(0);
  #from = 0;
  #to = 0;

  hold(table: Table, from: number, to: number, bytes: Buffer): void {
    this.#table = table;
    this.#from = from;
    this.#to = to;
    this.#bytes = bytes;
  }

  drop(): void {
    this.#table = null;
  }

  has(table: Table, block: number): boolean {
    return this.#table === table && block >= this.#from && block < this.#to;
  }

  /** The block, uncompressed. REQUIRES `has`. */
  open(table: Table, block: number): Buffer {
    return table.unsealBlock(this.#bytes, table.index.offsetOf(block) - table.index.offsetOf(this.#from), block);
  }
}

/** Reads pieces of `JOB_BYTES`, blocking. */
class JobSource implements BlockSource {
  readonly #piece = new Piece();

  take(table: Table, block: number): Buffer {
    if (!this.#piece.has(table, block)) {
      const to = pieceEnd(table, block, JOB_BYTES, Number.POSITIVE_INFINITY);
      this.#piece.hold(table, block, to, table.readSealedNow(block, to));
    }
    return this.#piece.open(table, block);
  }

  async load(): Promise<void> {
    // `take` always has the block.
  }

  reset(): void {
    this.#piece.drop();
  }
}

/** Takes blocks from the cache (a copy: the frame may be given to another block any time), or reads ahead past it. */
class ScanSource implements BlockSource {
  readonly #reader: TableReader;
  readonly #piece = new Piece();
  #frame: Buffer | null = null;
  /** Blocks to read at once: doubled with each piece, so that a short scan reads little. */
  #blocksAhead = 1;

  constructor(reader: TableReader) {
    this.#reader = reader;
  }

  take(table: Table, block: number): Buffer | null {
    if (this.#piece.has(table, block)) return this.#piece.open(table, block);
    const cached = this.#cached(table, block);
    if (cached !== null) return cached;
    const to = this.#pieceEnd(table, block);
    const bytes = table.index.offsetOf(to) - table.index.offsetOf(block);
    if (!this.#reader.mayBlock(bytes)) return null;
    this.#hold(table, block, to, this.#reader.readSealedNow(table, block, to));
    return this.#piece.open(table, block);
  }

  async load(table: Table, block: number): Promise<void> {
    const to = this.#pieceEnd(table, block);
    this.#hold(table, block, to, await table.readSealed(block, to));
  }

  reset(): void {
    this.#piece.drop();
    this.#blocksAhead = 1;
  }

  #pieceEnd(table: Table, block: number): number {
    return pieceEnd(table, block, SCAN_BYTES_MAX, this.#blocksAhead);
  }

  #hold(table: Table, from: number, to: number, bytes: Buffer): void {
    this.#piece.hold(table, from, to, bytes);
    this.#blocksAhead *= 2;
  }

  #cached(table: Table, block: number): Buffer | null {
    const { cache } = this.#reader;
    const frame = cache.use(table.shelf, block);
    if (frame === NO_FRAME) return null;
    this.#frame ??= Buffer.allocUnsafeSlow(cache.frameBytes);
    const at = frame * cache.frameBytes;
    const length = cache.lengthOf(frame);
    cache.slab.copy(this.#frame, 0, at, at + length);
    return this.#frame.subarray(0, length);
  }
}

/** The end of the piece that begins with `block`: at most `bytesMax` and `blocksMax`, at least one block. */
function pieceEnd(table: Table, block: number, bytesMax: number, blocksMax: number): number {
  const { index } = table;
  const limit = Math.min(index.blocks, block + blocksMax);
  let to = block + 1;
  while (to < limit && index.offsetOf(to + 1) - index.offsetOf(block) <= bytesMax) to++;
  return to;
}
