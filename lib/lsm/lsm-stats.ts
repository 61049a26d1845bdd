/** What the engine tells of itself. */
import type { Backlog, Room } from "./backlog.js";
import type { LogWriter } from "./log-writer.js";
import type { MemoryTable } from "./memory-table.js";
import type { TableKeeper } from "./table-keeper.js";
import type { TableReader } from "./table-reader.js";

/** Numbers for INFO, tests and benches; counts are since the start. */
export interface LsmStats {
  /** False while the disk refuses writes. */
  readonly isWritable: boolean;
  readonly memoryTableBytes: number;
  readonly memoryTableEntries: number;
  readonly frozenTables: number;
  /** Tables and bytes of each level. */
  readonly levels: readonly { readonly tables: number; readonly bytes: number }[];
  readonly tableBytes: number;
  readonly tableEntries: number;
  /** Memory for filters and indexes of tables. */
  readonly tableMemoryBytes: number;
  readonly blockCacheBytes: number;
  readonly blockCacheHits: number;
  readonly blockCacheMisses: number;
  readonly filterFalsePositives: number;
  readonly logAppendedBytes: number;
  readonly logSyncedBytes: number;
  readonly unsyncedBytes: number;
  /** Batches (all changes of one turn) that are not known to be durable. */
  readonly unsyncedBatches: number;
  /** Reads of a table that met damage. */
  readonly damagedReads: number;
  /** Whether a job is at work now. */
  readonly isFlushing: boolean;
  readonly isCompacting: boolean;
  readonly flushes: number;
  readonly flushedBytes: number;
  readonly compactions: number;
  readonly tableMoves: number;
  readonly compactedBytesRead: number;
  readonly compactedBytesWritten: number;
  /** Times that writers were told to stop. */
  readonly stalls: number;
  readonly backlog: Backlog;
}

/** The parts of an engine that count. */
export interface LsmParts {
  readonly keeper: TableKeeper;
  readonly writer: LogWriter;
  readonly reader: TableReader;
  readonly active: MemoryTable;
  readonly room: Room;
  readonly blockCacheBytes: number;
  /** The last commit was refused. */
  readonly isRefused: boolean;
  readonly unsyncedBatches: number;
}

export function lsmStats({
  keeper,
  writer,
  reader,
  active,
  room,
  blockCacheBytes,
  isRefused,
  unsyncedBatches,
}: LsmParts): LsmStats {
  const { set, frozen, stats, failure } = keeper;
  const { appendedBytes, syncedBytes } = writer;
  const levels = set.levels.map((level, at) => ({ tables: level.length, bytes: set.bytesOfLevel(at) }));
  return {
    isWritable: writer.failure === null && failure === null && !isRefused,
    memoryTableBytes: frozen.reduce((sum, { table }) => sum + table.bytes, active.bytes),
    memoryTableEntries: frozen.reduce((sum, { table }) => sum + table.entries, active.entries),
    frozenTables: frozen.length,
    levels,
    tableBytes: levels.reduce((sum, level) => sum + level.bytes, 0),
    tableEntries: set.entries,
    tableMemoryBytes: set.memoryBytes,
    blockCacheBytes,
    blockCacheHits: reader.stats.cacheHits,
    blockCacheMisses: reader.stats.cacheMisses,
    filterFalsePositives: reader.stats.falsePositives,
    logAppendedBytes: appendedBytes,
    logSyncedBytes: syncedBytes,
    unsyncedBytes: appendedBytes - syncedBytes,
    unsyncedBatches,
    isFlushing: keeper.isFlushing,
    isCompacting: keeper.isCompacting,
    flushes: stats.flushes,
    flushedBytes: stats.flushedBytes,
    compactions: stats.compactions,
    tableMoves: stats.moves,
    compactedBytesRead: stats.compactedBytesRead,
    compactedBytesWritten: stats.compactedBytesWritten,
    damagedReads: stats.damagedReads,
    stalls: room.stalls,
    backlog: room.backlog,
  };
}
