/**
 * MULTI, EXEC, DISCARD, WATCH, UNWATCH. A transaction is a batch: its commands run in order, and nobody else works on
 * their keys on this node meanwhile. Each key keeps its own quorum, and nothing is rolled back when a command fails. Where
 * one other node decides on all its keys, it runs there.
 * WATCH compares what a key is at EXEC with what it was, by the key's fingerprint.
 */
import type { CommandRouting } from "../coordinator/command-forwarding.js";
import type { Keyspace, Scope } from "../coordinator/keyspace.js";
import type { Call } from "../resp/call.js";
import { Reply } from "../resp/reply.js";
import { integerOf, wordOf } from "./arguments.js";
import type { ClientSession, QueuedCommand, WatchedKey } from "./client-session.js";
import type { Command, CommandContext, CommandFlag } from "./command.js";
import type { CommandRunner } from "./command-runner.js";
import { DATABASES } from "./command-settings.js";
import type { CommandTable } from "./command-table.js";
import { decodeTransaction, encodeTransaction } from "./forwarded-transaction.js";
import type { Target } from "./keyed.js";

const FAST: readonly CommandFlag[] = ["noscript", "loading", "stale", "fast", "allow_busy"];
const SLOW: readonly CommandFlag[] = ["noscript", "loading", "stale", "skip_slowlog"];

type ClientCall = Call<ClientSession>;

/** Builds the family. */
export function transactionCommands(runner: CommandRunner): readonly Command[] {
  const command = (
    name: string,
    arity: number,
    run: Command["run"],
    about: Pick<Command, "since" | "summary"> & Partial<Command>,
  ): Command => ({ name, arity, flags: FAST, keys: null, group: "transactions", arguments: [], ...about, run });
  return [
    command("multi", 1, (_, call) => multi(call), { since: "1.2.0", summary: "Queues the commands that follow for EXEC." }),
    command("exec", 1, (context, call) => exec(context, runner, call), {
      since: "1.2.0",
      summary: "Runs the queued commands in order, uninterrupted on this node; each key keeps its own quorum.",
      complexity: "O(N) for N queued commands, besides their own",
      flags: SLOW,
    }),
    command("discard", 1, (_, call) => discard(call), { since: "2.0.0", summary: "Forgets the queued commands." }),
    command("watch", -2, (context, call) => watch(context, call), {
      since: "2.2.0",
      summary: "Makes EXEC depend on these keys not changing.",
      complexity: "O(N) for N keys",
      keys: { first: 1, last: -1, step: 1 },
      access: ["RO"],
      arguments: [{ name: "key", type: "key", multiple: true }],
    }),
    command("unwatch", 1, (_, call) => unwatch(call), { since: "2.2.0", summary: "Forgets the watched keys." }),
  ];
}

function multi({ session, reply }: ClientCall): void {
  if (session.transaction !== null) return reply.error("ERR MULTI calls can not be nested");
  session.transaction = { queue: [], queuedBytes: 0, isBroken: false };
  reply.ok();
}

function discard({ session, reply }: ClientCall): void {
  if (session.transaction === null) return reply.error("ERR DISCARD without MULTI");
  session.transaction = null;
  session.watched = [];
  reply.ok();
}

function unwatch({ session, reply }: ClientCall): void {
  session.watched = [];
  reply.ok();
}

/** Alone, so that what follows it on the connection finds the keys watched. */
function watch(context: CommandContext, call: ClientCall): void {
  const { session } = call;
  if (session.transaction !== null) return call.reply.error("ERR WATCH inside MULTI is not allowed");
  call.alone(async (reply, args) => {
    const { scope } = session;
    const fingerprints = await Promise.all(args.slice(1).map((key) => context.keyspace.fingerprint(scope, key)));
    const watched = fingerprints.map((fingerprint, at): WatchedKey => {
      return { database: scope.database, key: args[at + 1]!, fingerprint };
    });
    session.watched = [...session.watched, ...watched];
    reply.ok();
  });
}

function exec(context: CommandContext, runner: CommandRunner, call: ClientCall): void {
  const { session } = call;
  const { transaction, watched } = session;
  if (transaction === null) return call.reply.error("ERR EXEC without MULTI");
  session.transaction = null;
  session.watched = [];
  if (transaction.isBroken) {
    return call.reply.error("EXECABORT Transaction discarded because of previous errors.");
  }
  if (transaction.queue.length === 0 && watched.length === 0) return call.reply.array(0);
  const isWrite = transaction.queue.some((queued) => queued.entry.isWrite);
  if (isWrite) call.markWrite();
  const targets = targetsOf(session.scope, transaction.queue, watched);
  const { routing } = context;
  if (routing !== null && isForElsewhere(routing, transaction.queue, targets)) {
    const args = encodeTransaction(transaction.queue, watched);
    const { scope } = session;
    call.alone(async (reply) => {
      reply.raw(await routing.forward({ args, targets, protocol: reply.protocol, scope, repeats: "once at most" }));
    });
    return;
  }
  const execution = { keyspace: context.keyspace, runner, session, queue: transaction.queue, watched, targets };
  call.alone((reply) => execute(execution, reply), isWrite ? "room" : "nothing");
}

/** What decides on keys runs where they are decided on, if that is one other node, and nothing of it is the connection's. */
function isForElsewhere(routing: CommandRouting, queue: readonly QueuedCommand[], targets: readonly Target[]): boolean {
  const isOnKeys = queue.every(({ entry, args }) => entry.keyPositions(args).length > 0);
  return isOnKeys && targets.length > 0 && routing.areElsewhere(targets);
}

/** Runs a transaction that another node passed on: see `encodeTransaction`. Resolves with the encoded reply. */
export async function executeForwarded(
  options: { readonly keyspace: Keyspace; readonly runner: CommandRunner; readonly table: CommandTable },
  session: ClientSession,
  args: readonly Buffer[],
): Promise<string> {
  const { queue, watched } = decodeTransaction(args, options.table);
  const reply = new Reply(session.protocol);
  const targets = targetsOf(session.scope, queue, watched);
  await execute({ ...options, session, queue, watched, targets }, reply);
  return reply.take();
}

interface Execution {
  readonly keyspace: Keyspace;
  readonly runner: CommandRunner;
  readonly session: ClientSession;
  readonly queue: readonly QueuedCommand[];
  readonly watched: readonly WatchedKey[];
  /** All keys of both. */
  readonly targets: readonly Target[];
}

async function execute(execution: Execution, reply: Reply): Promise<void> {
  const { keyspace, session, queue, watched, targets } = execution;
  const { forwarded } = session.scope;
  const hold = await keyspace.hold(
    targets.map(({ scope }) => scope),
    targets.map(({ key }) => key),
  );
  const commits: Promise<void>[] = [];
  try {
    for (const { database, key, fingerprint } of watched) {
      const now = await keyspace.fingerprint({ ...session.scope, database, hold }, key);
      if (now !== fingerprint) return reply.nullArray();
    }
    let replies = "";
    for (const [at, { entry, args }] of queue.entries()) {
      // SELECT among the commands makes another scope; each write has an id of its own.
      session.scope = { ...session.scope, hold };
      if (forwarded !== undefined) {
        session.scope = { ...session.scope, forwarded: { ...forwarded, writeId: `${forwarded.writeId}.${at}` } };
      }
      const call = execution.runner.collect(entry, session, args);
      if (entry.isWrite && !call.isWaiting) commits.push(heard(keyspace.committed()));
      replies += await call.finished();
    }
    reply.array(queue.length);
    reply.raw(replies);
  } finally {
    session.scope = { ...session.scope, hold: null };
    hold.release();
  }
  // Some may have been stored in an earlier turn than the one whose commit decides about the last.
  await Promise.all(commits);
}

/** The same promise, which may be rejected before anybody waits for it. */
function heard(promise: Promise<void>): Promise<void> {
  promise.catch(() => undefined);
  return promise;
}

/** Every key that the queued commands name and every watched one, with its database: SELECT and COPY's DB are followed. */
function targetsOf(scope: Scope, queue: readonly QueuedCommand[], watched: readonly WatchedKey[]): readonly Target[] {
  const targets = watched.map(({ database, key }): Target => ({ scope: { ...scope, database }, key }));
  let current = scope;
  for (const { entry, args } of queue) {
    if (entry.fullName === "select") current = { ...current, database: databaseOf(args[1]!) ?? current.database };
    for (const position of entry.keyPositions(args)) targets.push({ scope: current, key: args[position]! });
    const target = entry.fullName === "copy" ? copyDatabase(args) : null;
    if (target !== null) targets.push({ scope: { ...current, database: target }, key: args[2]! });
  }
  return targets;
}

/** The database that COPY names as its target; null when it names none. */
function copyDatabase(args: readonly Buffer[]): number | null {
  const at = args.findIndex((argument, position) => position > 2 && wordOf(argument) === "DB");
  return at < 0 || at + 1 >= args.length ? null : databaseOf(args[at + 1]!);
}

function databaseOf(argument: Buffer): number | null {
  const database = integerOf(argument);
  return database !== null && database >= 0 && database < DATABASES ? database : null;
}
