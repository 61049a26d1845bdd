/** A client connection with what the commands keep for it: database, name, consistency, transaction. */
import type { Consistency } from "../coordinator/consistency.js";
import type { Scope } from "../coordinator/keyspace.js";
import type { ConnectionControl } from "../resp/call.js";
import { Session } from "../resp/session.js";

export class ClientSession extends Session {
  /** What keyed operations of this connection run with; SELECT and CONSISTENCY replace it. */
  scope: Scope;
  /** Set by CLIENT SETNAME or HELLO; "" when unnamed. */
  name = "";
  libraryName = "";
  libraryVersion = "";

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
}
