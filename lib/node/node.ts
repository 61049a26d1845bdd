/**
 * The composition root of one member: builds the layers from the bottom up on a Host, starts them, and stops them in the
 * opposite order. No logic of its own.
 */
import { HybridClock } from "../causality/hybrid-clock.js";
import { isLoopback, protectedModeRefusal } from "../commands/authentication.js";
import type { ClientSession } from "../commands/client-session.js";
import { expiryCommands } from "../commands/expiry.js";
import { keyCommands } from "../commands/keys.js";
import { buildCommands, type NodeCommands } from "../commands/node-commands.js";
import { memoryUsage } from "../commands/object.js";
import { stringCommands } from "../commands/strings.js";
import { type Config, peerPortOf } from "../config.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Disk } from "../host/disk.js";
import type { Host } from "../host/host.js";
import type { Processes } from "../host/processes.js";
import type { Log } from "../log.js";
import { DirectoryLock } from "../lsm/directory-lock.js";
import { Lsm } from "../lsm/lsm.js";
import type { ProtocolVersions } from "../peer/peer.js";
import { KeyQueues } from "../replica/key-queues.js";
import { MetaStore } from "../replica/meta-store.js";
import { Reaper } from "../replica/reaper.js";
import { ensureReapingIndex } from "../replica/reaping-index.js";
import { Replica } from "../replica/replica.js";
import { markRestored } from "../replica/restored-mark.js";
import { StoreIdentity } from "../replica/store-identity.js";
import { RespServer } from "../resp/server.js";
import { clearLeft, markLeft } from "./departed-store.js";
import { Facts, type Machine } from "./facts.js";
import { FrontDoor } from "./front-door.js";
import { LiveConfig } from "./live-config.js";
import { reachableHost } from "./reachable-host.js";
import { RestoredStart } from "./restored-start.js";
import { type RingParts, RingStack } from "./ring-stack.js";
import { commandSettings, lsmSettings, replicaSettings, respSettings, storePaths } from "./settings.js";

export interface NodeOptions {
  readonly host: Host;
  readonly processes: Processes;
  readonly config: Config;
  readonly log: Log;
  readonly machine: Machine;
  /** Ends the process after an orderly stop: SHUTDOWN asks for it. */
  readonly requestStop: () => void;
  /** Of the members' protocol that are spoken. Default: all that are known; fewer make of it what an older build is to others. */
  readonly protocol?: ProtocolVersions;
  /** Ends a start that is under way. */
  readonly stopping?: AbortSignal;
  /** Bytes of log replayed so far, and in all. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** How long a stop waits for clients to read their last replies. */
const STOP_MS_MAX = 5_000;

/** Some file systems call themselves endless. */
const FREE_BYTES_MAX = 2 ** 52;

interface NodeParts {
  readonly lock: DirectoryLock;
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly replica: Replica;
  readonly identity: StoreIdentity;
  readonly reaper: Reaper;
  readonly ring: RingStack;
  readonly server: RespServer<ClientSession>;
  readonly commands: NodeCommands;
  readonly facts: Facts;
  readonly log: Log;
  readonly port: number;
}

export class Node {
  readonly #parts: NodeParts;
  /** The port that clients connect to. */
  readonly port: number;
  /** How the last run of this store ended. */
  readonly lastStop: StoreIdentity["start"];

  private constructor(parts: NodeParts) {
    this.#parts = parts;
    this.port = parts.port;
    this.lastStop = parts.identity.start;
  }

  /**
   * Opens the data directory, recovers, finds its ring, and serves. Rejects with an `OperatingError`: LOCKED, CORRUPT, IO,
   * CONFIG, UNAVAILABLE for an address, or CLOSED when `stopping` came first; what was opened is closed in order then. While it
   * looks for a ring to join it goes on until it finds one.
   */
  static async start(options: NodeOptions): Promise<Node> {
    const { host, config, log } = options;
    const { clock, disk, random } = host;
    const live = new LiveConfig(config);
    const { storeDirectory, lossMark, leftMark } = storePaths(config.dir);
    const restored = new RestoredStart(disk, config.dir);
    const lock = DirectoryLock.acquire({ disk, processes: options.processes, directory: config.dir });
    /** What has to be undone where the start fails, last first. */
    const undo: (() => unknown)[] = [() => lock.release()];
    const requireGoing = (): void => {
      if (options.stopping?.aborted) throw new OperatingError("CLOSED", "this node was stopped before it was ready");
    };
    try {
      if (config.rejoin && clearLeft({ disk, leftMark, storeDirectory })) {
        log.info(
          { dir: config.dir },
          "the member of this directory has left its cluster: what it had is cleared, and it joins anew",
        );
      }
      const lsm = await Lsm.open({
        disk,
        clock,
        workers: host.workers,
        log,
        directory: storeDirectory,
        settings: lsmSettings(config),
        ...(options.onProgress && { onProgress: options.onProgress }),
      });
      undo.push(() => lsm.close());
      requireGoing();
      live.onChange("appendfsync", (values) => lsm.setFsync(values.appendfsync));
      const meta = await MetaStore.open(lsm);
      await ensureReapingIndex({ lsm, meta, log });
      restored.apply(meta, random);
      const hasLostData = restored.isRestored || exists(disk, lossMark);
      const identity = StoreIdentity.open({ meta, random, hasLostData });
      undo.push(() => identity.stop());
      if (exists(disk, lossMark)) markRestored(meta, clock.wallMs());
      await lsm.sync();
      restored.finish();
      disk.remove(lossMark);
      const replica = new Replica({
        lsm,
        meta,
        clock,
        hybridClock: new HybridClock({ maxClockSkewMs: config.maxClockSkew, last: 0 }),
        identity,
        queues: new KeyQueues(config.requestsQueuedMax),
        settings: replicaSettings(live),
      });
      if (identity.start === "clean") replica.digests.load(meta);
      const reaper = new Reaper({ replica, clock, log });
      const freeBytes = (): number | null => freeBytesOf(disk, config.dir);
      const facts = new Facts({ machine: options.machine, clock, random, lsm, reaper, freeBytes });
      // With --port 0 the name that is made of it is known only once the server listens.
      const clientPort = (): number => config.announcePort || facts.port;
      const ring = await RingStack.open({
        host,
        config,
        live,
        log,
        lsm,
        meta,
        identity,
        replica,
        reaper,
        softwareVersion: options.machine.version,
        ...(options.protocol !== undefined && { protocol: options.protocol }),
        hostName: options.machine.hostName,
        machineAddress: options.machine.address,
        currentDirectory: options.machine.currentDirectory,
        name: () => config.name || `${config.bind}:${facts.port}`,
        clientAddress: () => ({ host: reachableHost(config, options.machine.address), port: clientPort() }),
        load: () => facts.load(),
        onLeft: () => markLeft({ disk, leftMark, directory: config.dir }, log),
        requestStop: () => options.requestStop(),
      });
      undo.push(() => ring.stop());
      options.stopping?.addEventListener("abort", () => ring.abandon());
      const door = new FrontDoor();
      const server = new RespServer<ClientSession>({
        network: host.network,
        clock,
        log,
        dispatcher: door,
        commitGate: lsm,
        settings: respSettings(live),
        refusal: (connection) =>
          door.refusal(isLoopback(connection.remoteAddress) ? ring.cluster.obstacle : "") ??
          protectedModeRefusal({
            isProtected: live.values.protectedMode,
            requirePassword: live.values.requirepass,
            remoteAddress: connection.remoteAddress,
          }),
      });
      const port = await server.listen({ host: config.bind, port: config.port });
      undo.push(() => server.stop(STOP_MS_MAX));
      facts.listening(port, server.counters);
      await ring.listen({ host: config.bind, port: peerPortOf(config) });
      requireGoing();
      const parts = await ring.join();
      const commands = commandsOf({ ...options, live, lsm, reaper, facts, ring: parts });
      facts.ringIsKnown(parts, commands.rate);
      door.admitTo(commands.commands);
      commands.rate.start();
      facts.busy.start();
      reaper.start();
      return new Node({ lock, lsm, meta, replica, identity, reaper, ring, server, commands, facts, log, port });
    } catch (error) {
      if (!(error instanceof OperatingError)) {
        lock.release();
        throw error;
      }
      for (const step of undo.reverse()) await undone(step, log);
      throw error;
    }
  }

  /** Stops accepting, answers what is in flight, makes everything durable and gives the directory back. */
  async stop(): Promise<void> {
    const { server, commands, facts, reaper, ring, replica, meta, identity, lsm, lock, log } = this.#parts;
    await Promise.all([server.stop(STOP_MS_MAX), ring.leave(STOP_MS_MAX)]);
    commands.rate.stop();
    facts.busy.stop();
    await reaper.stop();
    await ring.stop();
    replica.digests.save(meta);
    identity.stop();
    await lsm.close();
    lock.release();
    log.info({}, "stopped: everything acknowledged is on the disk");
  }
}

function commandsOf(
  options: NodeOptions & { live: LiveConfig; lsm: Lsm; reaper: Reaper; facts: Facts; ring: RingParts },
): NodeCommands {
  const { live, lsm, reaper, facts, ring, host, log } = options;
  return buildCommands({
    keyspace: ring.coordinator,
    routing: ring.forwarding,
    clock: host.clock,
    keyed: [...stringCommands, ...keyCommands, ...expiryCommands],
    memoryUsage,
    settings: commandSettings(live),
    runtimeSettings: live,
    facts,
    cluster: ring.view,
    operations: ring.operations,
    copies: () => ring.plans.copies(),
    replicasMax: () => {
      const { local, elsewhere } = ring.plans.copies();
      return elsewhere.reduce((sum, copies) => sum + copies, local);
    },
    makeDurable: () => lsm.sync(),
    shutdown: options.requestStop,
    setActiveExpiry: (mode) => reaper.setPaused({ isPaused: mode === "off" }),
    log,
  });
}

/** Does what it can: the start has failed for another reason already. */
async function undone(step: () => unknown, log: Log): Promise<void> {
  try {
    await step();
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    log.warn({ code: error.code }, `while the start was undone: ${messageOf(error)}`);
  }
}

/** A disk that does not say is no reason to do anything else than without it. */
function freeBytesOf(disk: Disk, directory: string): number | null {
  try {
    return Math.min(disk.freeBytes(directory), FREE_BYTES_MAX);
  } catch (error) {
    if (!(error instanceof OperatingError)) throw error;
    return null;
  }
}

function exists(disk: Disk, path: string): boolean {
  const file = disk.open(path);
  file?.close();
  return file !== null;
}
