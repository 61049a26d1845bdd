/** Option words among the arguments: any case, compared in upper case. */
import { latin1Of } from "../bytes/latin1.js";

/** Longer arguments are no option; they are not worth a string. */
const WORD_LENGTH_MAX = 32;

/** The argument in upper case, or "" when it is too long to be a word. */
export function wordOf(argument: Uint8Array): string {
  return argument.length > WORD_LENGTH_MAX ? "" : latin1Of(argument).toUpperCase();
}
