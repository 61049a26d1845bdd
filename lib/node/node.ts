/**
 * The composition root of one member: builds the layers from the bottom up on a Host, starts them, and stops them in the
 * opposite order. No logic of its own.
 */
import { ContextTokens } from "../causality/context-token.js";
import { HybridClock } from "../causality/hybrid-clock.js";
import { decodeRingDocument, encodeRingDocument, mintRingDocument, type RingDocument } from "../cluster/ring-document.js";
import { protectedModeRefusal } from "../commands/authentication.js";
import type { ClientSession } from "../commands/client-session.js";
import { ringOfOne } from "../commands/cluster-view.js";
import { expiryCommands } from "../commands/expiry.js";
import { keyCommands } from "../commands/keys.js";
import { buildCommands, type NodeCommands } from "../commands/node-commands.js";
import { memoryUsage } from "../commands/object.js";
import { stringCommands } from "../commands/strings.js";
import type { Config } from "../config.js";
import { LocalKeyspace } from "../coordinator/local-keyspace.js";
import type { Disk } from "../host/disk.js";
import type { Host } from "../host/host.js";
import type { Processes } from "../host/processes.js";
import type { Log } from "../log.js";
import { DirectoryLock } from "../lsm/directory-lock.js";
import { Lsm } from "../lsm/lsm.js";
import { KeyQueues } from "../replica/key-queues.js";
import { MetaStore } from "../replica/meta-store.js";
import { Reaper } from "../replica/reaper.js";
import { Replica } from "../replica/replica.js";
import { StoreIdentity } from "../replica/store-identity.js";
import { RespServer } from "../resp/server.js";
import { Facts, type Machine } from "./facts.js";
import { LiveConfig } from "./live-config.js";
import { commandSettings, coordinatorSettings, lsmSettings, replicaSettings, respSettings, storePaths } from "./settings.js";

export interface NodeOptions {
  readonly host: Host;
  readonly processes: Processes;
  readonly config: Config;
  readonly log: Log;
  readonly machine: Machine;
  /** Ends the process after an orderly stop: SHUTDOWN asks for it. */
  readonly requestStop: () => void;
  /** Bytes of log replayed so far, and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

const RING_RECORD = "ring";
/** How long a stop waits for clients to read their last replies. */
const STOP_MS_MAX = 5_000;

export class Node {
  readonly #lock: DirectoryLock;
  readonly #lsm: Lsm;
  readonly #identity: StoreIdentity;
  readonly #reaper: Reaper;
  readonly #server: RespServer<ClientSession>;
  readonly #commands: NodeCommands;
  readonly #log: Log;
  /** The port that clients connect to. */
  readonly port: number;
  /** How the last run of this store ended. */
  readonly lastStop: StoreIdentity["start"];

  private constructor(parts: {
    lock: DirectoryLock;
    lsm: Lsm;
    identity: StoreIdentity;
    reaper: Reaper;
    server: RespServer<ClientSession>;
    commands: NodeCommands;
    log: Log;
    port: number;
  }) {
    this.#lock = parts.lock;
    this.#lsm = parts.lsm;
    this.#identity = parts.identity;
    this.#reaper = parts.reaper;
    this.#server = parts.server;
    this.#commands = parts.commands;
    this.#log = parts.log;
    this.port = parts.port;
    this.lastStop = parts.identity.start;
  }

  /**
   * Opens the data directory, recovers, and serves. Rejects with an `OperatingError`: LOCKED, CORRUPT, IO, or UNAVAILABLE
   * for the address.
   */
  static async start(options: NodeOptions): Promise<Node> {
    const { host, config, log } = options;
    const { clock, disk, random } = host;
    const live = new LiveConfig(config);
    const { storeDirectory, lossMark } = storePaths(config.dir);
    const lock = DirectoryLock.acquire({ disk, processes: options.processes, directory: config.dir });
    try {
      const lsm = await Lsm.open({
        disk,
        clock,
        workers: host.workers,
        log,
        directory: storeDirectory,
        settings: lsmSettings(config),
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      live.onChange("appendfsync", (values) => lsm.setFsync(values.appendfsync));
      const meta = await MetaStore.open(lsm);
      const identity = StoreIdentity.open({ meta, random, hasLostData: exists(disk, lossMark) });
      disk.remove(lossMark);
      const ring = openRing(meta, (length) => random.bytes(length));
      const replica = new Replica({
        lsm,
        meta,
        clock,
        hybridClock: new HybridClock({ maxClockSkewMs: config.maxClockSkew, last: 0 }),
        identity,
        queues: new KeyQueues(config.requestsQueuedMax),
        settings: replicaSettings(live),
      });
      const reaper = new Reaper({ replica, clock, log });
      // Names are made when they are shown: with --port 0 the port is known only once the server listens.
      let name = config.name;
      const coordinator = new LocalKeyspace({
        replica,
        clock,
        random,
        tokens: new ContextTokens({ clusterId: ring.clusterId.toString("hex"), clusterKey: ring.clusterKey }),
        names: (storeId) => (storeId === identity.storeId ? name : null),
        settings: coordinatorSettings(live),
        reaper,
      });
      const facts = new Facts({ machine: options.machine, clock, random, lsm, coordinator, reaper });
      const commands = buildCommands({
        keyspace: coordinator,
        clock,
        keyed: [...stringCommands, ...keyCommands, ...expiryCommands],
        memoryUsage,
        settings: commandSettings(live),
        runtimeSettings: live,
        facts,
        cluster: ringOfOne(() => facts.member(identity.storeId, config.bind)),
        copies: () => ({ local: 1, elsewhere: [] }),
        replicasMax: () => 1,
        makeDurable: () => lsm.sync(),
        shutdown: options.requestStop,
        setActiveExpiry: (mode) => reaper.setPaused({ isPaused: mode === "off" }),
        log,
      });
      const server = new RespServer<ClientSession>({
        network: host.network,
        clock,
        log,
        dispatcher: commands.commands,
        commitGate: lsm,
        settings: respSettings(live),
        refusal: (connection) =>
          protectedModeRefusal({
            isProtected: live.values.protectedMode,
            requirePassword: live.values.requirepass,
            remoteAddress: connection.remoteAddress,
          }),
      });
      const port = await server.listen({ host: config.bind, port: config.port });
      name ||= `${config.bind}:${port}`;
      facts.listening(port, server.counters);
      commands.rate.start();
      reaper.start();
      return new Node({ lock, lsm, identity, reaper, server, commands, log, port });
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** Stops accepting, answers what is in flight, makes everything durable and gives the directory back. */
  async stop(): Promise<void> {
    await this.#server.stop(STOP_MS_MAX);
    this.#commands.rate.stop();
    await this.#reaper.stop();
    this.#identity.stop();
    await this.#lsm.close();
    this.#lock.release();
    this.#log.info({}, "stopped: everything acknowledged is on the disk");
  }
}

function openRing(meta: MetaStore, mintBytes: (length: number) => Buffer): RingDocument {
  const stored = meta.get(RING_RECORD);
  if (stored !== null) return decodeRingDocument(stored);
  const document = mintRingDocument(mintBytes);
  meta.putNow(RING_RECORD, encodeRingDocument(document));
  return document;
}

function exists(disk: Disk, path: string): boolean {
  const file = disk.open(path);
  file?.close();
  return file !== null;
}
