/**
 * Puts the replies of one connection in the order of its requests, although some come later than others. Pure.
 *
 * Synchronous answers are appended to the current segment. A request that is answered later is a `Waiting`: it has a
 * segment for its own answer and one for the synchronous answers that follow it. What stands before the first unfinished
 * `Waiting` is ready and may be taken.
 *
 * INVARIANT: a segment's `writes` are ascending, disjoint ranges of its text: the replies that claim something is stored.
 */
import { assert } from "../assert.js";
import { Reply } from "./reply.js";

/** Reply text, and which ranges of it (start, end, start, end, ...) answer writes. */
export class Segment {
  readonly reply: Reply;
  writes: number[] = [];

  constructor(protocol: 2 | 3) {
    this.reply = new Reply(protocol);
  }

  /** Says that the text from `start` on answers a write. */
  markWrite(start: number): void {
    const end = this.reply.length;
    if (end > start) this.writes.push(start, end);
  }

  /** Moves all of `other` behind what is here. */
  takeOver(other: Segment): void {
    if (other.reply.length === 0) return;
    const base = this.reply.length;
    this.reply.raw(other.reply.take());
    for (const position of other.writes) this.writes.push(base + position);
    other.writes = [];
  }
}

/** A request that is answered later. */
export class Waiting {
  readonly own: Segment;
  readonly after: Segment;
  /** Its answer claims that something is stored. */
  isWrite = false;
  /** Its answer is dropped (CLIENT REPLY). */
  isMuted = false;
  isDone = false;
  next: Waiting | null = null;

  constructor(protocol: 2 | 3) {
    this.own = new Segment(protocol);
    this.after = new Segment(protocol);
  }
}

/** Replies on their way out: latin1 text and the ranges that answer writes. */
export interface Output {
  readonly text: string;
  readonly writes: readonly number[];
}

export class ReplyQueue {
  readonly #ready = new Segment(2);
  #first: Waiting | null = null;
  #last: Waiting | null = null;
  #unanswered = 0;
  #heldUpBytes = 0;
  #current: Segment = this.#ready;

  /** Where the next synchronous answer goes. */
  get current(): Segment {
    return this.#current;
  }

  /** Requests whose answer is still to come. */
  get unanswered(): number {
    return this.#unanswered;
  }

  get readyBytes(): number {
    return this.#ready.reply.length;
  }

  /** Bytes of synchronous answers that stand behind an unfinished one, as far as `addedSync` was told of them. */
  get heldUpBytes(): number {
    return this.#heldUpBytes;
  }

  /** Says that the current segment grew. */
  addedSync(bytes: number): void {
    if (this.#first !== null) this.#heldUpBytes += bytes;
  }

  /** True when nothing is ready and nothing is to come. */
  get isEmpty(): boolean {
    return this.#first === null && this.#ready.reply.length === 0;
  }

  /** Adds a request behind all others; synchronous answers from now on stand behind its own. */
  wait(waiting: Waiting): void {
    if (this.#last === null) this.#first = waiting;
    else this.#last.next = waiting;
    this.#last = waiting;
    this.#current = waiting.after;
    this.#unanswered++;
  }

  /** Its answer is complete. Whatever is now without a gap behind the ready text becomes ready. */
  finish(waiting: Waiting): void {
    assert(!waiting.isDone, "a request is answered once");
    waiting.isDone = true;
    this.#unanswered--;
    while (this.#first?.isDone) {
      const { own, after, isWrite, isMuted, next } = this.#first;
      if (isMuted) own.reply.take();
      else if (isWrite) own.markWrite(0);
      this.#ready.takeOver(own);
      this.#heldUpBytes -= after.reply.length;
      this.#ready.takeOver(after);
      this.#first = next;
    }
    if (this.#first === null) {
      this.#last = null;
      this.#current = this.#ready;
    }
  }

  /** Takes what is ready, leaving none. */
  take(): Output {
    const ready = this.#ready;
    const output = { text: ready.reply.take(), writes: ready.writes };
    if (output.writes.length > 0) ready.writes = [];
    return output;
  }
}

const NO_WRITES: readonly number[] = [];

/** The output with each reply to a write replaced by `error`, an encoded reply. */
export function withFailedWrites(output: Output, error: string): Output {
  const { text, writes } = output;
  let replaced = "";
  let from = 0;
  for (let i = 0; i < writes.length; i += 2) {
    replaced += text.slice(from, writes[i]) + error;
    from = writes[i + 1]!;
  }
  return { text: replaced + text.slice(from), writes: NO_WRITES };
}
