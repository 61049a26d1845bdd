/**
 * One client connection: bytes in, requests to the dispatcher, replies out in order. It decides when requests are read
 * (never more than a slice a turn, nothing behind a barrier, nothing while answers or output pile up) and when it ends.
 *
 * INVARIANT: requests run in the order in which they arrived, and none after the connection began to close.
 * The synchronous path, from chunk to queued reply, makes no promise and no closure.
 */
import { assert, unreachable } from "../assert.js";
import type { Connection, ConnectionHandlers } from "../host/network.js";
import type { Call, ConnectionControl, ConnectionEnds, DeferredReply } from "./call.js";
import type { ConnectionOwner } from "./connection-owner.js";
import { LateWork, type Work } from "./late-work.js";
import { Linger } from "./linger.js";
import { OutputWatch } from "./output-watch.js";
import type { Outlet } from "./release.js";
import { Reply } from "./reply.js";
import { type Output, ReplyQueue, type Waiting } from "./reply-queue.js";
import { RequestGate } from "./request-gate.js";
import { RequestRun } from "./request-run.js";
import type { Session } from "./session.js";
import { SLICE_REQUESTS_MAX, TurnSlice } from "./turn-slice.js";

/** While no request may run, input is buffered up to this before the socket is paused (pausing costs system calls). */
const WAITING_INPUT_BYTES_MAX = 65_536;

/** `closing`: no request runs any more, replies still leave. `ended`: all are sent and so is our FIN; input is dropped. */
type State = "open" | "closing" | "ended" | "closed";

const NO_ARGUMENTS: readonly Buffer[] = [];
const NO_REQUESTS: readonly (readonly Buffer[])[] = [];

export class ClientConnection<S extends Session> implements Call<S>, ConnectionControl, ConnectionHandlers, Outlet {
  readonly session: S;
  args: readonly Buffer[] = NO_ARGUMENTS;
  reply: Reply;

  readonly #owner: ConnectionOwner<S>;
  readonly #socket: Connection;
  readonly #gate = new RequestGate();
  readonly #limits = { bulkBytesMax: 0, argumentsMax: 0, isAuthenticated: false };
  readonly #run = new RequestRun();
  readonly #queue: ReplyQueue;
  readonly #late: LateWork;
  #state: State = "open";

  /** The request being dispatched: whether it is under way, stores something, and is answered later. */
  #isDispatching = false;
  #isWrite = false;
  #waiting: Waiting | null = null;
  #pushed: Reply | null = null;
  /** Small after an interrupted run, so that a pipeline of barriers is not parsed over and over. */
  #runMax = SLICE_REQUESTS_MAX;

  #replyMode: "on" | "off" | "skip" = "on";
  #isReplyModeSet = false;
  /** Too much is unanswered: no request runs until half of it is answered. */
  #isFull = false;

  readonly #slice = new TurnSlice();
  /** The server will call `goOn` in the next turn. */
  #goesOn = false;
  #isSocketPaused = false;
  #isInputEnded = false;
  /** The gate may hold a complete request. */
  #mayHaveRequest = false;

  /** Handed to be sent at the end of this turn; taken for sending and not yet sent. */
  #isToBeSent = false;
  #takenOutputs = 0;
  #takenBytes = 0;
  readonly #watch: OutputWatch;

  /** For `sweep`: whether anything arrived since the last one, and when anything last did. */
  #hasReceived = true;
  #receivedMs = 0;
  readonly #linger = new Linger();
  #isForgotten = false;

  constructor(owner: ConnectionOwner<S>, socket: Connection) {
    this.#owner = owner;
    this.#socket = socket;
    this.#queue = new ReplyQueue(owner);
    this.reply = this.#queue.current.reply;
    this.#late = new LateWork(this.#queue, owner.writeHold, () => this.#onAnswered());
    this.#watch = new OutputWatch(owner.settings, owner);
    this.session = owner.dispatcher.open(this);
  }

  // ConnectionHandlers: what the network says.

  onData(chunk: Buffer): void {
    if (this.#state === "ended" && this.#linger.read(chunk.length)) this.kill();
    if (this.#state !== "open") return;
    const { counters, settings } = this.#owner;
    this.#hasReceived = true;
    this.session.lastRequestMs = this.#owner.wallMs();
    counters.inputBytes += chunk.length;
    this.#gate.receive(chunk);
    this.#mayHaveRequest = true;
    this.#proceed();
    if (this.#gate.bufferedBytes <= settings.queryBufferBytesMax) return;
    counters.queryBufferLimitCloses++;
    this.kill();
  }

  onEnd(): void {
    this.#isInputEnded = true;
    this.#endIfDone();
  }

  onDrain(): void {
    this.#countUnsent();
    this.#resumeIfRelieved();
    this.#endIfDone();
  }

  onClose(): void {
    this.#state = "closed";
    this.#gate.clear();
    this.#countUnsent();
    this.#forget();
  }

  // Outlet: replies on their way out.

  takeOutput(): Output {
    const output = this.#queue.take();
    this.#isToBeSent = false;
    this.#takenOutputs++;
    this.#takenBytes += output.text.length;
    return output;
  }

  send(text: string, taken: Output): void {
    this.#takenOutputs--;
    // Judged before the system takes its share, as in Redis: how much that is must not matter.
    this.#limitOutput();
    this.#takenBytes -= taken.text.length;
    if (this.#state === "closed") return;
    if (text.length > 0) {
      this.#socket.write(text);
      this.#watch.wrote(text.length);
      this.#owner.counters.outputBytes += text.length;
      this.#countUnsent();
    }
    if (this.#queue.readyBytes > 0) this.#sendReady();
    this.#resumeIfRelieved();
    this.#endIfDone();
  }

  failHeldUpWrites(turn: number, failure: string): void {
    this.#queue.failHeldUpWrites(turn, failure);
  }

  // Call: what a command may do with its request.

  markWrite(): void {
    this.#isWrite = true;
    this.#owner.commitAtEndOfTurn();
  }

  get unanswered(): number {
    return this.#queue.unanswered;
  }

  later(work: Work): void {
    this.#assertUnanswered();
    const { protocol } = this.session;
    if (this.#isWrite) this.#waiting = this.#late.beginWrite(protocol, work, this.args);
    else this.#waiting = this.#late.begin(protocol, work, this.args);
  }

  defer(): DeferredReply {
    this.#assertUnanswered();
    this.#waiting = this.#late.defer(this.session.protocol);
    return this.#waiting;
  }

  alone(work: Work, needs: "nothing" | "room" = "nothing"): void {
    this.#assertUnanswered();
    this.#waiting = this.#late.beginAlone(this.session.protocol, work, this.args, needs);
  }

  #assertUnanswered(): void {
    assert(this.#isDispatching && this.#waiting === null, "later, alone and defer are called once, within dispatch");
  }

  // ConnectionControl: what commands may do to the connection.

  get ends(): ConnectionEnds {
    return this.#socket;
  }

  get inputBytes(): number {
    return this.#gate.bufferedBytes;
  }

  get outputBytes(): number {
    return this.#socket.pendingBytes + this.#takenBytes + this.#queue.readyBytes + this.#queue.heldUpBytes;
  }

  closeAfterReplies(): void {
    if (this.#state !== "open") return;
    this.#state = "closing";
    if (this.#isDispatching) return;
    this.#gate.clear();
    this.#updateReading();
    this.#endIfDone();
  }

  kill(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#socket.destroy();
    if (this.#isDispatching) return;
    this.#gate.clear();
    this.#countUnsent();
    this.#forget();
  }

  setReplyMode(mode: "on" | "off" | "skip"): void {
    if (mode === "skip" && this.#replyMode === "off") return;
    this.#replyMode = mode;
    this.#isReplyModeSet = true;
  }

  push(write: (reply: Reply) => void): void {
    if (this.#state === "closed" || this.#state === "ended") return;
    if (this.#isDispatching) {
      // This connection's command is writing its own reply: the message goes behind it.
      this.#pushed ??= new Reply(this.session.protocol);
      write(this.#pushed);
      return;
    }
    this.#append(write);
    this.#sendReady();
    this.#limitOutput();
  }

  // What the server says.

  /** Begins delivery; the server calls it when it has registered the connection. */
  start(nowMs: number): void {
    this.#receivedMs = nowMs;
    this.#watch.start(nowMs);
    this.#socket.start(this);
  }

  /** Continues a slice that ended with the turn. */
  goOn(): void {
    this.#goesOn = false;
    this.#proceed();
    this.#endIfDone();
  }

  /** Applies what depends on time; called about once a second with monotonic time. */
  sweep(nowMs: number): void {
    if (this.#state === "closed") return;
    const { settings, counters } = this.#owner;
    const unsentBytes = this.#socket.pendingBytes;
    if (this.#hasReceived) this.#receivedMs = nowMs;
    this.#hasReceived = false;

    if (!this.#watch.isAllowedAt(nowMs, { bytes: this.outputBytes, unsentBytes })) {
      counters.outputLimitCloses++;
      this.kill();
    } else if (this.#state === "ended") {
      if (this.#linger.isOver(nowMs, unsentBytes)) this.kill();
    } else if (settings.timeoutSeconds > 0 && this.#isIdle && nowMs - this.#receivedMs >= settings.timeoutSeconds * 1_000) {
      counters.idleCloses++;
      this.kill();
    }
  }

  /** Runs what has arrived, as far as requests may run now. */
  #proceed(): void {
    const limits = this.#limits;
    const { settings } = this.#owner;
    limits.bulkBytesMax = settings.bulkBytesMax;
    limits.argumentsMax = settings.argumentsMax;
    while (this.#mayHaveRequest && this.#mayRun() && this.#hasSlice()) {
      limits.isAuthenticated = this.session.isAuthenticated;
      const runMax = limits.isAuthenticated ? Math.min(this.#runMax, this.#slice.requests) : 1;
      const before = this.#gate.bufferedBytes;
      this.#slice.use(this.#runNext(runMax), before - this.#gate.bufferedBytes);
    }
    if (this.#state !== "open") this.#gate.clear();
    else this.#gate.settle();
    if (this.#queue.readyBytes > 0) this.#sendReady();
    this.#updateReading();
    if (this.#state === "closed") this.#forget();
    else if (this.#state === "closing") this.#endIfDone();
  }

  /** Runs what stands at the front, at most `runMax` requests; returns how many. */
  #runNext(runMax: number): number {
    const gate = this.#gate;
    const verdict = gate.next(this.#limits, runMax);
    switch (verdict) {
      case "more":
        this.#mayHaveRequest = false;
        return 0;
      case "run":
        return this.#dispatchRun();
      case "inline":
        this.#dispatch(gate.inlineWords);
        return 1;
      case "invalid":
        this.#owner.counters.protocolErrors++;
        this.#state = "closing";
        if (this.#replyMode === "on") this.#append((reply) => reply.error(`ERR Protocol error: ${gate.violation}`));
        return 0;
      case "hostile":
        this.#owner.counters.protocolErrors++;
        this.kill();
        return 0;
      default:
        return unreachable(verdict);
    }
  }

  #append(write: (reply: Reply) => void): void {
    const { reply } = this.#queue.current;
    const start = reply.length;
    reply.protocol = this.session.protocol;
    write(reply);
    this.#queue.addedSync(start, "no write");
  }

  /** Dispatches the requests of the gate's run until one of them halts the rest; returns how many. */
  #dispatchRun(): number {
    const run = this.#run;
    const { requests } = run;
    const { dispatcher } = this.#owner;
    run.read(this.#gate.runBytes());
    const isExpected = requests.length > 1;
    if (isExpected) dispatcher.expect(this.session, requests);
    let done = 0;
    let mayRun = true;
    while (mayRun && done < requests.length) {
      this.#dispatch(requests[done++]!);
      mayRun = this.#mayRun();
    }
    if (isExpected) dispatcher.expect(this.session, NO_REQUESTS);
    this.#runMax = mayRun ? Math.min(2 * this.#runMax, SLICE_REQUESTS_MAX) : 1;
    run.clear();
    this.#gate.consumeRun(done);
    return done;
  }

  #dispatch(args: readonly Buffer[]): void {
    this.#owner.counters.requests++;
    this.args = args;
    this.#isWrite = false;
    this.#waiting = null;
    this.#isDispatching = true;
    if (this.#replyMode === "on") this.#dispatchHeard();
    else this.#dispatchMuted();
    this.#isDispatching = false;
    this.args = NO_ARGUMENTS;
    if (this.#pushed !== null) this.#appendPushed(this.#pushed);
    if (this.#queue.unanswered >= this.#owner.settings.unansweredMax) this.#isFull = true;
    if (this.#queue.heldUpBytes >= this.#owner.settings.outputPauseBytes) this.#isFull = true;
  }

  #dispatchHeard(): void {
    const { reply } = this.#queue.current;
    const start = reply.length;
    reply.protocol = this.session.protocol;
    this.reply = reply;
    this.#owner.dispatcher.dispatch(this);
    if (this.#waiting !== null) {
      assert(reply.length === start, "a request that is answered later has no answer yet");
      this.#waiting.isWrite = this.#isWrite;
      return;
    }
    this.#queue.addedSync(start, this.#isWrite ? "a write" : "no write");
  }

  /** CLIENT REPLY is off or skips: the reply is kept only where the request itself turned replies on. */
  #dispatchMuted(): void {
    const wasSkip = this.#replyMode === "skip";
    const scratch = new Reply(this.session.protocol);
    this.#isReplyModeSet = false;
    this.reply = scratch;
    this.#owner.dispatcher.dispatch(this);
    const isHeard = this.#isReplyModeSet && (this.#replyMode as string) === "on";
    if (wasSkip && !this.#isReplyModeSet) this.#replyMode = "on";
    if (this.#waiting !== null) {
      this.#waiting.isWrite = this.#isWrite;
      this.#waiting.isMuted = !isHeard;
    } else if (isHeard) {
      const { reply } = this.#queue.current;
      const start = reply.length;
      reply.takeOver(scratch);
      this.#queue.addedSync(start, this.#isWrite ? "a write" : "no write");
    }
  }

  #appendPushed(pushed: Reply): void {
    this.#pushed = null;
    this.#append((reply) => reply.takeOver(pushed));
  }

  /** A late answer has gone to its place. */
  #onAnswered(): void {
    if (this.#state === "closed") return;
    if (this.#queue.readyBytes > 0) this.#sendReady();
    this.#resumeIfRelieved();
    this.#endIfDone();
  }

  // When requests run and when the socket is read.

  /** True when the next request may start, as far as this connection's own state goes. */
  #mayRun(): boolean {
    return (
      this.#state === "open" &&
      !this.#late.isBarred &&
      !this.#isFull &&
      !this.#watch.isBackedUp &&
      this.#queue.readyBytes < this.#owner.settings.outputPauseBytes
    );
  }

  /** False when this turn's share is used up; then the connection goes on in the next one. */
  #hasSlice(): boolean {
    if (this.#slice.isLeft(this.#owner.turn)) return true;
    if (!this.#goesOn) {
      this.#goesOn = true;
      this.#owner.goOnNextTurn(this);
    }
    return false;
  }

  /** Runs requests again if what stood in their way is half gone. */
  #resumeIfRelieved(): void {
    const { unansweredMax, outputPauseBytes } = this.#owner.settings;
    const queue = this.#queue;
    this.#isFull &&= queue.unanswered > unansweredMax / 2 || queue.heldUpBytes > outputPauseBytes / 2;
    if (this.#watch.isBackedUp) this.#watch.relieve(this.outputBytes);
    if (this.#mayHaveRequest && !this.#goesOn && this.#mayRun()) this.#proceed();
    else this.#updateReading();
  }

  /** Pauses the socket while input waits that may not run, and only then. */
  #updateReading(): void {
    const isWaiting = this.#state === "open" && this.#mayHaveRequest && this.#gate.bufferedBytes >= WAITING_INPUT_BYTES_MAX;
    if (isWaiting === this.#isSocketPaused || this.#state === "closed") return;
    this.#isSocketPaused = isWaiting;
    if (isWaiting) this.#socket.pause();
    else this.#socket.resume();
  }

  // Output and the end.

  #sendReady(): void {
    if (this.#isToBeSent) return;
    this.#isToBeSent = true;
    this.#owner.sendAtEndOfTurn(this);
  }

  /** Applies the output limits after output has grown. */
  #limitOutput(): void {
    this.#countUnsent();
    if (this.#state === "closed" || this.#watch.isAllowed(this.outputBytes, this.session)) return;
    this.#owner.counters.outputLimitCloses++;
    this.kill();
  }

  #countUnsent(): void {
    this.#watch.count(this.#state === "closed" ? 0 : this.#socket.pendingBytes);
  }

  get #isIdle(): boolean {
    return this.#state === "open" && this.#queue.isEmpty && this.#takenOutputs === 0 && this.#socket.pendingBytes === 0;
  }

  /** Sends our FIN when there is nothing left to answer and nothing more will be asked. */
  #endIfDone(): void {
    const isAsked = this.#state === "open" && (!this.#isInputEnded || this.#mayHaveRequest);
    if (isAsked || this.#state === "ended" || this.#state === "closed") return;
    if (!this.#queue.isEmpty || this.#takenOutputs > 0) return;
    this.#state = "ended";
    this.#gate.clear();
    this.#socket.end();
    this.#updateReading();
  }

  #forget(): void {
    if (this.#isForgotten) return;
    this.#isForgotten = true;
    this.#late.abandon();
    this.#owner.closed(this);
    this.#owner.dispatcher.close(this.session);
  }
}
