/**
 * The commands, seen from the connections: finds the command of each request and decides whether it runs now, is queued
 * for EXEC, waits for the end of a pause, or is refused. Order of the checks, as in Redis: name, number of arguments,
 * authentication, transaction, pause.
 */
import type { Call, ConnectionControl, Dispatcher } from "../resp/call.js";
import { ClientSession } from "./client-session.js";
import type { Clients } from "./clients.js";
import type { CommandContext } from "./command.js";
import { CollectedCall, type CommandRunner } from "./command-runner.js";
import type { CommandSettings } from "./command-settings.js";
import type { CommandTable, TableEntry } from "./command-table.js";
import { arityText, unknownCommandText, unknownSubcommandText } from "./unknown-command.js";

export const NOT_AUTHENTICATED = "NOAUTH Authentication required.";
const NOT_IN_TRANSACTION = "ERR Command not allowed inside a transaction";
/** Bytes of arguments that one transaction may queue; a client that wants more gets an error and no EXEC. */
const TRANSACTION_BYTES_MAX = 64 * 1024 * 1024;
/** Longer ones, which may be no keys at all, are not looked for ahead. */
const KEY_AHEAD_BYTES_MAX = 1_024;
/** What an argument takes in memory besides its bytes, about. */
const ARGUMENT_OVERHEAD_BYTES = 96;
const TRANSACTION_TOO_LARGE = `ERR a transaction may queue at most ${TRANSACTION_BYTES_MAX} bytes of arguments; use several`;
/** Commands that run at once within MULTI. */
const TRANSACTION_CONTROL: ReadonlySet<string> = new Set(["exec", "discard", "multi", "watch", "quit", "reset"]);
/** What ends a pause is not held back by it. */
const UNPAUSE = "client|unpause";

export class Commands implements Dispatcher<ClientSession> {
  readonly #table: CommandTable;
  readonly #runner: CommandRunner;
  readonly #clients: Clients;
  readonly #context: CommandContext;
  readonly #settings: CommandSettings;
  /** What the keyspace was told to expect. */
  readonly #keysAhead: Buffer[] = [];

  constructor(options: {
    table: CommandTable;
    runner: CommandRunner;
    clients: Clients;
    context: CommandContext;
    settings: CommandSettings;
  }) {
    this.#table = options.table;
    this.#runner = options.runner;
    this.#clients = options.clients;
    this.#context = options.context;
    this.#settings = options.settings;
  }

  open(control: ConnectionControl): ClientSession {
    const session = new ClientSession({
      id: this.#clients.newId(),
      control,
      createdMs: this.#context.clock.wallMs(),
      isAuthenticated: this.#settings.requirePassword === "",
      consistency: this.#settings.consistencyOf(0),
    });
    this.#clients.add(session);
    return session;
  }

  close(session: ClientSession): void {
    this.#clients.remove(session);
    session.transaction = null;
    session.watched = [];
  }

  expect(session: ClientSession, requests: readonly (readonly Buffer[])[]): void {
    const keys = this.#keysAhead;
    keys.length = 0;
    // Nearly all commands have their key there. Where it is none, looking for it does no harm, unless it is long.
    for (const args of requests) if (args.length > 1 && args[1]!.length <= KEY_AHEAD_BYTES_MAX) keys.push(args[1]!);
    this.#context.keyspace.prefetch(session.scope, keys);
  }

  dispatch(call: Call<ClientSession>): void {
    const { session, args } = call;
    let entry = this.#table.find(args[0]!);
    if (entry === null) return this.#refuse(call, null, unknownCommandText(args));
    if (entry.subcommands !== null && args.length > 1) {
      const sub = entry.subcommands.find(args[1]!);
      if (sub === null) return this.#refuse(call, null, unknownSubcommandText(entry, args[1]!));
      entry = sub;
    }
    if (!entry.accepts(args.length)) return this.#refuse(call, entry, arityText(entry));
    if (!session.isAuthenticated && entry.needsAuthentication) return this.#refuse(call, entry, NOT_AUTHENTICATED);
    if (session.transaction !== null && !TRANSACTION_CONTROL.has(entry.fullName)) return this.#queue(call, entry);
    if (this.#clients.paused !== null && this.#isHeldBack(session, entry)) return this.#afterPause(call, entry);
    session.lastEntry = entry;
    // Here for all of them, so that no command can forget it; one that turns out to change nothing loses nothing by it.
    if (entry.isWrite) call.markWrite();
    this.#runner.run(entry, call);
  }

  /** Answers an error; within MULTI it also breaks the transaction. A malformed EXEC ends it, or says so even without one. */
  #refuse(call: Call<ClientSession>, entry: TableEntry | null, text: string): void {
    const { session } = call;
    if (entry?.fullName !== "exec") {
      if (session.transaction !== null) session.transaction.isBroken = true;
      return this.#runner.refuse(entry, text, call.reply);
    }
    session.transaction = null;
    session.watched = [];
    const reason = text.slice(text.indexOf(" ") + 1);
    this.#runner.refuse(entry, `EXECABORT Transaction discarded because of: ${reason}`, call.reply);
  }

  #queue(call: Call<ClientSession>, entry: TableEntry): void {
    const transaction = call.session.transaction!;
    if (!entry.isAllowedInTransaction) return this.#refuse(call, entry, NOT_IN_TRANSACTION);
    const args = call.args.map((argument) => Buffer.from(argument));
    transaction.queuedBytes += args.reduce((sum, argument) => sum + argument.length + ARGUMENT_OVERHEAD_BYTES, 0);
    if (transaction.queuedBytes > TRANSACTION_BYTES_MAX) return this.#refuse(call, entry, TRANSACTION_TOO_LARGE);
    // A broken transaction will not run: its commands need no memory.
    if (!transaction.isBroken) transaction.queue.push({ entry, args });
    call.reply.simple("QUEUED");
  }

  #isHeldBack(session: ClientSession, entry: TableEntry): boolean {
    if (entry.fullName === UNPAUSE) return false;
    if (this.#clients.paused === "all" || entry.isWrite) return true;
    return entry.fullName === "exec" && (session.transaction?.queue.some((queued) => queued.entry.isWrite) ?? false);
  }

  /** Runs the request when the pause is over; later requests of the connection wait behind it. */
  #afterPause(call: Call<ClientSession>, entry: TableEntry): void {
    const { session } = call;
    call.markWrite();
    call.alone(async (reply, args) => {
      await this.#clients.whenUnpaused();
      const collected = new CollectedCall(session, args);
      this.dispatch(collected);
      const isStored = entry.isWrite && !collected.isWaiting;
      const committed = isStored ? this.#context.keyspace.committed() : null;
      reply.raw(await collected.finished());
      await committed;
    });
  }
}
