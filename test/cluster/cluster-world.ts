/**
 * Whole clusters of `Cluster`s over real links in virtual time: each node has a machine of its own in the simulated network,
 * and records that outlive its process.
 */
import { assert } from "../../lib/assert.js";
import { Cluster, type ClusterSettings, type Records, type Ring } from "../../lib/cluster/cluster.js";
import { OperatingError } from "../../lib/errors.js";
import type { Log } from "../../lib/log.js";
import { defaultPeerSettings, Peers, type ProtocolVersions } from "../../lib/peer/peer.js";
import { SimClock } from "../sim/sim-clock.js";
import { SimNetwork } from "../sim/sim-network.js";
import { SimRandom } from "../sim/sim-random.js";

/** What a data directory keeps. */
export class MapRecords implements Records {
  readonly stored = new Map<string, Buffer>();
  writes = 0;
  isFull = false;

  get(name: string): Buffer | null {
    return this.stored.get(name) ?? null;
  }

  putNow(name: string, bytes: Buffer): void {
    if (this.isFull) throw new OperatingError("IO", "the disk is full");
    this.writes++;
    this.stored.set(name, Buffer.from(bytes));
  }
}

export interface NodeOptions {
  /** Names of other nodes. */
  readonly seeds?: readonly string[];
  readonly secret?: string;
  readonly settings?: Partial<ClusterSettings>;
  readonly storeId?: string;
  /** Whether it has taken in what the change of this ring gives it. Default: yes. */
  readonly takenIn?: (ring: Ring) => Promise<boolean>;
  /** Resolves when it has given away what it keeps for others. Default: at once. */
  readonly retire?: () => Promise<void>;
  readonly holdsKeys?: boolean;
  /** Of the protocol. Default: all that there are; fewer make an older build of it. */
  readonly versions?: ProtocolVersions;
  /** Where it listens, if not where it was first. */
  readonly port?: number;
}

/** One run of a node's process. */
export class ClusterRun {
  readonly cluster: Cluster;
  readonly peers: Peers;
  readonly logged: string[] = [];
  /** Rings that it was asked about: whether it has taken in what they give it. */
  readonly asked: Ring[] = [];
  readonly #takenIn: (ring: Ring) => Promise<boolean>;
  wasRemoved = false;
  wasPutBack = false;
  readonly name: string;
  readonly port: number;
  started: Promise<void> = Promise.resolve();
  isKnowing = false;

  constructor(world: ClusterWorld, name: string, records: Records, options: NodeOptions & { port: number }) {
    this.name = name;
    this.#takenIn = options.takenIn ?? (async () => true);
    this.port = options.port;
    const note = (_: object, message: string): void => {
      this.logged.push(message);
    };
    const log: Log = { debug: () => undefined, info: note, warn: note, error: note };
    const { clock } = world;
    const random = world.random.fork();
    this.peers = new Peers({
      network: world.network.endpoint(name),
      clock,
      random,
      log,
      settings: { ...defaultPeerSettings(), clusterSecret: options.secret ?? null },
      identity: () => this.cluster.identity(),
      admit: (hello) => this.cluster.admit(hello),
      ...(options.versions === undefined ? {} : { versions: options.versions }),
    });
    this.cluster = Cluster.open({
      peers: this.peers,
      clock,
      random,
      log,
      records,
      settings: {
        name: () => name,
        host: `host-${name}`,
        dc: "dc1",
        rack: "r1",
        weight: 1,
        vnodes: 16,
        replicas: { default: 3, dcs: [] },
        seeds: (options.seeds ?? []).map((seed) => world.addressOf(seed)),
        replaces: "",
        peerAddress: () => ({ host: name, port: options.port }),
        clientAddress: () => ({ host: name, port: 6_379 }),
        ...options.settings,
      },
      storeId: () => options.storeId ?? name.padEnd(8, "-"),
      sequenceLease: () => 100,
      load: () => ({ requestsPerSecond: 0, storedBytes: 0, waitingHints: 0, busyPermille: 0, diskFreeBytes: null }),
      softwareVersion: "0.1.0",
      holdsKeys: () => options.holdsKeys ?? false,
      hasTakenIn: (member, ring) => world.runOf(member).takenIn(ring),
      retire: async () => options.retire?.(),
      isRestored: () => false,
      onPutBack: () => {
        this.wasPutBack = true;
      },
      onRemoved: () => {
        this.wasRemoved = true;
      },
    });
  }

  takenIn(ring: Ring): Promise<boolean> {
    this.asked.push(ring);
    return this.#takenIn(ring);
  }

  get isMember(): boolean {
    return this.isKnowing && this.cluster.ring.document.members.some(({ id }) => id === this.cluster.selfId);
  }

  get version(): number {
    return this.cluster.ring.document.version;
  }

  get memberNames(): string[] {
    return this.cluster.ring.document.members.map(({ name }) => name).sort();
  }

  /** What it has logged that contains this. */
  said(part: string): string[] {
    return this.logged.filter((line) => line.includes(part));
  }
}

export class ClusterWorld {
  readonly clock = new SimClock();
  readonly random: SimRandom;
  readonly network: SimNetwork;
  readonly #records = new Map<string, MapRecords>();
  readonly #ports = new Map<string, number>();
  readonly #runs = new Map<string, ClusterRun>();

  constructor(seed = 1) {
    this.random = new SimRandom(seed);
    this.network = new SimNetwork({ clock: this.clock });
  }

  runOf(member: string): ClusterRun {
    const run = [...this.#runs.values()].find(({ cluster }) => cluster.selfId === member);
    if (run === undefined) throw new OperatingError("UNAVAILABLE", `${member} does not run`);
    return run;
  }

  addressOf(name: string): { host: string; port: number } {
    let port = this.#ports.get(name);
    if (port === undefined) this.#ports.set(name, (port = 17_000 + this.#ports.size));
    return { host: name, port };
  }

  records(name: string): MapRecords {
    let records = this.#records.get(name);
    if (records === undefined) this.#records.set(name, (records = new MapRecords()));
    return records;
  }

  loseData(name: string): void {
    this.#records.delete(name);
  }

  /** A node that listens, and starts; resolves when that much is done, which may be before it knows a ring. */
  async node(name: string, options: NodeOptions = {}): Promise<ClusterRun> {
    const run = new ClusterRun(this, name, this.records(name), { port: this.addressOf(name).port, ...options });
    this.#runs.set(name, run);
    await this.clock.run(run.peers.listen({ host: name, port: run.port }));
    run.started = run.cluster.start().then(() => {
      run.isKnowing = true;
    });
    run.started.catch(() => undefined);
    await this.clock.advance(0);
    return run;
  }

  /** A cluster of these members, the first of which founded it. */
  async clusterOf(names: readonly string[], options: NodeOptions = {}): Promise<ClusterRun[]> {
    const runs: ClusterRun[] = [];
    for (const name of names) runs.push(await this.node(name, { ...options, seeds: runs.length === 0 ? [] : [names[0]!] }));
    await this.until(() => runs.every((run) => run.isMember && run.memberNames.length === names.length));
    return runs;
  }

  /** Stops in good order. */
  async stop(run: ClusterRun): Promise<void> {
    run.cluster.stop();
    await this.clock.run(run.peers.close());
  }

  /** As by kill -9: from now on it changes nothing on its disk. */
  async kill(run: ClusterRun): Promise<void> {
    const records = this.records(run.name);
    const survivor = new MapRecords();
    for (const [name, bytes] of records.stored) survivor.stored.set(name, bytes);
    this.#records.set(run.name, survivor);
    await this.stop(run);
  }

  async stopAll(): Promise<void> {
    for (const run of this.#runs.values()) await this.stop(run);
  }

  advance(ms: number): Promise<void> {
    return this.clock.advance(ms);
  }

  /** Lets time pass until it is so. */
  async until(isSo: () => boolean, limitMs = 60_000): Promise<number> {
    const startMs = this.clock.monotonicMs();
    while (!isSo()) {
      assert(this.clock.monotonicMs() - startMs < limitMs, "cluster world: it did not come about in time");
      await this.advance(50);
    }
    return this.clock.monotonicMs() - startMs;
  }
}
