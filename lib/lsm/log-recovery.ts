/**
 * Reads the commit log back after a start. What a crash leaves behind is a log whose synced part is whole and whose tail
 * may lack any sectors; everything else is damage.
 *
 * Rule (docs/FORMATS.md, "Commit log"): reading stops at the first batch that does not verify. If any evidence (a later
 * batch, a later segment's header, the manifest) says that this place was known durable, the start is refused with
 * CORRUPT (unless the caller salvages); else it is the tail: it and everything after it is cut and reported, even where
 * valid batches follow.
 */
import { OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import {
  batchEndAt,
  compareLogPositions,
  decodeSegmentHeader,
  type LogPosition,
  nextBatchMark,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  segmentFileName,
  segmentIdOf,
  syncedPositionAt,
} from "./log-format.js";

/** A segment and where its valid batches end: what a flush reads. */
export interface SegmentRange {
  readonly id: number;
  readonly end: number;
}

/** A tail that was cut. */
export interface LogCut {
  readonly at: LogPosition;
  /** Bytes of the damaged segment behind the cut, and of the segments after it. */
  readonly bytes: number;
}

export interface LogRecovery {
  /** Where the last batch of the log ends. */
  readonly end: LogPosition;
  /** The first id that no file has or had. */
  readonly nextId: number;
  readonly cut: LogCut | null;
  /** Segments that are not part of the log (older than the oldest needed, or behind the cut): to be removed. */
  readonly surplus: readonly number[];
  /** Segments that are part of it, in order. */
  readonly segments: readonly number[];
  readonly bytes: number;
}

export interface LogVisitor {
  /** A segment of the log begins; `bytes` is its file. */
  onSegment(id: number, bytes: number): Promise<void>;
  /** The valid batch `bytes[start, end)` of it. The bytes are owned by the reader and stay as they are. */
  onBatch(bytes: Buffer, start: number, end: number): void;
  onSegmentEnd(range: SegmentRange): void;
}

/** Reads the log in `directory` from segment `oldest` on. `known` is how much of it the manifest says was durable. */
export async function readLog(
  options: { disk: Disk; directory: string; oldest: number; known: LogPosition; onDamage: "refuse" | "cut" },
  visitor: LogVisitor,
): Promise<LogRecovery> {
  const { disk, directory, oldest, known } = options;
  const ids = (disk.list(directory) ?? [])
    .map(segmentIdOf)
    .filter((id) => id !== null)
    .sort((a, b) => a - b);
  const present = ids.filter((id) => id >= oldest);
  const headers = new Map(present.map((id) => [id, readHeader(disk, directory, id)]));
  const nextId = Math.max(oldest, ...ids.map((id) => id + 1));

  const segments: number[] = [];
  let end: LogPosition = { segment: oldest - 1, offset: 0 };
  let damagedAt: LogPosition | null = null;
  let bytesRead = 0;
  let header = firstSegment(headers, oldest);
  if (header === null && present.length > 0) damagedAt = { segment: present[0]!, offset: 0 };
  while (header !== null && damagedAt === null) {
    const { id } = header;
    const next = successor(headers, id);
    const bytes = readSegment(disk, directory, id);
    const limit = next === null ? bytes.length : next.previous.offset;
    await visitor.onSegment(id, bytes.length);
    let at = SEGMENT_HEADER_BYTES;
    for (;;) {
      const batchEnd = batchEndAt(bytes, at, Math.min(limit, bytes.length), id);
      if (batchEnd < 0) break;
      visitor.onBatch(bytes, at, batchEnd);
      at = batchEnd;
    }
    visitor.onSegmentEnd({ id, end: at });
    segments.push(id);
    bytesRead += at;
    if (at > SEGMENT_HEADER_BYTES) end = { segment: id, offset: at };
    if (at !== limit) damagedAt = { segment: id, offset: at };
    header = next;
  }
  // Also without any damage in sight: a lost last segment, or a last segment that lost its end, shows here only.
  const lost = damagedAt ?? end;
  const evidence = highestKnown(disk, directory, headers, lost, known);
  const wasDurable = compareLogPositions(evidence, lost) > 0 && evidence.segment >= oldest;
  if (wasDurable && options.onDamage === "refuse") throw damageError(directory, lost, evidence);
  const isUsed = new Set(segments);
  const surplus = ids.filter((id) => !isUsed.has(id));
  if (surplus.some((id) => id > end.segment)) damagedAt ??= end;
  return { end, nextId, cut: describeCut(disk, directory, damagedAt, present), surplus, segments, bytes: bytesRead };
}

/** The segment that the log starts with: of those whose predecessor is not needed any more, the latest made. */
function firstSegment(headers: ReadonlyMap<number, SegmentHeader | null>, oldest: number): SegmentHeader | null {
  return latest(headers, (header) => header.previous.segment < oldest);
}

/** The latest made segment that names `id` as its predecessor; earlier ones were given up. */
function successor(headers: ReadonlyMap<number, SegmentHeader | null>, id: number): SegmentHeader | null {
  return latest(headers, (header) => header.previous.segment === id && header.id > id);
}

function latest(
  headers: ReadonlyMap<number, SegmentHeader | null>,
  isWanted: (header: SegmentHeader) => boolean,
): SegmentHeader | null {
  let best: SegmentHeader | null = null;
  for (const header of headers.values()) {
    if (header !== null && isWanted(header) && (best === null || header.id > best.id)) best = header;
  }
  return best;
}

function readHeader(disk: Disk, directory: string, id: number): SegmentHeader | null {
  return decodeSegmentHeader(readFile(disk, `${directory}/${segmentFileName(id)}`, SEGMENT_HEADER_BYTES), id);
}

function readSegment(disk: Disk, directory: string, id: number): Buffer {
  return readFile(disk, `${directory}/${segmentFileName(id)}`, Number.POSITIVE_INFINITY);
}

/** Up to `bytesMax` bytes from the start of a file; empty when there is none. */
function readFile(disk: Disk, path: string, bytesMax: number): Buffer {
  const file = disk.open(path);
  if (file === null) return Buffer.alloc(0);
  try {
    const bytes = Buffer.allocUnsafeSlow(Math.min(file.size, bytesMax));
    return bytes.subarray(0, file.readNow(0, bytes, 0, bytes.length));
  } finally {
    file.close();
  }
}

/** The highest position that anything at or behind `lost` names as durable. Evidence before it can only name earlier places. */
function highestKnown(
  disk: Disk,
  directory: string,
  headers: ReadonlyMap<number, SegmentHeader | null>,
  lost: LogPosition,
  known: LogPosition,
): LogPosition {
  let highest = known;
  const consider = (position: LogPosition): void => {
    if (compareLogPositions(position, highest) > 0) highest = position;
  };
  for (const [id, header] of headers) {
    if (id < lost.segment) continue;
    if (header !== null) consider(header.synced);
    const bytes = readSegment(disk, directory, id);
    let at = nextBatchMark(bytes, id === lost.segment ? lost.offset : 0);
    while (at >= 0) {
      const end = batchEndAt(bytes, at, bytes.length, id);
      if (end >= 0) consider(syncedPositionAt(bytes, at));
      at = nextBatchMark(bytes, end >= 0 ? end : at + 1);
    }
  }
  return highest;
}

function describeCut(disk: Disk, directory: string, at: LogPosition | null, present: readonly number[]): LogCut | null {
  if (at === null) return null;
  let bytes = 0;
  for (const id of present) {
    if (id < at.segment) continue;
    const file = disk.open(`${directory}/${segmentFileName(id)}`);
    bytes += (file?.size ?? 0) - (id === at.segment ? at.offset : 0);
    file?.close();
  }
  return { at, bytes };
}

function damageError(directory: string, lost: LogPosition, known: LogPosition): OperatingError {
  const place = `${segmentFileName(lost.segment)} at byte ${lost.offset}`;
  return new OperatingError(
    "CORRUPT",
    `the log in ${directory} is damaged or missing from ${place} on, though it was on disk up to ${segmentFileName(known.segment)} ` +
      `byte ${known.offset}: this is no interrupted write. Restore a backup, or run \`kindred check DIR --salvage\` ` +
      "with the data directory to go on with what stands before the damage",
  );
}
