/**
 * Verifies single tables, for `check` and salvage. Reads every byte of the file once, through the
 * same code that serves requests, so that what passes here is readable there.
 */
import { OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import { Step } from "./cursor.js";
import { TOMBSTONE } from "./entry.js";
import { FilePool } from "./file-pool.js";
import { keyHashOf } from "./filter.js";
import { Table } from "./table.js";
import { jobCursor } from "./table-cursor.js";
import type { TableMeta } from "./table-format.js";

export interface TableSummary {
  /** As the file itself tells; equal to what the manifest was told when it was written. */
  readonly meta: TableMeta;
  readonly blocks: number;
  /** Memory that the open table takes: filter and index. */
  readonly memoryBytes: number;
}

export interface TableCheckOptions {
  readonly disk: Disk;
  readonly directory: string;
  readonly number: number;
  /** What the manifest says of the table; without it the table is only checked against itself. */
  readonly meta?: TableMeta;
}

/**
 * Reads the whole table: checksums, the order of keys, the counts, the bounds, and that the filter knows every key and the
 * index leads to it. Throws `CORRUPT`, naming file and place, at the first damage.
 */
export function checkTable(options: TableCheckOptions): TableSummary {
  const table = Table.open({ ...options, files: new FilePool(options.disk, 1), cache: null });
  try {
    checkEntries(table);
    return summaryOf(table);
  } finally {
    table.close();
  }
}

function checkEntries(table: Table): void {
  const { meta } = table;
  const cursor = jobCursor([table]);
  let entries = 0;
  let tombstones = 0;
  let previous = "";
  for (let step = cursor.seek(""); step === Step.ENTRY; step = cursor.next()) {
    const { key } = cursor;
    if (entries === 0 ? key !== meta.first : key <= previous) throw damaged(table, "keys are out of order");
    if (key > meta.last) throw damaged(table, "a key lies above the last one");
    if (!table.filter.mayHold(keyHashOf(key))) throw damaged(table, "the filter misses a key");
    if (table.index.find(key) !== cursor.block) throw damaged(table, "the index leads to another block");
    entries++;
    if (cursor.kind === TOMBSTONE) tombstones++;
    previous = key;
  }
  if (entries !== meta.entries || tombstones !== meta.tombstones || previous !== meta.last) {
    throw damaged(table, "its entries are not those that its index counts");
  }
}

function summaryOf(table: Table): TableSummary {
  return { meta: table.meta, blocks: table.index.blocks, memoryBytes: table.memoryBytes };
}

function damaged(table: Table, what: string): OperatingError {
  return new OperatingError("CORRUPT", `${table.path}: ${what}`);
}
