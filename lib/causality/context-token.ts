/**
 * The context of SIBLINGS and SET .. CONTEXT as clients hold it: printable, opaque, good on any node of the cluster and
 * after a restart. It names its key's hash and the cluster and carries a MAC under the cluster's key, so that a context of
 * another key, of another cluster, or an altered one is refused: a false context would drop versions nobody had seen.
 *
 *     base64url of: format u8 = 1 | key hash u32, u32 | cluster id length u8, bytes | context (as in records) | MAC 16 bytes
 *
 * The MAC also covers database and key in full: two keys with equal hashes stay apart.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { assert } from "../assert.js";
import { hash32 } from "../bytes/hash.js";
import { writeLatin1 } from "../bytes/latin1.js";
import type { Cursor } from "../bytes/varint.js";
import { OperatingError } from "../errors.js";
import { contextLength, readContext, writeContext } from "./record-format.js";
import type { VersionVector } from "./version-vector.js";

const TOKEN_FORMAT = 1;
const MAC_BYTES = 16;
const CLUSTER_ID_BYTES_MAX = 64;
const KEY_BYTES_MIN = 16;
/** Some 10,000 entries; an entry is a store that coordinated the key. Longer input is refused unread. */
const TOKEN_LENGTH_MAX = 262_144;
/** Start of the two hashes of a key; the database number is added. */
const HASH_SEEDS = [0x636f6e74, 0x65787421] as const;

export class ContextTokens {
  readonly #clusterId: string;
  readonly #clusterKey: Uint8Array;

  /** `clusterId`: 1 to 64 latin1 characters. `clusterKey`: at least 16 secret bytes, the same on all members; kept. */
  constructor(options: { clusterId: string; clusterKey: Uint8Array }) {
    const { clusterId, clusterKey } = options;
    assert(clusterId.length >= 1 && clusterId.length <= CLUSTER_ID_BYTES_MAX, "context: a cluster id is 1 to 64 bytes");
    assert(clusterKey.length >= KEY_BYTES_MIN, "context: a cluster key is at least 16 bytes");
    this.#clusterId = clusterId;
    this.#clusterKey = clusterKey;
  }

  /** The token of a context that was read for `key` (raw bytes) of `database` (0 to 15). */
  mint(database: number, key: Uint8Array, context: VersionVector): string {
    const prefix = this.#prefix(database, key);
    const body = Buffer.allocUnsafe(prefix.length + contextLength(context));
    prefix.copy(body);
    const end = writeContext(body, prefix.length, context);
    assert(end === body.length, "context: as long as measured");
    return Buffer.concat([body, this.#mac(database, key, body)]).toString("base64url");
  }

  /** The context in a token. Throws ARGUMENT when it was not minted here for this key. */
  open(database: number, key: Uint8Array, token: string): VersionVector {
    if (token.length > TOKEN_LENGTH_MAX) throw refused();
    const bytes = Buffer.from(token, "base64url");
    const end = bytes.length - MAC_BYTES;
    const prefix = this.#prefix(database, key);
    if (end <= prefix.length) throw refused();
    const body = bytes.subarray(0, end);
    if (!body.subarray(0, prefix.length).equals(prefix)) throw refused();
    if (!timingSafeEqual(this.#mac(database, key, body), bytes.subarray(end))) throw refused();
    // The decoder skips what is no base64url, so a token with something added must be told from the one that was minted.
    if (bytes.toString("base64url") !== token) throw refused();
    const cursor: Cursor = { at: prefix.length };
    const context = readContext(body, cursor, end);
    assert(cursor.at === end, "context: nothing follows the vector that was minted");
    return context;
  }

  #prefix(database: number, key: Uint8Array): Buffer {
    const prefix = Buffer.allocUnsafe(1 + 8 + 1 + this.#clusterId.length);
    prefix[0] = TOKEN_FORMAT;
    prefix.writeUInt32BE(hash32(key, 0, key.length, HASH_SEEDS[0] + database), 1);
    prefix.writeUInt32BE(hash32(key, 0, key.length, HASH_SEEDS[1] + database), 5);
    prefix[9] = this.#clusterId.length;
    writeLatin1(prefix, 10, this.#clusterId);
    return prefix;
  }

  #mac(database: number, key: Uint8Array, body: Buffer): Buffer {
    // Database and the body's length have a fixed size and stand first: no two inputs give the same bytes.
    const head = Buffer.allocUnsafe(5);
    head[0] = database;
    head.writeUInt32BE(body.length, 1);
    const hmac = createHmac("sha256", this.#clusterKey).update("kindred context").update(head).update(body).update(key);
    return hmac.digest().subarray(0, MAC_BYTES);
  }
}

function refused(): OperatingError {
  return new OperatingError("ARGUMENT", "context is not of this key");
}
