/**
 * A disk in memory that does to unsynced state whatever lib/host/disk.ts allows a crash to do, and fails on request.
 *
 * A crash is an image: the survivors, drawn at the very operation at which it happens. The crashed disk goes on working for
 * the program that has not noticed yet (`isCrashed` tells the test), and `restart` gives the disk that the next start finds.
 */
import { assert } from "../../lib/assert.js";
import { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";
import type { Disk, DiskFile } from "../../lib/host/disk.js";
import { SimContent } from "./sim-content.js";
import type { SimRandom } from "./sim-random.js";
import type { Trace } from "./trace.js";

/** A change of names that is not durable yet. */
type NameChange =
  | { readonly kind: "create"; readonly path: string; readonly content: SimContent }
  | { readonly kind: "rename"; readonly from: string; readonly to: string; readonly content: SimContent }
  | { readonly kind: "remove"; readonly path: string };

export interface SimDiskFaults {
  /** Bytes that all files may take together. */
  capacityBytes: number;
  /** Probability that a sync, an append, a truncation fails. */
  syncFailure: number;
  appendFailure: number;
  truncateFailure: number;
  /** Files get no second names, as on another file system. */
  refusesLinks: boolean;
  /** A broken device: syncs succeed and do nothing. To test the tests. */
  hasLyingSyncs: boolean;
  /** Longest time that a sync and a read take; drawn evenly. */
  syncMsMax: number;
  readMsMax: number;
}

export const faultless: Readonly<SimDiskFaults> = {
  capacityBytes: Number.POSITIVE_INFINITY,
  syncFailure: 0,
  appendFailure: 0,
  truncateFailure: 0,
  refusesLinks: false,
  hasLyingSyncs: false,
  syncMsMax: 2,
  readMsMax: 1,
};

export interface SimDiskOptions {
  readonly clock: Clock;
  readonly random: SimRandom;
  readonly trace: Trace;
  /** Called at the operation at which the crash happens, before it returns. */
  readonly onCrash?: () => void;
  /** Is told of appends that succeeded; the bytes are borrowed. */
  readonly onAppend?: (path: string, bytes: Uint8Array, offset: number, length: number) => void;
  /** Is told when a sync fails. */
  readonly onSyncFailure?: () => void;
}

const COPY_PIECE_BYTES = 4_096;

export class SimDisk implements Disk {
  readonly faults: SimDiskFaults = { ...faultless };
  readonly #options: SimDiskOptions;
  readonly #names = new Map<string, SimContent>();
  /** Names as they survive a crash for certain. */
  readonly #durable = new Map<string, SimContent>();
  #changes: NameChange[] = [];
  #crashIn = Number.POSITIVE_INFINITY;
  #image: Map<string, SimContent> | null = null;
  /** Operations so far that change something. */
  operations = 0;

  constructor(options: SimDiskOptions, names: ReadonlyMap<string, SimContent> = new Map()) {
    this.#options = options;
    for (const [path, content] of names) {
      this.#names.set(path, content);
      this.#durable.set(path, content);
    }
  }

  /** The crash happens at the `operations`-th change from now, 1 for the next. */
  crashAfter(operations: number): void {
    this.#crashIn = operations;
  }

  /** The crash happens now, unless it has happened. */
  crash(): void {
    if (this.#image !== null) return;
    this.#image = this.#drawImage();
    this.#options.onCrash?.();
  }

  /** For this disk's files: an append has succeeded. */
  appended(path: string, bytes: Uint8Array, offset: number, length: number): void {
    this.#options.onAppend?.(path, bytes, offset, length);
  }

  /** For this disk's files. */
  syncFailed(): void {
    this.#options.onSyncFailure?.();
  }

  get isCrashed(): boolean {
    return this.#image !== null;
  }

  /** The disk as the next start finds it. Crashes it first if it has not crashed. */
  restart(options: SimDiskOptions): SimDisk {
    this.crash();
    return new SimDisk(options, this.#image!);
  }

  /** An independent disk with the same files, all durable: to damage them. */
  copy(options: SimDiskOptions): SimDisk {
    return new SimDisk(options, new Map([...this.#names].map(([path, content]) => [path, content.copy()])));
  }

  /** Flips one bit of one of the files whose path passes; returns what it did, or null when there is no byte to flip. */
  flipBit(random: SimRandom, isWanted: (path: string) => boolean): string | null {
    const candidates = [...this.#names].filter(([path, content]) => content.size > 0 && isWanted(path)).sort();
    if (candidates.length === 0) return null;
    const [path, content] = random.pick(candidates);
    const at = random.below(content.size);
    const bit = random.below(8);
    content.flip(at, bit);
    return `${path} byte ${at} bit ${bit}`;
  }

  /** Changes one byte of a file. */
  damage(path: string, at: number): void {
    this.#names.get(path)!.flip(at, 0);
  }

  sizeOf(path: string): number {
    return this.#names.get(path)!.size;
  }

  /** Bytes of all files. */
  get usedBytes(): number {
    let used = 0;
    for (const content of new Set(this.#names.values())) used += content.size;
    return used;
  }

  paths(): string[] {
    return [...this.#names.keys()].sort();
  }

  create(path: string): DiskFile {
    if (this.#names.has(path)) throw ioError(`cannot create ${path}: it exists already`);
    if (this.usedBytes >= this.faults.capacityBytes) throw fullError(path);
    this.#change(`create ${path}`);
    const content = new SimContent();
    this.#names.set(path, content);
    this.#changes.push({ kind: "create", path, content });
    return new SimFile(this, path, content);
  }

  open(path: string): DiskFile | null {
    const content = this.#names.get(path);
    return content === undefined ? null : new SimFile(this, path, content);
  }

  list(path: string): string[] | null {
    const prefix = `${path}/`;
    const names = [...this.#names.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
    // The order is nobody's to rely on.
    return names.sort().reverse();
  }

  makeDirectory(_path: string): void {}

  rename(from: string, to: string): void {
    const content = this.#names.get(from);
    if (content === undefined) throw ioError(`cannot rename ${from}: there is no such file`);
    this.#change(`rename ${from} ${to}`);
    this.#names.delete(from);
    this.#names.set(to, content);
    this.#changes.push({ kind: "rename", from, to, content });
  }

  remove(path: string): void {
    if (!this.#names.has(path)) return;
    this.#change(`remove ${path}`);
    this.#names.delete(path);
    this.#changes.push({ kind: "remove", path });
  }

  link(from: string, to: string): boolean {
    const content = this.#names.get(from);
    if (content === undefined) throw ioError(`cannot link ${from}: there is no such file`);
    if (this.#names.has(to)) throw ioError(`cannot link ${from} to ${to}: it exists already`);
    if (this.faults.refusesLinks) return false;
    this.#change(`link ${from} ${to}`);
    this.#names.set(to, content);
    this.#changes.push({ kind: "create", path: to, content });
    return true;
  }

  async copyFile(from: string, to: string): Promise<void> {
    const source = this.open(from);
    if (source === null) throw ioError(`cannot copy ${from}: there is no such file`);
    const target = this.create(to);
    const piece = Buffer.alloc(COPY_PIECE_BYTES);
    for (let at = 0; at < source.size; at += piece.length) {
      target.append(piece, 0, await source.read(at, piece, 0, piece.length));
    }
  }

  removeDirectory(_path: string): void {}

  forgetDirectory(_path: string): void {}

  async syncDirectory(path: string): Promise<void> {
    const upTo = this.#changes.length;
    const changes = this.#changes.slice(0, upTo);
    await this.delay(this.faults.syncMsMax);
    this.#finishDirectorySync(path, changes);
  }

  syncDirectoryNow(path: string): void {
    this.#finishDirectorySync(path, [...this.#changes]);
  }

  freeBytes(_path: string): number {
    return Math.max(0, this.faults.capacityBytes - this.usedBytes);
  }

  /** For this disk's files: `bytes` of an append that fit; the append fails when that is not all of them. */
  admit(path: string, bytes: number): { readonly admitted: number; readonly error: OperatingError | null } {
    const { random } = this.#options;
    const free = Math.max(0, this.faults.capacityBytes - this.usedBytes);
    if (bytes > free) return { admitted: free, error: fullError(path) };
    if (random.chance(this.faults.appendFailure)) {
      return { admitted: random.below(bytes), error: ioError(`cannot write to ${path}: the device reported an error`) };
    }
    return { admitted: bytes, error: null };
  }

  /** For this disk's files: a change happens; the crash may be at it. `midway` prepares what of it may have happened. */
  change(event: string, midway: () => void): void {
    this.#change(event, midway);
  }

  isFailing(probability: number): boolean {
    return this.#options.random.chance(probability);
  }

  get random(): SimRandom {
    return this.#options.random;
  }

  delay(msMax: number): Promise<void> {
    const { clock, random } = this.#options;
    return new Promise((resolve) => {
      clock.after(random.fraction() * msMax, resolve);
    });
  }

  #change(event: string, midway: () => void = () => undefined): void {
    const { trace, clock } = this.#options;
    trace.note(`${clock.monotonicMs().toFixed(3)} ${event}`);
    this.operations++;
    if (--this.#crashIn > 0 || this.#image !== null) return;
    midway();
    this.crash();
  }

  #finishDirectorySync(path: string, changes: readonly NameChange[]): void {
    if (this.isFailing(this.faults.syncFailure)) {
      this.syncFailed();
      throw ioError(`cannot sync the directory ${path}: the device reported an error`);
    }
    this.#change(`sync directory ${path}`);
    const isDone = new Set(changes);
    for (const change of this.#changes) if (isDone.has(change)) applyNameChange(this.#durable, change);
    this.#changes = this.#changes.filter((change) => !isDone.has(change));
  }

  /** What a crash leaves: any of the changes of names, and of each file any of the unsynced sectors. */
  #drawImage(): Map<string, SimContent> {
    const random = this.#options.random.fork();
    const names = new Map(this.#durable);
    const keep = random.pick([0, 0.5, 0.9, 1]);
    const prefix = random.chance(0.5) ? random.below(this.#changes.length + 1) : this.#changes.length;
    this.#changes.forEach((change, at) => {
      if (at < prefix && random.chance(keep)) applyNameChange(names, change);
    });
    const survivors = new Map<SimContent, SimContent>();
    const sectorKeep = random.pick([0, 0.5, 0.95, 1]);
    for (const content of names.values()) {
      if (!survivors.has(content)) survivors.set(content, content.afterCrash(random, sectorKeep));
    }
    return new Map([...names].map(([path, content]) => [path, survivors.get(content)!]));
  }
}

class SimFile implements DiskFile {
  readonly path: string;
  readonly #disk: SimDisk;
  readonly #content: SimContent;
  #isClosed = false;

  constructor(disk: SimDisk, path: string, content: SimContent) {
    this.#disk = disk;
    this.path = path;
    this.#content = content;
  }

  get size(): number {
    return this.#content.size;
  }

  append(bytes: Uint8Array, offset = 0, length = bytes.length - offset): void {
    this.#requireOpen();
    assert(offset >= 0 && length >= 0 && offset + length <= bytes.length, "append: range outside the bytes");
    const { admitted, error } = this.#disk.admit(this.path, length);
    let done = 0;
    this.#disk.change(`append ${this.path} ${admitted}`, () => {
      done = this.#disk.random.below(admitted + 1);
      this.#content.append(bytes, offset, done);
    });
    this.#content.append(bytes, offset + done, admitted - done);
    if (error !== null) throw error;
    this.#disk.appended(this.path, bytes, offset, length);
  }

  readNow(position: number, target: Uint8Array, offset: number, length: number): number {
    this.#requireOpen();
    return this.#content.read(position, target, offset, length);
  }

  async read(position: number, target: Uint8Array, offset: number, length: number): Promise<number> {
    this.#requireOpen();
    await this.#disk.delay(this.#disk.faults.readMsMax);
    this.#requireOpen();
    return this.#content.read(position, target, offset, length);
  }

  async sync(): Promise<void> {
    this.#requireOpen();
    const size = this.#content.size;
    await this.#disk.delay(this.#disk.faults.syncMsMax);
    this.#requireOpen();
    this.#finishSync(size);
  }

  syncNow(): void {
    this.#requireOpen();
    this.#finishSync(this.#content.size);
  }

  truncate(length: number): void {
    this.#requireOpen();
    assert(length <= this.size, "truncate: longer than the file");
    if (this.#disk.isFailing(this.#disk.faults.truncateFailure))
      throw ioError(`cannot truncate ${this.path}: the device failed`);
    this.#disk.change(`truncate ${this.path} ${length}`, () => undefined);
    this.#content.truncate(length);
  }

  close(): void {
    this.#isClosed = true;
  }

  #finishSync(size: number): void {
    if (this.#disk.isFailing(this.#disk.faults.syncFailure)) {
      this.#content.loseUnsynced(this.#disk.random);
      this.#disk.syncFailed();
      throw ioError(`cannot sync ${this.path}: the device reported an error`);
    }
    this.#disk.change(`sync ${this.path} ${size}`, () => undefined);
    if (this.#disk.faults.hasLyingSyncs) return;
    this.#content.makeDurable(size);
  }

  #requireOpen(): void {
    if (this.#isClosed) throw new OperatingError("CLOSED", `${this.path} was closed`);
  }
}

function applyNameChange(names: Map<string, SimContent>, change: NameChange): void {
  switch (change.kind) {
    case "create":
      names.set(change.path, change.content);
      break;
    case "rename":
      if (names.get(change.from) === change.content) names.delete(change.from);
      names.set(change.to, change.content);
      break;
    case "remove":
      names.delete(change.path);
      break;
  }
}

function ioError(message: string): OperatingError {
  return new OperatingError("IO", message);
}

function fullError(path: string): OperatingError {
  return ioError(`cannot write to ${path}: the disk is full; make room (ENOSPC)`);
}
