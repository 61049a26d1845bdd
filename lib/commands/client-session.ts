/** A client connection with what the commands keep for it: database, name, consistency, transaction. */
import type { Consistency } from "../coordinator/consistency.js";
import type { Scope } from "../coordinator/keyspace.js";
import type { ConnectionControl } from "../resp/call.js";
import { Session } from "../resp/session.js";
import type { TableEntry } from "./command-table.js";

/** A command that waits for EXEC; the arguments are owned. */
export interface QueuedCommand {
  readonly entry: TableEntry;
  readonly args: readonly Buffer[];
}

/** What MULTI began. */
export interface Transaction {
  readonly queue: QueuedCommand[];
  /** Bytes of the queued arguments. */
  queuedBytes: number;
  /** A command could not be queued: EXEC will refuse. */
  isBroken: boolean;
}

/** A key of WATCH with what it was then; the key is owned. */
export interface WatchedKey {
  readonly database: number;
  readonly key: Buffer;
  readonly fingerprint: string;
}

export class ClientSession extends Session {
  /**
   * What keyed operations of this connection run with; SELECT and CONSISTENCY replace it. A command takes it once, in
   * `run` before its first await: later requests, and the prefix form of CONSISTENCY, exchange it.
   */
  scope: Scope;
  /** Set by CONSISTENCY; null while the database's default applies. */
  chosenConsistency: Consistency | null = null;
  /** Set by CLIENT SETNAME or HELLO; "" when unnamed. */
  name = "";
  libraryName = "";
  libraryVersion = "";
  transaction: Transaction | null = null;
  watched: readonly WatchedKey[] = [];
  /** The last command that ran, for CLIENT LIST. */
  lastEntry: TableEntry | null = null;
  isExemptFromEviction = false;
  isExemptFromTouch = false;

  constructor(options: {
    id: number;
    control: ConnectionControl;
    createdMs: number;
    isAuthenticated: boolean;
    consistency: Consistency;
  }) {
    super(options);
    this.scope = { database: 0, consistency: options.consistency, hold: null };
  }

  /** `ip:port` of the other side, as CLIENT LIST shows it. */
  get remoteAddress(): string {
    return addressOf(this.control.ends.remoteAddress, this.control.ends.remotePort);
  }

  /** `ip:port` of this side. */
  get localAddress(): string {
    return addressOf(this.control.ends.localAddress, this.control.ends.localPort);
  }
}

/** Brackets keep the colons of IPv6 apart from the port's. */
function addressOf(ip: string, port: number): string {
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}
