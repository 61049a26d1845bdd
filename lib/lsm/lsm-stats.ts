/** What the engine tells of itself. */
import type { Backlog } from "./backlog.js";

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
