/** Reading a command's arguments: words, integers and text out of raw bytes. */
import { latin1Of } from "../bytes/latin1.js";

const ZERO = 0x30;
const MINUS = 0x2d;
/** Digits of 2^53 - 1: shorter numbers are exact without a check. */
const SAFE_DIGITS = 15;

/** The argument in upper case, to compare with option words. */
export function wordOf(argument: Uint8Array): string {
  return latin1Of(argument).toUpperCase();
}

/** The argument as a latin1 string. */
export function textOf(argument: Uint8Array): string {
  return latin1Of(argument);
}

/**
 * A decimal integer in Redis's strict form (no sign but a leading minus, no blanks, no leading zero, no `-0`); null when
 * it is anything else, or beyond 2^53 - 1 in either direction.
 */
export function integerOf(argument: Uint8Array): number | null {
  const { length } = argument;
  const isNegative = argument[0] === MINUS;
  const start = isNegative ? 1 : 0;
  const digits = length - start;
  if (digits < 1 || digits > SAFE_DIGITS + 1) return null;
  if (argument[start] === ZERO && (digits > 1 || isNegative)) return null;
  let value = 0;
  for (let at = start; at < length; at++) {
    const digit = argument[at]! - ZERO;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  if (!Number.isSafeInteger(value)) return null;
  return isNegative ? -value : value;
}

export const NOT_AN_INTEGER = "ERR value is not an integer or out of range";
export const SYNTAX_ERROR = "ERR syntax error";
