/** The slices of the live configuration that the layers read: each field is looked up at each use. */
import type { CommandSettings } from "../commands/command-settings.js";
import type { Config } from "../config.js";
import type { Consistency, Level } from "../coordinator/consistency.js";
import type { CoordinatorSettings } from "../coordinator/local-keyspace.js";
import { defaultLsmSettings, type LsmSettings } from "../lsm/lsm-settings.js";
import { defaultPeerSettings, type PeerSettings } from "../peer/peer.js";
import type { HandoffSettings } from "../replica/handoff.js";
import type { HintSettings } from "../replica/hints.js";
import { REPLICA_COUNTERS, type ReplicaSettings } from "../replica/replica.js";
import { defaultRespSettings, type RespSettings } from "../resp/settings.js";
import type { LiveConfig } from "./live-config.js";

/** Where things lie in a data directory. The mark says that data was lost: the next start takes a new identity. */
export function storePaths(directory: string): { readonly storeDirectory: string; readonly lossMark: string } {
  return { storeDirectory: `${directory}/store`, lossMark: `${directory}/data-lost` };
}

export function lsmSettings(config: Config): LsmSettings {
  return {
    ...defaultLsmSettings,
    fsync: config.appendfsync,
    counters: REPLICA_COUNTERS,
    memoryTableBytes: config.memoryTableBytes,
    blockCacheBytes: config.blockCacheBytes,
    tableBytes: config.tableBytes,
    levelBytesBase: config.levelBytesBase,
    maxOpenFiles: config.maxOpenFiles,
  };
}

/**
 * A write is held back for at most so many times the `request-timeout` that runs once it begins: half a minute by default,
 * which is more than the compaction that has to end first takes on any disk that works.
 */
const HOLD_FACTOR = 15;

export function respSettings(live: LiveConfig): RespSettings {
  const settings = defaultRespSettings();
  const read = (): void => {
    const { values } = live;
    settings.maxClients = values.maxclients;
    settings.timeoutSeconds = values.timeout;
    settings.argumentsMax = values.argumentsMax;
    settings.bulkBytesMax = values.protoMaxBulkLen;
    settings.queryBufferBytesMax = values.clientQueryBufferLimit;
    settings.unansweredMax = values.requestsInFlightMax;
    settings.writeHoldMsMax = HOLD_FACTOR * values.requestTimeout;
    settings.outputHardBytes = values.clientOutputBufferLimit.normal.hardBytes;
    settings.outputSoftBytes = values.clientOutputBufferLimit.normal.softBytes;
    settings.outputSoftSeconds = values.clientOutputBufferLimit.normal.softSeconds;
    settings.outputStallSeconds = values.outputStallSeconds;
    settings.outputPauseBytes = values.outputPauseBytes;
    settings.outputSharedBytes = values.outputSharedBytes;
  };
  read();
  const names = [
    "maxclients",
    "timeout",
    "proto-max-bulk-len",
    "client-query-buffer-limit",
    "client-output-buffer-limit",
    "request-timeout",
  ];
  for (const name of names) live.onChange(name, read);
  return settings;
}

export function commandSettings(live: LiveConfig): CommandSettings {
  return {
    get requirePassword() {
      return live.values.requirepass;
    },
    get slowlogSlowerThanMicros() {
      return live.values.slowlogLogSlowerThan;
    },
    get slowlogLengthMax() {
      return live.values.slowlogMaxLen;
    },
    get latencyThresholdMs() {
      return live.values.latencyMonitorThreshold;
    },
    get debugCommand() {
      return live.values.enableDebugCommand;
    },
    get clientsMax() {
      return live.values.maxclients;
    },
    consistencyOf: (database) => consistencyOf(live, database),
  };
}

export function coordinatorSettings(live: LiveConfig): CoordinatorSettings {
  return {
    get maxPairBytes() {
      return live.values.maxPairBytes;
    },
    get requestTimeoutMs() {
      return live.values.requestTimeout;
    },
  };
}

export function hintSettings(live: LiveConfig): HintSettings {
  return {
    get hintsMaxBytes() {
      return live.values.hintsMaxBytes;
    },
    get hintsMaxAgeMs() {
      return 1_000 * live.values.hintsMaxAge;
    },
  };
}

export function handoffSettings(live: LiveConfig): HandoffSettings & Pick<HintSettings, "hintsMaxAgeMs"> {
  return {
    get handoffInFlight() {
      return live.values.handoffInFlight;
    },
    get handoffRateBytes() {
      return live.values.handoffRateBytes;
    },
    get hintsMaxAgeMs() {
      return 1_000 * live.values.hintsMaxAge;
    },
  };
}

const CALLS_MAX = 65_536;

/** A record may hold many siblings, and a page of records many of those. */
const FRAME_PAIRS = 2;
const FRAME_BYTES_EXTRA = 1_048_576;

export function peerSettings(live: LiveConfig): PeerSettings {
  const standard = defaultPeerSettings();
  return {
    ...standard,
    clusterSecret: live.values.clusterSecret === "" ? null : live.values.clusterSecret,
    // As many as a link can tell apart: what this node takes on is bounded by its requests in flight, which are fewer.
    callsMax: CALLS_MAX,
    handlersMax: CALLS_MAX,
    get frameBytesMax() {
      return Math.max(standard.frameBytesMax, FRAME_PAIRS * live.values.maxPairBytes + FRAME_BYTES_EXTRA);
    },
  };
}

export function replicaSettings(live: LiveConfig): ReplicaSettings {
  return {
    get siblingsMax() {
      return live.values.siblingsMax;
    },
  };
}

function consistencyOf(live: LiveConfig, database: number): Consistency {
  const { values } = live;
  const own = values.databases.get(database);
  return {
    quorum: { kind: "level", level: (own?.consistency ?? values.consistency) as Level },
    standIns: "sloppy",
    conflicts: (own?.conflicts ?? values.conflicts) as Consistency["conflicts"],
  };
}
