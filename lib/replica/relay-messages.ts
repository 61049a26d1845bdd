/**
 * A batch of STOREs that one member of another data centre passes on to others there: docs/FORMATS.md, "RELAY". It crosses the
 * link between the two once; what became of it at each of the others is asked for by a call of its own, so that each answer
 * comes back as soon as it is there.
 *
 *     RELAY:   number u32 | targets u8 | (member id 8 bytes)* | the batch, as in BATCH
 *         answer: as to BATCH: what became of it at the receiver
 *     RELAYED: number u32 of a RELAY on the same link | which of its targets u8
 *         answer: as to BATCH, of that target; a failure where it did not answer in time
 */
import { MEMBER_ID_BYTES, type MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";

const HEAD_BYTES = 5;
export const RELAYED_BYTES = 5;
export const RELAY_TARGETS_MAX = 255;

export interface RelayRequest {
  readonly number: number;
  readonly targets: readonly MemberId[];
  /** A view of what was read. */
  readonly batch: Buffer;
}

/** Bytes before the batch. */
export function relayHeadBytes(targets: readonly MemberId[]): number {
  return HEAD_BYTES + targets.length * MEMBER_ID_BYTES;
}

/** Writes what stands before the batch; returns the position after it. */
export function writeRelayHead(bytes: Buffer, start: number, number: number, targets: readonly MemberId[]): number {
  let at = bytes.writeUInt32BE(number, start);
  bytes[at++] = targets.length;
  for (const target of targets) at += bytes.write(target, at, "hex");
  return at;
}

/** Throws CORRUPT. */
export function decodeRelay(bytes: Buffer): RelayRequest {
  const count = bytes[HEAD_BYTES - 1] ?? 0;
  const end = HEAD_BYTES + count * MEMBER_ID_BYTES;
  if (bytes.length < end || count === 0) throw cutOff();
  const targets = Array.from({ length: count }, (_, index) => {
    const at = HEAD_BYTES + index * MEMBER_ID_BYTES;
    return bytes.toString("hex", at, at + MEMBER_ID_BYTES);
  });
  return { number: bytes.readUInt32BE(0), targets, batch: bytes.subarray(end) };
}

export function writeRelayed(bytes: Buffer, start: number, number: number, target: number): number {
  const at = bytes.writeUInt32BE(number, start);
  bytes[at] = target;
  return at + 1;
}

/** Throws CORRUPT. */
export function decodeRelayed(bytes: Buffer): { readonly number: number; readonly target: number } {
  if (bytes.length !== RELAYED_BYTES) throw cutOff();
  return { number: bytes.readUInt32BE(0), target: bytes[4]! };
}

function cutOff(): OperatingError {
  return new OperatingError("CORRUPT", "a relay of a peer is damaged");
}
