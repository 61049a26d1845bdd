/** Builds the command table of a node from its families: wiring only. */
import { type ClusterMember, ringOfOne } from "./commands/cluster-view.js";
import { clusterCommands } from "./commands/cluster.js";
import type { ClientSession } from "./commands/client-session.js";
import { clientCommands } from "./commands/client.js";
import { Clients } from "./commands/clients.js";
import { commandCommands } from "./commands/command-command.js";
import { CommandRunner } from "./commands/command-runner.js";
import type { CommandSettings } from "./commands/command-settings.js";
import { CommandTable } from "./commands/command-table.js";
import { Commands } from "./commands/commands.js";
import { configCommands } from "./commands/config-command.js";
import { connectionCommands } from "./commands/connection.js";
import { consistencyCommands } from "./commands/consistency.js";
import { expiryCommands } from "./commands/expiry.js";
import { incrementCommands } from "./commands/increments.js";
import { infoCommands } from "./commands/info.js";
import { nodeInfo } from "./commands/info-sections.js";
import { keyCommands } from "./commands/keys.js";
import { RateMeter } from "./commands/rate-meter.js";
import { withInertParameters } from "./commands/runtime-settings.js";
import { stringCommands } from "./commands/strings.js";
import { transactionCommands } from "./commands/transactions.js";
import type { Coordinator } from "./coordinator/coordinator.js";
import type { Clock } from "./host/clock.js";
import type { Random } from "./host/random.js";
import type { LiveConfig } from "./live-config.js";
import type { Lsm } from "./lsm/lsm.js";
import { Facts, type Machine } from "./node-facts.js";
import type { Reaper } from "./replica/reaper.js";
import type { Dispatcher } from "./resp/call.js";
import type { RespServer } from "./resp/server.js";

export interface NodeCommandsOptions {
  readonly coordinator: Coordinator;
  readonly lsm: Lsm;
  readonly reaper: Reaper;
  readonly clock: Clock;
  readonly random: Random;
  readonly live: LiveConfig;
  readonly settings: CommandSettings;
  readonly machine: Machine;
  /** 8 latin1 characters. */
  readonly storeId: string;
  readonly requestStop: () => void;
}

export interface NodeCommands {
  readonly dispatcher: Dispatcher<ClientSession>;
  /** The server listens. */
  listening(port: number, server: RespServer<ClientSession>): void;
  stop(): void;
}

/** A ring of one holds one copy of each key. */
const COPIES = { local: 1, elsewhere: [] };
const PEER_PORT_OFFSET = 10_000;

export function buildCommands(options: NodeCommandsOptions): NodeCommands {
  const { coordinator: keyspace, clock, live, settings } = options;
  const facts = new Facts(options);
  const context = { keyspace, clock };
  const clients = new Clients(clock);
  const runner = new CommandRunner({ context, settings });
  const rate = new RateMeter({ clock, count: () => runner.processed });
  const info = nodeInfo({ facts, clients, runner, settings, keyspace, clock, rate, table: () => table });
  const member = (): ClusterMember => ({
    id: memberId(options.storeId),
    ip: live.values.bind === "0.0.0.0" || live.values.bind === "::" ? "127.0.0.1" : live.values.bind,
    port: facts.port,
    peerPort: facts.port + PEER_PORT_OFFSET,
    health: "online",
  });
  const resetStatistics = (): void => {
    facts.resetCounters();
    runner.resetStatistics(table);
    clients.accepted = 0;
  };
  const table: CommandTable = new CommandTable([
    ...stringCommands,
    ...incrementCommands,
    ...keyCommands,
    ...expiryCommands,
    ...connectionCommands({ settings, copies: () => COPIES, mode: "standalone" }),
    ...clientCommands(clients),
    ...transactionCommands(runner),
    ...commandCommands(() => table),
    ...configCommands({ settings: withInertParameters(live), resetStatistics }),
    ...infoCommands(info),
    ...clusterCommands(ringOfOne(member)),
    ...consistencyCommands({ settings, copies: () => COPIES, table: () => table, runner }),
  ]);
  const dispatcher = new Commands({ table, runner, clients, context, settings });
  rate.start();
  return {
    dispatcher,
    listening: (port, server) => facts.listening(port, server.counters),
    stop: () => rate.stop(),
  };
}

/** A member's id as cluster clients want it: 40 hexadecimal digits that begin with the store's. */
function memberId(storeId: string): string {
  return Buffer.from(storeId, "latin1").toString("hex").padEnd(40, "0");
}
