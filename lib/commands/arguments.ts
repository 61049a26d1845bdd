/** Reading a command's arguments: option words and small integers out of raw bytes. */
import { latin1Of } from "../bytes/latin1.js";
import { parseIntegerBytes } from "./integer.js";

export const NOT_AN_INTEGER = "ERR value is not an integer or out of range";
export const SYNTAX_ERROR = "ERR syntax error";

/** Longer arguments are no option; they are not worth a second string. */
const WORD_LENGTH_MAX = 128;

/** The argument in upper case, to compare with option words. One that is too long to be a word is left as it is. */
export function wordOf(argument: Uint8Array): string {
  const text = latin1Of(argument);
  return text.length > WORD_LENGTH_MAX ? text : text.toUpperCase();
}

/** An integer in Redis's strict form; null when it is anything else, or beyond 2^53 - 1 in either direction. */
export function integerOf(argument: Uint8Array): number | null {
  const value = parseIntegerBytes(argument);
  return typeof value === "number" ? value : null;
}
