/**
 * A transaction as the arguments of one command that is passed on:
 *
 *     exec | number of watched keys | (database, key, fingerprint)* | (number of arguments, arguments)*
 *
 * Numbers are decimal text.
 */
import { latin1Of } from "../bytes/latin1.js";
import { OperatingError } from "../errors.js";
import type { QueuedCommand, WatchedKey } from "./client-session.js";
import { DATABASES } from "./command-settings.js";
import type { CommandTable } from "./command-table.js";

export const TRANSACTION = "exec";

export function encodeTransaction(queue: readonly QueuedCommand[], watched: readonly WatchedKey[]): readonly Buffer[] {
  const words = [textOf(TRANSACTION), textOf(`${watched.length}`)];
  for (const { database, key, fingerprint } of watched) words.push(textOf(`${database}`), key, textOf(fingerprint));
  for (const { args } of queue) words.push(textOf(`${args.length}`), ...args);
  return words;
}

/** Throws CORRUPT for what no node sends. */
export function decodeTransaction(
  words: readonly Buffer[],
  table: CommandTable,
): { readonly queue: readonly QueuedCommand[]; readonly watched: readonly WatchedKey[] } {
  let at = 1;
  const next = (): Buffer => {
    const word = words[at++];
    if (word === undefined) throw damaged();
    return word;
  };
  const watched: WatchedKey[] = [];
  for (let count = countOf(next()); count > 0; count--) {
    const database = countOf(next());
    if (database >= DATABASES) throw damaged();
    watched.push({ database, key: next(), fingerprint: latin1Of(next()) });
  }
  const queue: QueuedCommand[] = [];
  while (at < words.length) {
    const args: Buffer[] = [];
    for (let count = countOf(next()); count > 0; count--) args.push(next());
    const lookup = args.length === 0 ? null : table.resolve(args);
    if (lookup?.kind !== "found" || !lookup.entry.accepts(args.length) || lookup.entry.keyPositions(args).length === 0) {
      throw damaged();
    }
    queue.push({ entry: lookup.entry, args });
  }
  return { queue, watched };
}

function textOf(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

function countOf(word: Buffer): number {
  const text = latin1Of(word);
  if (!/^[0-9]{1,9}$/.test(text)) throw damaged();
  return Number(text);
}

function damaged(): OperatingError {
  return new OperatingError("CORRUPT", "a transaction that another node passed on is damaged");
}
