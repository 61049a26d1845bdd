/**
 * Where hints lie in the engine, and what stands in front of their records:
 *
 *     key     01 | target 8 bytes | kind u8 | data key without its space byte
 *     value   created u48, ms of Unix time | tag u48 | record, in a hint of kind 1
 *
 * So what one target lacks is one range, in the order of its keys, and a look-up is a point read. Kinds are apart so that
 * a mark may be written without a look at what is there. Part of the stored format: docs/FORMATS.md.
 */
import { assert } from "../assert.js";
import { latin1Of } from "../bytes/latin1.js";
import { MEMBER_ID_BYTES, type MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import { DATA_PREFIX } from "./data-key.js";

const SPACE_HINTS = 1;
const SPACE_DATA = 0;

/** `record`: the hint holds what the target lacks. `mark`: that is this node's own record of the key. Numbers are stored. */
export const HintKind = { record: 1, mark: 2 } as const;
export type HintKind = (typeof HintKind)[keyof typeof HintKind];

const KIND_END = 3;
const KEY_HEAD_BYTES = 1 + MEMBER_ID_BYTES + 1;

/** Bytes of a hint's value before its record. */
export const HINT_HEAD_BYTES = 12;

export const HINTS_START = String.fromCharCode(SPACE_HINTS);
export const HINTS_END = String.fromCharCode(SPACE_HINTS + 1);

/** What the keys of all hints of one kind for a target begin with; the data key follows without its space byte. */
export function hintPrefix(target: MemberId, kind: HintKind): string {
  return targetPrefix(target) + String.fromCharCode(kind);
}

/** The first key behind all hints for a target. */
export function hintEndOf(target: MemberId): string {
  return targetPrefix(target) + String.fromCharCode(KIND_END);
}

/** Throws CORRUPT. */
export function splitHintKey(key: string): { readonly target: MemberId; readonly kind: HintKind; readonly dataKey: string } {
  const kind = key.charCodeAt(KEY_HEAD_BYTES - 1);
  if (key.length < KEY_HEAD_BYTES + DATA_PREFIX - 1 || (kind !== HintKind.record && kind !== HintKind.mark)) {
    throw new OperatingError("CORRUPT", "the key of a hint is of no known form");
  }
  const target = Buffer.from(key.slice(1, 1 + MEMBER_ID_BYTES), "latin1").toString("hex");
  return { target, kind, dataKey: String.fromCharCode(SPACE_DATA) + key.slice(KEY_HEAD_BYTES) };
}

/** The slot of the key that a hint is about. */
export function slotOfHintKey(key: string): number {
  return (key.charCodeAt(KEY_HEAD_BYTES) << 8) | key.charCodeAt(KEY_HEAD_BYTES + 1);
}

/** Writes what stands in front of a hint's record. REQUIRES room for `HINT_HEAD_BYTES`. */
export function writeHintHead(target: Buffer, head: { readonly createdMs: number; readonly tag: number }): void {
  target.writeUIntBE(head.createdMs, 0, 6);
  target.writeUIntBE(head.tag, 6, 6);
}

/** When the oldest write of the hint in `bytes[start, ...)` was missed, ms of Unix time. */
export function createdOf(bytes: Buffer, start: number): number {
  return bytes.readUIntBE(start, 6);
}

/** The number of the hint's last change; no two changes of one store have the same. */
export function tagOf(bytes: Buffer, start: number): number {
  return bytes.readUIntBE(start + 6, 6);
}

function targetPrefix(target: MemberId): string {
  const bytes = Buffer.from(target, "hex");
  assert(bytes.length === MEMBER_ID_BYTES, "hint: a target is a member's id");
  return HINTS_START + latin1Of(bytes);
}
