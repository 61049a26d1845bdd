/** A Disk in memory for tests of tables: nothing is ever lost. It counts what tests look at. */
import { OperatingError } from "../../lib/errors.js";
import type { Disk, DiskFile } from "../../lib/host/disk.js";

export class MemoryDisk implements Disk {
  readonly files = new Map<string, Buffer>();
  readonly syncedDirectories: string[] = [];
  openHandles = 0;
  reads = 0;
  largestUnsyncedBytes = 0;
  /** When set, asynchronous reads wait until `releaseReads`. */
  holdsReads = false;
  readonly #held: (() => void)[] = [];

  create(path: string): DiskFile {
    if (this.files.has(path)) throw new OperatingError("IO", `${path} exists`);
    this.files.set(path, Buffer.alloc(0));
    return new MemoryFile(this, path);
  }

  open(path: string): DiskFile | null {
    return this.files.has(path) ? new MemoryFile(this, path) : null;
  }

  list(path: string): string[] {
    return [...this.files.keys()].filter((name) => name.startsWith(`${path}/`)).map((name) => name.slice(path.length + 1));
  }

  makeDirectory(): void {}

  rename(from: string, to: string): void {
    this.files.set(to, this.files.get(from)!);
    this.files.delete(from);
  }

  remove(path: string): void {
    this.files.delete(path);
  }

  link(from: string, to: string): boolean {
    this.files.set(to, this.files.get(from)!);
    return true;
  }

  async copyFile(from: string, to: string): Promise<void> {
    this.link(from, to);
  }

  removeDirectory(): void {}

  forgetDirectory(): void {}

  async syncDirectory(path: string): Promise<void> {
    this.syncDirectoryNow(path);
  }

  syncDirectoryNow(path: string): void {
    this.syncedDirectories.push(path);
  }

  freeBytes(): number {
    return 2 ** 40;
  }

  releaseReads(): void {
    for (const release of this.#held.splice(0)) release();
  }

  turn(): Promise<void> {
    return this.holdsReads ? new Promise((resolve) => this.#held.push(resolve)) : Promise.resolve();
  }
}

class MemoryFile implements DiskFile {
  readonly path: string;
  readonly #disk: MemoryDisk;
  #isOpen = true;
  #unsynced = 0;

  constructor(disk: MemoryDisk, path: string) {
    this.#disk = disk;
    this.path = path;
    disk.openHandles++;
  }

  get size(): number {
    return this.#bytes().length;
  }

  append(bytes: Uint8Array, offset = 0, length = bytes.length - offset): void {
    this.#disk.files.set(this.path, Buffer.concat([this.#bytes(), bytes.subarray(offset, offset + length)]));
    this.#unsynced += length;
    this.#disk.largestUnsyncedBytes = Math.max(this.#disk.largestUnsyncedBytes, this.#unsynced);
  }

  readNow(position: number, target: Uint8Array, offset: number, length: number): number {
    this.#disk.reads++;
    return this.#bytes().copy(target, offset, position, position + length);
  }

  async read(position: number, target: Uint8Array, offset: number, length: number): Promise<number> {
    await this.#disk.turn();
    return this.readNow(position, target, offset, length);
  }

  async sync(): Promise<void> {
    this.syncNow();
  }

  syncNow(): void {
    this.#bytes();
    this.#unsynced = 0;
  }

  truncate(length: number): void {
    this.#disk.files.set(this.path, this.#bytes().subarray(0, length));
  }

  close(): void {
    if (this.#isOpen) this.#disk.openHandles--;
    this.#isOpen = false;
  }

  #bytes(): Buffer {
    const bytes = this.#disk.files.get(this.path);
    if (!this.#isOpen || bytes === undefined) throw new OperatingError("CLOSED", `${this.path} is closed`);
    return bytes;
  }
}
