/**
 * The Disk seam: files and directories. Namespace operations, appends and small reads are synchronous; what may wait for
 * the device is asynchronous. Every method throws (or rejects with) an `OperatingError` of code `IO`, with the system's
 * own code as its `cause`, unless it says otherwise. Paths are absolute or relative to the process.
 *
 * What a crash may do to unsynced state, and what every implementation (and every user) relies on:
 * - bytes appended since the last `sync` of the file may be kept in any subset of 512-byte sectors, in any order;
 * - a created, renamed or removed name may be forgotten until `syncDirectory` of its directory has resolved;
 * - after a failed `sync` the unsynced bytes are unknown for ever: callers stop acknowledging.
 */

export interface Disk {
  /** Creates an empty file for appending. Fails if the name exists. */
  create(path: string): DiskFile;
  /** Opens an existing file for reading; `null` when there is none. */
  open(path: string): DiskFile | null;
  /** Names in the directory, unsorted, without `.` and `..`; `null` when there is no such directory. */
  list(path: string): string[] | null;
  /** Creates the directory and its missing parents; an existing one is fine. */
  makeDirectory(path: string): void;
  /** Atomically replaces `to` by `from`. */
  rename(from: string, to: string): void;
  /** Removes a file; a missing one is fine. */
  remove(path: string): void;
  /** Gives a file a second name, which must not exist. False where the system does not: on another file system, or one without hard links. */
  link(from: string, to: string): boolean;
  /** Copies a whole file to a name that must not exist, off the thread of requests; durable once the copy is synced. May leave a part. */
  copyFile(from: string, to: string): Promise<void>;
  /** Removes a directory that is empty; a missing one is fine. */
  removeDirectory(path: string): void;
  /** The directory is synced no more for now: gives up what is kept open for that. */
  forgetDirectory(path: string): void;
  /** Makes the directory's entries durable. */
  syncDirectory(path: string): Promise<void>;
  /** The same, blocking: for workers and for start and stop. */
  syncDirectoryNow(path: string): void;
  /** Bytes free for this process on the file system that holds `path`. */
  freeBytes(path: string): number;
}

export interface DiskFile {
  readonly path: string;
  /** Current length in bytes. */
  readonly size: number;
  /**
   * Appends `length` bytes of `bytes` from `offset`. On an error the file may have grown by any prefix of them; the
   * caller truncates.
   */
  append(bytes: Uint8Array, offset?: number, length?: number): void;
  /** Reads up to `length` bytes at `position` into `target` at `offset`, blocking. Returns how many: fewer only at the end. */
  readNow(position: number, target: Uint8Array, offset: number, length: number): number;
  /** The same without blocking the thread of requests. */
  read(position: number, target: Uint8Array, offset: number, length: number): Promise<number>;
  /** Makes all appended bytes durable (fdatasync). */
  sync(): Promise<void>;
  /** The same, blocking: for workers and for start and stop. */
  syncNow(): void;
  /** Cuts the file to `length` bytes, at most its size. */
  truncate(length: number): void;
  /** Idempotent. Pending reads fail with code `CLOSED`. */
  close(): void;
}
