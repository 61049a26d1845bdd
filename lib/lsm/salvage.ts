/**
 * Makes a damaged store usable again with what can still be read: tables lose their damaged blocks, the log everything from
 * its damage on. What is lost is said. Only for a closed store, and better on a copy.
 */
import { messageOf, OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import { BlockWalk } from "./block.js";
import { FilePool } from "./file-pool.js";
import { LOG_START, segmentFileName } from "./log-format.js";
import { type LogVisitor, readLog } from "./log-recovery.js";
import type { LsmSettings } from "./lsm-settings.js";
import { type ManifestState, readManifest, writeManifest } from "./manifest.js";
import { Table } from "./table.js";
import { checkTable } from "./table-check.js";
import { type TableMeta, tableFileName } from "./table-format.js";
import { TableWriter } from "./table-writer.js";

export interface SalvageOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly settings: LsmSettings;
  readonly nowMs: number;
}

/** Returns what was given up, in words for a person; empty when nothing was. Throws CORRUPT when the manifest is damaged. */
export async function salvageStore(options: SalvageOptions): Promise<readonly string[]> {
  const { disk, directory, settings } = options;
  const manifest = readManifest(disk, directory, settings.counters);
  if (manifest === null) throw new OperatingError("UNAVAILABLE", `${directory} holds no store`);
  const lost: string[] = [];
  const tables = await salvageTables(options, manifest, lost);
  const found = await readLog(
    { disk, directory, oldest: manifest.oldestSegment, known: LOG_START, onDamage: "cut" },
    new NoVisitor(),
  );
  const { cut } = found;
  if (cut !== null) {
    lost.push(`${cut.bytes} bytes of the log, from ${segmentFileName(cut.at.segment)} byte ${cut.at.offset} on`);
    for (const id of found.surplus) disk.remove(`${directory}/${segmentFileName(id)}`);
    cutSegment(disk, `${directory}/${segmentFileName(cut.at.segment)}`, cut.at.offset);
    disk.syncDirectoryNow(directory);
  }
  // A smaller known position: what was durable and is lost must not be missed for ever.
  await writeManifest(disk, directory, { ...manifest, ...tables, known: found.end, stoppedAt: null });
  return lost;
}

class NoVisitor implements LogVisitor {
  async onSegment(): Promise<void> {}
  onBatch(): void {}
  onSegmentEnd(): void {}
}

function cutSegment(disk: Disk, path: string, length: number): void {
  const file = disk.open(path);
  if (file === null) return;
  try {
    if (length === 0) return disk.remove(path);
    if (length >= file.size) return file.syncNow();
    // Into a file of its own: a backup may share this one.
    const bytes = Buffer.alloc(length);
    file.readNow(0, bytes, 0, length);
    replaceFile(disk, path, bytes);
  } finally {
    file.close();
  }
}

function replaceFile(disk: Disk, path: string, bytes: Buffer): void {
  const beside = `${path}.new`;
  disk.remove(beside);
  const file = disk.create(beside);
  try {
    file.append(bytes);
    file.syncNow();
  } finally {
    file.close();
  }
  disk.rename(beside, path);
}

/** The levels with each damaged table replaced by what is left of it. */
async function salvageTables(
  options: SalvageOptions,
  manifest: ManifestState,
  lost: string[],
): Promise<Pick<ManifestState, "levels" | "nextTable">> {
  const { disk, directory } = options;
  let { nextTable } = manifest;
  const levels: TableMeta[][] = [];
  for (const level of manifest.levels) {
    const kept: TableMeta[] = [];
    for (const meta of level) {
      try {
        checkTable({ disk, directory, number: meta.number, meta });
        kept.push(meta);
      } catch (error) {
        if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
        const rest = await rewrite(options, meta.number, nextTable);
        if (rest !== null) kept.push(rest);
        nextTable++;
        const entries = meta.entries - (rest?.entries ?? 0);
        lost.push(`${entries} of ${meta.entries} entries of ${tableFileName(meta.number)} (${messageOf(error)})`);
      }
    }
    levels.push(kept);
  }
  return { levels, nextTable };
}

/** Copies the blocks that verify into a new table. Null when there are none, or the index itself is damaged. */
async function rewrite(options: SalvageOptions, number: number, newNumber: number): Promise<TableMeta | null> {
  const { disk, directory, settings } = options;
  const { blockBytes, filterFalsePositives } = settings;
  const writer = new TableWriter({
    disk,
    directory,
    number: newNumber,
    blockBytes,
    filterFalsePositives,
    nowMs: options.nowMs,
  });
  let table: Table | null = null;
  try {
    table = Table.open({ files: new FilePool(disk, 1), cache: null, directory, number });
    let last: string | null = null;
    for (let block = 0; block < table.index.blocks; block++) last = await copyBlock(table, block, writer, last);
  } catch (error) {
    if (!(error instanceof OperatingError) || error.code !== "CORRUPT") throw error;
  } finally {
    table?.close();
  }
  if (writer.entries > 0) return writer.finish();
  writer.abandon();
  return null;
}

/** Adds the entries of a block, if it verifies, that stand behind `last`; returns the last key added. */
async function copyBlock(table: Table, block: number, writer: TableWriter, last: string | null): Promise<string | null> {
  let bytes: Buffer;
  try {
    bytes = await table.readBlock(block);
  } catch (error) {
    if (error instanceof OperatingError && error.code === "CORRUPT") return last;
    throw error;
  }
  const walk = new BlockWalk();
  walk.open(bytes, 0, bytes.length);
  while (walk.next()) {
    const key = walk.key();
    if (last !== null && key <= last) continue;
    writer.add(key, walk.kind, walk.buffer, walk.start, walk.end);
    last = key;
  }
  return last;
}
