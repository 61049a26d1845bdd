/**
 * The record that says that this store was restored from a backup while other members went on: what others have reaped since may be in
 * it, and must not be merged into their copies. It stays until whoever compares the reaps of each slot clears it. What the store
 * keeps for other members (hints) is as old. A cluster that was restored as a whole has no such record.
 *
 *     "restored": format u8 = 1 | wall clock of the backup in ms: varint; an empty record is none
 */
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import type { MetaStore } from "./meta-store.js";

const RECORD = "restored";
const FORMAT = 1;

/** When the backup was taken, on the wall clock of the node that took it; null where the store was not restored. Throws CORRUPT. */
export function restoredAtMs(meta: Pick<MetaStore, "get">): number | null {
  const bytes = meta.get(RECORD);
  if (bytes === null || bytes.length === 0) return null;
  if (bytes[0] !== FORMAT) {
    throw new OperatingError("CORRUPT", `the record of a restored store has format ${bytes[0]}; this version reads ${FORMAT}`);
  }
  const cursor: Cursor = { at: 1 };
  return readVarint(bytes, cursor, bytes.length);
}

/** Durable with whatever this turn makes durable. */
export function markRestored(meta: Pick<MetaStore, "put">, backupMs: number): void {
  const bytes = Buffer.alloc(1 + varintLength(backupMs));
  bytes[0] = FORMAT;
  writeVarint(bytes, 1, backupMs);
  meta.put(RECORD, bytes);
}

/** Durable when it returns. Throws IO. */
export function clearRestoredMark(meta: Pick<MetaStore, "putNow">): void {
  meta.putNow(RECORD, Buffer.alloc(0));
}
