/**
 * Keeps a bounded number of the tables' files open. The invariant: a file with reads under way stays open; so the bound
 * may be exceeded by as many files as have such reads.
 */
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";
import type { Disk, DiskFile } from "../host/disk.js";

export class FilePool {
  readonly #disk: Disk;
  readonly #openFilesMax: number;
  readonly #open = new Set<PooledFile>();
  #uses = 0;

  /** REQUIRES openFilesMax >= 1. */
  constructor(disk: Disk, openFilesMax: number) {
    assert(openFilesMax >= 1, "file pool: at least one file");
    this.#disk = disk;
    this.#openFilesMax = openFilesMax;
  }

  /** The file at `path`, opened when it is first read. */
  file(path: string): PooledFile {
    return new PooledFile(this, path);
  }

  get openFiles(): number {
    return this.#open.size;
  }

  /** Counts the uses of all files: the larger the number of a file's last use, the later it was. */
  nextUse(): number {
    return ++this.#uses;
  }

  /** Opens the file for `pooled`, closing those unused for longest while there are too many. */
  open(pooled: PooledFile): DiskFile {
    while (this.#open.size >= this.#openFilesMax) if (!this.#closeOldest()) break;
    const file = this.#disk.open(pooled.path);
    if (file === null) throw new OperatingError("CORRUPT", `the file ${pooled.path} is missing`);
    this.#open.add(pooled);
    return file;
  }

  forget(pooled: PooledFile): void {
    this.#open.delete(pooled);
  }

  /** Whether there was one to close. */
  #closeOldest(): boolean {
    let oldest: PooledFile | null = null;
    for (const file of this.#open) {
      if (!file.isReading && (oldest === null || file.lastUse < oldest.lastUse)) oldest = file;
    }
    oldest?.close();
    return oldest !== null;
  }
}

/** One file that is open while it is used and may be closed between. */
export class PooledFile {
  readonly path: string;
  /** See `FilePool.nextUse`. */
  lastUse = 0;
  readonly #pool: FilePool;
  #file: DiskFile | null = null;
  #reads = 0;

  constructor(pool: FilePool, path: string) {
    this.#pool = pool;
    this.path = path;
  }

  get isReading(): boolean {
    return this.#reads > 0;
  }

  /** Length in bytes. */
  get size(): number {
    return this.#use().size;
  }

  /** Fills `target[0, length)` from `position`, blocking. Throws `CORRUPT` when the file ends before. */
  readNow(position: number, target: Buffer, length: number): void {
    if (this.#use().readNow(position, target, 0, length) < length) throw this.#cut();
  }

  /** The same without blocking. Fails with `CLOSED` after `close`. */
  async read(position: number, target: Buffer, length: number): Promise<void> {
    const file = this.#use();
    this.#reads++;
    try {
      if ((await file.read(position, target, 0, length)) < length) throw this.#cut();
    } finally {
      this.#reads--;
    }
  }

  /** Idempotent; the next read opens it again. */
  close(): void {
    if (this.#file === null) return;
    this.#file.close();
    this.#file = null;
    this.#pool.forget(this);
  }

  #use(): DiskFile {
    this.lastUse = this.#pool.nextUse();
    return (this.#file ??= this.#pool.open(this));
  }

  #cut(): OperatingError {
    return new OperatingError("CORRUPT", `the file ${this.path} is shorter than it was written`);
  }
}
