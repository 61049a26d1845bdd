/**
 * What the front end and the commands agree on: a connection parses requests and hands each to the dispatcher as a call;
 * the dispatcher answers through the call's reply, at once or later. Replies leave in the order of the requests.
 */
import type { Connection } from "../host/network.js";
import type { Reply } from "./reply.js";
import type { Session } from "./session.js";

/**
 * One request. The object is reused for the connection's next request: keep nothing of it beyond `dispatch`. The
 * arguments are borrowed too (slices of a buffer that the next read overwrites): what is stored is copied by the store.
 */
export interface Call<S extends Session> {
  readonly session: S;
  /** The command's name and its arguments, at least one. */
  readonly args: readonly Buffer[];
  /** Where a synchronous answer goes: exactly one RESP value unless `later`, `alone` or `defer` was called. */
  readonly reply: Reply;
  /**
   * Says that this call stores something: should the commit of this turn fail, its reply becomes that error. Dispatch says
   * it for every command that is flagged as a write; commands do not. Work that answers later resolves only when what it
   * stored is committed, and rejects when that was refused.
   */
  markWrite(): void;
  /** How many earlier requests of this connection are still unanswered. */
  readonly unanswered: number;
  /**
   * Answers later. Copies the arguments, then runs `work` at once (synchronously up to its first await); the connection
   * goes on with the next request meanwhile. A rejected promise becomes an error reply. A write for which there is no room
   * runs when there is, and alone.
   */
  later(work: (reply: Reply, args: readonly Buffer[]) => Promise<void>): void;
  /**
   * Answers later without a promise: keeps the place of the answer, which its holder fills and finishes. For what took all it
   * needs of the arguments within the call; nothing is copied, and no room is waited for.
   */
  defer(): DeferredReply;
  /**
   * The same as `later`, but `work` starts only when all earlier requests of the connection are answered, and no later request is
   * started before it is done: for commands that look at more than their own keys. `room`: it stores something and waits
   * for room besides. One that gives room back does not.
   */
  alone(work: (reply: Reply, args: readonly Buffer[]) => Promise<void>, needs?: "nothing" | "room"): void;
}

/** The place of an answer that is given later. Of `finish` and `fail` exactly one is called, once, in a later turn of the request's own. */
export interface DeferredReply {
  readonly reply: Reply;
  /** `reply` holds exactly one value; what a write claims is committed. */
  finish(): void;
  /** Answers with the error instead of what `reply` holds. */
  fail(error: unknown): void;
}

/** The commands, seen from a connection. */
export interface Dispatcher<S extends Session> {
  /** A connection was accepted. */
  open(control: ConnectionControl): S;
  /**
   * These requests of a connection are dispatched next, unless one of them halts the rest: a hint. None: the last hint is over,
   * and what it spoke of may change.
   */
  expect(session: S, requests: readonly (readonly Buffer[])[]): void;
  /** Runs one request. Never throws for anything a client can send. */
  dispatch(call: Call<S>): void;
  /** The connection is gone; pending work of it may still finish and its replies are dropped. */
  close(session: S): void;
}

export type ConnectionEnds = Pick<Connection, "remoteAddress" | "remotePort" | "localAddress" | "localPort">;

/** What commands may do to a connection (QUIT, CLIENT KILL, CLIENT REPLY, CLIENT PAUSE, CLIENT LIST). */
export interface ConnectionControl {
  /** Its two ends. */
  readonly ends: ConnectionEnds;
  /** Sends the replies queued so far, this call's included, then closes. Later requests are not run. */
  closeAfterReplies(): void;
  /** Closes at once. */
  kill(): void;
  /** CLIENT REPLY: `skip` drops the reply of the next request only. */
  setReplyMode(mode: "on" | "off" | "skip"): void;
  /** Bytes of requests received and not yet run, and of replies not yet sent. */
  readonly inputBytes: number;
  readonly outputBytes: number;
  /** Queues bytes outside the request/reply order (RESP3 pushes, MONITOR lines), after the replies queued so far. */
  push(write: (reply: Reply) => void): void;
}

/**
 * When writes may begin and replies may leave. The server calls `commit` once a turn, before it sends anything; under fsync `always` replies
 * wait for `acknowledged`.
 */
export interface CommitGate {
  /** `stopped`: writes should not begin before `room`. `slow`: only few at a time. Changes with a commit at the earliest. */
  backlog(): "open" | "slow" | "stopped";
  /** Resolves when the backlog is not `stopped`. Rejects with an `OperatingError` when nothing will make room. */
  room(): Promise<void>;
  /** Writes this turn's changes to the log. Throws an `OperatingError` when they could not be written (and were undone). */
  commit(): void;
  /** True when all that was committed may be acknowledged now. */
  readonly isAcknowledged: boolean;
  /** Resolves when all that is committed so far may be acknowledged; rejects when it never may. */
  acknowledged(): Promise<void>;
}
