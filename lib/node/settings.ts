/** The slices of the live configuration that the layers read: plain fields, brought up to date when CONFIG SET changes one. */
import type { CommandSettings } from "../commands/command-settings.js";
import type { Config } from "../config.js";
import { AUTO_QUORUM, type Consistency, type Level, type Quorum } from "../coordinator/consistency.js";
import type { CoordinatorSettings } from "../coordinator/local-keyspace.js";
import { defaultLsmSettings, type LsmSettings } from "../lsm/lsm-settings.js";
import { defaultPeerSettings, type PeerSettings } from "../peer/peer.js";
import type { ReapSettings } from "../replica/agreed-reaping.js";
import type { AntiEntropySettings } from "../replica/anti-entropy.js";
import type { HandoffSettings } from "../replica/handoff.js";
import type { HintSettings } from "../replica/hints.js";
import type { TransferOptions } from "../replica/range-transfer.js";
import { REPLICA_COUNTERS, type ReplicaSettings } from "../replica/replica.js";
import { defaultRespSettings, type RespSettings } from "../resp/settings.js";
import type { LiveConfig } from "./live-config.js";

/**
 * Where things lie in a data directory. The loss mark says that data was lost: the next start takes a new identity. The mark of
 * having left says that others have all that is here.
 */
export function storePaths(directory: string): {
  readonly storeDirectory: string;
  readonly lossMark: string;
  readonly leftMark: string;
} {
  return { storeDirectory: `${directory}/store`, lossMark: `${directory}/data-lost`, leftMark: `${directory}/left` };
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
  const standard = defaultRespSettings();
  return live.view((values) => ({
    ...standard,
    maxClients: values.maxclients,
    timeoutSeconds: values.timeout,
    argumentsMax: values.argumentsMax,
    bulkBytesMax: values.protoMaxBulkLen,
    queryBufferBytesMax: values.clientQueryBufferLimit,
    unansweredMax: values.requestsInFlightMax,
    writeHoldMsMax: HOLD_FACTOR * values.requestTimeout,
    outputHardBytes: values.clientOutputBufferLimit.normal.hardBytes,
    outputSoftBytes: values.clientOutputBufferLimit.normal.softBytes,
    outputSoftSeconds: values.clientOutputBufferLimit.normal.softSeconds,
    outputStallSeconds: values.outputStallSeconds,
    outputPauseBytes: values.outputPauseBytes,
    outputSharedBytes: values.outputSharedBytes,
  }));
}

export function commandSettings(live: LiveConfig): CommandSettings {
  return live.view((values) => ({
    requirePassword: values.requirepass,
    slowlogSlowerThanMicros: values.slowlogLogSlowerThan,
    slowlogLengthMax: values.slowlogMaxLen,
    latencyThresholdMs: values.latencyMonitorThreshold,
    debugCommand: values.enableDebugCommand,
    clientsMax: values.maxclients,
    consistencyOf: (database: number) => consistencyOf(live, database),
  }));
}

export function coordinatorSettings(live: LiveConfig): CoordinatorSettings {
  return live.view(({ maxPairBytes, requestTimeout }) => ({ maxPairBytes, requestTimeoutMs: requestTimeout }));
}

export function hintSettings(live: LiveConfig): HintSettings {
  return live.view(({ hintsMaxBytes, hintsMaxAge }) => ({ hintsMaxBytes, hintsMaxAgeMs: 1_000 * hintsMaxAge }));
}

export function handoffSettings(live: LiveConfig): HandoffSettings & Pick<HintSettings, "hintsMaxAgeMs"> {
  return live.view(({ handoffInFlight, handoffRateBytes, hintsMaxAge }) => {
    return { handoffInFlight, handoffRateBytes, hintsMaxAgeMs: 1_000 * hintsMaxAge };
  });
}

/** How long an owner that is read from may give nothing before it is done without. */
const TRANSFER_PATIENCE_MS = 10_000;

export function transferSettings(live: LiveConfig): TransferOptions["settings"] {
  return live.view(({ transferRateBytes }) => ({ transferRateBytes, patienceMs: TRANSFER_PATIENCE_MS }));
}

export function repairSettings(live: LiveConfig): AntiEntropySettings {
  return live.view(({ antiEntropyInterval, repairRateBytes }) => {
    return { antiEntropyIntervalMs: 1_000 * antiEntropyInterval, repairRateBytes };
  });
}

export function reapSettings(live: LiveConfig): ReapSettings & { readonly requestTimeoutMs: number } {
  return live.view(({ reapInterval, tombstoneAgeMin, requestTimeout }) => {
    return { reapIntervalMs: 1_000 * reapInterval, reapAgeMs: 1_000 * tombstoneAgeMin, requestTimeoutMs: requestTimeout };
  });
}

const CALLS_MAX = 65_536;

/** A record may hold many siblings, and a page of records many of those. */
const FRAME_PAIRS = 2;
const FRAME_BYTES_EXTRA = 1_048_576;

export function peerSettings(live: LiveConfig): PeerSettings {
  const standard = defaultPeerSettings();
  return live.view(({ clusterSecret, maxPairBytes }) => ({
    ...standard,
    clusterSecret: clusterSecret === "" ? null : clusterSecret,
    // As many as a link can tell apart: what this node takes on is bounded by its requests in flight, which are fewer.
    callsMax: CALLS_MAX,
    handlersMax: CALLS_MAX,
    frameBytesMax: Math.max(standard.frameBytesMax, FRAME_PAIRS * maxPairBytes + FRAME_BYTES_EXTRA),
  }));
}

export function replicaSettings(live: LiveConfig): ReplicaSettings {
  return live.view(({ siblingsMax }) => ({ siblingsMax }));
}

function quorumOf(level: Level | "auto"): Quorum {
  return level === "auto" ? AUTO_QUORUM : { kind: "level", level };
}

function consistencyOf(live: LiveConfig, database: number): Consistency {
  const { values } = live;
  const own = values.databases.get(database);
  return {
    quorum: quorumOf((own?.consistency ?? values.consistency) as Level | "auto"),
    standIns: "sloppy",
    conflicts: (own?.conflicts ?? values.conflicts) as Consistency["conflicts"],
  };
}
