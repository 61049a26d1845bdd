/**
 * The table of commands: finds the command of a request and says why there is none. COMMAND reports from the same table,
 * so what is listed is what runs. Names are found by their bytes in any case, without making a string of them.
 */
import { assert } from "../assert.js";
import { type Command, type CommandFlag, type KeyAccess, noKeys } from "./command.js";
import { CommandStatistics } from "./command-statistics.js";

/** As brief as the commands that Redis flags as fast, on a store of strings. */
const BRIEF: ReadonlySet<string> = new Set(["set", "setex", "psetex", "del", "getrange", "substr"]);

/** A command in its place: with its full name, what dispatch asks of it, and its statistics. */
export class TableEntry {
  readonly command: Command;
  /** `config|get` for a subcommand. */
  readonly fullName: string;
  readonly arity: number;
  readonly isWrite: boolean;
  readonly needsAuthentication: boolean;
  readonly isAllowedInTransaction: boolean;
  /** Takes microseconds for each key, but for the bytes that it is given or answers. */
  readonly isBrief: boolean;
  readonly subcommands: NameIndex | null;
  readonly statistics = new CommandStatistics();

  constructor(command: Command, container: TableEntry | null) {
    this.command = command;
    this.fullName = container === null ? command.name : `${container.fullName}|${command.name}`;
    this.arity = command.arity;
    this.isWrite = command.flags.includes("write");
    this.needsAuthentication = !command.flags.includes("no_auth");
    this.isAllowedInTransaction = !command.flags.includes("no_multi");
    this.isBrief = command.flags.includes("fast") || BRIEF.has(this.fullName);
    this.subcommands =
      command.subcommands === undefined ? null : new NameIndex(command.subcommands.map((sub) => new TableEntry(sub, this)));
  }

  hasFlag(flag: CommandFlag): boolean {
    return this.command.flags.includes(flag);
  }

  /** May the command be called with this many arguments, its name (for a subcommand both names) included? */
  accepts(count: number): boolean {
    return this.arity >= 0 ? count === this.arity : count >= -this.arity;
  }

  /** Where the keys are in a request of this command. REQUIRES an accepted number of arguments. */
  keyPositions(args: readonly Uint8Array[]): readonly number[] {
    const { keys, keysIn } = this.command;
    if (keysIn !== undefined) return keysIn(args);
    if (keys === null) return noKeys;
    const last = keys.last < 0 ? args.length + keys.last : Math.min(keys.last, args.length - 1);
    const positions: number[] = [];
    for (let at = keys.first; at <= last; at += keys.step) positions.push(at);
    return positions;
  }

  /** What it does with them. */
  get access(): readonly KeyAccess[] {
    return this.command.access ?? (this.isWrite ? ["RW", "update"] : ["RO", "access"]);
  }
}

/** Why a request has no command. */
export type Lookup =
  | { readonly kind: "found"; readonly entry: TableEntry }
  | { readonly kind: "unknown command" }
  | { readonly kind: "unknown subcommand"; readonly container: TableEntry };

export class CommandTable {
  readonly #index: NameIndex;

  /** Throws an assertion for a name that occurs twice. */
  constructor(commands: readonly Command[]) {
    this.#index = new NameIndex(commands.map((command) => new TableEntry(command, null)));
  }

  /** Top-level commands in the order of the table. */
  get entries(): readonly TableEntry[] {
    return this.#index.entries;
  }

  /** Every command and subcommand. */
  *all(): Generator<TableEntry> {
    for (const entry of this.entries) {
      yield entry;
      if (entry.subcommands !== null) yield* entry.subcommands.entries;
    }
  }

  /** The top-level command of that name in any case. */
  find(name: Uint8Array): TableEntry | null {
    return this.#index.find(name);
  }

  /** The command or subcommand of a request. */
  resolve(args: readonly Uint8Array[]): Lookup {
    const entry = this.find(args[0]!);
    if (entry === null) return { kind: "unknown command" };
    if (entry.subcommands === null || args.length < 2) return { kind: "found", entry };
    const sub = entry.subcommands.find(args[1]!);
    return sub === null ? { kind: "unknown subcommand", container: entry } : { kind: "found", entry: sub };
  }

  /** By full name (`config|get`) in any case; null when there is none. */
  named(fullName: string): TableEntry | null {
    const [name, sub, ...rest] = fullName.split("|");
    if (name === undefined || rest.length > 0) return null;
    const entry = this.find(Buffer.from(name, "latin1"));
    if (entry === null || sub === undefined) return entry;
    return entry.subcommands?.find(Buffer.from(sub, "latin1")) ?? null;
  }
}

/** Names longer than this are in no table. */
const NAME_BYTES_MAX = 40;

/** A hash table from names to entries that compares bytes without regard to case. Open addressing, never more than half full. */
export class NameIndex {
  readonly entries: readonly TableEntry[];
  readonly #names: (Uint8Array | null)[];
  readonly #found: (TableEntry | null)[];
  readonly #mask: number;

  constructor(entries: readonly TableEntry[]) {
    let size = 8;
    while (size < entries.length * 4) size *= 2;
    this.entries = entries;
    this.#mask = size - 1;
    this.#names = new Array<Uint8Array | null>(size).fill(null);
    this.#found = new Array<TableEntry | null>(size).fill(null);
    for (const entry of entries) this.#add(entry);
  }

  find(name: Uint8Array): TableEntry | null {
    if (name.length > NAME_BYTES_MAX) return null;
    for (let at = hashOf(name) & this.#mask; ; at = (at + 1) & this.#mask) {
      const candidate = this.#names[at]!;
      if (candidate === null) return null;
      if (isSameName(candidate, name)) return this.#found[at]!;
    }
  }

  #add(entry: TableEntry): void {
    const { name } = entry.command;
    assert(name === name.toLowerCase() && name.length <= NAME_BYTES_MAX, "command table: a name is lower case and short");
    const bytes = Buffer.from(name, "latin1");
    let at = hashOf(bytes) & this.#mask;
    for (; this.#names[at] !== null; at = (at + 1) & this.#mask) {
      assert(!isSameName(this.#names[at]!, bytes), "command table: a name occurs twice");
    }
    this.#names[at] = bytes;
    this.#found[at] = entry;
  }
}

/** Equal for names that differ only in the case of letters. */
function hashOf(name: Uint8Array): number {
  let hash = name.length;
  for (let at = 0; at < name.length; at++) hash = (Math.imul(hash, 31) + (name[at]! | 0x20)) | 0;
  return hash ^ (hash >>> 15);
}

/** REQUIRES `lower` to be in lower case. */
function isSameName(lower: Uint8Array, name: Uint8Array): boolean {
  if (lower.length !== name.length) return false;
  for (let at = 0; at < name.length; at++) {
    const byte = name[at]!;
    const folded = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    if (folded !== lower[at]) return false;
  }
  return true;
}
