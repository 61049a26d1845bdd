/**
 * The sections that INFO shows, built from what the commands count themselves and from facts of the node. Field names are
 * those that clients and dashboards read; a figure that has no meaning here is 0, never invented.
 */
import type { Keyspace } from "../coordinator/keyspace.js";
import type { Clock } from "../host/clock.js";
import type { Clients } from "./clients.js";
import { type CommandRunner, TIMING_STRIDE } from "./command-runner.js";
import { type CommandSettings, DATABASES } from "./command-settings.js";
import type { CommandTable } from "./command-table.js";
import { REDIS_VERSION } from "./connection.js";
import { type InfoField, type InfoSection, InfoSections } from "./info.js";
import type { RateMeter } from "./rate-meter.js";

/** What the node knows of itself; the composition root implements it. */
export interface NodeFacts {
  /** Kindred's own version. */
  readonly version: string;
  /** `Linux 6.1.0 x64`. */
  readonly operatingSystem: string;
  /** The version of the runtime. */
  readonly runtimeVersion: string;
  readonly processId: number;
  /** 40 hexadecimal digits, new with each start. */
  readonly runId: string;
  readonly port: number;
  readonly executable: string;
  /** "" when there is none. */
  readonly configFile: string;
  /** HELLO's and INFO's mode. */
  readonly mode: "standalone" | "cluster";
  /** Wall clock at the start. */
  readonly startedMs: number;
  /** True while the ring has other members. The mode stays `standalone`: any node answers every key, and has 16 databases. */
  isInCompany(): boolean;
  memory(): MemoryFacts;
  /** Seconds of processor time since the start. */
  processor(): { readonly userSeconds: number; readonly systemSeconds: number };
  traffic(): TrafficFacts;
  keyspace(): KeyspaceFacts;
  durability(): DurabilityFacts;
  /** The lines of `# Storage`, `# Hints`, `# Anti-entropy` and `# Peers`. */
  storage(): Iterable<InfoField>;
  hints(): Iterable<InfoField>;
  antiEntropy(): Iterable<InfoField>;
  peers(): Iterable<InfoField>;
  /** Sets counters that INFO shows back to 0 (CONFIG RESETSTAT). */
  resetCounters(): void;
}

/** Bytes. */
export interface MemoryFacts {
  /** In use by the node's own structures and the runtime. */
  readonly used: number;
  readonly usedPeak: number;
  readonly resident: number;
  /** Of the machine. */
  readonly total: number;
}

export interface TrafficFacts {
  readonly inputBytes: number;
  readonly outputBytes: number;
  readonly rejectedConnections: number;
}

export interface KeyspaceFacts {
  readonly hits: number;
  readonly misses: number;
  /** Keys whose expiry passed and that were removed. */
  readonly expired: number;
}

export interface DurabilityFacts {
  readonly isLoading: boolean;
  readonly isLastWriteOk: boolean;
  /** Changes not yet known to be durable. */
  readonly unsyncedChanges: number;
  /** Wall clock of the last moment at which all was durable, in seconds. */
  readonly lastDurableSeconds: number;
}

export interface InfoOptions {
  readonly facts: NodeFacts;
  readonly clients: Clients;
  readonly runner: CommandRunner;
  readonly settings: CommandSettings;
  readonly keyspace: Keyspace;
  readonly clock: Clock;
  readonly rate: RateMeter;
  /** Asked when INFO runs: the table holds INFO itself. */
  readonly table: () => CommandTable;
}

/** All sections in Redis's order, then `# Storage`. */
export function nodeInfo(options: InfoOptions): InfoSections {
  const always = (name: string, fields: () => Iterable<InfoField>): InfoSection => ({ name, shown: "by default", fields });
  const asked = (name: string, fields: () => Iterable<InfoField>): InfoSection => ({ name, shown: "when asked", fields });
  return new InfoSections([
    always("Server", () => serverFields(options)),
    always("Clients", () => clientFields(options)),
    always("Memory", () => memoryFields(options.facts.memory())),
    always("Persistence", () => persistenceFields(options.facts.durability())),
    always("Stats", () => statsFields(options)),
    always("Replication", () => replicationFields(options.facts)),
    always("CPU", () => processorFields(options.facts)),
    always("Modules", () => []),
    asked("Commandstats", () => commandStatistics(options.table())),
    always("Errorstats", () => errorStatistics(options.runner)),
    asked("Latencystats", () => latencyStatistics(options.table())),
    always("Cluster", () => [["cluster_enabled", options.facts.isInCompany() ? 1 : 0]]),
    always("Keyspace", () => keyspaceFields(options.keyspace)),
    always("Storage", () => options.facts.storage()),
    always("Hints", () => options.facts.hints()),
    always("Anti-entropy", () => options.facts.antiEntropy()),
    always("Peers", () => options.facts.peers()),
  ]);
}

function* serverFields({ facts, clock }: InfoOptions): Generator<InfoField> {
  const nowMs = clock.wallMs();
  const uptimeSeconds = Math.max(0, Math.floor((nowMs - facts.startedMs) / 1_000));
  yield ["redis_version", REDIS_VERSION];
  yield ["kindred_version", facts.version];
  yield ["redis_git_sha1", "00000000"];
  yield ["redis_git_dirty", 0];
  yield ["redis_mode", facts.mode];
  yield ["os", facts.operatingSystem];
  yield ["arch_bits", 64];
  yield ["node_version", facts.runtimeVersion];
  yield ["process_id", facts.processId];
  yield ["run_id", facts.runId];
  yield ["tcp_port", facts.port];
  yield ["server_time_usec", nowMs * 1_000];
  yield ["uptime_in_seconds", uptimeSeconds];
  yield ["uptime_in_days", Math.floor(uptimeSeconds / 86_400)];
  yield ["executable", facts.executable];
  yield ["config_file", facts.configFile];
}

function* clientFields({ clients, settings }: InfoOptions): Generator<InfoField> {
  yield ["connected_clients", clients.count];
  yield ["cluster_connections", 0];
  yield ["maxclients", settings.clientsMax];
  yield ["blocked_clients", 0];
  yield ["tracking_clients", 0];
}

function* memoryFields(memory: MemoryFacts): Generator<InfoField> {
  yield ["used_memory", memory.used];
  yield ["used_memory_human", humanBytes(memory.used)];
  yield ["used_memory_rss", memory.resident];
  yield ["used_memory_rss_human", humanBytes(memory.resident)];
  yield ["used_memory_peak", memory.usedPeak];
  yield ["used_memory_peak_human", humanBytes(memory.usedPeak)];
  yield ["total_system_memory", memory.total];
  yield ["total_system_memory_human", humanBytes(memory.total)];
  yield ["maxmemory", 0];
  yield ["maxmemory_human", "0B"];
  yield ["maxmemory_policy", "noeviction"];
  yield ["mem_fragmentation_ratio", (memory.resident / Math.max(1, memory.used)).toFixed(2)];
  yield ["mem_allocator", "v8"];
}

function* persistenceFields(durability: DurabilityFacts): Generator<InfoField> {
  const status = durability.isLastWriteOk ? "ok" : "err";
  yield ["loading", durability.isLoading ? 1 : 0];
  yield ["async_loading", 0];
  yield ["rdb_changes_since_last_save", durability.unsyncedChanges];
  yield ["rdb_bgsave_in_progress", 0];
  yield ["rdb_last_save_time", durability.lastDurableSeconds];
  yield ["rdb_last_bgsave_status", status];
  yield ["rdb_last_bgsave_time_sec", -1];
  yield ["rdb_current_bgsave_time_sec", -1];
  yield ["aof_enabled", 1];
  yield ["aof_rewrite_in_progress", 0];
  yield ["aof_rewrite_scheduled", 0];
  yield ["aof_last_rewrite_time_sec", -1];
  yield ["aof_last_bgrewrite_status", "ok"];
  yield ["aof_last_write_status", status];
}

function* statsFields({ facts, clients, runner, rate }: InfoOptions): Generator<InfoField> {
  const traffic = facts.traffic();
  const keyspace = facts.keyspace();
  yield ["total_connections_received", clients.accepted];
  yield ["total_commands_processed", runner.processed];
  yield ["instantaneous_ops_per_sec", rate.perSecond()];
  yield ["total_net_input_bytes", traffic.inputBytes];
  yield ["total_net_output_bytes", traffic.outputBytes];
  yield ["rejected_connections", traffic.rejectedConnections];
  yield ["expired_keys", keyspace.expired];
  yield ["evicted_keys", 0];
  yield ["evicted_clients", 0];
  yield ["keyspace_hits", keyspace.hits];
  yield ["keyspace_misses", keyspace.misses];
  yield ["pubsub_channels", 0];
  yield ["pubsub_patterns", 0];
  yield ["latest_fork_usec", 0];
  yield ["total_error_replies", runner.errors.total];
  yield ["command_timing_one_in", TIMING_STRIDE];
}

function* replicationFields(facts: NodeFacts): Generator<InfoField> {
  yield ["role", "master"];
  yield ["connected_slaves", 0];
  yield ["master_failover_state", "no-failover"];
  yield ["master_replid", facts.runId];
  yield ["master_replid2", "0".repeat(40)];
  yield ["master_repl_offset", 0];
  yield ["second_repl_offset", -1];
  yield ["repl_backlog_active", 0];
}

function* processorFields(facts: NodeFacts): Generator<InfoField> {
  const { userSeconds, systemSeconds } = facts.processor();
  yield ["used_cpu_sys", systemSeconds.toFixed(6)];
  yield ["used_cpu_user", userSeconds.toFixed(6)];
  yield ["used_cpu_sys_children", "0.000000"];
  yield ["used_cpu_user_children", "0.000000"];
}

function* commandStatistics(table: CommandTable): Generator<InfoField> {
  for (const { fullName, statistics } of table.all()) {
    const { calls, micros, rejected, failed } = statistics;
    if (calls === 0 && rejected === 0) continue;
    const perCall = calls === 0 ? "0.00" : (micros / calls).toFixed(2);
    const text = `calls=${calls},usec=${micros},usec_per_call=${perCall},rejected_calls=${rejected},failed_calls=${failed}`;
    yield [`cmdstat_${fullName}`, text];
  }
}

function* errorStatistics(runner: CommandRunner): Generator<InfoField> {
  for (const [kind, count] of runner.errors.entries()) yield [`errorstat_${kind}`, `count=${count}`];
}

function* latencyStatistics(table: CommandTable): Generator<InfoField> {
  for (const { fullName, statistics } of table.all()) {
    if (statistics.calls === 0) continue;
    const at = (share: number) => statistics.percentile(share).toFixed(3);
    yield [`latency_percentiles_usec_${fullName}`, `p50=${at(0.5)},p99=${at(0.99)},p99.9=${at(0.999)}`];
  }
}

function* keyspaceFields(keyspace: Keyspace): Generator<InfoField> {
  for (let database = 0; database < DATABASES; database++) {
    const keys = keyspace.size(database);
    if (keys > 0) yield [`db${database}`, `keys=${keys},expires=${keyspace.expiringSize(database)},avg_ttl=0`];
  }
}

/** `1.50M`, as Redis prints bytes for people. */
export function humanBytes(bytes: number): string {
  const units = ["B", "K", "M", "G", "T"];
  let value = bytes;
  let unit = 0;
  for (; value >= 1_024 && unit < units.length - 1; unit++) value /= 1_024;
  return unit === 0 ? `${bytes}B` : `${value.toFixed(2)}${units[unit]}`;
}
