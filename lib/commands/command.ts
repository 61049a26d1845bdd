/**
 * The shape of a command: what COMMAND reports of it and the function that runs it. One table of these both dispatches
 * and documents, so that the two cannot disagree.
 */
import type { CommandRouting } from "../coordinator/command-forwarding.js";
import type { Keyspace, Scope } from "../coordinator/keyspace.js";
import type { Clock } from "../host/clock.js";
import type { Call } from "../resp/call.js";
import type { ClientSession } from "./client-session.js";
import type { RecentTouches } from "./recent-touches.js";

/** Redis's names of command flags (COMMAND INFO shows them). */
export type CommandFlag =
  | "write"
  | "readonly"
  | "denyoom"
  | "admin"
  | "pubsub"
  | "noscript"
  | "random"
  | "loading"
  | "stale"
  | "fast"
  | "no_auth"
  | "no_multi"
  | "allow_busy"
  | "movablekeys"
  | "no_async_loading"
  | "skip_slowlog";

/** What a command does with its keys, as COMMAND INFO's key specifications name it. */
export type KeyAccess = "RO" | "RW" | "OW" | "RM" | "access" | "update" | "insert" | "delete";

/** Positions of keys among the arguments, the command's name being 0; a negative `last` counts from the end. */
export interface KeyPositions {
  readonly first: number;
  readonly last: number;
  readonly step: number;
}

/** An argument as COMMAND DOCS describes it; redis-cli builds its hints from this. */
export interface ArgumentDoc {
  readonly name: string;
  readonly type: "key" | "string" | "integer" | "double" | "unix-time" | "pattern" | "pure-token" | "oneof" | "block";
  readonly token?: string;
  readonly optional?: true;
  readonly multiple?: true;
  readonly arguments?: readonly ArgumentDoc[];
}

export interface Command {
  /** Lower case; a subcommand's is the bare word. */
  readonly name: string;
  /** Number of arguments with the name; negative: at least that many. */
  readonly arity: number;
  readonly flags: readonly CommandFlag[];
  readonly keys: KeyPositions | null;
  /** Positions of the keys among `args` where a fixed range cannot say it (`CONSISTENCY ONE GET k`); replaces `keys`. */
  readonly keysIn?: (args: readonly Uint8Array[]) => readonly number[];
  /** Absent: read and access for `readonly` commands, read-write and update for the others. */
  readonly access?: readonly KeyAccess[];
  /** The version of Redis that brought it ("1.0.0"); ours for our own. */
  readonly since: string;
  readonly group:
    | "string"
    | "generic"
    | "connection"
    | "server"
    | "transactions"
    | "cluster"
    | "kindred"
    | "pubsub"
    | "scripting";
  /** One sentence, in our words. */
  readonly summary: string;
  /** "O(1)" unless given. */
  readonly complexity?: string;
  readonly arguments: readonly ArgumentDoc[];
  readonly subcommands?: readonly Command[];
  /**
   * Answers the call. REQUIRES the arity to be right. Throws nothing for bad input: it answers the error. For a
   * container command (CONFIG, CLIENT, ...) this runs only where no subcommand is named.
   */
  readonly run: (context: CommandContext, call: Call<ClientSession>) => void;
}

/** What commands are given besides the call. One object for the life of the node. */
export interface CommandContext {
  readonly keyspace: Keyspace;
  /** Where commands that decide on a key are run; null where that is always here. */
  readonly routing: CommandRouting | null;
  readonly clock: Clock;
  readonly touches: RecentTouches;
}

/** The scope of the session's database and settings, for the keyspace. */
export type ScopeOf = (session: ClientSession) => Scope;

/** The key positions of a command without keys. */
export const noKeys: readonly number[] = [];
