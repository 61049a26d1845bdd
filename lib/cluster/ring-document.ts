/**
 * What the members of a ring agree on, as one document. A node that has never met another is a ring of one and writes it
 * alone. So far it holds the cluster's id and the key that contexts are signed with; members, tokens and pending changes
 * join it as numbered fields, and a reader refuses a version that it does not know.
 */
import { OperatingError } from "../errors.js";

export interface RingDocument {
  /** 16 random bytes. */
  readonly clusterId: Buffer;
  /** 32 random bytes: the key of the MACs in contexts. */
  readonly clusterKey: Buffer;
}

const VERSION = 1;
const ID_BYTES = 16;
const KEY_BYTES = 32;

/** The document of a new ring; `bytes` is the Random seam's. */
export function mintRingDocument(bytes: (length: number) => Buffer): RingDocument {
  return { clusterId: bytes(ID_BYTES), clusterKey: bytes(KEY_BYTES) };
}

/** Layout: version u8 | cluster id 16 bytes | cluster key 32 bytes. */
export function encodeRingDocument(document: RingDocument): Buffer {
  return Buffer.concat([Buffer.from([VERSION]), document.clusterId, document.clusterKey]);
}

/** Throws CORRUPT for a version or a length that is not known. */
export function decodeRingDocument(bytes: Buffer): RingDocument {
  if (bytes[0] !== VERSION || bytes.length !== 1 + ID_BYTES + KEY_BYTES) {
    throw new OperatingError(
      "CORRUPT",
      `the ring document has format ${bytes[0]} and ${bytes.length} bytes; this version of Kindred reads format ${VERSION}`,
    );
  }
  return {
    clusterId: Buffer.from(bytes.subarray(1, 1 + ID_BYTES)),
    clusterKey: Buffer.from(bytes.subarray(1 + ID_BYTES)),
  };
}
