/** One run of a node of a `RingWorld`: everything between its disk and the commands, wired as lib/node/ring-stack.ts does. */
import { ContextTokens } from "../../lib/causality/context-token.js";
import { HybridClock } from "../../lib/causality/hybrid-clock.js";
import type { ChangeOutcome } from "../../lib/cluster/cluster.js";
import type { Ring } from "../../lib/cluster/ring.js";
import { CommandForwarding } from "../../lib/coordinator/command-forwarding.js";
import type { Consistency } from "../../lib/coordinator/consistency.js";
import { Coordinator } from "../../lib/coordinator/coordinator.js";
import { InFlight } from "../../lib/coordinator/in-flight.js";
import type { Forwarded, Hold, Scope } from "../../lib/coordinator/keyspace.js";
import { LocalKeyspace } from "../../lib/coordinator/local-keyspace.js";
import type { QuorumContext } from "../../lib/coordinator/quorum-context.js";
import { QuorumRequests } from "../../lib/coordinator/quorum-requests.js";
import { SlotPlans } from "../../lib/coordinator/slot-plan.js";
import { OperatingError } from "../../lib/errors.js";
import { type Log, silentLog } from "../../lib/log.js";
import { lsmJobs } from "../../lib/lsm/jobs.js";
import { Lsm } from "../../lib/lsm/lsm.js";
import { defaultLsmSettings } from "../../lib/lsm/lsm-settings.js";
import { defaultPeerSettings, Peers } from "../../lib/peer/peer.js";
import { Fence } from "../../lib/replica/fence.js";
import { Handoff } from "../../lib/replica/handoff.js";
import { Hints } from "../../lib/replica/hints.js";
import { KeyQueues } from "../../lib/replica/key-queues.js";
import { KeyService } from "../../lib/replica/key-service.js";
import { MemberHealth } from "../../lib/replica/member-health.js";
import { MetaStore } from "../../lib/replica/meta-store.js";
import { recordJobOptions } from "../../lib/replica/record-jobs.js";
import { RelayService } from "../../lib/replica/relay-service.js";
import { RemoteReplicas } from "../../lib/replica/remote-replicas.js";
import { REPLICA_COUNTERS, Replica } from "../../lib/replica/replica.js";
import { ReplicaService } from "../../lib/replica/replica-service.js";
import { StoreIdentity } from "../../lib/replica/store-identity.js";
import { TurnEnd } from "../../lib/replica/turn-end.js";
import { ColdStore } from "../model/cold-store.js";
import type { ProcessClock } from "../sim/process-clock.js";
import type { SimDisk } from "../sim/sim-disk.js";
import type { SimRandom } from "../sim/sim-random.js";
import { SimWorkers } from "../sim/sim-workers.js";
import { perform, type TestCommand } from "./ring-client.js";
import type { RingWorld } from "./ring-world.js";

export const NO_LIMIT = { isPast: false, error: () => new OperatingError("TIMEOUT", "there is no limit") };

export interface RingNodeParts {
  readonly world: RingWorld;
  readonly number: number;
  readonly id: string;
  readonly clock: ProcessClock;
  readonly disk: SimDisk;
  readonly random: SimRandom;
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly hints: Hints;
  readonly logged: string[];
}

export class RingNode {
  readonly world: RingWorld;
  /** From 1. */
  readonly number: number;
  readonly id: string;
  readonly clock: ProcessClock;
  readonly disk: SimDisk;
  readonly lsm: Lsm;
  /** Makes the replica's look-ups cold. */
  readonly store: ColdStore;
  readonly identity: StoreIdentity;
  readonly replica: Replica;
  readonly peers: Peers;
  readonly hints: Hints;
  readonly plans: SlotPlans;
  readonly context: QuorumContext;
  readonly local: LocalKeyspace;
  readonly keyspace: Coordinator;
  readonly forwarding: CommandForwarding;
  readonly service: ReplicaService;
  readonly relays: RelayService;
  readonly handoff: Handoff;
  readonly logged: string[];
  /** Commands that others passed on, and were begun here. */
  commandsRun = 0;
  /** Rings that were asked for. */
  ringsFetched = 0;
  isDead = false;
  /** Told when it is killed: clients learn of it by their connections. */
  readonly deaths: (() => void)[] = [];
  /** It learns of no ring. */
  isDeaf = false;

  static async open(world: RingWorld, number: number, disk: SimDisk, clock: ProcessClock): Promise<RingNode> {
    const random = world.random.fork();
    const logged: string[] = [];
    const note = (_: object, message: string): void => void logged.push(message);
    const log: Log = { ...silentLog, info: note, warn: note, error: note };
    const workers = new SimWorkers({ clock, disk, random: random.fork(), jobs: lsmJobs(recordJobOptions()), stepMsMax: 1 });
    const lsm = await world.clock.run(
      Lsm.open({
        disk,
        clock,
        workers,
        log,
        directory: "/store",
        settings: {
          ...defaultLsmSettings,
          fsync: world.settings.fsync,
          counters: REPLICA_COUNTERS,
          memoryTableBytes: 2 ** 20,
          blockCacheBytes: 2 ** 20,
        },
      }),
    );
    const meta = await world.clock.run(MetaStore.open(lsm));
    const hints = await world.clock.run(Hints.open({ lsm, meta, clock, log, settings: world.settings }));
    return new RingNode({ world, number, id: world.idOf(number), clock, disk, random, lsm, meta, hints, logged });
  }

  private constructor({ world, number, id, clock, disk, random, lsm, meta, hints, logged }: RingNodeParts) {
    this.world = world;
    this.number = number;
    this.id = id;
    this.clock = clock;
    this.disk = disk;
    this.lsm = lsm;
    this.hints = hints;
    this.logged = logged;
    this.store = new ColdStore(lsm, world.clock, random.fork());
    this.identity = StoreIdentity.open({ meta, random, hasLostData: false });
    const { settings } = world;
    this.replica = new Replica({
      lsm: this.store.asLsm(),
      meta,
      clock,
      hybridClock: new HybridClock({ maxClockSkewMs: 60_000, last: 0 }),
      identity: this.identity,
      queues: new KeyQueues(settings.queuedMax),
      settings,
    });
    this.peers = new Peers({
      network: world.network.endpoint(id),
      clock,
      random,
      log: silentLog,
      settings: { ...defaultPeerSettings(), ...settings.peers },
      identity: () => ({ peerId: id, clusterId: null, settings: Buffer.alloc(0) }),
      admit: () => null,
    });
    const gate = {
      commit: () => this.store.commit(),
      get isAcknowledged() {
        return lsm.isAcknowledged;
      },
      acknowledged: () => lsm.acknowledged(),
    };
    const turn = new TurnEnd({ gate, schedule: () => this.peers.endTurnSoon() });
    this.peers.onTurnEnd(() => turn.run());
    this.plans = new SlotPlans({ ring: world.ring, selfId: id, centre: world.centreOf(number) });
    const tokens = new ContextTokens({ clusterId: "c", clusterKey: Buffer.alloc(32, 7) });
    const names = (storeId: string): string | null => world.nameOfStore(storeId);
    this.local = new LocalKeyspace({ replica: this.replica, clock, random, tokens, names, settings });
    const health = new MemberHealth({ peers: this.peers });
    this.context = {
      selfId: id,
      replica: this.replica,
      hints,
      remote: new RemoteReplicas({ peers: this.peers }),
      health,
      inFlight: new InFlight({ clock, health, requestsMax: () => settings.queuedMax }),
      turn,
      clock,
      plans: this.plans,
      fetchRing: (from) => this.#fetchRing(from),
    };
    const requests = new QuorumRequests({ local: this.local, context: this.context, random });
    const change = (): Promise<ChangeOutcome> =>
      Promise.resolve({ kind: "refused", reason: "the ring of this world stands still" });
    const agreement = { change, leases: () => [] };
    this.keyspace = new Coordinator({ local: this.local, requests, context: this.context, tokens, random, agreement });
    this.forwarding = new CommandForwarding({ requests, local: this.local, context: this.context });
    this.service = new ReplicaService({
      peers: this.peers,
      replica: this.replica,
      hints,
      turn,
      clock,
      isStale: (slot, version) => this.plans.isStale(slot, version),
      ringVersion: () => this.plans.ring.document.version,
      ownersOf: (slot) => this.plans.of(slot).owners,
      isAwaitingSync: () => !lsm.isAcknowledged || settings.fsync === "always",
    });
    this.handoff = new Handoff({
      carrying: new Fence(),
      hints,
      peers: this.peers,
      clock,
      log: { ...silentLog, warn: (_, message) => void logged.push(message) },
      lsm,
      settings: { handoffInFlight: 64, handoffRateBytes: 2 ** 23, hintsMaxAgeMs: settings.hintsMaxAgeMs },
      self: id,
      ring: this.plans.sight(),
      isMember: (member) => this.plans.ring.indexOf(member) !== null,
      store: async (dataKey, bytes, start, end) => {
        await this.replica.mergeRead(dataKey, bytes, start, end, NO_LIMIT);
        await lsm.committed();
      },
      onStaleRing: (from) => void this.#fetchRing(from),
      nameOf: (member) => member,
    });
    this.replica.keepTombstones();
    this.service.serve();
    this.relays = new RelayService({ peers: this.peers, remote: this.context.remote, service: this.service, health, clock });
    this.relays.serve();
    const keys = new KeyService({
      peers: this.peers,
      lister: this.local.lister,
      turn,
      isStale: (slot, version) => this.plans.isStale(slot, version),
      ringVersion: () => this.plans.ring.document.version,
      fetchRing: (from) => this.#fetchRing(from),
    });
    keys.serve();
    requests.serve();
    this.forwarding.serve(
      (command, forwarded, hold) => this.#runForwarded(command, forwarded, hold),
      ([name, ...words]) => words.filter((_, at) => (`${name}` === "msetnx" ? at % 2 === 0 : at === 0)),
    );
    this.handoff.start();
  }

  /** It learns of a ring. */
  learn(ring: Ring): void {
    if (!this.isDeaf && ring.document.version > this.plans.ring.document.version) this.plans.update(ring);
  }

  /** Other members ask and answer nothing else about rings here: what the other knows is known a little later. */
  async #fetchRing(from: string): Promise<void> {
    this.ringsFetched++;
    const { world } = this;
    await new Promise<void>((resolve) => this.clock.after(2, resolve));
    const other = world.nodes.find(({ id }) => id === from);
    if (other === undefined || other.isDead || world.network.isStuck(from, this.id) || world.network.isStuck(this.id, from))
      return;
    this.learn(other.plans.ring);
  }

  /** As the commands do: what fails is an error reply. */
  async #runForwarded(
    command: { args: readonly Buffer[]; database: number; consistency: Consistency },
    forwarded: Forwarded,
    hold: Hold | null,
  ): Promise<string> {
    this.commandsRun++;
    const scope: Scope = { database: command.database, consistency: command.consistency, hold, forwarded };
    const [name, ...args] = command.args.map((arg) => arg.toString("latin1"));
    try {
      return `+${JSON.stringify(await perform(this.keyspace, scope, name as TestCommand, args))}`;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return `-${error.code} ${error.message}`;
    }
  }
}
