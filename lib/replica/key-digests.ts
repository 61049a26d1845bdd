/** Keys with the digests of their records, and flags, as they stand in messages between members. */
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { isWholeDataKey } from "./data-key.js";

const DIGEST_BYTES = 6;

export interface KeyDigest {
  readonly dataKey: string;
  readonly digest: number;
}

export function keyDigestsLength(keys: readonly KeyDigest[]): number {
  return keys.reduce((sum, { dataKey }) => sum + varintLength(dataKey.length) + dataKey.length + DIGEST_BYTES, 0);
}

/** For each: length of the data key varint, its bytes, digest u48. Returns the position after them. */
export function writeKeyDigests(bytes: Buffer, start: number, keys: readonly KeyDigest[]): number {
  let at = start;
  for (const { dataKey, digest } of keys) {
    at = writeLatin1(bytes, writeVarint(bytes, at, dataKey.length), dataKey);
    at = bytes.writeUIntBE(digest, at, DIGEST_BYTES);
  }
  return at;
}

/** All that stand there up to the end of `bytes`. Throws CORRUPT. */
export function readKeyDigests(bytes: Buffer, cursor: Cursor): KeyDigest[] {
  const keys: KeyDigest[] = [];
  while (cursor.at < bytes.length) {
    const length = readVarint(bytes, cursor, bytes.length);
    const keyEnd = cursor.at + length;
    if (keyEnd + DIGEST_BYTES > bytes.length) throw damaged();
    const dataKey = latin1Of(bytes, cursor.at, keyEnd);
    if (!isWholeDataKey(dataKey)) throw damaged();
    keys.push({ dataKey, digest: bytes.readUIntBE(keyEnd, DIGEST_BYTES) });
    cursor.at = keyEnd + DIGEST_BYTES;
  }
  return keys;
}

export function bitsOf(flags: readonly boolean[]): Buffer {
  const bits = Buffer.alloc(Math.ceil(flags.length / 8));
  flags.forEach((flag, at) => {
    if (flag) bits[at >>> 3]! |= 1 << (at & 7);
  });
  return bits;
}

/** False behind the end. */
export function hasBit(bytes: Buffer, start: number, at: number): boolean {
  return ((bytes[start + (at >>> 3)] ?? 0) & (1 << (at & 7))) !== 0;
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a message of a peer about keys is damaged");
}
