/**
 * Puts the replies of one connection in the order of its requests, although some come later than others. Pure.
 *
 * Synchronous answers are appended to the current segment. A request that is answered later is a `Waiting`: it has a
 * segment for its own answer and one for the synchronous answers that follow it. What stands before the first unfinished
 * `Waiting` is ready and may be taken.
 *
 * INVARIANT: a segment's `writes` are ascending, disjoint ranges of its text: the replies that claim something is stored.
 * `committed` are the starts, ascending too, of those of them whose claim is committed, so that no later commit says anything
 * about it: of late answers, and of synchronous ones of earlier turns. What a refused commit took back is told at the end of
 * its own turn to all answers of that turn, also to those that still stand behind one that is to come.
 */
import { assert } from "../assert.js";
import type { DeferredReply } from "./call.js";
import { Reply } from "./reply.js";

/** Reply text, and which ranges of it (start, end, start, end, ...) answer writes. */
export class Segment {
  readonly reply: Reply;
  /** Null: none. */
  writes: number[] | null = null;
  committed: number[] | null = null;
  /** The turn of the last synchronous answers to writes, and where in `writes` the first of them stands. */
  #turn = -1;
  #ofTurn = 0;

  constructor(protocol: 2 | 3) {
    this.reply = new Reply(protocol);
  }

  /** Says that the text from `start` on answers a write of this turn. */
  markWrite(start: number, turn: number): void {
    if (turn !== this.#turn) {
      this.#commitOthers(turn);
      this.#turn = turn;
      this.#ofTurn = this.writes?.length ?? 0;
    }
    this.#mark(start);
  }

  /** Answers the writes of this turn with `failure` instead: its commit was refused. */
  failWrites(turn: number, failure: string): void {
    if (turn !== this.#turn || this.writes === null) return;
    const failed = this.writes.splice(this.#ofTurn);
    const { reply } = this;
    reply.raw(withReplaced(reply.take(), failed, failure));
  }

  /** What earlier turns than this one answered is committed. */
  #commitOthers(turn: number): void {
    if (turn === this.#turn || this.writes === null) return;
    for (let at = this.#ofTurn; at < this.writes.length; at += 2) (this.committed ??= []).push(this.writes[at]!);
    this.#ofTurn = this.writes.length;
  }

  #mark(start: number): void {
    const end = this.reply.length;
    if (end <= start) return;
    this.writes ??= [];
    this.writes.push(start, end);
  }

  /** Takes all, leaving nothing. */
  take(): Output {
    const output = { text: this.reply.take(), writes: this.writes ?? NONE, committed: this.committed ?? NONE };
    this.#clear();
    return output;
  }

  #clear(): void {
    this.writes = null;
    this.committed = null;
    this.#turn = -1;
    this.#ofTurn = 0;
  }

  /** Moves a late answer behind what is here, which is taken in this turn. That of a write is committed. */
  takeLate(reply: Reply, isWrite: boolean, turn: number): void {
    this.#turn = turn;
    const start = this.reply.length;
    this.reply.takeOver(reply);
    if (!isWrite || this.reply.length === start) return;
    (this.committed ??= []).push(start);
    this.#mark(start);
  }

  /** Moves all of `other` behind what is here, which is taken in this turn. */
  takeOver(other: Segment, turn: number): void {
    if (other.reply.length === 0) return;
    other.#commitOthers(turn);
    this.#turn = turn;
    const base = this.reply.length;
    this.reply.takeOver(other.reply);
    if (other.writes !== null) {
      this.writes ??= [];
      for (const position of other.writes) this.writes.push(base + position);
    }
    if (other.committed !== null) {
      this.committed ??= [];
      for (const start of other.committed) this.committed.push(base + start);
    }
    other.#clear();
  }
}

/** Whoever is told that a late answer is complete. */
export interface Finisher {
  finish(waiting: Waiting): void;
}

/** A request that is answered later: its place in the order of a connection's answers. */
export class Waiting implements DeferredReply {
  readonly reply: Reply;
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
  readonly #finisher: Finisher;

  constructor(protocol: 2 | 3, finisher: Finisher) {
    this.reply = new Reply(protocol);
    this.#finisher = finisher;
  }

  finish(): void {
    this.#finisher.finish(this);
  }

  fail(error: unknown): void {
    this.reply.take();
    this.reply.fail(error);
    this.#finisher.finish(this);
  }
}

/** Whoever counts turns. */
export interface Turns {
  readonly turn: number;
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
  readonly #turns: Turns;
  readonly #ready = new Segment(2);
  #first: Waiting | null = null;
  #last: Waiting | null = null;
  #unanswered = 0;
  #heldUpBytes = 0;
  /** For what follows the last request that waits, once there is any: most often another one that waits does. */
  #spare: Segment | null = null;

  constructor(turns: Turns) {
    this.#turns = turns;
  }

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

  /** Says that the current segment grew from `start` on, by the answer to a write or by something else. */
  addedSync(start: number, what: "a write" | "no write"): void {
    const { current } = this;
    if (what === "a write") current.markWrite(start, this.#turns.turn);
    const last = this.#last;
    const bytes = current.reply.length - start;
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
    if (waiting.isMuted) waiting.reply.take();
    this.#heldUpBytes += waiting.reply.length;
    this.#promote();
  }

  /**
   * Moves what has no gap before it behind the ready text, a segment at a time and only while that is short: one segment
   * may be as long as a reply may be, and many of them would not fit into one string.
   */
  #promote(): void {
    const ready = this.#ready;
    while (this.#first?.isDone && ready.reply.length < READY_BYTES_ENOUGH) {
      const first = this.#first;
      const { reply, after, isWrite } = first;
      if (!first.isOwnMoved) {
        this.#heldUpBytes -= reply.length;
        ready.takeLate(reply, isWrite, this.#turns.turn);
        first.isOwnMoved = true;
        if (after !== null) continue;
      } else if (after !== null) {
        this.#heldUpBytes -= after.reply.length;
        ready.takeOver(after, this.#turns.turn);
      }
      this.#first = first.next;
    }
    if (this.#first === null) this.#last = null;
  }

  /**
   * Answers the writes of this turn that stand behind an answer that is to come with `failure`: the turn's commit was refused.
   * Of what is ready that is for whoever takes it to do.
   */
  failHeldUpWrites(turn: number, failure: string): void {
    for (let waiting = this.#first; waiting !== null; waiting = waiting.next) {
      const { after } = waiting;
      if (after === null) continue;
      this.#heldUpBytes -= after.reply.length;
      after.failWrites(turn, failure);
      this.#heldUpBytes += after.reply.length;
    }
  }

  /** Takes what is ready. More may be ready afterwards. */
  take(): Output {
    const ready = this.#ready;
    const output = ready.take();
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
  return withReplaced(text, writes, failure.reply, failure.of === "uncommitted" ? committed : NONE);
}

/** `text` with `by` for each of the ranges but those that start where `kept` says. */
function withReplaced(text: string, ranges: readonly number[], by: string, kept = NONE): string {
  let replaced = "";
  let from = 0;
  let nextKept = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    if (ranges[i] === kept[nextKept]) {
      nextKept++;
      continue;
    }
    replaced += text.slice(from, ranges[i]) + by;
    from = ranges[i + 1]!;
  }
  return replaced + text.slice(from);
}
