/**
 * Keeps a data directory to one process. The lock is a file that names its owner; a file whose owner does not run any more
 * (killed, or from before a restart of the machine) is taken over.
 *
 * Layout of `lock`: one line of JSON, `{"pid":..,"boot":"..","started":".."}`.
 */
import { OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import type { Processes, ProcessIdentity } from "../host/processes.js";

export const LOCK_FILE = "lock";

/** A stale file may be replaced by another process between the look and the take-over. */
const ATTEMPTS_MAX = 3;

export class DirectoryLock {
  readonly #disk: Disk;
  readonly #path: string;
  readonly #content: string;

  private constructor(disk: Disk, path: string, content: string) {
    this.#disk = disk;
    this.#path = path;
    this.#content = content;
  }

  /** Locks the directory, making it when there is none. Throws LOCKED when a running process holds it, and IO. */
  static acquire(options: { disk: Disk; processes: Processes; directory: string }): DirectoryLock {
    const { disk, processes, directory } = options;
    disk.makeDirectory(directory);
    const path = `${directory}/${LOCK_FILE}`;
    const content = `${JSON.stringify(processes.self())}\n`;
    for (let attempt = 1; ; attempt++) {
      const found = readLock(disk, path);
      const owner = found === null ? null : parseOwner(found);
      if (owner !== null && found !== content && processes.isRunning(owner)) throw lockedError(directory, path, owner);
      if (found !== null && readLock(disk, path) === found) disk.remove(path);
      try {
        const file = disk.create(path);
        file.append(Buffer.from(content, "latin1"));
        file.close();
      } catch (error) {
        // Most likely another process was faster: look again who it is.
        if (attempt < ATTEMPTS_MAX && readLock(disk, path) !== null) continue;
        throw error;
      }
      if (readLock(disk, path) === content) return new DirectoryLock(disk, path, content);
    }
  }

  /** Gives the directory back. */
  release(): void {
    if (readLock(this.#disk, this.#path) === this.#content) this.#disk.remove(this.#path);
  }
}

function readLock(disk: Disk, path: string): string | null {
  const file = disk.open(path);
  if (file === null) return null;
  try {
    const bytes = Buffer.alloc(file.size);
    return bytes.toString("latin1", 0, file.readNow(0, bytes, 0, bytes.length));
  } finally {
    file.close();
  }
}

/** Null when the file does not name an owner: it was cut off by a crash while it was made. */
function parseOwner(content: string): ProcessIdentity | null {
  try {
    const { pid, boot, started } = JSON.parse(content) as Partial<ProcessIdentity>;
    if (typeof pid !== "number" || typeof boot !== "string" || typeof started !== "string") return null;
    return { pid, boot, started };
  } catch {
    return null;
  }
}

function lockedError(directory: string, path: string, owner: ProcessIdentity): OperatingError {
  return new OperatingError(
    "LOCKED",
    `${directory} is in use by process ${owner.pid}: stop it first; a server can have another directory (--dir). ` +
      `If no such process uses it, remove ${path}`,
  );
}
