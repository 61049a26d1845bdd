/** Arguments that many commands share, as COMMAND DOCS describes them. */
import type { ArgumentDoc } from "./command.js";

export const KEY: ArgumentDoc = { name: "key", type: "key" };
export const KEYS: ArgumentDoc = { name: "key", type: "key", multiple: true };
export const VALUE: ArgumentDoc = { name: "value", type: "string" };

/** A bare word. */
export function token(word: string): ArgumentDoc {
  return { name: word.toLowerCase(), type: "pure-token", token: word };
}

/** The same argument as an option. */
export function optional(argument: ArgumentDoc): ArgumentDoc {
  return { ...argument, optional: true };
}

/** One of several. */
export function oneOf(name: string, choices: readonly ArgumentDoc[]): ArgumentDoc {
  return { name, type: "oneof", arguments: choices };
}

/** A word with its argument: `EX seconds`. */
export function option(word: string, name: string, type: ArgumentDoc["type"]): ArgumentDoc {
  return { name, type, token: word };
}

/** The ways to give an expiry. */
export const EXPIRY_CHOICES: readonly ArgumentDoc[] = [
  option("EX", "seconds", "integer"),
  option("PX", "milliseconds", "integer"),
  option("EXAT", "unix-time-seconds", "unix-time"),
  option("PXAT", "unix-time-milliseconds", "unix-time"),
];
