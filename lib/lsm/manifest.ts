/**
 * The manifest: which tables make up the store, and from where on the log adds to them. One small file, always replaced as
 * a whole: written beside, synced, renamed over the old one, the directory synced.
 *
 *   magic "KNDRDMAN" | version u32 | JSON bytes u32 | counter bytes u32 | CRC-32 u32 of the three numbers and what follows |
 *   JSON (utf8) | counters: (gap varint, zigzag value varint)*, zero counters left out
 *
 * Invariant: whatever a manifest on disk names was durable before the manifest was. Files that the durable manifest names
 * are removed only after a newer one that does not is durable.
 */
import { crc32 } from "../bytes/crc32.js";
import { readVarint, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import { type LogPosition, unzigzag, zigzag } from "./log-format.js";
import type { TableMeta } from "./table-format.js";

export interface ManifestState {
  /** Level 0 newest first; deeper levels in key order. */
  readonly levels: readonly (readonly TableMeta[])[];
  /** No table of this number or a higher one was ever named. */
  readonly nextTable: number;
  /** Log segments below this id are not needed. */
  readonly oldestSegment: number;
  /** How much of the log was durable at least. */
  readonly known: LogPosition;
  /** Where the log ended at an orderly stop; null while the store is in use. */
  readonly stoppedAt: LogPosition | null;
  /** Where compaction of each level goes on. */
  readonly cursors: readonly string[];
  /** As of the start of segment `oldestSegment`. */
  readonly counters: Float64Array;
}

export const MANIFEST_FILE = "manifest";
/** Left behind by a crash, it is meaningless. */
export const MANIFEST_NEW_FILE = "manifest.new";

const MAGIC = "KNDRDMAN";
const VERSION = 1;
const HEADER_BYTES = 24;
const CHECKED_FROM = 8;
const CRC_AT = 20;

/** Null when the directory has no manifest. Throws CORRUPT. `counters` is how many the store keeps now. */
export function readManifest(disk: Disk, directory: string, counters: number): ManifestState | null {
  const path = `${directory}/${MANIFEST_FILE}`;
  const file = disk.open(path);
  if (file === null) return null;
  try {
    const bytes = Buffer.alloc(file.size);
    file.readNow(0, bytes, 0, bytes.length);
    return decodeManifest(bytes, path, counters);
  } finally {
    file.close();
  }
}

/** Replaces the manifest. After an error the old or the new one is in place, and `writeManifest` may be tried again. */
export async function writeManifest(disk: Disk, directory: string, state: ManifestState): Promise<void> {
  const path = `${directory}/${MANIFEST_NEW_FILE}`;
  disk.remove(path);
  const file = disk.create(path);
  try {
    file.append(encodeManifest(state));
    await file.sync();
  } finally {
    file.close();
  }
  disk.rename(path, `${directory}/${MANIFEST_FILE}`);
  await disk.syncDirectory(directory);
}

export function encodeManifest(state: ManifestState): Buffer {
  const { counters, ...plain } = state;
  const json = Buffer.from(JSON.stringify(plain), "utf8");
  const packed = encodeCounters(counters);
  const header = Buffer.alloc(HEADER_BYTES);
  header.write(MAGIC, "latin1");
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(json.length, 12);
  header.writeUInt32LE(packed.length, 16);
  const bytes = Buffer.concat([header, json, packed]);
  bytes.writeUInt32LE(checksum(bytes), CRC_AT);
  return bytes;
}

/** Throws CORRUPT. `path` is for the message. */
export function decodeManifest(bytes: Buffer, path: string, counters: number): ManifestState {
  if (bytes.length < HEADER_BYTES || bytes.toString("latin1", 0, 8) !== MAGIC)
    throw damaged(path, "it is cut off or no manifest");
  const version = bytes.readUInt32LE(8);
  if (version !== VERSION) {
    throw new OperatingError(
      "CORRUPT",
      `${path} has format version ${version}; this program reads version ${VERSION}: use the program that wrote it`,
    );
  }
  const jsonEnd = HEADER_BYTES + bytes.readUInt32LE(12);
  if (jsonEnd + bytes.readUInt32LE(16) !== bytes.length) throw damaged(path, "it is cut off");
  if (checksum(bytes) !== bytes.readUInt32LE(CRC_AT)) throw damaged(path, "its checksum does not match");
  const plain = JSON.parse(bytes.toString("utf8", HEADER_BYTES, jsonEnd)) as Omit<ManifestState, "counters">;
  return { ...plain, counters: decodeCounters(bytes, jsonEnd, counters) };
}

function checksum(bytes: Buffer): number {
  return crc32(bytes, HEADER_BYTES, bytes.length, crc32(bytes, CHECKED_FROM, CRC_AT));
}

function encodeCounters(counters: Float64Array): Buffer {
  let used = 0;
  for (const value of counters) if (value !== 0) used++;
  const bytes = Buffer.allocUnsafe(used * 16);
  let at = 0;
  let last = -1;
  for (let index = 0; index < counters.length; index++) {
    const value = counters[index]!;
    if (value === 0) continue;
    at = writeVarint(bytes, writeVarint(bytes, at, index - last), zigzag(value));
    last = index;
  }
  return bytes.subarray(0, at);
}

function decodeCounters(bytes: Buffer, start: number, count: number): Float64Array {
  const counters: number[] = [];
  const cursor = { at: start };
  let index = -1;
  while (cursor.at < bytes.length) {
    index += readVarint(bytes, cursor, bytes.length);
    counters[index] = unzigzag(readVarint(bytes, cursor, bytes.length));
  }
  // A store that was made with more counters keeps them: what is counted in them is not lost by a smaller setting.
  const result = new Float64Array(Math.max(count, counters.length));
  counters.forEach((value, at) => {
    result[at] = value;
  });
  return result;
}

function damaged(path: string, why: string): OperatingError {
  return new OperatingError("CORRUPT", `${path} cannot be read: ${why}. Restore a backup of the data directory`);
}
