/**
 * Puts the commands together: the families of this folder, those that are given (strings, keys), and the dispatcher over
 * them all. No logic of its own.
 */
import type { CommandRouting } from "../coordinator/command-forwarding.js";
import type { Copies } from "../coordinator/consistency.js";
import type { Keyspace } from "../coordinator/keyspace.js";
import type { Clock } from "../host/clock.js";
import type { Log } from "../log.js";
import { clientCommands } from "./client.js";
import { Clients } from "./clients.js";
import { clusterCommands } from "./cluster.js";
import type { ClusterOperations } from "./cluster-operations.js";
import type { ClusterView } from "./cluster-view.js";
import type { Command, CommandContext } from "./command.js";
import { commandCommands } from "./command-command.js";
import { CommandRunner } from "./command-runner.js";
import type { CommandSettings } from "./command-settings.js";
import { CommandTable } from "./command-table.js";
import { Commands } from "./commands.js";
import { configCommands } from "./config-command.js";
import { connectionCommands } from "./connection.js";
import { consistencyCommands } from "./consistency.js";
import { debugCommands } from "./debug.js";
import { diagnosticsCommands } from "./diagnostics.js";
import { keysOfForwarded, runForwarded } from "./forwarded-commands.js";
import { infoCommands } from "./info.js";
import { type NodeFacts, nodeInfo } from "./info-sections.js";
import { RateMeter } from "./rate-meter.js";
import { RecentTouches } from "./recent-touches.js";
import { type RuntimeSettings, withInertParameters } from "./runtime-settings.js";
import { serverCommands } from "./server.js";
import { transactionCommands } from "./transactions.js";

export interface NodeCommandsOptions {
  readonly keyspace: Keyspace;
  /** Null on a node that never has others. */
  readonly routing: CommandRouting | null;
  readonly clock: Clock;
  /** The commands on keys. */
  readonly keyed: readonly Command[];
  /** MEMORY USAGE; null while there is none. */
  readonly memoryUsage: Command | null;
  readonly settings: CommandSettings;
  readonly runtimeSettings: RuntimeSettings;
  readonly facts: NodeFacts;
  readonly cluster: ClusterView;
  readonly operations: ClusterOperations;
  /** The copies of each key at present. */
  readonly copies: () => Copies;
  /** `replicas`. */
  readonly replicasMax: () => number;
  readonly makeDurable: () => Promise<void>;
  readonly shutdown: () => void;
  readonly setActiveExpiry: (mode: "on" | "off") => void;
  readonly log: Log;
}

export interface NodeCommands {
  /** What the connections talk to. */
  readonly commands: Commands;
  readonly table: CommandTable;
  readonly clients: Clients;
  /** Started and stopped with the node. */
  readonly rate: RateMeter;
}

export function buildCommands(options: NodeCommandsOptions): NodeCommands {
  const { keyspace, clock, settings, facts, copies, replicasMax } = options;
  const context: CommandContext = { keyspace, routing: options.routing, clock, touches: new RecentTouches() };
  const clients = new Clients(clock);
  const runner = new CommandRunner({ context, settings });
  const rate = new RateMeter({ clock, count: () => runner.processed });
  const table = (): CommandTable => built;
  const info = nodeInfo({ facts, clients, runner, settings, keyspace, clock, rate, table });
  const resetStatistics = (): void => {
    for (const entry of built.all()) entry.statistics.reset();
    runner.resetStatistics();
    clients.accepted = 0;
    facts.resetCounters();
  };
  const built = new CommandTable([
    ...options.keyed,
    ...connectionCommands({ settings, copies, mode: facts.mode }),
    ...clientCommands(clients),
    ...commandCommands(table),
    ...infoCommands(info),
    ...configCommands({ settings: withInertParameters(options.runtimeSettings), resetStatistics }),
    ...serverCommands({
      version: facts.version,
      settings,
      table,
      log: options.log,
      makeDurable: options.makeDurable,
      lastDurableSeconds: () => facts.durability().lastDurableSeconds,
      shutdown: options.shutdown,
    }),
    ...diagnosticsCommands({ runner, settings, table, memory: () => facts.memory(), memoryUsage: options.memoryUsage }),
    ...debugCommands({ settings, setActiveExpiry: options.setActiveExpiry }),
    ...transactionCommands(runner),
    ...consistencyCommands({ settings, runner, table, copies, replicasMax }),
    ...clusterCommands(options.cluster, options.operations),
  ]);
  options.routing?.serve(runForwarded({ keyspace, table: built, runner, clock, settings }), keysOfForwarded(built));
  return { commands: new Commands({ table: built, runner, clients, context, settings }), table: built, clients, rate };
}
