/**
 * Decides which tables are compacted next. Pure. Level 0 is due by its number of tables, a deeper level by its bytes
 * against its target; the level that is furthest over goes first. When none is over, a table of which much can be dropped
 * (tombstones, expired values) is rewritten, though nothing new was written. Every choice makes progress: the same state
 * is never chosen for again and again without becoming smaller or deeper.
 */
import { assert } from "../assert.js";
import type { TableMeta } from "./table-format.js";

/** Keys from `first` to `last`, both included. */
export interface KeyRange {
  readonly first: string;
  readonly last: string;
}

export interface CompactionLimits {
  /** Tables of level 0 at which they are merged into level 1. */
  readonly levelZeroTables: number;
  /** Target of level 1, in bytes; that of each deeper level is `levelBytesFactor` times the one above. */
  readonly levelBytesBase: number;
  readonly levelBytesFactor: number;
  /** Bytes after which an output is complete. */
  readonly tableBytesMax: number;
  /** The share of a table, 0 to 1, that must be droppable for it to be compacted on its own account. */
  readonly droppableShare: number;
  /** Where the last compaction of each level ended; a missing or empty one: at the start. */
  readonly cursors: readonly string[];
  /** The wall clock, against which values expire. */
  readonly nowMs: number;
}

export interface Compaction {
  readonly level: number;
  /** The level of the outputs: the next one, or the same when a table is only rewritten. */
  readonly outputLevel: number;
  /** Runs of tables in key order, newest run first. */
  readonly inputs: readonly (readonly TableMeta[])[];
  /** The only input goes to `outputLevel` as it is: no job, only a change of the table set. */
  readonly isMove: boolean;
  /** Ranges in which older tables lie below the outputs, ascending and disjoint: there tombstones must stay. */
  readonly older: readonly KeyRange[];
  /** To be kept as `cursors[level]` once the compaction is done. */
  readonly cursor: string;
  readonly inputBytes: number;
  /** How many file numbers the outputs may take. */
  readonly outputNumbers: number;
}

type Levels = readonly (readonly TableMeta[])[];

/** The next compaction of `levels` (level 0 newest first, deeper ones ascending); `null` when none is due. */
export function chooseCompaction(levels: Levels, limits: CompactionLimits): Compaction | null {
  const level = fullestLevel(levels, limits);
  if (level === null) return chooseDroppable(levels, limits);
  if (level === 0) return mergeLevelZero(levels, levels[0]!.at(-1)!, limits);
  return mergeDown(levels, level, nextTable(levels[level]!, limits.cursors[level] ?? ""), limits);
}

/** The bytes of a table that a compaction would drop at `nowMs`, if nothing older lay below it. */
export function droppableBytes(table: TableMeta, nowMs: number): number {
  return table.tombstoneBytes + expiredBytes(table, nowMs);
}

function fullestLevel(levels: Levels, limits: CompactionLimits): number | null {
  let fullest: number | null = null;
  let highestScore = 1;
  let targetBytes = limits.levelBytesBase;
  for (let level = 0; level < levels.length; level++) {
    const score = level === 0 ? levels[0]!.length / limits.levelZeroTables : bytesOf(levels[level]!) / targetBytes;
    if (level > 0) targetBytes *= limits.levelBytesFactor;
    // An empty level is never due, whatever the limits.
    if (score < highestScore || levels[level]!.length === 0 || (fullest !== null && score === highestScore)) continue;
    fullest = level;
    highestScore = score;
  }
  return fullest;
}

/** The table after the one that was compacted last, going round. */
function nextTable(tables: readonly TableMeta[], cursor: string): TableMeta {
  return tables.find((table) => table.first > cursor) ?? tables[0]!;
}

/** `seed` and all tables of level 0 that overlap it, directly or through others, into level 1. */
function mergeLevelZero(levels: Levels, seed: TableMeta, limits: CompactionLimits): Compaction {
  let chosen: readonly TableMeta[] = [seed];
  for (;;) {
    const range = rangeOf(chosen);
    const wider = levels[0]!.filter((table) => overlaps(table, range));
    if (wider.length === chosen.length) break;
    chosen = wider;
  }
  const runs = chosen.map((table) => [table]);
  return compactionOf(levels, { level: 0, outputLevel: 1, runs, below: below(levels, 1, rangeOf(chosen)), cursor: "" }, limits);
}

function mergeDown(levels: Levels, level: number, table: TableMeta, limits: CompactionLimits): Compaction {
  const outputLevel = level + 1;
  const tables = below(levels, outputLevel, table);
  return compactionOf(levels, { level, outputLevel, runs: [[table]], below: tables, cursor: table.last }, limits);
}

/** A table of which `droppableShare` or more is droppable: the one with most. */
function chooseDroppable(levels: Levels, limits: CompactionLimits): Compaction | null {
  let best: { level: number; table: TableMeta } | null = null;
  let bestShare = limits.droppableShare;
  levels.forEach((tables, level) => {
    for (const table of tables) {
      const share = droppableBytes(table, limits.nowMs) / table.bytes;
      if (share < bestShare || (best !== null && share === bestShare)) continue;
      best = { level, table };
      bestShare = share;
    }
  });
  return best === null ? null : dropFrom(levels, best, limits);
}

function dropFrom(levels: Levels, { level, table }: { level: number; table: TableMeta }, limits: CompactionLimits): Compaction {
  if (level === 0) return mergeLevelZero(levels, table, limits);
  // Expired values go wherever the table is. Tombstones go only where nothing older lies below: else they must sink.
  const isAtBottom = olderRanges(levels, level, table).length === 0;
  const isMostlyExpired = expiredBytes(table, limits.nowMs) > table.tombstoneBytes;
  if (!isAtBottom && !isMostlyExpired) return mergeDown(levels, level, table, limits);
  const cursor = limits.cursors[level] ?? "";
  return compactionOf(levels, { level, outputLevel: level, runs: [[table]], below: [], cursor }, limits);
}

function compactionOf(
  levels: Levels,
  plan: { level: number; outputLevel: number; runs: TableMeta[][]; below: TableMeta[]; cursor: string },
  limits: CompactionLimits,
): Compaction {
  const { level, outputLevel, cursor } = plan;
  assert(outputLevel === level || outputLevel === level + 1, "compaction: to the next level or the same");
  const inputs = plan.below.length === 0 ? plan.runs : [...plan.runs, plan.below];
  const tables = inputs.flat();
  const inputBytes = bytesOf(tables);
  return {
    level,
    outputLevel,
    inputs,
    isMove: tables.length === 1 && outputLevel !== level && !isRewriteDue(levels, outputLevel, tables[0]!, limits),
    older: olderRanges(levels, outputLevel, rangeOf(tables)),
    cursor,
    inputBytes,
    // Outputs are cut at `tableBytesMax`; merged entries may compress a little worse than they did apart.
    outputNumbers: 2 + 2 * Math.ceil(inputBytes / limits.tableBytesMax),
  };
}

/** Whether rewriting the table on its way drops enough to be worth more than moving it. */
function isRewriteDue(levels: Levels, outputLevel: number, table: TableMeta, limits: CompactionLimits): boolean {
  const isAtBottom = olderRanges(levels, outputLevel, table).length === 0;
  const dropped = isAtBottom ? droppableBytes(table, limits.nowMs) : expiredBytes(table, limits.nowMs);
  return dropped >= limits.droppableShare * table.bytes;
}

/** The ranges of the tables deeper than `level` that overlap `range`, joined where they overlap each other. */
function olderRanges(levels: Levels, level: number, range: KeyRange): KeyRange[] {
  const ranges: { first: string; last: string }[] = [];
  const tables = levels.slice(level + 1).flatMap((deeper) => deeper.filter((table) => overlaps(table, range)));
  tables.sort((a, b) => (a.first < b.first ? -1 : 1));
  for (const { first, last } of tables) {
    const previous = ranges.at(-1);
    if (previous === undefined || first > previous.last) ranges.push({ first, last });
    else if (last > previous.last) previous.last = last;
  }
  return ranges;
}

function below(levels: Levels, level: number, range: KeyRange): TableMeta[] {
  return (levels[level] ?? []).filter((table) => overlaps(table, range));
}

function rangeOf(tables: readonly TableMeta[]): KeyRange {
  let { first, last } = tables[0]!;
  for (const table of tables) {
    if (table.first < first) first = table.first;
    if (table.last > last) last = table.last;
  }
  return { first, last };
}

function overlaps(a: KeyRange, b: KeyRange): boolean {
  return a.first <= b.last && a.last >= b.first;
}

function bytesOf(tables: readonly TableMeta[]): number {
  return tables.reduce((sum, table) => sum + table.bytes, 0);
}

function expiredBytes(table: TableMeta, nowMs: number): number {
  return table.expiring.reduce((sum, { byMs, bytes }) => sum + (byMs <= nowMs ? bytes : 0), 0);
}
