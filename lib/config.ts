/**
 * Every setting of Kindred: its unit, bounds, default and one line of why. A setting may come from a flag
 * (`--max-pair-bytes 20480`), the environment (`KINDRED_MAX_PAIR_BYTES`) or a JSON file (`--config kindred.json`), in that
 * order of precedence; names follow Redis's configuration where it has one. Values are validated once, here, and frozen.
 * Folders receive the slice they need, never this file.
 */
import { addresses, autoPort, copyCounts, hostName, label, name, weight } from "./cluster-setting-kinds.js";
import { copySettings } from "./copy-settings.js";
import { OperatingError } from "./errors.js";
import { bytes, choice, flag, integer, outputLimits, perDatabase, type Setting, text } from "./setting-kinds.js";
import { tlsProblem, tlsSettings } from "./tls-settings.js";

const KB = 1_024;
const MB = 1_024 * KB;
const GB = 1_024 * MB;
/** As in Redis: what `peer-port` is above `port` where nothing is said. */
const PEER_PORT_OFFSET = 10_000;
const PORT_MAX = 65_535;

const consistency = choice({
  name: "consistency",
  default: "auto",
  values: ["auto", "ONE", "QUORUM", "ALL", "LOCAL_ONE", "LOCAL_QUORUM", "EACH_QUORUM"],
  why: "consistency level of a new connection; auto is QUORUM in one data centre, LOCAL_QUORUM in several",
});

const conflicts = choice({
  name: "conflicts",
  default: "newest",
  values: ["newest", "error"],
  why: "what GET answers where there are siblings: the newest, or an error",
});

export const settings = {
  port: integer({ name: "port", default: 6_379, min: 0, max: PORT_MAX, why: "TCP port for clients; 0 takes any free one" }),
  bind: text({ name: "bind", default: "127.0.0.1", why: "address to listen on for clients; 0.0.0.0 for all" }),
  dir: text({ name: "dir", default: "./data", why: "directory that holds everything this node stores" }),
  backupDir: text({
    name: "backup-dir",
    default: "",
    why: "directory below which backups may be put; by default one beside dir, with -backups behind its name",
  }),
  name: name({
    name: "name",
    why: "readable name of this node, shown in clocks; by default made from host and port",
  }),
  peerPort: autoPort({
    name: "peer-port",
    why: "TCP port for the other members; auto is port + 10000 (any free one when port is 0), 0 takes any free one",
  }),
  seeds: addresses({
    name: "seeds",
    why: "members to join through, as host:peer-port; none, or this node first: found a cluster if there is none yet",
  }),
  replace: text({
    name: "replace",
    default: "",
    why: "name or id of a member that is gone for good: this node joins in its place and takes over its tokens",
  }),
  rejoin: flag({
    name: "rejoin",
    default: false,
    why: "where the member of this directory has left its cluster (kindred leave), clear what it had and join as a new one",
  }),
  clusterSecret: text({
    name: "cluster-secret",
    default: "",
    why: "secret that members prove to each other, the same on all; empty for none",
  }),
  announceIp: hostName({
    name: "announce-ip",
    why: "address that others are told, where it is not the one this node listens on (containers, NAT); by default that of bind, or the machine's own where bind is 0.0.0.0",
  }),
  announcePort: integer({
    name: "announce-port",
    default: 0,
    min: 0,
    max: PORT_MAX,
    why: "port that clients are told; 0 for the one this node listens on",
  }),
  announcePeerPort: integer({
    name: "announce-peer-port",
    default: 0,
    min: 0,
    max: PORT_MAX,
    why: "port that other members are told; 0 for the one this node listens on",
  }),
  host: label({
    name: "host",
    default: "",
    why: "physical server: copies of a key lie on members with different labels; by default the machine's name",
  }),
  dc: label({ name: "dc", default: "dc1", why: "data centre of this member" }),
  rack: label({ name: "rack", default: "r1", why: "rack of this member: copies are spread over racks" }),
  weight: weight({ name: "weight", why: "share of the data that this member takes: 2 takes twice as much as 1" }),
  replicas: copyCounts({
    name: "replicas",
    why: "copies of each key: in every data centre, or by data centre as dc1:3,dc2:2; the same on all members",
  }),
  vnodes: integer({
    name: "vnodes",
    default: 64,
    min: 1,
    max: 512,
    why: "places on the ring that a member of weight 1 takes when it joins, about",
  }),
  requirepass: text({
    name: "requirepass",
    default: "",
    change: "at run time",
    why: "password that clients must AUTH with; empty for none",
  }),
  protectedMode: flag({
    name: "protected-mode",
    default: true,
    change: "at run time",
    why: "refuse clients of other machines while no password is set",
  }),
  ...tlsSettings,
  appendfsync: choice({
    name: "appendfsync",
    default: "everysec",
    values: ["always", "everysec", "no"],
    change: "at run time",
    why: "when the log reaches the disk: before each answer, each second, or when the system likes",
  }),
  consistency,
  conflicts,
  databases: perDatabase({
    name: "databases",
    default: new Map(),
    why: 'settings of single databases as JSON, such as {"1": {"consistency": "ONE"}, "2": {"conflicts": "error"}}',
    own: [consistency, conflicts],
  }),
  maxPairBytes: bytes({
    name: "max-pair-bytes",
    default: 10 * KB,
    min: KB,
    max: 512 * MB,
    change: "at run time",
    why: "largest key and value together",
  }),
  siblingsMax: integer({
    name: "siblings-max",
    default: 64,
    min: 1,
    max: 10_000,
    change: "at run time",
    why: "siblings a key may have before a node refuses a further one; what several nodes took at once comes together all the same",
  }),
  maxClockSkew: integer({
    name: "max-clock-skew",
    default: 60_000,
    min: 100,
    max: 86_400_000,
    why: "milliseconds that a stamp may lie ahead of our wall clock and still move our logical clock",
  }),
  requestTimeout: integer({
    name: "request-timeout",
    default: 2_000,
    min: 10,
    max: 600_000,
    change: "at run time",
    why: "milliseconds after which a request that waits for disk, room or peers is answered with an error",
  }),
  requestsQueuedMax: integer({
    name: "requests-queued-max",
    default: 100_000,
    min: 1,
    max: 10_000_000,
    why: "requests that may wait for disk or for others on the same key before more are refused with -BUSY",
  }),
  ...copySettings,
  maxclients: integer({
    name: "maxclients",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    change: "at run time",
    why: "client connections served at once",
  }),
  timeout: integer({
    name: "timeout",
    default: 0,
    min: 0,
    max: 31_536_000,
    change: "at run time",
    why: "seconds of idleness after which a client is disconnected; 0 for never",
  }),
  requestsInFlightMax: integer({
    name: "client-requests-max",
    default: 256,
    min: 1,
    max: 1_000_000,
    why: "unanswered requests of one connection before its input waits",
  }),
  argumentsMax: integer({
    name: "client-arguments-max",
    default: 1_048_576,
    min: 1_024,
    max: 16_777_216,
    why: "arguments of one request; each costs about 100 bytes of heap while it is run",
  }),
  protoMaxBulkLen: bytes({
    name: "proto-max-bulk-len",
    default: 512 * MB,
    min: MB,
    max: 1 * GB,
    change: "at run time",
    why: "largest single argument of a request",
  }),
  clientQueryBufferLimit: bytes({
    name: "client-query-buffer-limit",
    default: 1 * GB,
    min: MB,
    max: 4 * GB,
    change: "at run time",
    why: "input that one client may have buffered before it is disconnected",
  }),
  clientOutputBufferLimit: outputLimits({
    name: "client-output-buffer-limit",
    default: {
      normal: { hardBytes: 256 * MB, softBytes: 0, softSeconds: 0 },
      slave: { hardBytes: 256 * MB, softBytes: 64 * MB, softSeconds: 60 },
      pubsub: { hardBytes: 32 * MB, softBytes: 8 * MB, softSeconds: 60 },
    },
    change: "at run time",
    why: "unread replies at which a client is disconnected, by class: hard limit, soft limit, seconds above the soft one",
  }),
  outputStallSeconds: integer({
    name: "client-output-stall-timeout",
    default: 120,
    min: 0,
    max: 31_536_000,
    why: "seconds after which a client that takes none of the replies waiting for it is disconnected; 0 for never",
  }),
  outputPauseBytes: bytes({
    name: "client-output-pause-bytes",
    default: MB,
    min: 64 * KB,
    max: GB,
    why: "unsent replies above which a client's requests are not read, once all clients together have clients-output-bytes",
  }),
  outputSharedBytes: bytes({
    name: "clients-output-bytes",
    default: 64 * MB,
    min: MB,
    max: 16 * GB,
    why: "unsent replies of all clients together that are held before those with many are not read any more",
  }),
  memoryTableBytes: bytes({
    name: "memory-table-bytes",
    default: 32 * MB,
    min: 256 * KB,
    max: 1 * GB,
    why: "pairs kept in memory before they become a table; at most two such, each with a log of up to eight times as much",
  }),
  blockCacheBytes: bytes({
    name: "block-cache-bytes",
    default: 64 * MB,
    min: MB,
    max: 64 * GB,
    why: "blocks of tables kept in memory",
  }),
  tableBytes: bytes({
    name: "table-bytes",
    default: 32 * MB,
    min: 256 * KB,
    max: 4 * GB,
    why: "size at which a compaction starts its next table",
  }),
  levelBytesBase: bytes({
    name: "level-bytes-base",
    default: 128 * MB,
    min: MB,
    max: 64 * GB,
    why: "target of level 1; each further level is ten times larger",
  }),
  compactionRateBytes: bytes({
    name: "compaction-rate-bytes",
    default: 256 * MB,
    min: MB,
    max: 64 * GB,
    why: "bytes a second that flushes and compactions may write",
  }),
  maxOpenFiles: integer({ name: "max-open-files", default: 500, min: 16, max: 100_000, why: "table files kept open" }),
  workerHeapBytes: bytes({
    name: "worker-heap-bytes",
    default: 128 * MB,
    min: 32 * MB,
    max: 4 * GB,
    why: "heap of the compaction thread",
  }),
  slowlogLogSlowerThan: integer({
    name: "slowlog-log-slower-than",
    default: 10_000,
    min: -1,
    max: Number.MAX_SAFE_INTEGER,
    change: "at run time",
    why: "microseconds from which a command is noted in SLOWLOG; -1 for never",
  }),
  slowlogMaxLen: integer({
    name: "slowlog-max-len",
    default: 128,
    min: 0,
    max: 1_000_000,
    change: "at run time",
    why: "entries that SLOWLOG keeps",
  }),
  latencyMonitorThreshold: integer({
    name: "latency-monitor-threshold",
    default: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    change: "at run time",
    why: "milliseconds from which LATENCY notes an event; 0 for never",
  }),
  enableDebugCommand: choice({
    name: "enable-debug-command",
    default: "no",
    values: ["no", "local", "yes"],
    why: "who may use DEBUG: nobody, clients of this machine, everybody",
  }),
  logLevel: choice({
    name: "log-level",
    default: "info",
    values: ["debug", "info", "warn", "error", "silent"],
    why: "least severe log line that is written",
  }),
  logFormat: choice({
    name: "log-format",
    default: "auto",
    values: ["auto", "json", "pretty"],
    why: "log lines for machines or for people; auto: pretty on a terminal",
  }),
} as const;

type Settings = typeof settings;
type ValueOf<S> = S extends Setting<infer Value> ? Value : never;

/** The validated settings of one node. */
export type Config = { readonly [Key in keyof Settings]: ValueOf<Settings[Key]> };

/** Settings as text by name, from one source. */
export interface ConfigSource {
  /** Shown in errors: `--port`, `KINDRED_PORT`, `kindred.json`. */
  readonly label: (name: string) => string;
  readonly values: ReadonlyMap<string, string>;
}

const byName = new Map<string, { readonly key: keyof Settings; readonly setting: Setting<unknown> }>(
  Object.entries(settings).map(([key, setting]) => [
    setting.name,
    { key: key as keyof Settings, setting: setting as Setting<unknown> },
  ]),
);

/** All settings in the order of --help. */
export function allSettings(): readonly Setting<unknown>[] {
  return [...byName.values()].map((entry) => entry.setting);
}

export function findSetting(name: string): { readonly key: keyof Settings; readonly setting: Setting<unknown> } | null {
  return byName.get(name) ?? null;
}

/**
 * Builds the configuration: the first source that names a setting wins. Throws `CONFIG` for an unknown name (with the
 * nearest valid one), for a malformed or out-of-range value (with the range), and for settings that lack what they need.
 */
export function buildConfig(sources: readonly ConfigSource[]): Config {
  const values: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries(settings)) values[key] = setting.default;
  for (const source of [...sources].reverse()) {
    for (const [name, text] of source.values) {
      const found = byName.get(name);
      if (!found) throw new OperatingError("CONFIG", `unknown setting ${source.label(name)}${suggestion(name)}`);
      values[found.key] = parseSetting(found.setting, text, source.label(name));
    }
  }
  const config = Object.freeze(values) as Config;
  peerPortOf(config);
  const problem = tlsProblem(config) ?? replaceProblem(config);
  if (problem !== null) throw new OperatingError("CONFIG", problem);
  return config;
}

/** Without seeds it would found a ring of its own beside that one. */
function replaceProblem({ replace, seeds }: Pick<Config, "replace" | "seeds">): string | null {
  if (replace === "" || seeds.length > 0) return null;
  return `to replace ${replace} its cluster has to be found: give --seeds, host:peer-port of members that run`;
}

/** The port to listen on for other members; 0 takes any free one. Throws `CONFIG` where `auto` leads past the last port. */
export function peerPortOf({ port, peerPort }: Pick<Config, "port" | "peerPort">): number {
  if (peerPort !== "auto") return peerPort;
  if (port === 0) return 0;
  if (port + PEER_PORT_OFFSET <= PORT_MAX) return port + PEER_PORT_OFFSET;
  throw new OperatingError(
    "CONFIG",
    `--port ${port}: other members are reached on port + ${PEER_PORT_OFFSET}, which is above ${PORT_MAX}: set --peer-port (0 takes any free one), or a --port of at most ${PORT_MAX - PEER_PORT_OFFSET}`,
  );
}

/** The source that flags make: names without the dashes. */
export function flagSource(values: ReadonlyMap<string, string>): ConfigSource {
  return { label: (name) => `--${name}`, values };
}

/** The source that the environment makes: `KINDRED_MAX_PAIR_BYTES` is `max-pair-bytes`. KINDRED_CONFIG names the file. */
export function environmentSource(environment: Readonly<Record<string, string | undefined>>): ConfigSource {
  const values = new Map<string, string>();
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith("KINDRED_") || variable === "KINDRED_CONFIG" || text === undefined) continue;
    values.set(variable.slice("KINDRED_".length).toLowerCase().replaceAll("_", "-"), text);
  }
  return { label: (name) => `KINDRED_${name.toUpperCase().replaceAll("-", "_")}`, values };
}

/** The source that a JSON file makes: one object of strings, numbers and booleans. */
export function fileSource(path: string, content: string): ConfigSource {
  let parsed: unknown;
  try {
    parsed = JSON.parse(content);
  } catch (error) {
    throw new OperatingError("CONFIG", `${path} is not JSON: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new OperatingError("CONFIG", `${path} must hold one JSON object of settings, such as {"port": 7000}`);
  }
  const values = new Map<string, string>();
  for (const [name, value] of Object.entries(parsed)) {
    if (typeof value === "boolean") values.set(name, value ? "yes" : "no");
    else if (typeof value === "string" || typeof value === "number") values.set(name, String(value));
    else if (name === settings.databases.name) values.set(name, JSON.stringify(value));
    else throw new OperatingError("CONFIG", `${path}: "${name}" must be a string, a number or a boolean`);
  }
  return { label: (name) => `"${name}" in ${path}`, values };
}

function parseSetting(setting: Setting<unknown>, value: string, label: string): unknown {
  try {
    return setting.parse(value);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    throw new OperatingError("CONFIG", `${label}: ${error.message}${error.message.endsWith("'") ? "" : `, not '${value}'`}`);
  }
}

function suggestion(name: string): string {
  let nearest = "";
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of byName.keys()) {
    const distance = editDistance(name.toLowerCase(), candidate);
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return nearest ? ` (did you mean ${nearest}?)` : " (kindred server --help lists them)";
}

/** Levenshtein's distance, row by row. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let line = 1; line <= from.length; line++) {
    const next = [line];
    for (let column = 1; column <= to.length; column++) {
      const replaced = row[column - 1]! + (from[line - 1] === to[column - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[column]! + 1, next[column - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
