/**
 * The layout of a table file, version 1, little-endian:
 *
 *     sealed block ...  sealed filter  sealed index  footer
 *     sealed:  payload | codec u8 | CRC-32 of the payload, begun with the codec, u32
 *     index:   properties (see `encodeIndex`), then for every block: sealed length varint, start
 *     footer:  filter offset u32, filter length u32, index offset u32, index length u32, table number u32,
 *              version u16, 0 u16, CRC-32 of the 24 bytes before u32, magic u32
 *
 * Every byte of the file is covered by a checksum. The `start` of a block is the shortest prefix of its first key that is
 * above the last key of the block before (that of the first block is empty), without the bytes that the table's first and
 * last key have in common. The properties repeat what the manifest knows of the table, so that a table explains itself.
 */
import snappy from "snappy";
import { crc32 } from "../bytes/crc32.js";
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";

/** What the manifest holds of a table: plain data. Keys are latin1 strings. */
export interface TableMeta {
  /** Names the file; never used twice. */
  readonly number: number;
  /** Length of the file. */
  readonly bytes: number;
  /** Entries, tombstones among them. */
  readonly entries: number;
  readonly tombstones: number;
  /** Bytes of the tombstones' keys. */
  readonly tombstoneBytes: number;
  readonly first: string;
  readonly last: string;
  /** Bytes of the values that will have expired by a wall time, ascending by it. */
  readonly expiring: readonly ExpiringBytes[];
}

export interface ExpiringBytes {
  readonly byMs: number;
  readonly bytes: number;
}

/** The blocks of a table in order, as its index lists them. */
export interface BlockList {
  /** Where each block begins, and where the last one ends. */
  readonly offsets: Uint32Array;
  /** The starts, one after the other. */
  readonly starts: Buffer;
  /** Where each start ends in `starts`. */
  readonly startEnds: Uint32Array;
}

export interface Footer {
  readonly number: number;
  readonly filterOffset: number;
  readonly filterLength: number;
  readonly indexOffset: number;
  readonly indexLength: number;
}

const MAGIC = 0x4254_444b;
const VERSION = 1;

/** How a payload is stored. Part of the format. */
export const Codec = { RAW: 0, SNAPPY: 1 } as const;
export type Codec = (typeof Codec)[keyof typeof Codec];

export const FOOTER_BYTES = 32;
/** What sealing adds to a payload. */
export const SEAL_BYTES = 5;
/** Offsets are 32 bits. Far above any table that is written: they are cut at `tableBytesMax`. */
export const TABLE_BYTES_MAX = 2 ** 32 - 1;

const NAME = /^(\d{8,})\.table$/;
/** Without copying, each output would be an external buffer, which costs several times the work itself. */
const COPIED = { copyOutputData: true, asBuffer: true } as const;

/** The file name of a table. */
export function tableFileName(number: number): string {
  return `${String(number).padStart(8, "0")}.table`;
}

/** The number in a table's file name; `null` when it is no such name. */
export function tableNumberOf(fileName: string): number | null {
  const match = NAME.exec(fileName);
  return match ? Number(match[1]) : null;
}

/** The payload in the shorter of its two forms, sealed: in `target` from `at`, which has room for it; returns the end. */
export function seal(payload: Buffer, target: Buffer, at: number): number {
  const compressed = snappy.compressSync(payload, COPIED);
  // Less than an eighth saved is not worth the time of every reader.
  const isWorthIt = compressed.length < payload.length - (payload.length >>> 3);
  return sealAs(isWorthIt ? Codec.SNAPPY : Codec.RAW, isWorthIt ? compressed : payload, target, at);
}

/** The payload sealed without compressing it. */
export function sealRaw(payload: Buffer, target: Buffer, at: number): number {
  return sealAs(Codec.RAW, payload, target, at);
}

function sealAs(codec: Codec, payload: Buffer, target: Buffer, at: number): number {
  payload.copy(target, at);
  const end = at + payload.length;
  target[end] = codec;
  return target.writeUInt32LE(crc32(payload, 0, payload.length, codec), end + 1);
}

/**
 * The codec of the `length` sealed bytes at `start`, whose payload is all but their last `SEAL_BYTES`. Throws `CORRUPT` when
 * the checksum does not fit.
 */
export function verifiedCodec(bytes: Buffer, start: number, length: number): Codec {
  if (length < SEAL_BYTES) throw new OperatingError("CORRUPT", "a sealed part is shorter than its seal");
  const end = start + length - SEAL_BYTES;
  const codec = bytes[end]!;
  if (crc32(bytes.subarray(start, end), 0, end - start, codec) !== bytes.readUInt32LE(end + 1)) {
    throw new OperatingError("CORRUPT", "a checksum does not fit what is stored");
  }
  if (codec !== Codec.RAW && codec !== Codec.SNAPPY) throw new OperatingError("CORRUPT", `a codec (${codec}) is unknown`);
  return codec;
}

/**
 * The payload of the `length` sealed bytes at `start`. It may be a view of `bytes` (stored raw) or a buffer of its own.
 * Throws `CORRUPT` when the checksum does not fit.
 */
export function unseal(bytes: Buffer, start: number, length: number): Buffer {
  const codec = verifiedCodec(bytes, start, length);
  const payload = bytes.subarray(start, start + length - SEAL_BYTES);
  return codec === Codec.RAW ? payload : uncompress(payload);
}

function uncompress(payload: Buffer): Buffer {
  try {
    return snappy.uncompressSync(payload, COPIED) as Buffer;
  } catch (error) {
    throw new OperatingError("CORRUPT", "a compressed part cannot be uncompressed", { cause: error });
  }
}

export function encodeFooter(footer: Footer): Buffer {
  const bytes = Buffer.alloc(FOOTER_BYTES);
  bytes.writeUInt32LE(footer.filterOffset, 0);
  bytes.writeUInt32LE(footer.filterLength, 4);
  bytes.writeUInt32LE(footer.indexOffset, 8);
  bytes.writeUInt32LE(footer.indexLength, 12);
  bytes.writeUInt32LE(footer.number, 16);
  bytes.writeUInt16LE(VERSION, 20);
  bytes.writeUInt32LE(crc32(bytes, 0, 24), 24);
  bytes.writeUInt32LE(MAGIC, 28);
  return bytes;
}

/** The footer of a file of `fileBytes`. Throws `CORRUPT` when it is none, of another version, or names parts that do not fit. */
export function decodeFooter(bytes: Buffer, fileBytes: number): Footer {
  if (bytes.length !== FOOTER_BYTES || bytes.readUInt32LE(28) !== MAGIC || crc32(bytes, 0, 24) !== bytes.readUInt32LE(24)) {
    throw new OperatingError("CORRUPT", "the file does not end like a table");
  }
  const version = bytes.readUInt16LE(20);
  if (version !== VERSION)
    throw new OperatingError(
      "CORRUPT",
      `the table has format version ${version}; this program reads version ${VERSION}: use the program that wrote it`,
    );
  const footer = {
    filterOffset: bytes.readUInt32LE(0),
    filterLength: bytes.readUInt32LE(4),
    indexOffset: bytes.readUInt32LE(8),
    indexLength: bytes.readUInt32LE(12),
    number: bytes.readUInt32LE(16),
  };
  const isWhole =
    footer.filterOffset + footer.filterLength === footer.indexOffset &&
    footer.indexOffset + footer.indexLength + FOOTER_BYTES === fileBytes;
  if (!isWhole) throw new OperatingError("CORRUPT", `the table's parts do not add up to its ${fileBytes} bytes`);
  return footer;
}

/** Properties and block list of a table, as its index stores them (before sealing). `bytes` of the meta is not stored. */
export function encodeIndex(meta: Omit<TableMeta, "bytes" | "number">, blocks: BlockList): Buffer {
  const { offsets, starts, startEnds } = blocks;
  const integers = [meta.entries, meta.tombstones, meta.tombstoneBytes, meta.expiring.length];
  for (const { byMs, bytes } of meta.expiring) integers.push(byMs, bytes);
  integers.push(meta.first.length, meta.last.length, startEnds.length);
  let room = meta.first.length + meta.last.length + starts.length + 16 * startEnds.length;
  for (const integer of integers) room += varintLength(integer);
  const encoded = Buffer.allocUnsafe(room);
  let at = 0;
  for (const integer of integers) at = writeVarint(encoded, at, integer);
  at = writeLatin1(encoded, at, meta.first);
  at = writeLatin1(encoded, at, meta.last);
  let startBegin = 0;
  for (let block = 0; block < startEnds.length; block++) {
    const startEnd = startEnds[block]!;
    at = writeVarint(encoded, at, offsets[block + 1]! - offsets[block]!);
    at = writeVarint(encoded, at, startEnd - startBegin);
    at += starts.copy(encoded, at, startBegin, startEnd);
    startBegin = startEnd;
  }
  return encoded.subarray(0, at);
}

/** What `encodeIndex` wrote. Throws `CORRUPT` when the bytes are cut or blocks do not end at `blocksEnd`. */
export function decodeIndex(
  encoded: Buffer,
  blocksEnd: number,
): { meta: Omit<TableMeta, "bytes" | "number">; blocks: BlockList } {
  const cursor: Cursor = { at: 0 };
  const integer = () => readVarint(encoded, cursor, encoded.length);
  const entries = integer();
  const tombstones = integer();
  const tombstoneBytes = integer();
  const expiring: ExpiringBytes[] = [];
  for (let left = integer(); left > 0; left--) expiring.push({ byMs: integer(), bytes: integer() });
  const firstLength = integer();
  const lastLength = integer();
  const count = integer();
  // Each block takes two bytes or more: a larger count is damage, and must not become an allocation.
  if (count < 1 || cursor.at + firstLength + lastLength + 2 * count > encoded.length) {
    throw new OperatingError("CORRUPT", "a table's index is cut off");
  }
  const first = latin1Of(encoded, cursor.at, (cursor.at += firstLength));
  const last = latin1Of(encoded, cursor.at, (cursor.at += lastLength));
  const offsets = new Uint32Array(count + 1);
  const startEnds = new Uint32Array(count);
  const starts = Buffer.allocUnsafe(encoded.length - cursor.at);
  let offset = 0;
  let startEnd = 0;
  for (let block = 0; block < count; block++) {
    offset += integer();
    offsets[block + 1] = offset;
    const startLength = integer();
    if (cursor.at + startLength > encoded.length) throw new OperatingError("CORRUPT", "a table's index is cut off");
    encoded.copy(starts, startEnd, cursor.at, cursor.at + startLength);
    cursor.at += startLength;
    startEnds[block] = startEnd += startLength;
  }
  if (offset !== blocksEnd || cursor.at !== encoded.length) {
    throw new OperatingError("CORRUPT", "a table's index does not fit its blocks");
  }
  // A copy of the exact length: what is kept for the life of the table wastes nothing.
  const meta = { entries, tombstones, tombstoneBytes, first, last, expiring };
  return { meta, blocks: { offsets, startEnds, starts: Buffer.from(starts.subarray(0, startEnd)) } };
}
