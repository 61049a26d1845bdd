/**
 * What two nodes tell each other before anything else, and how they prove that they know the cluster's secret. Pure.
 *
 *     dialler -> HELLO | WELCOME <- acceptor | dialler -> PROOF | ADMITTED <- acceptor
 *
 * A proof is an HMAC-SHA256 under the secret over the prover's role, the whole hello and the whole welcome: with both nonces
 * in it no proof is good twice, with the role in it none can be sent back to where it came from. The dialler proves first, so
 * that whoever can reach the port learns nothing on which to try secrets. The secret itself is never sent.
 *
 * On an encrypted connection a proof is also over bytes of that very connection: whoever stands in the middle, decrypts and
 * encrypts anew cannot pass proofs on, so a common secret makes the encryption trustworthy even without certificates.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";

/** The versions of the protocol that this code speaks; docs/FORMATS.md, "Peer protocol", says what each of them brought. */
export const PROTOCOL_VERSION_MIN = 1;
export const PROTOCOL_VERSION_MAX = 2;

/** The versions that a node speaks, both inclusive. */
export interface ProtocolVersions {
  readonly min: number;
  readonly max: number;
}

/** Longest hello body. Before a link is admitted no longer frame is read. */
export const HELLO_BYTES_MAX = 8_192;
export const SETTINGS_BYTES_MAX = 4_096;
export const ID_LENGTH_MAX = 64;
export const NONCE_BYTES = 32;
export const INSTANCE_BYTES = 8;
export const PROOF_BYTES = 32;

const MAGIC = "KNDP";
const HAS_SECRET = 1;
const FIXED_BYTES = 4 + 1 + 1 + 1 + NONCE_BYTES + INSTANCE_BYTES;

export interface Hello {
  readonly versionMin: number;
  readonly versionMax: number;
  readonly hasSecret: boolean;
  /** Random, of this connection. */
  readonly nonce: Uint8Array;
  /** Random, of this run of the process. */
  readonly instance: Uint8Array;
  /** Latin1, 1 to 64 characters. */
  readonly peerId: string;
  /** Latin1, up to 64 characters; null while the node belongs to no cluster. */
  readonly clusterId: string | null;
  /** The owner's, up to 4096 bytes. */
  readonly settings: Uint8Array;
}

export function encodeHello(hello: Hello): Buffer {
  const clusterId = hello.clusterId ?? "";
  const length = FIXED_BYTES + 1 + hello.peerId.length + 1 + clusterId.length + 2 + hello.settings.length;
  const bytes = Buffer.alloc(length);
  let at = writeLatin1(bytes, 0, MAGIC);
  bytes[at++] = hello.versionMin;
  bytes[at++] = hello.versionMax;
  bytes[at++] = hello.hasSecret ? HAS_SECRET : 0;
  bytes.set(hello.nonce, at);
  bytes.set(hello.instance, at + NONCE_BYTES);
  at += NONCE_BYTES + INSTANCE_BYTES;
  bytes[at] = hello.peerId.length;
  at = writeLatin1(bytes, at + 1, hello.peerId);
  bytes[at] = clusterId.length;
  at = writeLatin1(bytes, at + 1, clusterId);
  at = bytes.writeUInt16BE(hello.settings.length, at);
  bytes.set(hello.settings, at);
  return bytes;
}

/** Null when it is none. What follows the settings is of later versions and is passed over. Nothing of `body` is kept. */
export function decodeHello(body: Uint8Array): Hello | null {
  const bytes = Buffer.from(body);
  if (bytes.length < FIXED_BYTES + 4 || latin1Of(bytes, 0, 4) !== MAGIC) return null;
  const versionMin = bytes[4]!;
  const versionMax = bytes[5]!;
  const hasSecret = (bytes[6]! & HAS_SECRET) !== 0;
  const nonce = bytes.subarray(7, 7 + NONCE_BYTES);
  const instance = bytes.subarray(7 + NONCE_BYTES, FIXED_BYTES);
  const idEnd = FIXED_BYTES + 1 + bytes[FIXED_BYTES]!;
  if (idEnd >= bytes.length) return null;
  const peerId = latin1Of(bytes, FIXED_BYTES + 1, idEnd);
  const clusterEnd = idEnd + 1 + bytes[idEnd]!;
  if (clusterEnd + 2 > bytes.length) return null;
  const clusterId = latin1Of(bytes, idEnd + 1, clusterEnd);
  const settingsEnd = clusterEnd + 2 + bytes.readUInt16BE(clusterEnd);
  if (settingsEnd > bytes.length || settingsEnd - clusterEnd - 2 > SETTINGS_BYTES_MAX) return null;
  if (peerId.length < 1 || peerId.length > ID_LENGTH_MAX || clusterId.length > ID_LENGTH_MAX) return null;
  if (versionMin < 1 || versionMin > versionMax) return null;
  const settings = bytes.subarray(clusterEnd + 2, settingsEnd);
  const named = { peerId, clusterId: clusterId === "" ? null : clusterId };
  return { versionMin, versionMax, hasSecret, nonce, instance, ...named, settings };
}

/** The version both speak: the lower of the two highest; null when there is none. */
export function commonVersion(ours: Hello, theirs: Hello): number | null {
  const version = Math.min(ours.versionMax, theirs.versionMax);
  return version >= ours.versionMin && version >= theirs.versionMin ? version : null;
}

export type Role = "dialler" | "acceptor";

export interface Transcript {
  /** Both hello bodies as they were on the wire. */
  readonly hello: Uint8Array;
  readonly welcome: Uint8Array;
  /** 32 bytes of the encrypted connection under them (`Connection.channelBinding`); null where it is not encrypted. */
  readonly channelBinding: Uint8Array | null;
}

export function proofOf(secret: string, role: Role, transcript: Transcript): Buffer {
  // Fixed-size parts and the length of the first body stand first: no two inputs give the same bytes.
  const head = Buffer.alloc(5);
  head[0] = role === "dialler" ? 1 : 2;
  head.writeUInt32BE(transcript.hello.length, 1);
  // The next byte after the name is a role in the one case and never one in the other.
  const hmac = createHmac("sha256", secret).update("kindred peer");
  if (transcript.channelBinding !== null) hmac.update(" encrypted").update(transcript.channelBinding);
  hmac.update(head);
  return hmac.update(transcript.hello).update(transcript.welcome).digest();
}

export function isProof(proof: Uint8Array, secret: string, role: Role, transcript: Transcript): boolean {
  return proof.length === PROOF_BYTES && timingSafeEqual(proof, proofOf(secret, role, transcript));
}

/** What the node at the other end is told, and may log: one line of printable text. */
export function cleanText(bytes: Uint8Array, lengthMax = 300): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, lengthMax)).toString("utf8");
  return text.replace(/[^\x20-\x7e]/g, "?");
}
