/**
 * The Disk seam over the file system of this machine. Appends, namespace operations and small reads block; syncs and
 * `read` run on libuv's pool.
 *
 * Invariant: a descriptor is closed only when no operation on the pool uses it any more, because the system gives its
 * number to the next file that is opened.
 */
import * as fs from "node:fs";
import { dirname } from "node:path";
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";
import type { Disk, DiskFile } from "./disk.js";

export class NodeDisk implements Disk {
  /**
   * Descriptors of the directories that were synced, kept open: a sync must not fail because the process has no descriptor
   * left, and a process has few directories.
   */
  readonly #directories = new Map<string, number>();

  create(path: string): DiskFile {
    const flags = fs.constants.O_CREAT | fs.constants.O_EXCL | fs.constants.O_RDWR | fs.constants.O_APPEND;
    return attempt("create", path, () => new NodeFile(path, fs.openSync(path, flags, 0o640), 0));
  }

  open(path: string): DiskFile | null {
    try {
      const descriptor = fs.openSync(path, "r");
      return new NodeFile(path, descriptor, fs.fstatSync(descriptor).size);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return null;
      throw failure("open", path, error);
    }
  }

  list(path: string): string[] | null {
    try {
      return fs.readdirSync(path);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return null;
      throw failure("list", path, error);
    }
  }

  makeDirectory(path: string): void {
    attempt("make the directory", path, () => makeWithParents(path));
  }

  rename(from: string, to: string): void {
    attempt(`rename ${from} to`, to, () => fs.renameSync(from, to));
  }

  remove(path: string): void {
    attempt("remove", path, () => fs.rmSync(path, { force: true }));
  }

  link(from: string, to: string): boolean {
    try {
      fs.linkSync(from, to);
      return true;
    } catch (error) {
      if (LINK_REFUSALS.has(codeOf(error) ?? "")) return false;
      throw failure(`link ${from} to`, to, error);
    }
  }

  async copyFile(from: string, to: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      // A file system that shares blocks between files does so.
      fs.copyFile(from, to, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE, (error) => {
        if (error === null) resolve();
        else reject(failure(`copy ${from} to`, to, error));
      });
    });
  }

  removeDirectory(path: string): void {
    this.forgetDirectory(path);
    try {
      fs.rmdirSync(path);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw failure("remove the directory", path, error);
    }
  }

  forgetDirectory(path: string): void {
    const descriptor = this.#directories.get(path);
    if (descriptor === undefined) return;
    this.#directories.delete(path);
    attempt("close the directory", path, () => fs.closeSync(descriptor));
  }

  async syncDirectory(path: string): Promise<void> {
    const descriptor = this.#descriptorOf(path);
    await new Promise<void>((resolve, reject) => {
      fs.fsync(descriptor, (error) => (error === null ? resolve() : reject(failure("sync the directory", path, error))));
    });
  }

  syncDirectoryNow(path: string): void {
    const descriptor = this.#descriptorOf(path);
    attempt("sync the directory", path, () => fs.fsyncSync(descriptor));
  }

  #descriptorOf(path: string): number {
    const known = this.#directories.get(path);
    if (known !== undefined) return known;
    const descriptor = attempt("open the directory", path, () => fs.openSync(path, "r"));
    this.#directories.set(path, descriptor);
    return descriptor;
  }

  freeBytes(path: string): number {
    return attempt("ask for free space of", path, () => {
      const { bavail, bsize } = fs.statfsSync(path);
      return bavail * bsize;
    });
  }
}

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #descriptor: number;
  #size: number;
  /** Operations on the pool that use the descriptor now. */
  #underWay = 0;
  #isClosed = false;

  constructor(path: string, descriptor: number, size: number) {
    this.path = path;
    this.#descriptor = descriptor;
    this.#size = size;
  }

  get size(): number {
    return this.#size;
  }

  append(bytes: Uint8Array, offset = 0, length = bytes.length - offset): void {
    this.#requireOpen();
    assert(offset >= 0 && length >= 0 && offset + length <= bytes.length, "append: range outside the bytes");
    let done = 0;
    try {
      while (done < length) {
        const written = fs.writeSync(this.#descriptor, bytes, offset + done, length - done);
        // A regular file that takes nothing without an error would loop for ever.
        if (written === 0) throw new Error("the system wrote nothing");
        done += written;
      }
    } catch (error) {
      throw failure("write to", this.path, error);
    } finally {
      this.#size += done;
    }
  }

  readNow(position: number, target: Uint8Array, offset: number, length: number): number {
    this.#requireOpen();
    let done = 0;
    try {
      while (done < length) {
        const got = fs.readSync(this.#descriptor, target, offset + done, length - done, position + done);
        if (got === 0) break;
        done += got;
      }
    } catch (error) {
      throw failure("read", this.path, error);
    }
    return done;
  }

  async read(position: number, target: Uint8Array, offset: number, length: number): Promise<number> {
    let done = 0;
    while (done < length) {
      const got = await this.#onPool<number>("read", (descriptor, finish) => {
        fs.read(descriptor, target, offset + done, length - done, position + done, finish);
      });
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  async sync(): Promise<void> {
    await this.#onPool<void>("sync", (descriptor, finish) => {
      fs.fdatasync(descriptor, (error) => finish(error, undefined));
    });
  }

  syncNow(): void {
    this.#requireOpen();
    attempt("sync", this.path, () => fs.fdatasyncSync(this.#descriptor));
  }

  truncate(length: number): void {
    this.#requireOpen();
    assert(length <= this.#size, "truncate: longer than the file");
    // By path, so that it also works on a file that was opened for reading.
    attempt("truncate", this.path, () => fs.truncateSync(this.path, length));
    this.#size = length;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.#underWay === 0) this.#closeDescriptor();
  }

  #requireOpen(): void {
    if (this.#isClosed) throw closedError(this.path);
  }

  #closeDescriptor(): void {
    attempt("close", this.path, () => fs.closeSync(this.#descriptor));
  }

  #onPool<Result>(
    what: string,
    start: (descriptor: number, finish: (error: NodeJS.ErrnoException | null, result: Result) => void) => void,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      if (this.#isClosed) return reject(closedError(this.path));
      this.#underWay++;
      start(this.#descriptor, (error, result) => {
        this.#underWay--;
        if (this.#isClosed) {
          if (this.#underWay === 0) this.#closeDescriptor();
          reject(closedError(this.path));
        } else if (error !== null) reject(failure(what, this.path, error));
        else resolve(result);
      });
    });
  }
}

/** What a system says that cannot link, though nothing is wrong: another file system, one without links, a file with too many. */
const LINK_REFUSALS: ReadonlySet<string> = new Set(["EXDEV", "EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** What a person can do about the errors that people meet. */
const advice: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; make room",
  EDQUOT: "the disk quota is used up; raise it or make room",
  EACCES: "permission denied; give this user access",
  EPERM: "operation not permitted; give this user access",
  EROFS: "the file system is read-only; mount it for writing",
  EMFILE: "too many open files; raise `ulimit -n` or lower max-open-files",
  ENFILE: "too many open files on this machine",
  EIO: "the device reported an error; check its health",
  EEXIST: "it exists already",
  ENOENT: "there is no such file or directory",
  ENOTDIR: "a part of the path is a file",
  ENOTEMPTY: "it is not empty",
};

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | null)?.code;
}

function failure(what: string, path: string, error: unknown): OperatingError {
  const code = codeOf(error) ?? "unknown error";
  const why = advice[code] ?? (error instanceof Error ? error.message : String(error));
  return new OperatingError("IO", `cannot ${what} ${path}: ${why} (${code})`, { cause: error });
}

function closedError(path: string): OperatingError {
  return new OperatingError("CLOSED", `${path} was closed`);
}

function attempt<Result>(what: string, path: string, run: () => Result): Result {
  try {
    return run();
  } catch (error) {
    throw failure(what, path, error);
  }
}

/** Node's own recursive form never ends where the system denies a name under a directory that exists (below /proc, say). */
function makeWithParents(path: string): void {
  const made = fs.statSync(path, { throwIfNoEntry: false });
  if (made?.isDirectory()) return;
  if (made !== undefined) throw Object.assign(new Error("it is a file"), { code: "ENOTDIR" });
  const parent = dirname(path);
  if (parent !== path) makeWithParents(parent);
  try {
    fs.mkdirSync(path, { mode: 0o750 });
  } catch (error) {
    // Somebody else may have made it meanwhile.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
