/** `kindred backup` and `kindred restore`: have a running node copy its store, and make a data directory of such a copy. */
import { resolve } from "node:path/posix";
import type { BackupReply } from "../commands/cluster-operations.js";
import { OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import type { Disk } from "../host/disk.js";
import type { Processes } from "../host/processes.js";
import type { Log } from "../log.js";
import { isWithin, readBackup } from "../lsm/backup.js";
import { DirectoryLock, LOCK_FILE } from "../lsm/directory-lock.js";
import { type RestoredAs, restoreBackup } from "../lsm/restore.js";
import { askNode, tellNode } from "./ask-node.js";
import type { RingQuestion } from "./inspect-ring.js";
import { bytes, count, plural } from "./table.js";

const POLL_MS = 100;

export interface BackupRun extends RingQuestion {
  /** Absolute, on the node's machine. */
  readonly path: string;
  readonly clock: Clock;
  /** Shows a line in the place of the last one. */
  readonly onProgress: (text: string) => void;
}

/** Resolves when the backup is whole. Rejects with UNAVAILABLE. */
export async function runBackup({ path, target, clock, format, output, onProgress }: BackupRun): Promise<void> {
  await tellNode(target, ["CLUSTER", "BACKUP", path]);
  for (;;) {
    const reply = await askNode(target, ["CLUSTER", "BACKUP", "STATUS"]);
    if (!isBackupReply(reply)) throw new OperatingError("UNAVAILABLE", "the node's answer tells no state of a backup");
    if (reply.state === "none" || reply.path !== path) {
      throw new OperatingError("UNAVAILABLE", "the node was started anew, or took another backup, meanwhile: ask again");
    }
    if (reply.state === "failed") throw new OperatingError("UNAVAILABLE", `the backup failed: ${reply.complaint}`);
    if (reply.state === "done") return output(format === "json" ? `${JSON.stringify(reply)}\n` : `${backupText(reply)}\n`);
    onProgress(`${count(reply.filesDone)} of ${plural(reply.files, "file", "files")}`);
    await pause(clock, POLL_MS);
  }
}

export function backupText({ path, files, linkedBytes, copiedBytes, tookMs }: BackupReply): string {
  const seconds = (tookMs / 1_000).toFixed(2);
  return `${path} is whole: ${plural(files, "file", "files")}, ${bytes(linkedBytes)} linked, ${bytes(copiedBytes)} copied, in ${seconds} s`;
}

function isBackupReply(answer: unknown): answer is BackupReply {
  return typeof (answer as Readonly<Record<string, unknown>>).state === "string";
}

export interface RestoreRun {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: Log;
  readonly processes: Processes;
  readonly output: (text: string) => void;
  readonly onProgress: (done: number, total: number) => void;
  /** Both absolute. */
  readonly backup: string;
  readonly directory: string;
  /** `member`: in the place of the one that the backup is of. */
  readonly as: "member" | "whole cluster" | "alone";
  readonly without: readonly string[];
  readonly isJson: boolean;
}

/** Rejects with UNAVAILABLE, LOCKED, CORRUPT and IO; a directory that was begun cannot be started then. */
export async function runRestore(run: RestoreRun): Promise<void> {
  const { disk, clock, log, processes, backup, directory, without, onProgress, output } = run;
  const note = readBackup(disk, backup);
  for (const name of without) {
    if (note.members.includes(name) && name !== note.member) continue;
    throw new OperatingError(
      "CONFIG",
      `--without ${name}: the other members were ${note.members.filter((other) => other !== note.member).join(", ") || "none"}`,
    );
  }
  if (isWithin(resolve(directory), resolve(backup))) {
    throw new OperatingError("UNAVAILABLE", `${directory} lies within the backup ${backup}: name a directory beside it`);
  }
  const there = (disk.list(directory) ?? []).filter((name) => name !== LOCK_FILE);
  if (there.length > 0) {
    throw new OperatingError(
      "UNAVAILABLE",
      `${directory} is not empty (${there.sort()[0]}): name a directory that is not there yet`,
    );
  }
  const lock = DirectoryLock.acquire({ disk, processes, directory });
  try {
    const as = restoredAs(run.as, note.members.length);
    const done = await restoreBackup({ disk, clock, log, backup, directory, as, without, onProgress });
    const { member, taken, cluster } = note;
    const report = {
      directory,
      as,
      member,
      cluster,
      taken,
      files: done.files,
      linkedBytes: done.linkedBytes,
      copiedBytes: done.copiedBytes,
    };
    output(run.isJson ? `${JSON.stringify(report)}\n` : `${restoredText(report)}\n`);
  } finally {
    lock.release();
  }
}

/** The only member of a ring is the whole of it. */
function restoredAs(wanted: RestoreRun["as"], members: number): RestoredAs {
  if (wanted !== "member") return wanted;
  return members === 1 ? "whole cluster" : "replacement";
}

const NEXT: Readonly<Record<RestoredAs, string>> = {
  replacement: "Started with the settings of that member, it takes its place as a new member, once that one is down.",
  "whole cluster":
    "Start it with the settings of that member, and all others that are restored; the ring changes once all are there.",
  alone: "Started, it is the only member of a new cluster; give it ports of its own.",
};

function restoredText(report: {
  readonly directory: string;
  readonly as: RestoredAs;
  readonly member: string;
  readonly taken: string;
  readonly files: number;
  readonly linkedBytes: number;
  readonly copiedBytes: number;
}): string {
  const { directory, as, member, taken, files, linkedBytes, copiedBytes } = report;
  const sizes = `${plural(files, "file", "files")}, ${bytes(linkedBytes)} linked, ${bytes(copiedBytes)} copied`;
  return `${directory} holds what ${member} held at ${taken}: ${sizes}\n${NEXT[as]}`;
}
