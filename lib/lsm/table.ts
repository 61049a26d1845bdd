/**
 * An open table: its filter and index in memory, its blocks on disk. Immutable. A table knows how to find and read its
 * blocks; which tables are asked, and what is cached, is the business of the table reader.
 */
import { OperatingError } from "../errors.js";
import { sharedLength } from "./block.js";
import { type BlockCache, Shelf } from "./block-cache.js";
import type { FilePool, PooledFile } from "./file-pool.js";
import { TableFilter } from "./filter.js";
import {
  type Codec,
  decodeFooter,
  decodeIndex,
  FOOTER_BYTES,
  type TableMeta,
  tableFileName,
  unseal,
  verifiedCodec,
} from "./table-format.js";
import { TableIndex } from "./table-index.js";

export interface TableOptions {
  readonly files: FilePool;
  /** The cache that readers of this table use; `null` for jobs, which read every block once. */
  readonly cache: BlockCache | null;
  readonly directory: string;
  readonly number: number;
  /** What is expected of the table; without it the table is taken as it describes itself. */
  readonly meta?: TableMeta;
  /** Is told of each block that turns out to be damaged. */
  readonly onDamage?: (table: Table, error: unknown) => void;
}

export class Table {
  readonly meta: TableMeta;
  readonly filter: TableFilter;
  readonly index: TableIndex;
  /** Which blocks are in the cache. */
  readonly shelf: Shelf;
  /** How many living table sets hold this table. Kept by `TableSet`. */
  holders = 0;
  readonly #file: PooledFile;
  readonly #cache: BlockCache | null;
  readonly #onDamage: (table: Table, error: unknown) => void;
  readonly #reads = new Map<number, Promise<Buffer>>();

  private constructor(options: {
    meta: TableMeta;
    filter: TableFilter;
    index: TableIndex;
    file: PooledFile;
    cache: BlockCache | null;
    onDamage: ((table: Table, error: unknown) => void) | undefined;
  }) {
    this.meta = options.meta;
    this.filter = options.filter;
    this.index = options.index;
    this.shelf = new Shelf(options.cache === null ? 0 : options.index.blocks);
    this.#file = options.file;
    this.#cache = options.cache;
    this.#onDamage = options.onDamage ?? (() => undefined);
  }

  /**
   * Reads and verifies footer, filter and index, blocking. Throws `CORRUPT` when the file is missing, damaged, or not the
   * table that `meta` describes.
   */
  static open(options: TableOptions): Table {
    const file = options.files.file(`${options.directory}/${tableFileName(options.number)}`);
    try {
      return Table.#load(file, options);
    } catch (error) {
      file.close();
      throw inFile(error, file.path);
    }
  }

  static #load(file: PooledFile, { number, meta: expected, cache, onDamage }: TableOptions): Table {
    const bytes = file.size;
    if (bytes < FOOTER_BYTES) throw new OperatingError("CORRUPT", "the file is too short for a table");
    const footerBytes = Buffer.allocUnsafe(FOOTER_BYTES);
    file.readNow(bytes - FOOTER_BYTES, footerBytes, FOOTER_BYTES);
    const footer = decodeFooter(footerBytes, bytes);
    if (footer.number !== number) throw new OperatingError("CORRUPT", `the file is table ${footer.number}`);
    // Of its own, not from the shared pool: the filter keeps a view of it. The index is read apart, so that its bytes go.
    const filterBytes = Buffer.allocUnsafeSlow(footer.filterLength);
    file.readNow(footer.filterOffset, filterBytes, footer.filterLength);
    const indexBytes = Buffer.allocUnsafeSlow(footer.indexLength);
    file.readNow(footer.indexOffset, indexBytes, footer.indexLength);
    const { meta: properties, blocks } = decodeIndex(unseal(indexBytes, 0, footer.indexLength), footer.filterOffset);
    const meta = { number, bytes, ...properties };
    if (expected && !isSameTable(meta, expected))
      throw new OperatingError("CORRUPT", "the table is not the one in the manifest");
    return new Table({
      meta,
      filter: new TableFilter(unseal(filterBytes, 0, footer.filterLength)),
      index: new TableIndex(blocks, sharedLength(meta.first, meta.last)),
      file,
      cache,
      onDamage,
    });
  }

  get path(): string {
    return this.#file.path;
  }

  /** Memory that the table takes while it is open, without its cached blocks. */
  get memoryBytes(): number {
    const keys = this.meta.first.length + this.meta.last.length;
    return this.filter.memoryBytes + this.index.memoryBytes + 4 * this.shelf.frames.length + keys;
  }

  /** False: the table does not hold the key. `hash` is its `keyHashOf`. */
  mayHold(key: string, hash: number): boolean {
    return this.filter.mayHold(hash) && key >= this.meta.first && key <= this.meta.last;
  }

  /** Reads the sealed bytes of one block to the start of `target`, blocking. REQUIRES room for `index.lengthOf(block)`. */
  readSealedInto(block: number, target: Buffer): void {
    this.#file.readNow(this.index.offsetOf(block), target, this.index.lengthOf(block));
  }

  /** The codec of the block whose sealed form begins `bytes`. Throws `CORRUPT`, naming the file, when its checksum does not fit. */
  verifiedCodec(bytes: Buffer, block: number): Codec {
    try {
      return verifiedCodec(bytes, 0, this.index.lengthOf(block));
    } catch (error) {
      throw this.#damage(error, block);
    }
  }

  /** The block, uncompressed, read without blocking; concurrent calls for one block share one read and its result. */
  readBlock(block: number): Promise<Buffer> {
    const underWay = this.#reads.get(block);
    if (underWay !== undefined) return underWay;
    const read = this.#readBlock(block).finally(() => {
      this.#reads.delete(block);
    });
    this.#reads.set(block, read);
    return read;
  }

  /** The sealed bytes of the blocks `[from, to)`, blocking. */
  readSealedNow(from: number, to: number): Buffer {
    const bytes = this.#roomFor(from, to);
    this.#file.readNow(this.index.offsetOf(from), bytes, bytes.length);
    return bytes;
  }

  /** The sealed bytes of the blocks `[from, to)`. */
  async readSealed(from: number, to: number): Promise<Buffer> {
    const bytes = this.#roomFor(from, to);
    await this.#file.read(this.index.offsetOf(from), bytes, bytes.length);
    return bytes;
  }

  /** The block whose sealed form begins at `at`. Throws `CORRUPT`, naming the file. The result may be a view of `bytes`. */
  unsealBlock(bytes: Buffer, at: number, block: number): Buffer {
    try {
      return unseal(bytes, at, this.index.lengthOf(block));
    } catch (error) {
      throw this.#damage(error, block);
    }
  }

  /** Frees the cached blocks and the open file. REQUIRES that no read is under way. */
  close(): void {
    this.#cache?.release(this.shelf);
    this.#file.close();
  }

  async #readBlock(block: number): Promise<Buffer> {
    return this.unsealBlock(await this.readSealed(block, block + 1), 0, block);
  }

  /** The error to throw for a block that could not be verified. */
  #damage(error: unknown, block: number): unknown {
    const placed = inFile(error, `${this.path}, block at ${this.index.offsetOf(block)}`);
    this.#onDamage(this, placed);
    return placed;
  }

  #roomFor(from: number, to: number): Buffer {
    return Buffer.allocUnsafeSlow(this.index.offsetOf(to) - this.index.offsetOf(from));
  }
}

function isSameTable(a: TableMeta, b: TableMeta): boolean {
  return a.number === b.number && a.bytes === b.bytes && a.entries === b.entries && a.first === b.first && a.last === b.last;
}

/** The error with the place of the damage in its message; other errors as they are. */
function inFile(error: unknown, place: string): unknown {
  if (!(error instanceof OperatingError) || error.code !== "CORRUPT" || error.message.includes(place)) return error;
  return new OperatingError("CORRUPT", `${place}: ${error.message}`, { cause: error });
}
