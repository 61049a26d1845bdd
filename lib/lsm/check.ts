/**
 * Verifies a closed store without changing anything: the manifest, every table entry by entry, the order and the
 * disjointness of the levels, and every operation of every batch of the log.
 */
import { messageOf, OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import { BATCH_HEADER_BYTES, OperationReader } from "./log-format.js";
import { type LogCut, type LogRecovery, type LogVisitor, readLog } from "./log-recovery.js";
import { MANIFEST_FILE, type ManifestState, readManifest } from "./manifest.js";
import { checkTable } from "./table-check.js";
import { type TableMeta, tableFileName } from "./table-format.js";

export { MANIFEST_FILE };

export interface CheckReport {
  readonly tables: number;
  readonly entries: number;
  readonly tableBytes: number;
  readonly segments: number;
  readonly batches: number;
  readonly logBytes: number;
  /** The end of the log that an interrupted write left behind: no damage, the next start cuts it off. */
  readonly cut: LogCut | null;
  /** False when the manifest itself is damaged: it alone knows what makes up the store. */
  readonly isSalvageable: boolean;
  /** What is wrong, in words for a person; empty when the store is whole. */
  readonly problems: readonly string[];
}

/** `onProgress` is told bytes verified and bytes in all. Throws UNAVAILABLE when the directory holds no store, and IO. */
export async function checkStore(options: {
  disk: Disk;
  directory: string;
  onProgress?: (done: number, total: number) => void;
}): Promise<CheckReport> {
  const { disk, directory } = options;
  const problems: string[] = [];
  const manifest = noting(problems, () => readManifest(disk, directory, 0));
  if (manifest === null) {
    throw new OperatingError("UNAVAILABLE", `${directory} holds no store: there is no ${MANIFEST_FILE}`);
  }
  const log = new LogCheck();
  if (manifest !== undefined) checkTables(options, manifest, problems);
  const found = manifest === undefined ? undefined : await checkLog(options, manifest, log, problems);
  const tables = manifest?.levels.flat() ?? [];
  return {
    tables: tables.length,
    entries: sum(tables, (meta) => meta.entries),
    tableBytes: sum(tables, (meta) => meta.bytes),
    segments: found?.segments.length ?? 0,
    batches: log.batches,
    logBytes: found?.bytes ?? 0,
    cut: found?.cut ?? null,
    isSalvageable: manifest !== undefined,
    problems,
  };
}

/** False when the manifest is damaged: it alone knows what makes up the store. Throws IO. */
export function isSalvageable(disk: Disk, directory: string): boolean {
  return noting([], () => readManifest(disk, directory, 0)) !== undefined;
}

async function checkLog(
  { disk, directory }: { disk: Disk; directory: string },
  { oldestSegment, known }: ManifestState,
  log: LogCheck,
  problems: string[],
): Promise<LogRecovery | undefined> {
  try {
    return await readLog({ disk, directory, oldest: oldestSegment, known, onDamage: "refuse" }, log);
  } catch (error) {
    return note(problems, error);
  }
}

function checkTables(
  { disk, directory, onProgress }: Parameters<typeof checkStore>[0],
  { levels, nextTable }: ManifestState,
  problems: string[],
): void {
  const total = sum(levels.flat(), (meta) => meta.bytes);
  let done = 0;
  levels.forEach((level, depth) => {
    level.forEach((meta, at) => {
      noting(problems, () => checkTable({ disk, directory, number: meta.number, meta }));
      if (meta.number >= nextTable) problems.push(`${tableFileName(meta.number)} has a number that is not given out yet`);
      const before = level[at - 1];
      if (depth > 0 && before !== undefined && before.last >= meta.first) {
        problems.push(`${tableFileName(before.number)} and ${tableFileName(meta.number)} overlap in level ${depth}`);
      }
      done += meta.bytes;
      onProgress?.(done, total);
    });
  });
}

/** Reads every operation of every batch. */
class LogCheck implements LogVisitor {
  batches = 0;

  async onSegment(): Promise<void> {}

  onBatch(bytes: Buffer, start: number, end: number): void {
    this.batches++;
    const operations = new OperationReader(bytes, start + BATCH_HEADER_BYTES, end);
    while (operations.next());
  }

  onSegmentEnd(): void {}
}

/** Runs `work`; damage becomes a problem and the result undefined. */
function noting<Result>(problems: string[], work: () => Result): Result | undefined {
  try {
    return work();
  } catch (error) {
    return note(problems, error);
  }
}

function note(problems: string[], error: unknown): undefined {
  if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
  problems.push(messageOf(error));
}

function sum(tables: readonly TableMeta[], bytesOf: (meta: TableMeta) => number): number {
  return tables.reduce((total, meta) => total + bytesOf(meta), 0);
}
