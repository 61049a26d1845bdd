/**
 * Puts the replies of one connection in the order of its requests, although some come later than others. Pure.
 *
 * Synchronous answers are appended to the current segment. A request that is answered later is a `Waiting`: it has a
 * segment for its own answer and one for the synchronous answers that follow it. What stands before the first unfinished
 * `Waiting` is ready and may be taken.
 *
 * INVARIANT: a segment's `writes` are ascending, disjoint ranges of its text: the replies that claim something is stored.
 * `committed` are the starts, ascending too, of those of them that were answered late: what they claim was committed by
 * then, so that no later commit says anything about it.
 */
import { assert } from "../assert.js";
import { Reply } from "./reply.js";

/** Reply text, and which ranges of it (start, end, start, end, ...) answer writes. */
export class Segment {
  readonly reply: Reply;
  /** Null: none. */
  writes: number[] | null = null;
  committed: number[] | null = null;

  constructor(protocol: 2 | 3) {
    this.reply = new Reply(protocol);
  }

  /** Says that the text from `start` on answers a write. */
  markWrite(start: number): void {
    const end = this.reply.length;
    if (end <= start) return;
    this.writes ??= [];
    this.writes.push(start, end);
  }

  /** Says that all the text answers a write whose batch is committed. */
  markCommitted(): void {
    if (this.reply.length === 0) return;
    this.committed ??= [];
    this.committed.push(0);
    this.markWrite(0);
  }

  /** Moves all of `other` behind what is here. */
  takeOver(other: Segment): void {
    if (other.reply.length === 0) return;
    const base = this.reply.length;
    this.reply.takeOver(other.reply);
    if (other.writes !== null) {
      this.writes ??= [];
      for (const position of other.writes) this.writes.push(base + position);
      other.writes = null;
    }
    if (other.committed !== null) {
      this.committed ??= [];
      for (const start of other.committed) this.committed.push(base + start);
      other.committed = null;
    }
  }
}

/** A request that is answered later. */
export class Waiting {
  readonly own: Segment;
  /** For the synchronous answers that follow it; null while there is none. */
  after: Segment | null = null;
  /** Its answer claims that something is stored. */
  isWrite = false;
  /** Its answer is dropped (CLIENT REPLY). */
  isMuted = false;
  isDone = false;
  /** Its own answer has moved on, what follows it has not yet. */
  isOwnMoved = false;
  next: Waiting | null = null;

  constructor(protocol: 2 | 3) {
    this.own = new Segment(protocol);
  }
}

/** With so much ready, what follows waits until that is taken. */
const READY_BYTES_ENOUGH = 1_048_576;

/** Replies on their way out: latin1 text, the ranges that answer writes, and the starts of those committed before. */
export interface Output {
  readonly text: string;
  readonly writes: readonly number[];
  readonly committed: readonly number[];
}

const NONE: readonly number[] = [];

export class ReplyQueue {
  readonly #ready = new Segment(2);
  #first: Waiting | null = null;
  #last: Waiting | null = null;
  #unanswered = 0;
  #heldUpBytes = 0;
  /** For what follows the last request that waits, once there is any: most often another one that waits does. */
  #spare: Segment | null = null;

  /** Where the next synchronous answer goes; who writes to it calls `addedSync`. */
  get current(): Segment {
    const last = this.#last;
    if (last === null) return this.#ready;
    if (last.after !== null) return last.after;
    this.#spare ??= new Segment(2);
    return this.#spare;
  }

  /** Requests whose answer is still to come. */
  get unanswered(): number {
    return this.#unanswered;
  }

  get readyBytes(): number {
    return this.#ready.reply.length;
  }

  /** Bytes of answers that are complete but not ready: of synchronous ones, those that `addedSync` was told of. */
  get heldUpBytes(): number {
    return this.#heldUpBytes;
  }

  /** Says that the current segment grew. */
  addedSync(bytes: number): void {
    const last = this.#last;
    if (last === null || bytes === 0) return;
    this.#heldUpBytes += bytes;
    if (last.after !== null) return;
    last.after = this.#spare;
    this.#spare = null;
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
    this.#unanswered++;
  }

  /** Its answer is complete. Whatever is now without a gap behind the ready text becomes ready. */
  finish(waiting: Waiting): void {
    assert(!waiting.isDone, "a request is answered once");
    waiting.isDone = true;
    this.#unanswered--;
    if (waiting.isMuted) waiting.own.reply.take();
    else if (waiting.isWrite) waiting.own.markCommitted();
    this.#heldUpBytes += waiting.own.reply.length;
    this.#promote();
  }

  /**
   * Moves what has no gap before it behind the ready text, a segment at a time and only while that is short: one segment
   * may be as long as a reply may be, and many of them would not fit into one string.
   */
  #promote(): void {
    while (this.#first?.isDone && this.#ready.reply.length < READY_BYTES_ENOUGH) {
      const first = this.#first;
      const segment = first.isOwnMoved ? first.after : first.own;
      if (segment !== null) {
        this.#heldUpBytes -= segment.reply.length;
        this.#ready.takeOver(segment);
      }
      if (first.isOwnMoved) this.#first = first.next;
      first.isOwnMoved = true;
    }
    if (this.#first === null) {
      this.#last = null;
    }
  }

  /** Takes what is ready. More may be ready afterwards. */
  take(): Output {
    const ready = this.#ready;
    const output = { text: ready.reply.take(), writes: ready.writes ?? NONE, committed: ready.committed ?? NONE };
    ready.writes = null;
    ready.committed = null;
    if (this.#first !== null) this.#promote();
    return output;
  }
}

/** Writes that failed: their encoded reply, and which ones. */
export interface WriteFailure {
  readonly reply: string;
  /** `uncommitted`: a commit was refused, and says nothing about what was committed before. */
  readonly of: "uncommitted" | "all";
}

/** The text of the output with each failed reply to a write replaced. */
export function withFailedWrites({ text, writes, committed }: Output, failure: WriteFailure): string {
  let replaced = "";
  let from = 0;
  let nextCommitted = 0;
  for (let i = 0; i < writes.length; i += 2) {
    if (failure.of === "uncommitted" && writes[i] === committed[nextCommitted]) {
      nextCommitted++;
      continue;
    }
    replaced += text.slice(from, writes[i]) + failure.reply;
    from = writes[i + 1]!;
  }
  return replaced + text.slice(from);
}
