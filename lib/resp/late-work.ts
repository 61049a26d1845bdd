/**
 * The requests of one connection that are answered later: their work side by side, but for one that asked to run alone, and
 * for a write while there is no room: that runs alone too, when there is some (`WriteHold`).
 *
 * INVARIANT: work that runs alone starts when all earlier requests are answered; while it waits or runs, its connection
 * starts no other (`isBarred`).
 */
import { assert } from "../assert.js";
import { background } from "../background.js";
import type { Reply } from "./reply.js";
import { type Finisher, type ReplyQueue, Waiting } from "./reply-queue.js";
import type { WriteHold } from "./write-hold.js";

export type Work = (reply: Reply, args: readonly Buffer[]) => Promise<void>;

export class LateWork implements Finisher {
  readonly #queue: ReplyQueue;
  readonly #hold: WriteHold;
  readonly #onAnswered: () => void;
  #lone: Waiting | null = null;
  #startLone: (() => void) | null = null;
  /** Takes the write that waits for room out of its queue. */
  #abandonHeld: (() => void) | null = null;

  /** `onAnswered` is called after each answer has gone to its place in the queue. */
  constructor(queue: ReplyQueue, hold: WriteHold, onAnswered: () => void) {
    this.#queue = queue;
    this.#hold = hold;
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

  /** Keeps a place for an answer that somebody else will give. */
  defer(protocol: 2 | 3): Waiting {
    return this.#wait(protocol);
  }

  /** The same as `begin` for work that stores something; while there is no room for it, it waits and runs alone. */
  beginWrite(protocol: 2 | 3, work: Work, args: readonly Buffer[]): Waiting {
    if (this.#hold.isShut) return this.beginAlone(protocol, work, args, "room");
    const waiting = this.#wait(protocol);
    this.#startWithRoom(waiting, work, copyOf(args));
    return waiting;
  }

  /** Starts `work` when it is the only request left and, where it needs that, there is room. */
  beginAlone(protocol: 2 | 3, work: Work, args: readonly Buffer[], needs: "nothing" | "room"): Waiting {
    const isFirst = this.#queue.unanswered === 0;
    const waiting = this.#wait(protocol);
    const copies = copyOf(args);
    const start = (): void => {
      if (needs === "room") this.#startWithRoom(waiting, work, copies);
      else this.#start(waiting, work, copies);
    };
    this.#lone = waiting;
    if (isFirst) start();
    else this.#startLone = start;
    return waiting;
  }

  /** The connection is gone: what has not started never will. */
  abandon(): void {
    this.#startLone = null;
    this.#abandonHeld?.();
  }

  #wait(protocol: 2 | 3): Waiting {
    assert(!this.isBarred, "nothing starts behind work that runs alone");
    const waiting = new Waiting(protocol, this);
    this.#queue.wait(waiting);
    return waiting;
  }

  #startWithRoom(waiting: Waiting, work: Work, args: readonly Buffer[]): void {
    const hold = this.#hold;
    const bytes = args.reduce((sum, arg) => sum + arg.length, 0);
    const counted: Work = (reply, owned) => work(reply, owned).finally(() => hold.ended(bytes));
    if (hold.isShut) {
      this.#abandonHeld = hold.hold(bytes, () => {
        this.#abandonHeld = null;
        this.#start(waiting, counted, args);
      });
    } else {
      hold.begun(bytes);
      this.#start(waiting, counted, args);
    }
  }

  #start(waiting: Waiting, work: Work, args: readonly Buffer[]): void {
    background(
      work(waiting.reply, args).then(
        () => waiting.finish(),
        (error: unknown) => waiting.fail(error),
      ),
    );
  }

  /** Its answer is complete. */
  finish(waiting: Waiting): void {
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
