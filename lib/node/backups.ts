/**
 * Backups of this node: one at a time, in the background, below one directory. Whoever may send commands may otherwise have the node
 * make directories anywhere, and put what its clients stored where something else serves it.
 */
import { dirname, resolve } from "node:path/posix";
import { background } from "../background.js";
import type { BackupReply } from "../commands/cluster-operations.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";
import { BACKUP_FILE, type BackupOrigin, isWithin, takeBackup } from "../lsm/backup.js";
import type { Lsm } from "../lsm/lsm.js";

export interface BackupsOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly lsm: Lsm;
  /** Where the process runs: relative paths are below it. Absolute. */
  readonly currentDirectory: string;
  /** The data directory. */
  readonly directory: string;
  /** `backup-dir`: empty for the data directory's path with "-backups" behind it. */
  readonly backupDirectory: string;
  /** Null while this node is no member of a ring. */
  readonly origin: () => BackupOrigin | null;
}

export const NO_BACKUP: BackupReply = {
  state: "none",
  path: "",
  files: 0,
  filesDone: 0,
  linkedBytes: 0,
  copiedBytes: 0,
  tookMs: 0,
  complaint: "",
};

export class Backups {
  readonly #options: BackupsOptions;
  readonly #data: string;
  readonly #root: string;
  #reply: BackupReply = NO_BACKUP;
  #running: Promise<void> | null = null;
  #isStopped = false;

  /** Throws CONFIG where backups would lie in the data directory. */
  constructor(options: BackupsOptions) {
    const { currentDirectory, directory, backupDirectory } = options;
    this.#options = options;
    this.#data = resolve(currentDirectory, directory);
    this.#root = backupDirectory === "" ? `${this.#data}-backups` : resolve(currentDirectory, backupDirectory);
    if (isWithin(this.#root, this.#data)) {
      throw new OperatingError(
        "CONFIG",
        `backup-dir: ${this.#root} lies within the data directory ${this.#data}: choose one beside it`,
      );
    }
  }

  get status(): BackupReply {
    return this.#reply;
  }

  /** Null, or why nothing was begun. */
  begin(path: string): string | null {
    if (!path.startsWith("/") || path.includes("\0")) return `${JSON.stringify(path)} is no absolute path`;
    const target = resolve(path);
    if (isWithin(target, this.#data)) return `${target} lies within the data directory ${this.#data}`;
    if (target === this.#root || !isWithin(target, this.#root)) {
      return `${target} does not lie below ${this.#root}, where this node may put backups (backup-dir)`;
    }
    for (let above = dirname(target); isWithin(above, this.#root); above = dirname(above)) {
      if (this.#options.disk.list(above)?.includes(BACKUP_FILE)) return `${target} lies within the backup ${above}`;
    }
    if (this.#isStopped) return "this node is stopping";
    if (this.#running !== null) return `a backup to ${this.#reply.path} is under way`;
    const origin = this.#options.origin();
    if (origin === null) return "this node has not joined its cluster yet: what it holds is not its share";
    this.#running = this.#run(target, origin).finally(() => {
      this.#running = null;
    });
    background(this.#running);
    return null;
  }

  /** Gives up what is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#running;
  }

  async #run(directory: string, origin: BackupOrigin): Promise<void> {
    const { disk, clock, log, lsm } = this.#options;
    const sinceMs = clock.monotonicMs();
    const note = (news: Partial<BackupReply>): void => {
      this.#reply = { ...this.#reply, ...news, tookMs: Math.round(clock.monotonicMs() - sinceMs) };
    };
    this.#reply = { ...NO_BACKUP, state: "running", path: directory };
    try {
      const done = await takeBackup({
        disk,
        clock,
        log,
        store: lsm,
        origin,
        directory,
        isCancelled: () => this.#isStopped,
        onProgress: note,
      });
      note({ ...done, state: "done" });
      const { files, linkedBytes, copiedBytes, tookMs } = this.#reply;
      log.info({ directory, files, linkedBytes, copiedBytes, tookMs }, "took a backup");
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      note({ state: "failed", complaint: messageOf(error) });
      log.error({ directory, code: error.code }, `the backup failed: ${messageOf(error)}`);
    }
  }
}
