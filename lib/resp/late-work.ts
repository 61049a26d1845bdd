/**
 * The requests of one connection that are answered later: their work side by side, but for one that asked to run alone.
 *
 * INVARIANT: work that runs alone starts when all earlier requests are answered; while it waits or runs, its connection
 * starts no other (`isBarred`).
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import { errorReplyOf } from "./error-reply.js";
import type { Reply } from "./reply.js";
import { type ReplyQueue, Waiting } from "./reply-queue.js";

export type Work = (reply: Reply, args: readonly Buffer[]) => Promise<void>;

export class LateWork {
  readonly #queue: ReplyQueue;
  readonly #onAnswered: () => void;
  #lone: Waiting | null = null;
  #startLone: (() => void) | null = null;

  /** `onAnswered` is called after each answer has gone to its place in the queue. */
  constructor(queue: ReplyQueue, onAnswered: () => void) {
    this.#queue = queue;
    this.#onAnswered = onAnswered;
  }

  /** True from the arrival of work that runs alone until it is answered. */
  get isBarred(): boolean {
    return this.#lone !== null;
  }

  /** Starts `work` at once, with copies of the borrowed `args`. */
  begin(protocol: 2 | 3, work: Work, args: readonly Buffer[]): Waiting {
    const waiting = this.#wait(protocol);
    this.#start(waiting, work, copyOf(args));
    return waiting;
  }

  /** Starts `work` when it is the only request left. */
  beginAlone(protocol: 2 | 3, work: Work, args: readonly Buffer[]): Waiting {
    const isFirst = this.#queue.unanswered === 0;
    const waiting = this.#wait(protocol);
    const copies = copyOf(args);
    this.#lone = waiting;
    if (isFirst) this.#start(waiting, work, copies);
    else this.#startLone = () => this.#start(waiting, work, copies);
    return waiting;
  }

  /** The connection is gone: what has not started never will. */
  abandon(): void {
    this.#startLone = null;
  }

  #wait(protocol: 2 | 3): Waiting {
    assert(!this.isBarred, "nothing starts behind work that runs alone");
    const waiting = new Waiting(protocol);
    this.#queue.wait(waiting);
    return waiting;
  }

  #start(waiting: Waiting, work: Work, args: readonly Buffer[]): void {
    const { reply } = waiting.own;
    background(
      work(reply, args).then(
        () => this.#finish(waiting),
        (error: unknown) => {
          const text = errorReplyOf(error);
          reply.take();
          reply.error(text);
          this.#finish(waiting);
        },
      ),
    );
  }

  #finish(waiting: Waiting): void {
    this.#queue.finish(waiting);
    if (this.#lone === waiting) this.#lone = null;
    if (this.#startLone !== null && this.#queue.unanswered === 1) {
      const start = this.#startLone;
      this.#startLone = null;
      start();
    }
    this.#onAnswered();
  }
}

/** Copies of borrowed arguments, in one piece of memory. */
function copyOf(args: readonly Buffer[]): readonly Buffer[] {
  const all = Buffer.concat(args);
  let at = 0;
  return args.map((arg) => all.subarray(at, (at += arg.length)));
}
