/** CRC-32 (IEEE 802.3), the checksum of log batches, table blocks and manifests. */
import { crc32 as crc32OfBytes } from "node:zlib";

/** The checksum of `bytes[start, end)`, continuing from `seed` (the checksum of what stands before). Unsigned. */
export function crc32(bytes: Buffer, start = 0, end = bytes.length, seed = 0): number {
  return crc32OfBytes(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), seed);
}
