/**
 * A connection without a network: runs commands of this folder's tables as the dispatcher would and returns the bytes of
 * their replies. The arguments are overwritten as soon as a command returns, as the real ones are.
 */
import { latin1Of } from "../../lib/bytes/latin1.js";
import { ClientSession } from "../../lib/commands/client-session.js";
import type { Command, CommandContext } from "../../lib/commands/command.js";
import { expiryCommands } from "../../lib/commands/expiry.js";
import { keyCommands } from "../../lib/commands/keys.js";
import { memoryUsage } from "../../lib/commands/object.js";
import { RecentTouches } from "../../lib/commands/recent-touches.js";
import { stringCommands } from "../../lib/commands/strings.js";
import type { Clock, Timer } from "../../lib/host/clock.js";
import type { Call, ConnectionControl } from "../../lib/resp/call.js";
import { errorReplyOf } from "../../lib/resp/error-reply.js";
import { Reply } from "../../lib/resp/reply.js";
import { FakeKeyspace, type Mode } from "./fake-keyspace.js";

const memory: Command = { ...memoryUsage, name: "memory", arity: -2, subcommands: [memoryUsage] };

/** Every command under test. */
export const commands: readonly Command[] = [...stringCommands, ...keyCommands, ...expiryCommands, memory];

/** A clock that a test moves. */
export class FakeClock implements Clock {
  nowMs = 1_700_000_000_000;

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(): Timer {
    throw new Error("commands set no timers");
  }

  defer(run: () => void): void {
    setImmediate(run);
  }
}

type Work = (reply: Reply, args: readonly Buffer[]) => Promise<void>;

export class FakeClient {
  readonly clock: FakeClock;
  readonly keyspace: FakeKeyspace;
  readonly session: ClientSession;
  /** Which commands of the last pipeline answered within their call. */
  answeredAtOnce: string[] = [];
  readonly #touches = new RecentTouches();
  #unanswered = 0;
  /** Settles when everything before the next request may be overtaken. */
  #barrier: Promise<unknown> = Promise.resolve();

  constructor(options: { mode: Mode; protocol?: 2 | 3 }) {
    this.clock = new FakeClock();
    this.keyspace = new FakeKeyspace({ mode: options.mode, clock: this.clock });
    this.session = new ClientSession({
      id: 1,
      control: {} as ConnectionControl,
      createdMs: 0,
      isAuthenticated: true,
      consistency: { quorum: { kind: "level", level: "QUORUM" }, standIns: "sloppy", conflicts: "newest" },
    });
    this.session.protocol = options.protocol ?? 2;
  }

  /** Runs one command and returns its reply. */
  async run(...args: readonly (string | Buffer)[]): Promise<string> {
    const [reply = ""] = await this.pipeline([args]);
    return reply;
  }

  /** Runs commands one after the other without waiting for replies, and returns those in order. */
  async pipeline(requests: readonly (readonly (string | Buffer)[])[]): Promise<string[]> {
    this.answeredAtOnce = [];
    const replies: Promise<string>[] = [];
    for (const request of requests) {
      await this.#barrier;
      replies.push(this.#dispatch(request.map((arg) => (typeof arg === "string" ? Buffer.from(arg, "latin1") : arg))));
    }
    return Promise.all(replies);
  }

  #dispatch(request: readonly Buffer[]): Promise<string> {
    const args = request.map((arg) => Buffer.from(arg));
    const reply = new Reply(this.session.protocol);
    let answer: Promise<string> | null = null;
    const start = (work: Work, before: Promise<unknown>) => {
      const copies = args.map((arg) => Buffer.from(arg));
      const laterReply = new Reply(this.session.protocol);
      const run = () => work(laterReply, copies).then(() => laterReply.take(), errorReply);
      this.#unanswered++;
      answer = (before === NOTHING ? run() : before.then(run)).finally(() => this.#unanswered--);
      return answer;
    };
    const earlier = this.#earlier;
    const call: Call<ClientSession> = {
      session: this.session,
      args,
      reply,
      unanswered: this.#unanswered,
      markWrite() {},
      later: (work) => void start(work, NOTHING),
      alone: (work) => {
        this.#barrier = start(work, earlier);
      },
    };
    try {
      runCommand({ keyspace: this.keyspace, clock: this.clock, touches: this.#touches }, call);
    } catch (error) {
      return Promise.resolve(errorReply(error));
    }
    for (const arg of args) arg.fill(0xee);
    if (answer === null) this.answeredAtOnce.push(latin1Of(request[0]!).toLowerCase());
    const done = answer ?? Promise.resolve(reply.take());
    this.#earlier = Promise.all([earlier, done]);
    return done;
  }

  #earlier: Promise<unknown> = Promise.resolve();
}

const NOTHING = Promise.resolve();

function runCommand(context: CommandContext, call: Call<ClientSession>): void {
  const name = latin1Of(call.args[0]!).toLowerCase();
  const command = commands.find((candidate) => candidate.name === name);
  if (command === undefined) throw new Error(`no command ${name} under test`);
  if (!isArity(command, call.args.length)) {
    call.reply.error(`ERR wrong number of arguments for '${name}' command`);
    return;
  }
  const second = command.subcommands === undefined ? "" : latin1Of(call.args[1]!).toLowerCase();
  const subcommand = command.subcommands?.find((candidate) => candidate.name === second);
  if (subcommand !== undefined && !isArity(subcommand, call.args.length)) {
    call.reply.error(`ERR wrong number of arguments for '${name}|${second}' command`);
    return;
  }
  if (command.subcommands !== undefined && subcommand === undefined) {
    call.reply.error(`ERR unknown subcommand '${latin1Of(call.args[1]!)}'. Try ${name.toUpperCase()} HELP.`);
    return;
  }
  (subcommand ?? command).run(context, call);
}

function isArity(command: Command, count: number): boolean {
  return command.arity < 0 ? count >= -command.arity : count === command.arity;
}

function errorReply(error: unknown): string {
  return `-${errorReplyOf(error)}\r\n`;
}
