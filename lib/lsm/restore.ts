/**
 * Makes a data directory out of a backup, by hard links where the system has them; the backup stays as it is. A mark in the
 * directory has its next start take new identities; until all is there the mark has another name, and a start is refused.
 *
 *     <dir>/restored.json   {"format":1,"as":...,"takenMs":...,"without":[...]}; `restored.unfinished` while it is made
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";
import { BACKUP_FILE, type BackupNote, parentOf, readBackup, readText } from "./backup.js";
import { checkStore } from "./check.js";
import { type CheckpointProgress, writeCheckpoint } from "./checkpoint.js";
import { segmentIdOf } from "./log-format.js";
import { readManifest } from "./manifest.js";

const MARK_FILE = "restored.json";
const UNFINISHED_MARK_FILE = "restored.unfinished";
const FORMAT = 1;

/** As what a restored store goes on. */
export type RestoredAs =
  /** A new member in the place of the one that the backup is of, which is gone for good. */
  | "replacement"
  /** The member that it was: all members are restored. */
  | "whole cluster"
  /** The only member of a new cluster. */
  | "alone";

export interface RestoredMark {
  readonly as: RestoredAs;
  /** When the backup was taken, on its node's wall clock. */
  readonly takenMs: number;
  /** Of a whole cluster: names or ids of members that are not restored. */
  readonly without: readonly string[];
}

export interface RestoreOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly backup: string;
  /** Locked by the caller, and empty but for the lock. */
  readonly directory: string;
  readonly as: RestoredAs;
  readonly without: readonly string[];
  /** Bytes verified and in all. */
  readonly onProgress: (done: number, total: number) => void;
}

/** Verifies the backup and makes the directory. Rejects with UNAVAILABLE, CORRUPT for a backup that is damaged, and IO. */
export async function restoreBackup(options: RestoreOptions): Promise<CheckpointProgress> {
  const { disk, clock, log, backup, directory, as, without, onProgress } = options;
  const note = readBackup(disk, backup);
  const from = `${backup}/store`;
  await requireWhole(disk, from, { note, backup, onProgress });
  const state = readManifest(disk, from, 0)!;
  const ids = (disk.list(from) ?? []).map(segmentIdOf).filter((id) => id !== null);
  const segments = ids.filter((id) => id >= state.oldestSegment).sort((a, b) => a - b);
  const to = `${directory}/store`;
  disk.makeDirectory(to);
  const mark = `${JSON.stringify({ format: FORMAT, as, takenMs: note.takenMs, without })}\n`;
  const file = disk.create(`${directory}/${UNFINISHED_MARK_FILE}`);
  file.append(Buffer.from(mark));
  file.syncNow();
  file.close();
  disk.syncDirectoryNow(directory);
  const progress = await writeCheckpoint({
    disk,
    clock,
    log,
    directory: from,
    capture: { state, segments, release: () => undefined },
    syncLog: async () => undefined,
    target: { directory: to, isCancelled: () => false, onProgress: () => undefined },
  });
  disk.rename(`${directory}/${UNFINISHED_MARK_FILE}`, `${directory}/${MARK_FILE}`);
  disk.syncDirectoryNow(directory);
  disk.syncDirectoryNow(parentOf(directory));
  return progress;
}

async function requireWhole(
  disk: Disk,
  from: string,
  { note, backup, onProgress }: { note: BackupNote; backup: string; onProgress: RestoreOptions["onProgress"] },
): Promise<void> {
  const { problems, tables, segments } = await checkStore({ disk, directory: from, onProgress });
  if (problems.length > 0) {
    throw new OperatingError("CORRUPT", `${backup} is damaged and cannot be restored as it is: ${problems.join("; ")}`);
  }
  if (tables + segments !== note.files) {
    const text = `${backup} is not whole: it had ${note.files} files, and ${tables + segments} of them make up its store now`;
    throw new OperatingError("CORRUPT", text);
  }
}

/**
 * The mark of a directory that was restored and not started since; null where there is none. Throws UNAVAILABLE for a directory
 * that may not be started: a backup, or one whose restoring was cut short.
 */
export function readRestoredMark(disk: Disk, directory: string): RestoredMark | null {
  const names = disk.list(directory) ?? [];
  if (names.includes(BACKUP_FILE)) {
    const text = `${directory} is a backup: make a data directory of it with kindred restore ${directory} --dir <directory>`;
    throw new OperatingError("UNAVAILABLE", text);
  }
  if (names.includes(UNFINISHED_MARK_FILE)) {
    throw new OperatingError("UNAVAILABLE", `restoring ${directory} was cut short: remove it and restore the backup again`);
  }
  const path = `${directory}/${MARK_FILE}`;
  const text = readText(disk, path);
  if (text === null) return null;
  const mark = JSON.parse(text) as RestoredMark & { readonly format: number };
  if (mark.format === FORMAT) return mark;
  throw new OperatingError("CORRUPT", `${path} has format ${mark.format}; this version of Kindred reads ${FORMAT}`);
}

/** The start has taken its new identities, and they are durable. Throws IO. */
export function removeRestoredMark(disk: Disk, directory: string): void {
  disk.remove(`${directory}/${MARK_FILE}`);
  // Were it to come back, the next start would become somebody else once more.
  disk.syncDirectoryNow(directory);
}
