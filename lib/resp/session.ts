/** The state of one client connection that protocol and commands share. Commands extend it with their own. */
import type { ConnectionControl } from "./call.js";

export class Session {
  /** Unique for the life of the process, ascending. */
  readonly id: number;
  readonly control: ConnectionControl;
  readonly createdMs: number;
  /** RESP version of the replies; HELLO changes it. */
  protocol: 2 | 3 = 2;
  isAuthenticated: boolean;
  /** Wall clock of the last request, for idle times. */
  lastRequestMs: number;

  constructor(options: { id: number; control: ConnectionControl; createdMs: number; isAuthenticated: boolean }) {
    this.id = options.id;
    this.control = options.control;
    this.createdMs = options.createdMs;
    this.lastRequestMs = options.createdMs;
    this.isAuthenticated = options.isAuthenticated;
  }
}
