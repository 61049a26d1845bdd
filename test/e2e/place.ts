/** Where the processes under test run, and how connections to them are made. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { AbstractConnector } from "ioredis";
import { within } from "./until.js";

export interface Place {
  /** What runs Node there: a program and its first arguments. */
  readonly command: readonly [string, ...string[]];
  /** A connection to this port of the loopback interface there. Rejects where nobody listens. */
  dial(port: number): Promise<Socket>;
}

const DIAL_MS_MAX = 15_000;

export const here: Place = {
  command: [process.execPath],
  async dial(port) {
    const socket = connect(port, "127.0.0.1");
    await within({ what: `a connection to 127.0.0.1:${port}`, withinMs: DIAL_MS_MAX }, once(socket, "connect"));
    return socket;
  },
};

/** For ioredis: connects by `place.dial`. */
export function connectorTo(place: Place, port: number): new () => AbstractConnector {
  return class extends AbstractConnector {
    constructor() {
      super(DIAL_MS_MAX);
    }

    async connect(): Promise<Socket> {
      this.stream = await place.dial(port);
      return this.stream;
    }
  };
}
