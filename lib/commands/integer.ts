/**
 * 64-bit signed integers as clients write them: decimal digits with an optional minus and nothing else (no plus, space,
 * leading zero, `-0` or empty text). A value is a number while it is a safe integer and a bigint beyond, never both ways,
 * so that the usual case costs no bigint. Pure.
 */
import { latin1Of } from "../bytes/latin1.js";

/** A number when it is a safe integer, else a bigint of 64 bits. */
export type Int64 = number | bigint;

export const INT64_MAX = 2n ** 63n - 1n;
export const INT64_MIN = -(2n ** 63n);

/** So many digits always make a safe integer. */
const SAFE_DIGITS = 15;
/** Digits of the longest 64-bit integer. */
const DIGITS_MAX = 19;

const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

/** The integer that the latin1 text stands for, or null when it is none or does not fit. */
export function parseInteger(text: string): Int64 | null {
  const { length } = text;
  const first = text.charCodeAt(0) === MINUS ? 1 : 0;
  const digits = length - first;
  if (digits < 1 || digits > DIGITS_MAX) return null;
  if (text.charCodeAt(first) === ZERO) return length === 1 ? 0 : null;
  let value = 0;
  for (let at = first; at < length; at++) {
    const code = text.charCodeAt(at);
    if (code < ZERO || code > NINE) return null;
    value = value * 10 + (code - ZERO);
  }
  if (digits > SAFE_DIGITS) return narrow(BigInt(text));
  return first === 1 ? -value : value;
}

/** The same for the bytes of an argument. */
export function parseIntegerBytes(bytes: Uint8Array): Int64 | null {
  // Anything longer is no integer, and is not worth a string.
  return bytes.length > DIGITS_MAX + 1 ? null : parseInteger(latin1Of(bytes));
}

/** The sum, or null when it does not fit in 64 bits. */
export function addInt64(a: Int64, b: Int64): Int64 | null {
  if (typeof a === "number" && typeof b === "number") {
    const sum = a + b;
    if (Number.isSafeInteger(sum)) return sum;
  }
  return narrow(BigInt(a) + BigInt(b));
}

/** The same value as a number where that is exact, or null when it does not fit in 64 bits. */
export function narrow(value: bigint): Int64 | null {
  if (value > INT64_MAX || value < INT64_MIN) return null;
  const near = Number(value);
  return Number.isSafeInteger(near) ? near : value;
}
