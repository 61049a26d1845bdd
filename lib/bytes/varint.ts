/**
 * Unsigned LEB128 integers up to 2^53 - 1: seven bits a byte, low bits first, the high bit says that more follow.
 * Readers are told where they start and leave where they stopped in `Cursor.at`, so that reading allocates nothing.
 */
import { assert } from "../assert.js";
import { OperatingError } from "../errors.js";

/** A position in borrowed bytes; reused by its owner. */
export interface Cursor {
  at: number;
}

/** Bytes that `value` takes, 1 to 8. */
export function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++;
  return length;
}

/** Writes `value` at `at` and returns the position after it. REQUIRES room for `varintLength(value)` bytes. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  assert(value >= 0 && value <= Number.MAX_SAFE_INTEGER, "varint: out of range");
  let rest = value;
  let next = at;
  while (rest >= 0x8000_0000) {
    target[next++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 128) {
    target[next++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[next++] = rest;
  return next;
}

/** Reads the integer at `cursor.at`, at most up to `end`, and moves the cursor behind it. Throws `CORRUPT` on a cut or overlong one. */
export function readVarint(bytes: Uint8Array, cursor: Cursor, end: number): number {
  let at = cursor.at;
  let value = 0;
  // Nearly all end within four bytes: integers of the processor.
  for (let shift = 0; shift < 28; shift += 7) {
    if (at >= end) throw cutOff();
    const byte = bytes[at++]!;
    value |= (byte & 127) << shift;
    if (byte < 128) {
      cursor.at = at;
      return value;
    }
  }
  return readLong(bytes, cursor, end, value);
}

/** The rest of an integer of which `value` are the low 28 bits. */
function readLong(bytes: Uint8Array, cursor: Cursor, end: number, low: number): number {
  let at = cursor.at + 4;
  let value = low;
  let scale = 2 ** 28;
  for (;;) {
    if (at >= end) throw cutOff();
    const byte = bytes[at++]!;
    value += (byte & 127) * scale;
    if (byte < 128) break;
    scale *= 128;
    if (scale > 2 ** 49) throw new OperatingError("CORRUPT", "an integer is longer than any that is written");
  }
  if (value > Number.MAX_SAFE_INTEGER) throw new OperatingError("CORRUPT", "an integer is larger than any that is written");
  cursor.at = at;
  return value;
}

function cutOff(): OperatingError {
  return new OperatingError("CORRUPT", "an integer is cut off");
}
