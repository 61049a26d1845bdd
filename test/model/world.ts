/** A coordinator on a replica on an engine, in virtual time: what the tests of the two folders share. */
import type { StoreNames } from "../../lib/causality/actor.js";
import { ContextTokens } from "../../lib/causality/context-token.js";
import { HybridClock } from "../../lib/causality/hybrid-clock.js";
import type { Covered } from "../../lib/causality/record.js";
import type { RecordView } from "../../lib/causality/record-view.js";
import type { Entry, Hold, NOT_IN_MEMORY, Scope } from "../../lib/coordinator/keyspace.js";
import { LocalKeyspace } from "../../lib/coordinator/local-keyspace.js";
import type { Clock } from "../../lib/host/clock.js";
import type { Log } from "../../lib/log.js";
import { silentLog } from "../../lib/log.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings } from "../../lib/lsm/lsm-settings.js";
import { KeyQueues } from "../../lib/replica/key-queues.js";
import { MetaStore } from "../../lib/replica/meta-store.js";
import { Reaper } from "../../lib/replica/reaper.js";
import { recordJobOptions } from "../../lib/replica/record-jobs.js";
import { type NewValue, REPLICA_COUNTERS, Replica } from "../../lib/replica/replica.js";
import { StoreIdentity } from "../../lib/replica/store-identity.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimDisk } from "../sim/sim-disk.js";
import { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { Trace } from "../sim/trace.js";
import { ColdStore, NO_EVENTS, type StoreEvents } from "./cold-store.js";

export interface WorldSettings {
  maxPairBytes: number;
  requestTimeoutMs: number;
  siblingsMax: number;
  queuedMax: number;
}

export interface WorldOptions {
  readonly seed?: number;
  readonly settings?: Partial<WorldSettings>;
  /** The disk that an earlier world left, and its wall clock. */
  readonly disk?: SimDisk;
  readonly wallMs?: number;
  readonly events?: StoreEvents;
}

export const NAMES: StoreNames = () => "node-a";
const DIRECTORY = "/store";
const CLUSTER_KEY = Buffer.alloc(32, 7);

/** Tells which value is being minted: a record is also removed when a version that has expired is all that is left of it. */
class WatchedReplica extends Replica {
  /** Latin1; null when nothing, or a tombstone, is being minted. */
  minting: string | null = null;

  /** Keys that some fetch is about, which must not stay. */
  get watched(): number {
    return this.watch.size;
  }

  override mint(dataKey: string, old: RecordView | null, covered: Covered, fresh: NewValue): void {
    this.minting = fresh.value === null ? null : Buffer.from(fresh.value).toString("latin1");
    try {
      super.mint(dataKey, old, covered, fresh);
    } finally {
      this.minting = null;
    }
  }
}

export class World {
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly disk: SimDisk;
  readonly settings: WorldSettings;
  readonly lsm: Lsm;
  readonly store: ColdStore;
  readonly meta: MetaStore;
  readonly identity: StoreIdentity;
  readonly replica: WatchedReplica;
  readonly coordinator: LocalKeyspace;
  readonly reaper: Reaper;

  private constructor(parts: Pick<World, "clock" | "random" | "disk" | "settings" | "lsm" | "store">, meta: MetaStore) {
    const { clock, random, store } = parts;
    this.clock = clock;
    this.random = random;
    this.disk = parts.disk;
    this.settings = parts.settings;
    this.lsm = parts.lsm;
    this.store = store;
    this.meta = meta;
    this.identity = StoreIdentity.open({ meta, random, hasLostData: false });
    this.replica = new WatchedReplica({
      lsm: store.asLsm(),
      meta,
      clock,
      hybridClock: new HybridClock({ maxClockSkewMs: 60_000, last: 0 }),
      identity: this.identity,
      queues: new KeyQueues(this.settings.queuedMax),
      settings: this.settings,
    });
    this.coordinator = new LocalKeyspace({
      replica: this.replica,
      clock,
      random,
      tokens: new ContextTokens({ clusterId: "c", clusterKey: CLUSTER_KEY }),
      names: NAMES,
      settings: this.settings,
    });
    this.reaper = new Reaper({ replica: this.replica, clock, log: silentLog });
  }

  static async start(options: WorldOptions = {}): Promise<World> {
    const random = new SimRandom(options.seed ?? 1);
    const clock = new SimClock(options.wallMs === undefined ? {} : { wallMs: options.wallMs });
    const surroundings = { clock, random: random.fork(), trace: new Trace() };
    const disk = options.disk === undefined ? new SimDisk(surroundings) : options.disk.restart(surroundings);
    const settings = { maxPairBytes: 10_240, requestTimeoutMs: 2_000, siblingsMax: 64, queuedMax: 1_000, ...options.settings };
    let store: ColdStore | null = null;
    let engine: Lsm | null = null;
    let isRefused = false;
    const log: Log = { ...silentLog, warn: () => void (isRefused = true) };
    const lsmClock: Clock = {
      wallMs: () => clock.wallMs(),
      monotonicMs: () => clock.monotonicMs(),
      after: (delayMs, fire) => clock.after(delayMs, fire),
      // The engine ends a batch that nobody else has ended in what it defers.
      defer: (run) =>
        clock.defer(() => {
          isRefused = false;
          const before = engine?.stats().logAppendedBytes;
          run();
          // It defers other things too: a batch has ended when it is in the log, or was refused.
          if (isRefused) store?.ended("refused");
          else if (engine?.stats().logAppendedBytes !== before) store?.ended("committed");
        }),
    };
    const workers = new SimWorkers({ clock, disk, random: random.fork(), jobs: lsmJobs(recordJobOptions()), stepMsMax: 1 });
    const opening = Lsm.open({
      disk,
      clock: lsmClock,
      workers,
      log,
      directory: DIRECTORY,
      settings: { ...defaultLsmSettings, fsync: "no", counters: REPLICA_COUNTERS, memoryTableBytes: 2 ** 21 },
    });
    const lsm = await clock.run(opening);
    engine = lsm;
    store = new ColdStore(lsm, clock, random.fork());
    const meta = await clock.run(MetaStore.open(store.asLsm()));
    const world = new World({ clock, random, disk, settings, lsm, store }, meta);
    store.events = options.events ?? NO_EVENTS;
    return world;
  }

  /** Waits in virtual time. */
  run<Result>(work: Promise<Result>): Promise<Result> {
    return this.clock.run(work);
  }

  /** The code and message of what a promise rejects with; fails when it does not. */
  async failureOf(work: Promise<unknown>): Promise<Error & { code?: string }> {
    try {
      await this.run(work);
    } catch (error) {
      return error as Error;
    }
    throw new Error("nothing was refused");
  }

  /** A clean stop; the world must not be used afterwards. */
  async stop(): Promise<void> {
    this.reaper.setPaused({ isPaused: true });
    this.identity.stop();
    await this.run(this.lsm.close());
  }

  /** The world after a restart on what this one left. */
  restart(options: Omit<WorldOptions, "disk"> = {}): Promise<World> {
    return World.start({ wallMs: this.clock.wallMs(), ...options, disk: this.disk });
  }
}

export interface ScopeOptions {
  readonly database?: number;
  readonly conflicts?: "newest" | "error";
  readonly hold?: Hold | null;
}

export function scopeOf({ database = 0, conflicts = "newest", hold = null }: ScopeOptions = {}): Scope {
  return { database, consistency: { quorum: { kind: "level", level: "QUORUM" }, standIns: "sloppy", conflicts }, hold };
}

export function bytes(text: string): Buffer {
  return Buffer.from(text, "latin1");
}

export function liveValueOf(entry: Entry | null | typeof NOT_IN_MEMORY): string | null {
  return entry === null || typeof entry === "symbol" ? null : entry.value;
}
