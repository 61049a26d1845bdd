/** The engine's slice of the configuration. Plain data: config.ts owns the names, bounds and documentation of the flags. */

/**
 * When the log is made durable: before each acknowledgement (`always`), about once a second in the background
 * (`everysec`), or when the system sees fit (`no`).
 */
export type FsyncPolicy = "always" | "everysec" | "no";

export interface LsmSettings {
  readonly fsync: FsyncPolicy;
  /** How many signed counters are kept beside the data, 0 or more. */
  readonly counters: number;
  /**
   * Bytes (keys and values) that one memory table holds before it is flushed; there are at most two. A table whose keys are
   * overwritten is flushed when its log is eight times as long.
   */
  readonly memoryTableBytes: number;
  /** Entries of one memory table: making the index of far more larger stalls for tens of milliseconds. */
  readonly memoryTableEntries: number;
  readonly blockCacheBytes: number;
  /** Uncompressed size of a table's block. */
  readonly blockBytes: number;
  /** Share of absent keys for which a table's filter says "maybe". */
  readonly filterFalsePositives: number;
  /** Size at which compaction begins another table. */
  readonly tableBytes: number;
  /** Tables of level 0 at which compaction starts; writers slow down at twice and stop at three times as many. */
  readonly levelZeroTables: number;
  /** Target of level 1; each deeper level's target is `levelBytesFactor` times larger. */
  readonly levelBytesBase: number;
  readonly levelBytesFactor: number;
  /** Table files open at once. */
  readonly maxOpenFiles: number;
}

/** The log of a memory table that absorbs overwriting may be so many times as long as the table: it is what a start replays. */
const LOG_FACTOR = 8;

/** How full a memory table is that was built from so much log: 1 and more when it should be flushed. */
export function fillOf(
  table: { readonly bytes: number; readonly entries: number; readonly logBytes: number },
  { memoryTableBytes, memoryTableEntries }: LsmSettings,
): number {
  const bytes = Math.max(table.bytes, table.logBytes / LOG_FACTOR);
  return Math.max(bytes / memoryTableBytes, table.entries / memoryTableEntries);
}

export const defaultLsmSettings: LsmSettings = {
  fsync: "everysec",
  counters: 0,
  memoryTableBytes: 32 * 1024 * 1024,
  memoryTableEntries: 250_000,
  blockCacheBytes: 64 * 1024 * 1024,
  blockBytes: 4096,
  filterFalsePositives: 0.01,
  tableBytes: 16 * 1024 * 1024,
  levelZeroTables: 4,
  levelBytesBase: 256 * 1024 * 1024,
  levelBytesFactor: 10,
  maxOpenFiles: 500,
};
