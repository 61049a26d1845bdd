/** SLOWLOG, LATENCY and MEMORY: where time and memory went. */
import { latin1Of } from "../bytes/latin1.js";
import type { Call } from "../resp/call.js";
import type { Reply } from "../resp/reply.js";
import { integerOf } from "./arguments.js";
import type { ClientSession } from "./client-session.js";
import type { Command, CommandFlag } from "./command.js";
import type { CommandRunner } from "./command-runner.js";
import type { CommandSettings } from "./command-settings.js";
import type { CommandTable, TableEntry } from "./command-table.js";
import { container } from "./help.js";
import type { MemoryFacts } from "./info-sections.js";

const ADMIN: readonly CommandFlag[] = ["admin", "noscript", "loading", "stale"];
/** Entries that SLOWLOG GET answers unless told otherwise. */
const SLOW_CALLS_SHOWN = 10;

export interface DiagnosticsOptions {
  readonly runner: CommandRunner;
  readonly settings: CommandSettings;
  readonly table: () => CommandTable;
  readonly memory: () => MemoryFacts;
  /** MEMORY USAGE, which looks at a key; null while there is none. */
  readonly memoryUsage: Command | null;
}

type ClientCall = Call<ClientSession>;

/** Builds the family. */
export function diagnosticsCommands(options: DiagnosticsOptions): readonly Command[] {
  const sub = (
    name: string,
    arity: number,
    run: Command["run"],
    about: Pick<Command, "since" | "summary"> & Partial<Command>,
  ) => ({
    name,
    arity,
    flags: ADMIN,
    keys: null,
    group: "server" as const,
    arguments: [],
    ...about,
    run,
  });
  const { runner } = options;
  return [
    container({ name: "slowlog", since: "2.2.12", group: "server", summary: "Commands about the slow log." }, [
      sub("get", -2, (_, call) => getSlowCalls(runner, call), {
        since: "2.2.12",
        summary: "The latest entries: id, time, microseconds, arguments, client, name.",
        arguments: [{ name: "count", type: "integer", optional: true }],
      }),
      sub("len", 2, (_, call) => call.reply.integer(runner.slowLog.calls.length), {
        since: "2.2.12",
        summary: "How many entries there are.",
      }),
      sub("reset", 2, (_, call) => resetSlowLog(runner, call), { since: "2.2.12", summary: "Forgets all entries." }),
    ]),
    container({ name: "latency", since: "2.8.13", group: "server", summary: "Commands about latency." }, [
      sub("latest", 2, (_, call) => latest(runner, call.reply), {
        since: "2.8.13",
        summary: "For each kind of event: the latest spike and the worst.",
      }),
      sub("history", 3, (_, call) => history(runner, call), {
        since: "2.8.13",
        summary: "The spikes of one kind of event.",
        arguments: [{ name: "event", type: "string" }],
      }),
      sub("reset", -2, (_, call) => resetLatency(runner, call), {
        since: "2.8.13",
        summary: "Forgets the spikes of some kinds of events, or of all.",
        arguments: [{ name: "event", type: "string", optional: true, multiple: true }],
      }),
      sub("histogram", -2, (_, call) => histogram(options.table(), call), {
        since: "7.0.0",
        summary: "How long calls took, by command.",
        arguments: [{ name: "command", type: "string", optional: true, multiple: true }],
      }),
      sub("doctor", 2, (_, call) => call.reply.verbatim(`${latencyReport(options)}\n`), {
        since: "2.8.13",
        summary: "The spikes in words.",
      }),
    ]),
    container({ name: "memory", since: "4.0.0", group: "server", summary: "Commands about memory." }, [
      ...(options.memoryUsage === null ? [] : [options.memoryUsage]),
      sub("stats", 2, (_, call) => memoryStats(options.memory(), call.reply), {
        since: "4.0.0",
        summary: "Bytes of memory by use.",
        flags: [],
      }),
      sub("doctor", 2, (_, call) => call.reply.verbatim(`${memoryReport(options.memory())}\n`), {
        since: "4.0.0",
        summary: "The use of memory in words.",
        flags: [],
      }),
    ]),
  ];
}

function getSlowCalls(runner: CommandRunner, { args, reply }: ClientCall): void {
  const count = args.length === 3 ? integerOf(args[2]!) : SLOW_CALLS_SHOWN;
  if (args.length > 3) {
    return reply.error("ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP.");
  }
  if (count === null || count < -1) return reply.error("ERR count should be greater than or equal to -1");
  const { calls } = runner.slowLog;
  const shown = count === -1 ? calls : calls.slice(0, count);
  reply.array(shown.length);
  for (const call of shown) {
    reply.array(6);
    reply.integer(call.id);
    reply.integer(call.endedSeconds);
    reply.integer(call.micros);
    reply.array(call.args.length);
    for (const argument of call.args) reply.bulk(argument);
    reply.bulk(call.remoteAddress);
    reply.bulk(call.clientName);
  }
}

function resetSlowLog(runner: CommandRunner, { reply }: ClientCall): void {
  runner.slowLog.reset();
  reply.ok();
}

function latest(runner: CommandRunner, reply: Reply): void {
  const events = runner.latency.events();
  reply.array(events.length);
  for (const { name, spikes, worstMs } of events) {
    const last = spikes.at(-1)!;
    reply.array(4);
    reply.bulk(name);
    reply.integer(last.atSeconds);
    reply.integer(last.latencyMs);
    reply.integer(worstMs);
  }
}

function history(runner: CommandRunner, { args, reply }: ClientCall): void {
  const spikes = runner.latency.spikesOf(latin1Of(args[2]!));
  reply.array(spikes.length);
  for (const { atSeconds, latencyMs } of spikes) {
    reply.array(2);
    reply.integer(atSeconds);
    reply.integer(latencyMs);
  }
}

function resetLatency(runner: CommandRunner, { args, reply }: ClientCall): void {
  const events = args.slice(2).map((argument) => latin1Of(argument));
  reply.integer(runner.latency.reset(events.length === 0 ? "all" : events));
}

/** A container stands for its subcommands; unknown names are left out. */
function histogram(table: CommandTable, { args, reply }: ClientCall): void {
  const asked =
    args.length === 2 ? [...table.all()] : args.slice(2).flatMap((name) => withSubcommands(table.named(latin1Of(name))));
  const chosen = asked.filter((entry) => entry.statistics.calls > 0);
  reply.map(chosen.length);
  for (const { fullName, statistics } of chosen) {
    const buckets = statistics.histogram();
    reply.bulk(fullName);
    reply.map(2);
    reply.bulk("calls");
    reply.integer(statistics.calls);
    reply.bulk("histogram_usec");
    reply.map(buckets.length);
    for (const [micros, calls] of buckets) {
      reply.integer(micros);
      reply.integer(calls);
    }
  }
}

function withSubcommands(entry: TableEntry | null): readonly TableEntry[] {
  if (entry === null) return [];
  return entry.subcommands === null ? [entry] : [entry, ...entry.subcommands.entries];
}

function latencyReport({ runner, settings }: DiagnosticsOptions): string {
  const events = runner.latency.events();
  if (settings.latencyThresholdMs === 0 && events.length === 0) {
    return 'Latency monitoring is off. "CONFIG SET latency-monitor-threshold <milliseconds>" turns it on.';
  }
  if (events.length === 0) return "No spike above latency-monitor-threshold was seen.";
  return events
    .map(({ name, spikes, worstMs }) => {
      const mean = spikes.reduce((sum, spike) => sum + spike.latencyMs, 0) / spikes.length;
      return `${name}: ${spikes.length} spikes, on average ${mean.toFixed(1)} ms, worst ${worstMs} ms.`;
    })
    .join("\n");
}

function memoryStats(memory: MemoryFacts, reply: Reply): void {
  const fields: readonly (readonly [string, number])[] = [
    ["peak.allocated", memory.usedPeak],
    ["total.allocated", memory.used],
    ["resident", memory.resident],
    ["total.system", memory.total],
  ];
  reply.map(fields.length);
  for (const [name, bytes] of fields) {
    reply.bulk(name);
    reply.integer(bytes);
  }
}

function memoryReport(memory: MemoryFacts): string {
  const share = (memory.resident / Math.max(1, memory.total)) * 100;
  return `The process holds ${memory.resident} bytes, ${share.toFixed(1)}% of this machine's memory; its caches and tables are bounded by settings (INFO storage).`;
}
