/**
 * Runs commands that other nodes pass on: the same table, without a connection. What such a command does to its session is
 * forgotten with it; commands of that kind are never passed on.
 */
import { latin1Of } from "../bytes/latin1.js";
import type { CommandKeys, CommandRun } from "../coordinator/command-forwarding.js";
import type { Keyspace } from "../coordinator/keyspace.js";
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { ConnectionControl } from "../resp/call.js";
import { ClientSession } from "./client-session.js";
import type { CommandRunner } from "./command-runner.js";
import type { CommandSettings } from "./command-settings.js";
import type { CommandTable } from "./command-table.js";
import { decodeTransaction, TRANSACTION } from "./forwarded-transaction.js";
import { executeForwarded } from "./transactions.js";

const NO_CONNECTION: ConnectionControl = {
  ends: { remoteAddress: "", remotePort: 0, localAddress: "", localPort: 0 },
  closeAfterReplies: () => undefined,
  kill: () => undefined,
  setReplyMode: () => undefined,
  inputBytes: 0,
  outputBytes: 0,
  push: () => undefined,
};

/** The keys of a command that is passed on. Throws CORRUPT for what no node sends. */
export function keysOfForwarded(table: CommandTable): CommandKeys {
  return (args) => {
    if (latin1Of(args[0]!) === TRANSACTION) {
      const { queue, watched } = decodeTransaction(args, table);
      const keys = queue.flatMap(({ entry, args: words }) => entry.keyPositions(words).map((at) => words[at]!));
      return [...watched.map(({ key }) => key), ...keys];
    }
    const lookup = table.resolve(args);
    if (lookup.kind !== "found" || !lookup.entry.accepts(args.length)) return [];
    return lookup.entry.keyPositions(args).map((at) => args[at]!);
  };
}

export function runForwarded(options: {
  readonly keyspace: Keyspace;
  readonly table: CommandTable;
  readonly runner: CommandRunner;
  readonly clock: Clock;
  readonly settings: CommandSettings;
}): CommandRun {
  const { table, runner, clock, settings } = options;
  return async ({ args, database, protocol, consistency }, forwarded, hold) => {
    const session = new ClientSession({
      id: 0,
      control: NO_CONNECTION,
      createdMs: clock.wallMs(),
      isAuthenticated: true,
      consistency: settings.consistencyOf(0),
    });
    session.protocol = protocol;
    session.scope = { database, consistency, hold, forwarded };
    if (latin1Of(args[0]!) === TRANSACTION) return executeForwarded(options, session, args);
    const lookup = table.resolve(args);
    if (lookup.kind !== "found" || !lookup.entry.accepts(args.length) || !lookup.entry.isWrite) {
      throw new OperatingError("ARGUMENT", "another node passed on a command that this version does not run for others");
    }
    const call = runner.collect(lookup.entry, session, args);
    // What was answered within the call is not committed yet; of what waited, that was waited for.
    const committed = call.isWaiting ? null : options.keyspace.committed();
    const reply = await call.finished();
    await committed;
    // Whoever passed it on decides what a failure of this node means for the request; what the command answers is the answer.
    if (call.reply.failure !== null) throw call.reply.failure;
    return reply;
  };
}
