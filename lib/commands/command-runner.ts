/**
 * Runs commands that were found and admitted: counts them, times them, and turns what they throw into their error reply.
 *
 * Reading the clock twice costs about as much as a tenth of a GET, so calls that cannot take long are timed one in
 * sixteen, the first included, and each sample stands for the calls since the one before: synchronous ones of a brief
 * command with at most four arguments (a key or two) and few bytes. All others, and those that wait, are timed each; so is
 * every call while the slow log asks for less than a millisecond or the latency monitor is on. So the slow log misses no
 * call whose work is slow, but for one that answers a large value from memory after calls that answered small ones.
 * INFO names the rate (`command_timing_one_in`).
 */
import type { Clock } from "../host/clock.js";
import type { Call, DeferredReply } from "../resp/call.js";
import { Reply } from "../resp/reply.js";
import type { ClientSession } from "./client-session.js";
import type { CommandContext } from "./command.js";
import type { CommandSettings } from "./command-settings.js";
import { ErrorStatistics } from "./command-statistics.js";
import type { TableEntry } from "./command-table.js";
import { LatencyMonitor } from "./latency-monitor.js";
import { SlowLog, shortened } from "./slow-log.js";

/** One in this many short calls is timed. */
export const TIMING_STRIDE = 16;
const SHORT_ARGUMENTS = 4;
/** Copying as much takes a few microseconds. */
const SHORT_BYTES = 16_384;
/** A slow log that starts below this wants every call timed. */
const EXACT_BELOW_MICROS = 1_000;

export type Work = (reply: Reply, args: readonly Buffer[]) => Promise<void>;

export class CommandRunner {
  readonly errors = new ErrorStatistics();
  readonly slowLog: SlowLog;
  readonly latency = new LatencyMonitor();
  /** Commands run since the start or CONFIG RESETSTAT. */
  processed = 0;
  readonly #context: CommandContext;
  readonly #clock: Clock;
  readonly #settings: CommandSettings;
  /** Reused for every call from a connection; nested ones get their own. */
  readonly #observed: ObservedCall;
  /** Negative where it was not read in this turn. */
  #turnMs = -1;
  readonly #onTurnEnd = (): void => {
    this.#turnMs = -1;
  };

  constructor(options: { context: CommandContext; settings: CommandSettings }) {
    this.#context = options.context;
    this.#clock = options.context.clock;
    this.#settings = options.settings;
    this.slowLog = new SlowLog(options.settings);
    this.#observed = new ObservedCall(this);
  }

  /** Runs a request of a connection. */
  run(entry: TableEntry, call: Call<ClientSession>): void {
    this.#observed.take(entry, call);
    this.#start(entry, this.#observed);
  }

  /** Runs a command within another one (EXEC, the prefix form of CONSISTENCY). */
  runNested(entry: TableEntry, call: Call<ClientSession>): void {
    const observed = new ObservedCall(this);
    observed.take(entry, call);
    this.#start(entry, observed);
  }

  /** Runs a command whose arguments are owned; its reply is collected. REQUIRES that the connection runs nothing else meanwhile. */
  collect(entry: TableEntry, session: ClientSession, args: readonly Buffer[]): CollectedCall {
    const call = new CollectedCall(session, args);
    this.runNested(entry, call);
    return call;
  }

  /** Counts a call that was refused before it ran. */
  refuse(entry: TableEntry | null, text: string, reply: Reply): void {
    if (entry !== null) entry.statistics.rejected++;
    this.errors.count(text);
    reply.error(text);
  }

  /** The work of a call that waits: timed, its errors counted and answered. */
  async observe(entry: TableEntry, call: { session: ClientSession; reply: Reply; args: readonly Buffer[] }, work: Work) {
    const { reply, args } = call;
    const begunMs = this.#clock.monotonicMs();
    const errorsBefore = reply.errors;
    const lengthBefore = reply.length;
    try {
      await work(reply, args);
    } catch (error) {
      this.#answerFailure(error, reply, lengthBefore);
    }
    if (reply.errors !== errorsBefore) this.#countFailure(entry, reply);
    this.#noteTime(entry, call, this.#clock.monotonicMs() - begunMs);
  }

  /**
   * Monotonic, for calls that are answered in a later turn: read once a turn, unless times have to be exact. A pipeline's worth
   * of answers comes at once, and reading the clock for each would cost more than counting them.
   */
  turnMs(): number {
    if (this.#turnMs >= 0 && !this.#isTimingExact()) return this.#turnMs;
    if (this.#turnMs < 0) this.#clock.defer(this.#onTurnEnd);
    this.#turnMs = this.#clock.monotonicMs();
    return this.#turnMs;
  }

  /** A call that was deferred at `begunMs` is answered. */
  noteDeferred(
    entry: TableEntry,
    call: { session: ClientSession; reply: Reply; args: readonly Buffer[] },
    begunMs: number,
  ): void {
    if (call.reply.errors > 0) this.#countFailure(entry, call.reply);
    this.#noteTime(entry, call, this.turnMs() - begunMs);
  }

  resetStatistics(): void {
    this.processed = 0;
    this.errors.reset();
  }

  #start(entry: TableEntry, call: ObservedCall): void {
    const { statistics } = entry;
    const isUntimed = statistics.countdown > 1 && entry.isBrief && isShort(call.args) && !this.#isTimingExact();
    const begunMs = isUntimed ? 0 : this.#clock.monotonicMs();
    const lengthBefore = call.reply.length;
    this.#invoke(entry, call);
    // Counted afterwards, so that CONFIG RESETSTAT is the first call of the new count and INFO does not count itself.
    this.processed++;
    statistics.calls++;
    statistics.untimed++;
    // Large answers seldom come alone: the next call is timed.
    const isLarge = call.reply.length - lengthBefore > SHORT_BYTES;
    if (isUntimed) {
      statistics.countdown = isLarge ? 1 : statistics.countdown - 1;
      return;
    }
    statistics.countdown = isLarge ? 1 : TIMING_STRIDE;
    // A call that waits is timed when it is done.
    if (call.isWaiting) return;
    const endedMs = this.#clock.monotonicMs();
    // A long one is not to count for what comes after it in this turn.
    if (this.#turnMs >= 0) this.#turnMs = endedMs;
    this.#noteTime(entry, call, endedMs - begunMs);
  }

  #isTimingExact(): boolean {
    const { slowlogSlowerThanMicros, latencyThresholdMs } = this.#settings;
    return (slowlogSlowerThanMicros < EXACT_BELOW_MICROS && slowlogSlowerThanMicros >= 0) || latencyThresholdMs > 0;
  }

  #invoke(entry: TableEntry, call: ObservedCall): void {
    const { reply } = call;
    const errorsBefore = reply.errors;
    const lengthBefore = reply.length;
    try {
      entry.command.run(this.#context, call);
    } catch (error) {
      this.#answerFailure(error, reply, lengthBefore);
    }
    if (reply.errors !== errorsBefore) this.#countFailure(entry, reply);
  }

  /** Takes back what the command had begun to answer, so that the error is its one value. */
  #answerFailure(error: unknown, reply: Reply, lengthBefore: number): void {
    reply.cutTo(lengthBefore);
    reply.fail(error);
  }

  #countFailure(entry: TableEntry, reply: Reply): void {
    entry.statistics.failed++;
    this.errors.count(reply.lastError);
  }

  #noteTime(entry: TableEntry, call: { session: ClientSession; args: readonly Buffer[] }, elapsedMs: number): void {
    const micros = Math.max(0, Math.round(elapsedMs * 1_000));
    entry.statistics.record(micros);
    const { slowlogSlowerThanMicros: slowMicros, latencyThresholdMs } = this.#settings;
    if (slowMicros >= 0 && micros >= slowMicros && !entry.hasFlag("skip_slowlog")) {
      this.slowLog.add({
        endedSeconds: Math.floor(this.#clock.wallMs() / 1_000),
        micros,
        args: shortened(call.args, firstSecret(entry, call.args)),
        remoteAddress: call.session.remoteAddress,
        clientName: call.session.name,
      });
    }
    if (latencyThresholdMs > 0 && elapsedMs >= latencyThresholdMs) {
      this.latency.add(entry.hasFlag("fast") ? "fast-command" : "command", {
        atSeconds: Math.floor(this.#clock.wallMs() / 1_000),
        latencyMs: Math.round(elapsedMs),
      });
    }
  }
}

/** Few arguments and few bytes. */
function isShort(args: readonly Buffer[]): boolean {
  if (args.length > SHORT_ARGUMENTS) return false;
  for (let at = 1; at < args.length; at++) if (args[at]!.length > SHORT_BYTES) return false;
  return true;
}

/** From which argument on a request holds secrets that no log may show. */
function firstSecret(entry: TableEntry, args: readonly Buffer[]): number {
  if (entry.fullName === "auth") return 1;
  const marks =
    entry.fullName === "hello" ? ["auth"] : entry.fullName === "config|set" ? ["requirepass", "cluster-secret"] : [];
  const at = args.findIndex((argument) => marks.includes(argument.toString("latin1").toLowerCase()));
  return at < 0 ? args.length : at + 1;
}

/** A call that is being counted: passes everything on and times the work of calls that wait. */
class ObservedCall implements Call<ClientSession> {
  readonly #runner: CommandRunner;
  #entry: TableEntry | null = null;
  #inner: Call<ClientSession> | null = null;
  session!: ClientSession;
  args!: readonly Buffer[];
  reply!: Reply;
  isWaiting = false;

  constructor(runner: CommandRunner) {
    this.#runner = runner;
  }

  take(entry: TableEntry, call: Call<ClientSession>): void {
    this.#entry = entry;
    this.#inner = call;
    this.session = call.session;
    this.args = call.args;
    this.reply = call.reply;
    this.isWaiting = false;
  }

  get unanswered(): number {
    return this.#inner!.unanswered;
  }

  markWrite(): void {
    this.#inner!.markWrite();
  }

  later(work: Work): void {
    const { session } = this;
    const entry = this.#entry!;
    this.isWaiting = true;
    this.#inner!.later((reply, args) => this.#runner.observe(entry, { session, reply, args }, work));
  }

  defer(): DeferredReply {
    this.isWaiting = true;
    return new ObservedReply(this.#runner, this.#entry!, this.session, this.#inner!.defer());
  }

  alone(work: Work, needs: "nothing" | "room" = "nothing"): void {
    const { session } = this;
    const entry = this.#entry!;
    this.isWaiting = true;
    this.#inner!.alone((reply, args) => this.#runner.observe(entry, { session, reply, args }, work), needs);
  }
}

const NO_ARGUMENTS: readonly Buffer[] = [];

/** The deferred reply of a call that is being counted. The slow log shows it without its arguments: they were never copied. */
class ObservedReply implements DeferredReply {
  readonly #runner: CommandRunner;
  readonly #entry: TableEntry;
  readonly #session: ClientSession;
  readonly #inner: DeferredReply;
  readonly #begunMs: number;
  readonly reply: Reply;

  constructor(runner: CommandRunner, entry: TableEntry, session: ClientSession, inner: DeferredReply) {
    this.#runner = runner;
    this.#entry = entry;
    this.#session = session;
    this.#inner = inner;
    this.reply = inner.reply;
    this.#begunMs = runner.turnMs();
  }

  finish(): void {
    this.#note();
    this.#inner.finish();
  }

  fail(error: unknown): void {
    this.reply.take();
    this.reply.fail(error);
    this.finish();
  }

  #note(): void {
    const call = { session: this.#session, reply: this.reply, args: NO_ARGUMENTS };
    this.#runner.noteDeferred(this.#entry, call, this.#begunMs);
  }
}

/** A call without a connection's queue: its reply is collected, its work runs at once. */
export class CollectedCall implements Call<ClientSession> {
  readonly session: ClientSession;
  readonly args: readonly Buffer[];
  readonly reply: Reply;
  readonly unanswered = 0;
  #work: Promise<void> | null = null;

  /** `args` are owned. */
  constructor(session: ClientSession, args: readonly Buffer[]) {
    this.session = session;
    this.args = args;
    this.reply = new Reply(session.protocol);
  }

  /** The outer call is marked before it begins. */
  markWrite(): void {}

  later(work: Work): void {
    this.#work = work(this.reply, this.args);
  }

  alone(work: Work): void {
    this.later(work);
  }

  defer(): DeferredReply {
    let resolve!: () => void;
    this.#work = new Promise<void>((settle) => {
      resolve = settle;
    });
    const { reply } = this;
    return {
      reply,
      finish: resolve,
      fail: (error) => {
        reply.take();
        reply.fail(error);
        resolve();
      },
    };
  }

  /** False when it was answered within its call: then what it stored is not committed yet. */
  get isWaiting(): boolean {
    return this.#work !== null;
  }

  /** The encoded reply, once the work is done. */
  async finished(): Promise<string> {
    if (this.#work !== null) await this.#work;
    return this.reply.take();
  }
}
