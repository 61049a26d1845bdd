/**
 * A RESP2 connection of the tests' own: pipelines of any depth, raw bytes, and it shows what clients hide: error replies as
 * values, when the server closed, and what it had answered until then.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import RedisParser from "redis-parser";
import { within } from "./until.js";

/** An error reply is an `Error` whose message is the reply's text. */
export type WireReply = string | number | null | Error | readonly WireReply[];

const REPLY_MS_MAX = 15_000;

export class WireClient {
  readonly #socket: Socket;
  readonly #pending: { readonly resolve: (reply: WireReply) => void; readonly reject: (error: Error) => void }[] = [];
  readonly #parser: RedisParser;
  /** Resolves when the connection is closed, by whomever and for whatever reason. */
  readonly closed: Promise<void>;
  /** Replies that arrived without a request of `call`. */
  readonly unasked: WireReply[] = [];
  #isClosed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#parser = new RedisParser({
      returnReply: (reply: WireReply) => this.#take(reply),
      returnError: (error: Error) => this.#take(error),
      returnFatalError: (error: Error) => this.#socket.destroy(error),
    });
    socket.setNoDelay(true);
    socket.on("data", (chunk) => this.#parser.execute(chunk));
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on("close", () => {
        this.#isClosed = true;
        for (const { reject } of this.#pending.splice(0)) reject(new Error("the connection was closed"));
        resolve();
      });
    });
  }

  static async connect(port: number, host = "127.0.0.1"): Promise<WireClient> {
    const socket = connect(port, host);
    await within({ what: `a connection to ${host}:${port}`, withinMs: REPLY_MS_MAX }, once(socket, "connect"));
    return new WireClient(socket);
  }

  /** On a connection that is there. */
  static on(socket: Socket): WireClient {
    return new WireClient(socket);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Requests without an answer so far. */
  get unanswered(): number {
    return this.#pending.length;
  }

  /** One request. Error replies are returned; it rejects when the connection closes first. */
  send(...args: readonly string[]): Promise<WireReply> {
    return this.sendRequest(encodeRequest(args));
  }

  /** The same for a request that is encoded already. */
  sendRequest(request: Buffer): Promise<WireReply> {
    if (this.#isClosed) return Promise.reject(new Error("the connection was closed"));
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      this.#socket.write(request);
    });
  }

  /** As `send`, with a deadline; an error reply is thrown. */
  async call(...args: readonly string[]): Promise<WireReply> {
    const what = `an answer to ${args[0]}`;
    const reply = await within({ what, withinMs: REPLY_MS_MAX }, this.send(...args));
    if (reply instanceof Error) throw reply;
    return reply;
  }

  /** The text of the error that a request is answered with; fails for any other reply. */
  async refusal(...args: readonly string[]): Promise<string> {
    const reply = await within({ what: `an answer to ${args[0]}`, withinMs: REPLY_MS_MAX }, this.send(...args));
    if (reply instanceof Error) return reply.message;
    throw new Error(`${args[0]} was not refused but answered ${JSON.stringify(reply)}`);
  }

  /** INFO as a map of its fields, of one section or of all. */
  async info(section = "everything"): Promise<ReadonlyMap<string, string>> {
    const text = String(await this.call("INFO", section));
    return new Map(text.split("\r\n").flatMap((line) => (line.includes(":") ? [splitAtColon(line)] : [])));
  }

  /** Bytes as they are. Resolves when the socket took them; false where it is closed. */
  sendRaw(bytes: string | Buffer): Promise<boolean> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve(false);
      this.#socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes, (error) => resolve(!error));
    });
  }

  /** Ends our half: the server answers what it has and closes. */
  end(): void {
    this.#socket.end();
  }

  /** Stops reading: the server's replies pile up. */
  pause(): void {
    this.#socket.pause();
  }

  async close(): Promise<void> {
    this.#socket.destroy();
    await this.closed;
  }

  #take(reply: WireReply): void {
    const pending = this.#pending.shift();
    if (pending === undefined) this.unasked.push(reply);
    else pending.resolve(reply);
  }
}

/** A request as arrays of bulk strings, latin1. */
export function encodeRequest(args: readonly string[]): Buffer {
  let text = `*${args.length}\r\n`;
  for (const arg of args) text += `$${arg.length}\r\n${arg}\r\n`;
  return Buffer.from(text, "latin1");
}

function splitAtColon(line: string): readonly [string, string] {
  const at = line.indexOf(":");
  return [line.slice(0, at), line.slice(at + 1)];
}
