/** A connection without a network: gives requests to the dispatcher as a connection would, and returns the bytes of replies. */
import { latin1Of } from "../../lib/bytes/latin1.js";
import type { ClientSession } from "../../lib/commands/client-session.js";
import type { NodeCommands } from "../../lib/commands/node-commands.js";
import type { Call, ConnectionControl, ConnectionEnds } from "../../lib/resp/call.js";
import { errorReplyOf } from "../../lib/resp/error-reply.js";
import { Reply } from "../../lib/resp/reply.js";

export class FakeControl implements ConnectionControl {
  readonly ends: ConnectionEnds;
  readonly inputBytes = 0;
  readonly outputBytes = 0;
  replyMode: "on" | "off" | "skip" = "on";
  state: "open" | "closing" | "killed" = "open";

  constructor(remoteAddress: string, remotePort: number) {
    this.ends = { remoteAddress, remotePort, localAddress: "127.0.0.1", localPort: 6379 };
  }

  closeAfterReplies(): void {
    this.state = "closing";
  }

  kill(): void {
    this.state = "killed";
  }

  setReplyMode(mode: "on" | "off" | "skip"): void {
    this.replyMode = mode;
  }

  push(): void {}
}

/** A client: sends a request and gets the bytes of its reply. */
export class FakeClient {
  readonly control: FakeControl;
  readonly session: ClientSession;
  readonly #node: NodeCommands;
  readonly #waiting: { args: readonly Buffer[]; answer: (bytes: string) => void; fail: (error: unknown) => void }[] = [];
  /** Settles when everything dispatched so far is answered. */
  #dispatched: Promise<unknown> = Promise.resolve();
  #isBlocked = false;
  #unanswered = 0;
  /** Calls of `markWrite`. */
  writes = 0;
  /** Which commands of the last pipeline answered within their call. */
  answeredAtOnce: string[] = [];

  constructor(node: NodeCommands, control: FakeControl) {
    this.#node = node;
    this.control = control;
    this.session = node.commands.open(control);
  }

  /** The words of a line, or the arguments as they are. */
  send(...words: readonly (string | Buffer)[]): Promise<string> {
    return words.length === 1 && typeof words[0] === "string" ? this.run(...words[0].split(" ")) : this.run(...words);
  }

  /** The arguments as they are; strings are latin1. */
  run(...words: readonly (string | Buffer)[]): Promise<string> {
    const args = words.map((word) => (typeof word === "string" ? Buffer.from(word, "latin1") : Buffer.from(word)));
    return new Promise((answer, fail) => {
      this.#waiting.push({ args, answer, fail });
      this.#pump();
    });
  }

  /** Several requests at once, in order: lines of words, or arguments. */
  pipeline(...requests: readonly (string | readonly (string | Buffer)[])[]): Promise<string[]> {
    this.answeredAtOnce = [];
    return Promise.all(requests.map((one) => (typeof one === "string" ? this.send(one) : this.run(...one))));
  }

  close(): void {
    this.#node.commands.close(this.session);
  }

  /** Dispatches what waits, up to a request that wants to be alone. */
  #pump(): void {
    while (!this.#isBlocked) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const answered = this.#dispatch(next.args);
      this.#dispatched = Promise.allSettled([this.#dispatched, answered]);
      answered.then(next.answer, next.fail);
    }
  }

  async #dispatch(args: readonly Buffer[]): Promise<string> {
    const reply = new Reply(this.session.protocol);
    const earlier = this.#dispatched;
    const late: { work: Promise<void> | null } = { work: null };
    let isAlone = false;
    const call: Call<ClientSession> = {
      session: this.session,
      args,
      reply,
      unanswered: this.#unanswered,
      markWrite: () => void this.writes++,
      later: (run) => {
        late.work = run(reply, copied(args));
      },
      defer: () => {
        const later = new Reply(this.session.protocol);
        let settle!: () => void;
        late.work = new Promise<void>((resolve) => {
          settle = resolve;
        });
        const finish = (): void => {
          reply.takeOver(later);
          settle();
        };
        const fail = (error: unknown): void => {
          later.take();
          later.error(errorReplyOf(error));
          finish();
        };
        return { reply: later, finish, fail };
      },
      alone: (run) => {
        const owned = copied(args);
        isAlone = true;
        this.#isBlocked = true;
        late.work = earlier.then(() => run(reply, owned));
      },
    };
    this.#node.commands.dispatch(call);
    if (late.work === null) this.answeredAtOnce.push(latin1Of(args[0]!).toLowerCase());
    else this.#unanswered++;
    // What commands were given is overwritten after dispatch, as a connection's buffer would be.
    for (const argument of args) argument.fill(0x21);
    await late.work?.finally(() => this.#unanswered--);
    if (isAlone) {
      this.#isBlocked = false;
      this.#pump();
    }
    return reply.take();
  }
}

function copied(args: readonly Buffer[]): readonly Buffer[] {
  return args.map((argument) => Buffer.from(argument));
}
