/** What connections share and ask of the server that holds them. */
import type { Dispatcher } from "./call.js";
import type { ClientConnection } from "./connection.js";
import type { UnsentTotal } from "./output-watch.js";
import type { Session } from "./session.js";
import type { RespSettings } from "./settings.js";
import type { WriteHold } from "./write-hold.js";

/** Totals since start, for INFO. */
export interface RespCounters {
  connectionsReceived: number;
  connectionsRejected: number;
  requests: number;
  inputBytes: number;
  outputBytes: number;
  protocolErrors: number;
  /** Connections closed because they did not read, and because they sent more than may wait. */
  outputLimitCloses: number;
  queryBufferLimitCloses: number;
  idleCloses: number;
}

export interface ConnectionOwner<S extends Session> extends UnsentTotal {
  readonly settings: RespSettings;
  readonly dispatcher: Dispatcher<S>;
  readonly counters: RespCounters;
  readonly writeHold: WriteHold;
  /** Counts turns; a connection's slice is per turn. */
  readonly turn: number;
  /** Milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Has the connection's replies taken and sent at the end of this turn. */
  sendAtEndOfTurn(connection: ClientConnection<S>): void;
  /** Calls `goOn` in the next turn. */
  goOnNextTurn(connection: ClientConnection<S>): void;
  /** Makes sure that this turn has an end, so that it commits. */
  commitAtEndOfTurn(): void;
  /** The connection is over. Called once. */
  closed(connection: ClientConnection<S>): void;
}
