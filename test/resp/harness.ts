/** A server over the in-memory network with a small dispatcher whose commands exercise every way to answer. */
import { OperatingError } from "../../lib/errors.js";
import { silentLog } from "../../lib/log.js";
import type { Call, CommitGate, ConnectionControl, Dispatcher } from "../../lib/resp/call.js";
import type { Reply } from "../../lib/resp/reply.js";
import { RespServer } from "../../lib/resp/server.js";
import { Session } from "../../lib/resp/session.js";
import { defaultRespSettings, type RespSettings } from "../../lib/resp/settings.js";
import { type SimConnection, SimNetwork } from "../sim/sim-network.js";
import { ManualClock } from "./manual-clock.js";

const PORT = 6_379;

/** An answer that a test gives when it likes. */
export interface Held {
  readonly words: readonly string[];
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

/**
 * ECHO w.. answers its words; SET/WECHO marks a write; LATER and ALONE answer when the test says so (W...: marked as
 * writes); BIG n answers n bytes; REPLY mode; AUTH; QUIT; DIE kills its own connection; HELLO n sets the protocol.
 */
export class TestDispatcher implements Dispatcher<Session> {
  readonly ran: string[] = [];
  readonly held: Held[] = [];
  readonly sessions = new Set<Session>();
  startsAuthenticated = true;
  #lastId = 0;

  open(control: ConnectionControl): Session {
    const session = new Session({
      id: ++this.#lastId,
      control,
      createdMs: 0,
      isAuthenticated: this.startsAuthenticated,
    });
    this.sessions.add(session);
    return session;
  }

  close(session: Session): void {
    if (!this.sessions.delete(session)) throw new Error("a session was closed twice");
  }

  expect(): void {}

  dispatch(call: Call<Session>): void {
    const words = call.args.map((arg) => arg.toString("latin1"));
    this.ran.push(words.join(" "));
    const { control } = call.session;
    switch (words[0]!.toUpperCase()) {
      case "PING":
        call.reply.simple("PONG");
        break;
      case "WECHO":
        call.markWrite();
        echo(call.reply, words);
        break;
      case "WLATER":
        call.markWrite();
        call.later((reply, args) => this.#hold(reply, args));
        break;
      case "LATER":
        call.later((reply, args) => this.#hold(reply, args));
        break;
      case "ALONE":
        call.alone((reply, args) => this.#hold(reply, args));
        break;
      case "WALONE":
        call.markWrite();
        call.alone((reply, args) => this.#hold(reply, args), "room");
        break;
      case "SOON":
        call.later(async (reply, args) => echo(reply, textOf(args)));
        break;
      case "SOONALONE":
        call.alone(async (reply, args) => echo(reply, textOf(args)));
        break;
      case "BIG":
        call.reply.bulk("x".repeat(Number(words[1])));
        break;
      case "REPLY":
        control.setReplyMode(words[1] as "on" | "off" | "skip");
        if (words[1] === "on") call.reply.ok();
        break;
      case "AUTH":
        call.session.isAuthenticated = true;
        call.reply.ok();
        break;
      case "HELLO":
        call.session.protocol = words[1] === "3" ? 3 : 2;
        call.reply.protocol = call.session.protocol;
        call.reply.map(0);
        break;
      case "NIL":
        call.reply.null();
        break;
      case "PUSHSELF":
        control.push((reply) => reply.simple("pushed"));
        call.reply.ok();
        break;
      case "QUIT":
        call.reply.ok();
        control.closeAfterReplies();
        break;
      case "DIE":
        control.kill();
        break;
      default:
        echo(call.reply, words);
    }
  }

  #hold(reply: Reply, args: readonly Buffer[]): Promise<void> {
    const words = textOf(args);
    return new Promise((resolve, reject) => {
      const answer = (): void => {
        echo(reply, words);
        resolve();
      };
      this.held.push({ words, answer, fail: reject });
    });
  }
}

function textOf(args: readonly Buffer[]): string[] {
  return args.map((arg) => arg.toString("latin1"));
}

function echo(reply: Reply, words: readonly string[]): void {
  reply.array(words.length);
  for (const word of words) reply.bulk(word);
}

/** A gate whose failures and acknowledgements a test decides. */
export class TestCommitGate implements CommitGate {
  commits = 0;
  failure: OperatingError | null = null;
  isAcknowledged = true;
  backlogNow: "open" | "slow" | "stopped" = "open";
  #roomWaiters: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  readonly waiting: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];

  backlog(): "open" | "slow" | "stopped" {
    return this.backlogNow;
  }

  room(): Promise<void> {
    return new Promise((resolve, reject) => this.#roomWaiters.push({ resolve, reject }));
  }

  /** Ends `stopped`, as the engine does. */
  makeRoom(backlog: "open" | "slow"): void {
    this.backlogNow = backlog;
    for (const { resolve } of this.#roomWaiters.splice(0)) resolve();
  }

  refuseRoom(error: OperatingError): void {
    for (const { reject } of this.#roomWaiters.splice(0)) reject(error);
  }

  commit(): void {
    this.commits++;
    if (this.failure !== null) throw this.failure;
  }

  acknowledged(): Promise<void> {
    if (this.isAcknowledged) return Promise.resolve();
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject }));
  }
}

export class TestClient {
  received = "";
  hasEnded = false;
  isClosed = false;
  readonly connection: SimConnection;

  constructor(connection: SimConnection) {
    this.connection = connection;
    connection.start({
      onData: (chunk) => {
        this.received += chunk.toString("latin1");
      },
      onEnd: () => {
        this.hasEnded = true;
      },
      onDrain: () => undefined,
      onClose: () => {
        this.isClosed = true;
      },
    });
  }

  send(bytes: string | Buffer): void {
    this.connection.write(bytes);
  }

  /** What arrived since the last call. */
  take(): string {
    const { received } = this;
    this.received = "";
    return received;
  }
}

export class Harness {
  readonly clock = new ManualClock();
  readonly dispatcher = new TestDispatcher();
  readonly gate = new TestCommitGate();
  readonly settings: RespSettings;
  readonly network: SimNetwork;
  readonly server: RespServer<Session>;

  private constructor(options: HarnessOptions) {
    this.settings = { ...defaultRespSettings(), ...options.settings };
    this.network = new SimNetwork({ clock: this.clock, ...options.network });
    this.server = new RespServer({
      network: this.network,
      clock: this.clock,
      log: silentLog,
      dispatcher: this.dispatcher,
      commitGate: this.gate,
      settings: this.settings,
      ...(options.refusal === undefined ? {} : { refusal: options.refusal }),
    });
  }

  static async start(options: HarnessOptions = {}): Promise<Harness> {
    const harness = new Harness(options);
    await harness.server.listen({ host: "127.0.0.1", port: PORT });
    return harness;
  }

  client(): TestClient {
    return new TestClient(this.network.connectNow({ host: "127.0.0.1", port: PORT }));
  }

  /** Sends bytes on a new connection and returns all that came back. */
  async exchange(bytes: string | Buffer): Promise<{ text: string; hasEnded: boolean; client: TestClient }> {
    const client = this.client();
    client.send(bytes);
    await this.clock.settle();
    return { text: client.take(), hasEnded: client.hasEnded || client.isClosed, client };
  }
}

export interface HarnessOptions {
  readonly settings?: Partial<RespSettings>;
  readonly network?: { readonly cut?: (length: number) => number; readonly windowBytes?: number };
  readonly refusal?: () => string | null;
}

/** A request as an array of bulk strings. */
export function request(...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`;
}

export function ioError(message: string): OperatingError {
  return new OperatingError("IO", message);
}
