/**
 * A RESP client on the simulated network: one connection to one node, opened when it is needed and again after it broke,
 * requests pipelined. What it cannot know it says: a request whose connection broke has an unknown outcome.
 */
import RedisParser from "redis-parser";
import { type Clock, pause } from "../../../lib/host/clock.js";
import type { Connection, Network } from "../../../lib/host/network.js";
import type { Outcome } from "./history.js";

/** An error reply is an `Error` whose message is the reply's text. */
export type WireReply = string | number | null | Error | readonly WireReply[];

export interface SimClientOptions {
  readonly clock: Clock;
  readonly network: Network;
  readonly port: number;
  /** A request without an answer for so long breaks the connection. */
  readonly answerMsMax: number;
}

interface Pending {
  readonly settle: (outcome: Outcome) => void;
}

interface OpenConnection {
  readonly connection: Connection;
  readonly pending: Pending[];
}

const CONNECT_MS_MAX = 500;

export class SimClient {
  readonly #options: SimClientOptions;
  #open: OpenConnection | null = null;
  #connecting: Promise<OpenConnection | null> | null = null;

  constructor(options: SimClientOptions) {
    this.#options = options;
  }

  /** One request. Never rejects. */
  async request(args: readonly string[]): Promise<Outcome> {
    const open = this.#open ?? (await (this.#connecting ??= this.#connect()));
    if (open === null || open !== this.#open) return { kind: "unsent" };
    return new Promise((resolve) => {
      const pending: Pending = {
        settle: (outcome) => {
          timer.cancel();
          resolve(outcome);
        },
      };
      const timer = this.#options.clock.after(this.#options.answerMsMax, () => {
        // Replies come in order, so what is behind a silent one has no answer either.
        open.pending.splice(open.pending.indexOf(pending), 1);
        resolve({ kind: "unknown", why: "no answer" });
        this.#lose(open);
        open.connection.destroy();
      });
      open.pending.push(pending);
      open.connection.write(encodeRequest(args));
    });
  }

  close(): void {
    const open = this.#open;
    if (open === null) return;
    this.#lose(open);
    open.connection.destroy();
  }

  async #connect(): Promise<OpenConnection | null> {
    const { network, port } = this.#options;
    try {
      const connection = await network.connect({ host: "127.0.0.1", port, timeoutMs: CONNECT_MS_MAX });
      const open: OpenConnection = { connection, pending: [] };
      this.#open = open;
      this.#start(open);
      return open;
    } catch {
      // A client that is refused does not ask again at once.
      await pause(this.#options.clock, 1);
      return null;
    } finally {
      this.#connecting = null;
    }
  }

  #start(open: OpenConnection): void {
    const take = (reply: WireReply): void => {
      const outcome: Outcome = reply instanceof Error ? { kind: "refused", text: reply.message } : { kind: "answered", reply };
      open.pending.shift()?.settle(outcome);
    };
    const parser = new RedisParser({
      returnReply: take,
      returnError: take,
      returnFatalError: (error: Error) => {
        throw error;
      },
    });
    open.connection.start({
      // The parser keeps what is not complete; the chunk is ours only for the call.
      onData: (chunk) => parser.execute(Buffer.from(chunk)),
      onEnd: () => open.connection.end(),
      onDrain: () => undefined,
      onClose: () => this.#lose(open),
    });
  }

  #lose(open: OpenConnection): void {
    if (this.#open === open) this.#open = null;
    for (const { settle } of open.pending.splice(0)) settle({ kind: "unknown", why: "connection lost" });
  }
}

export interface SiblingsReply {
  readonly context: string;
  readonly versions: readonly { readonly value: string | null; readonly clock: string; readonly dot: string }[];
}

export function parseSiblings(reply: WireReply): SiblingsReply | null {
  if (reply === null) return null;
  const [context, versions] = reply as [string, [string | null, string, number, string][]];
  return { context, versions: versions.map(([value, clock, , dot]) => ({ value, clock, dot })) };
}

/** A request as an array of bulk strings, latin1. */
function encodeRequest(args: readonly string[]): string {
  let text = `*${args.length}\r\n`;
  for (const arg of args) text += `$${arg.length}\r\n${arg}\r\n`;
  return text;
}
