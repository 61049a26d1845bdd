/** `kindred check` and `kindred inspect`: what can be done to a data directory while no server uses it. */
import { OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import type { Processes } from "../host/processes.js";
import { BACKUP_FILE, readBackup, UNFINISHED_FILE } from "../lsm/backup.js";
import { type CheckReport, checkStore, isSalvageable, MANIFEST_FILE } from "../lsm/check.js";
import { DirectoryLock } from "../lsm/directory-lock.js";
import { describePiece, inspectFile } from "../lsm/inspect.js";
import type { LsmSettings } from "../lsm/lsm-settings.js";
import { readRestoredMark } from "../lsm/restore.js";
import { salvageStore } from "../lsm/salvage.js";

export interface CheckOptions {
  readonly disk: Disk;
  readonly processes: Processes;
  readonly output: (text: string) => void;
  /** Shows how far long work is. */
  readonly onProgress: (done: number, total: number) => void;
  /** The data directory, and where in it the store and the mark of a loss are. */
  readonly directory: string;
  readonly storeDirectory: string;
  readonly lossMark: string;
  readonly settings: LsmSettings;
  readonly nowMs: number;
  readonly isSalvage: boolean;
  readonly isJson: boolean;
}

/** Verifies a store and prints what it found. Returns whether it is whole. Throws LOCKED while a server uses it. */
export async function runCheck(options: CheckOptions): Promise<boolean> {
  const { disk, directory, storeDirectory, output } = options;
  requireFinished(disk, directory);
  if (disk.list(storeDirectory) === null) {
    if (disk.list(directory)?.includes(MANIFEST_FILE)) {
      throw new OperatingError(
        "UNAVAILABLE",
        `${directory} is the store within a data directory: check the directory above it`,
      );
    }
    throw new OperatingError("UNAVAILABLE", `${directory} is no data directory of Kindred: there is no ${storeDirectory}`);
  }
  const lock = DirectoryLock.acquire({ disk, processes: options.processes, directory });
  try {
    if (options.isSalvage && isSalvageable(disk, storeDirectory)) await salvage(options);
    const report = await checkStore({ disk, directory: storeDirectory, onProgress: options.onProgress });
    output(options.isJson ? `${JSON.stringify(report)}\n` : describe(report, directory));
    return report.problems.length === 0;
  } finally {
    lock.release();
  }
}

/** Throws UNAVAILABLE for a backup that is none yet, and for a directory whose restoring was cut short. */
function requireFinished(disk: Disk, directory: string): void {
  const names = disk.list(directory) ?? [];
  if (names.includes(UNFINISHED_FILE) || names.includes(BACKUP_FILE)) readBackup(disk, directory);
  else readRestoredMark(disk, directory);
}

export function runInspect(options: { disk: Disk; output: (text: string) => void; file: string; isJson: boolean }): void {
  for (const piece of inspectFile(options.disk, options.file)) {
    options.output(`${options.isJson ? JSON.stringify(piece) : describePiece(piece)}\n`);
  }
}

/** A store that lost data may have forgotten dots that it gave out: the mark makes its next start take a new identity. */
async function salvage({ disk, storeDirectory, directory, lossMark, settings, nowMs, output }: CheckOptions): Promise<void> {
  if (disk.open(lossMark) === null) disk.create(lossMark).close();
  disk.syncDirectoryNow(directory);
  const lost = await salvageStore({ disk, directory: storeDirectory, settings, nowMs });
  for (const line of lost) output(`given up: ${line}\n`);
  if (lost.length === 0) output("nothing had to be given up\n");
}

function describe(report: CheckReport, directory: string): string {
  const lines = [`${report.tables} tables with ${report.entries} entries in ${report.tableBytes} bytes`];
  if (report.segments > 0 || report.batches === 0) {
    lines.push(`${report.segments} log segments with ${report.batches} batches in ${report.logBytes} bytes`);
  } else lines.push(`a log of which ${report.batches} batches can be read`);
  if (report.cut !== null) {
    lines.push(`the log ends in ${report.cut.bytes} bytes of an interrupted write: no damage, the next start cuts them off`);
  }
  if (report.problems.length === 0) return `${lines.join("\n")}\n${directory} is whole\n`;
  lines.push(...report.problems.map((problem) => `DAMAGED: ${problem}`));
  if (report.isSalvageable)
    lines.push(`To go on with what is left: copy the directory, then run kindred check ${directory} --salvage`);
  else lines.push("Without its manifest a store cannot be put together again: restore a backup of the data directory");
  return `${lines.join("\n")}\n`;
}
