/**
 * A digest of what a replica has seen of a key: of the context and the dots of the versions, never of values or expiry, which may
 * differ (a dropped value) without anything to repair. Digests of many keys are compared as one sum (replica/slot-digests.ts).
 */
import { hash48 } from "../bytes/hash.js";
import { hashOf } from "./record.js";
import { decodeRecord } from "./record-encoding.js";
import type { RecordView } from "./record-view.js";

/** Digests are integers from 0 to before this. */
export const DIGEST_SPAN = 2 ** 48;

/** Part of what replicas compare, so it never changes. */
const SEED = 0x64696765;

/** The digest of the record in `view` under a key with this hash, 32 bits. Throws CORRUPT. */
export function digestOf({ bytes, start, end, bodyStart, valueStart, versionCount }: RecordView, keyHash: number): number {
  // The body of a record of one version holds its dot and the context. That of siblings holds their values, too.
  if (versionCount === 1) return hash48(bytes, bodyStart, valueStart, keyHash ^ SEED);
  const { high, low } = hashOf(decodeRecord(bytes, start, end));
  return (Math.imul(high, keyHash | 1) >>> 16) * 2 ** 32 + ((low ^ keyHash) >>> 0);
}
