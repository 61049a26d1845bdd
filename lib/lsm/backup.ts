/**
 * A backup: a checkpoint of a store, and a file beside it that says of whom it is and that it is whole.
 *
 *     <backup>/backup.json        one line of JSON, written last: without it the backup is unfinished
 *     <backup>/backup.unfinished  while it is made, or where that was cut short
 *     <backup>/store/             as in a data directory
 */
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";
import type { CheckpointProgress, CheckpointTarget } from "./checkpoint.js";

export const BACKUP_FILE = "backup.json";
export const UNFINISHED_FILE = "backup.unfinished";
const NEW_FILE = "backup.new";
const FORMAT = 1;

/** Whose store it is. */
export interface BackupOrigin {
  /** 32 hexadecimal digits. */
  readonly cluster: string;
  /** 16 hexadecimal digits. */
  readonly memberId: string;
  readonly member: string;
  /** Names of the members of its ring. */
  readonly members: readonly string[];
  readonly ringVersion: number;
  /** Of Kindred. */
  readonly version: string;
}

export interface BackupNote extends BackupOrigin {
  readonly format: number;
  /** Wall clock; the backup holds all that was acknowledged before. `taken`: the same for people. */
  readonly takenMs: number;
  readonly taken: string;
  /** Of the store. */
  readonly files: number;
  readonly bytes: number;
}

export interface BackupOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly store: { checkpoint(target: CheckpointTarget): Promise<CheckpointProgress> };
  readonly origin: BackupOrigin;
  /** Absolute; missing, or an empty directory. */
  readonly directory: string;
  readonly isCancelled: () => boolean;
  readonly onProgress: (progress: CheckpointProgress) => void;
}

/** Resolves when the backup is whole and durable. Rejects with UNAVAILABLE, IO or CLOSED, and what was made is removed then. */
export async function takeBackup(options: BackupOptions): Promise<CheckpointProgress> {
  const { disk, clock, origin, directory, store, isCancelled, onProgress } = options;
  requireEmpty(disk, directory);
  const takenMs = clock.wallMs();
  const head = { format: FORMAT, takenMs, taken: new Date(takenMs).toISOString(), ...origin };
  const storeDirectory = `${directory}/store`;
  try {
    disk.makeDirectory(storeDirectory);
    await writeNote(disk, `${directory}/${UNFINISHED_FILE}`, head);
    await disk.syncDirectory(directory);
    const progress = await store.checkpoint({ directory: storeDirectory, isCancelled, onProgress });
    const note: BackupNote = { ...head, files: progress.files, bytes: progress.linkedBytes + progress.copiedBytes };
    await writeNote(disk, `${directory}/${NEW_FILE}`, note);
    disk.rename(`${directory}/${NEW_FILE}`, `${directory}/${BACKUP_FILE}`);
    disk.remove(`${directory}/${UNFINISHED_FILE}`);
    await disk.syncDirectory(directory);
    await disk.syncDirectory(parentOf(directory));
    return progress;
  } catch (error) {
    removeBackup(options);
    throw error;
  } finally {
    for (const path of [storeDirectory, directory, parentOf(directory)]) disk.forgetDirectory(path);
  }
}

/** What a whole backup says of itself. Throws UNAVAILABLE for what is none, CORRUPT and IO. */
export function readBackup(disk: Disk, directory: string): BackupNote {
  const text = readText(disk, `${directory}/${BACKUP_FILE}`);
  if (text === null) {
    const isBegun = disk.list(directory)?.includes(UNFINISHED_FILE) ?? false;
    const why = isBegun
      ? "is an unfinished backup: remove it and take another"
      : `is no backup: there is no ${BACKUP_FILE} in it`;
    throw new OperatingError("UNAVAILABLE", `${directory} ${why}`);
  }
  return parseNote(text, `${directory}/${BACKUP_FILE}`);
}

export function parseNote(text: string, path: string): BackupNote {
  let note: Partial<BackupNote>;
  try {
    note = JSON.parse(text) as Partial<BackupNote>;
  } catch {
    throw new OperatingError("CORRUPT", `${path} is damaged: it is no JSON`);
  }
  if (note.format !== FORMAT) {
    throw new OperatingError("CORRUPT", `${path} has format ${note.format}; this version of Kindred reads ${FORMAT}`);
  }
  const { cluster, memberId, member, members, takenMs, files } = note;
  const isRight = [cluster, memberId, member].every((word) => typeof word === "string") && Array.isArray(members);
  if (!isRight || typeof takenMs !== "number" || typeof files !== "number") {
    throw new OperatingError("CORRUPT", `${path} is damaged: it does not say of whom the backup is`);
  }
  return note as BackupNote;
}

/** Both absolute. True of the directory itself, too. */
export function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === "/" ? "/" : `${directory}/`);
}

function requireEmpty(disk: Disk, directory: string): void {
  const names = disk.list(directory) ?? [];
  if (names.length === 0) return;
  const what = names.includes(BACKUP_FILE)
    ? "holds a backup already"
    : names.includes(UNFINISHED_FILE)
      ? "holds an unfinished backup, which may be removed"
      : `is not empty (${names.sort()[0]})`;
  throw new OperatingError("UNAVAILABLE", `${directory} ${what}: name a directory that is not there yet`);
}

/** The checkpoint has removed its own; the rest is little. */
function removeBackup({ disk, log, directory }: BackupOptions): void {
  try {
    const inStore = (disk.list(`${directory}/store`) ?? []).map((name) => `store/${name}`);
    for (const name of [BACKUP_FILE, NEW_FILE, ...inStore, UNFINISHED_FILE]) disk.remove(`${directory}/${name}`);
    disk.removeDirectory(`${directory}/store`);
    disk.removeDirectory(directory);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    log.warn({ directory, reason: messageOf(error) }, "a backup that failed could not be removed: remove it");
  }
}

async function writeNote(disk: Disk, path: string, note: object): Promise<void> {
  const line = `${JSON.stringify(note)}\n`;
  const file = disk.create(path);
  try {
    file.append(Buffer.from(line));
    await file.sync();
  } finally {
    file.close();
  }
}

export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash > 0 ? path.slice(0, slash) : slash === 0 ? "/" : ".";
}

/** Null when there is no such file. */
export function readText(disk: Disk, path: string): string | null {
  const file = disk.open(path);
  if (file === null) return null;
  try {
    const bytes = Buffer.alloc(file.size);
    return bytes.toString("utf8", 0, file.readNow(0, bytes, 0, bytes.length));
  } finally {
    file.close();
  }
}
