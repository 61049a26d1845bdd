/**
 * What connections talk to while a node starts: its port is open, so that others can be told of it, but until a ring is known
 * clients are told to come back.
 */
import { assert } from "../assert.js";
import type { ClientSession } from "../commands/client-session.js";
import type { Call, ConnectionControl, Dispatcher } from "../resp/call.js";

export class FrontDoor implements Dispatcher<ClientSession> {
  #inner: Dispatcher<ClientSession> | null = null;

  /** Why a connection is not accepted now; null when it is. `obstacle`: what this node waits for, empty where that is not to be told. */
  refusal(obstacle: string): string | null {
    if (this.#inner !== null) return null;
    return `LOADING this node is not in its cluster's ring yet; try again${obstacle === "" ? "" : `: ${obstacle}`}`;
  }

  /** From now on these answer. */
  admitTo(inner: Dispatcher<ClientSession>): void {
    assert(this.#inner === null, "front door: opened once");
    this.#inner = inner;
  }

  open(control: ConnectionControl): ClientSession {
    return this.#commands.open(control);
  }

  expect(session: ClientSession, requests: readonly (readonly Buffer[])[]): void {
    this.#commands.expect(session, requests);
  }

  dispatch(call: Call<ClientSession>): void {
    this.#commands.dispatch(call);
  }

  close(session: ClientSession): void {
    this.#commands.close(session);
  }

  get #commands(): Dispatcher<ClientSession> {
    assert(this.#inner !== null, "front door: nobody is let in before it is opened");
    return this.#inner;
  }
}
