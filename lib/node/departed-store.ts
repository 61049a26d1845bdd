/**
 * The data of a member that has left its cluster. The others have all of it, and its id is refused for ever: a mark beside the
 * store says so, and whoever wants the directory used again (`rejoin`) has the store cleared before it is opened.
 *
 * INVARIANT: the mark is there only of a member that has given away what it had; it goes last, so that a clearing that was cut
 * off is done again.
 */
import { messageOf, OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import type { Log } from "../log.js";

/** Says so, durably. Without the mark the directory has to be cleared by hand: a disk that refuses is told of. */
export function markLeft({ disk, leftMark, directory }: { disk: Disk; leftMark: string; directory: string }, log: Log): void {
  try {
    disk.remove(leftMark);
    disk.create(leftMark).close();
    disk.syncDirectoryNow(directory);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    log.warn({ code: error.code }, `that this member has left could not be noted in its directory: ${messageOf(error)}`);
  }
}

/** Clears the store of a member that has left. False, and nothing is done, where none has. Throws IO. */
export function clearLeft({
  disk,
  leftMark,
  storeDirectory,
}: {
  disk: Disk;
  leftMark: string;
  storeDirectory: string;
}): boolean {
  const mark = disk.open(leftMark);
  if (mark === null) return false;
  mark.close();
  for (const name of disk.list(storeDirectory) ?? []) disk.remove(`${storeDirectory}/${name}`);
  if (disk.list(storeDirectory) !== null) disk.syncDirectoryNow(storeDirectory);
  disk.remove(leftMark);
  return true;
}
