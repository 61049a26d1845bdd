/**
 * The layers of a node that know of other nodes, put together: links, membership, hints, and once a ring is known the
 * coordinator over this node's own copies. No logic of its own beyond who is handed what.
 */
import { background } from "../background.js";
import { ContextTokens } from "../causality/context-token.js";
import { Cluster, type MemberAddress, type MemberLoad, type MemberReport, type Ring } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import { generationOf } from "../cluster/member-record.js";
import type { Config } from "../config.js";
import { CommandForwarding } from "../coordinator/command-forwarding.js";
import { Coordinator } from "../coordinator/coordinator.js";
import { InFlight } from "../coordinator/in-flight.js";
import { LocalKeyspace } from "../coordinator/local-keyspace.js";
import type { QuorumContext } from "../coordinator/quorum-context.js";
import { QuorumRequests } from "../coordinator/quorum-requests.js";
import { SlotPlans } from "../coordinator/slot-plan.js";
import { OperatingError } from "../errors.js";
import { pause } from "../host/clock.js";
import type { Host } from "../host/host.js";
import type { Log } from "../log.js";
import type { BackupOrigin } from "../lsm/backup.js";
import type { Lsm } from "../lsm/lsm.js";
import { Peers, type ProtocolVersions } from "../peer/peer.js";
import { DATABASES } from "../replica/data-key.js";
import type { StorePoint } from "../replica/flush-messages.js";
import { FlushService } from "../replica/flush-service.js";
import { FlushSweeper } from "../replica/flush-sweeper.js";
import { Handoff } from "../replica/handoff.js";
import { evacuateHints } from "../replica/hint-evacuation.js";
import { Hints } from "../replica/hints.js";
import { Intakes } from "../replica/intakes.js";
import { KeyService } from "../replica/key-service.js";
import { MemberHealth } from "../replica/member-health.js";
import type { MetaStore } from "../replica/meta-store.js";
import { RangeServer } from "../replica/range-server.js";
import type { Reaper } from "../replica/reaper.js";
import { RelayService } from "../replica/relay-service.js";
import { RemoteReplicas } from "../replica/remote-replicas.js";
import type { Limit, Replica } from "../replica/replica.js";
import { ReplicaKind } from "../replica/replica-messages.js";
import { ReplicaService } from "../replica/replica-service.js";
import { restoredAtMs } from "../replica/restored-mark.js";
import { SlotIntake } from "../replica/slot-intake.js";
import type { StoreIdentity } from "../replica/store-identity.js";
import { TurnEnd } from "../replica/turn-end.js";
import { Backups } from "./backups.js";
import { forgetPast, putBack } from "./forgotten-past.js";
import { sayGoodbye } from "./goodbye.js";
import { askForKey } from "./key-question.js";
import type { LiveConfig } from "./live-config.js";
import { reachableHost } from "./reachable-host.js";
import { RepairStack } from "./repair-stack.js";
import { RingOperations } from "./ring-operations.js";
import { RingView } from "./ring-view.js";
import { coordinatorSettings, handoffSettings, hintSettings, peerSettings, transferSettings } from "./settings.js";

/** What the layers below and beside give. */
export interface RingStackOptions {
  readonly host: Host;
  readonly config: Config;
  readonly live: LiveConfig;
  readonly log: Log;
  readonly lsm: Lsm;
  readonly meta: MetaStore;
  readonly identity: StoreIdentity;
  readonly replica: Replica;
  readonly reaper: Reaper;
  readonly softwareVersion: string;
  readonly protocol?: ProtocolVersions;
  /** The machine's name: the host label where none is given. */
  readonly hostName: string;
  /** An address at which other machines may reach this one; "" when it has none. */
  readonly machineAddress: string;
  /** Absolute: where the process runs. */
  readonly currentDirectory: string;
  /** Of this node, once it listens. */
  readonly name: () => string;
  readonly clientAddress: () => MemberAddress;
  readonly load: () => MemberLoad;
  /** This member has left its cluster, and the others have all that it had. */
  readonly onLeft: () => void;
  /** This member is none of its cluster any more, or has to start anew. */
  readonly requestStop: () => void;
}

/** Requests that wait for other nodes: each has a call or two to a peer, and a link carries 65,536. */
const IN_FLIGHT_MAX = 30_000;
/** How long a start waits: for links with all others, for links with a majority, and for a join. */
const LINKS_MS = 500;
const LINKS_MS_MAX = 1_000;
const JOIN_MS_MAX = 10_000;
const SETTLE_TICK_MS = 10;
const NO_LIMIT: Limit = { isPast: false, error: () => new OperatingError("TIMEOUT", "there is no limit") };

/** The parts that are there before a ring is known. */
export class RingStack {
  readonly peers: Peers;
  readonly cluster: Cluster;
  readonly hints: Hints;
  readonly intake: SlotIntake;
  readonly backups: Backups;
  readonly #options: RingStackOptions;
  readonly #intakes: Intakes;
  readonly #turn: TurnEnd;
  readonly #sweeper: FlushSweeper;
  #handoff: Handoff | null = null;
  #isStopping = false;
  #repair: RepairStack | null = null;
  #peerPort = 0;
  #isAbandoned = false;
  /** The store has been in use before. */
  readonly #hasRun: boolean;
  /** Nothing is taken in beside what is to be forgotten. */
  #mayTakeIn = false;

  private constructor(options: RingStackOptions, hints: Hints) {
    const { host, config, live, log, lsm, meta, identity } = options;
    const { clock, random, peerNetwork } = host;
    this.#options = options;
    this.hints = hints;
    const { replica } = options;
    this.#sweeper = new FlushSweeper({ replica, meta, clock, log, commitsRefused: () => lsm.commitsRefused });
    this.peers = new Peers({
      network: peerNetwork,
      clock,
      random,
      log,
      settings: peerSettings(live),
      identity: () => this.cluster.identity(),
      admit: (hello) => this.cluster.admit(hello),
      ...(options.protocol !== undefined && { versions: options.protocol }),
    });
    this.#turn = new TurnEnd({ gate: lsm, schedule: () => this.peers.endTurnSoon() });
    this.peers.onTurnEnd(() => this.#turn.run());
    this.#hasRun = generationOf(meta) > 0;
    this.cluster = Cluster.open({
      peers: this.peers,
      clock,
      random,
      log,
      records: meta,
      settings: {
        name: options.name,
        host: config.host === "" ? options.hostName : config.host,
        dc: config.dc,
        rack: config.rack,
        weight: config.weight,
        vnodes: config.vnodes,
        replicas: config.replicas,
        seeds: config.seeds,
        replaces: config.replace,
        peerAddress: () => ({
          host: reachableHost(config, options.machineAddress),
          port: config.announcePeerPort || this.#peerPort,
        }),
        clientAddress: options.clientAddress,
      },
      storeId: () => identity.storeId,
      sequenceLease: () => identity.leaseEnd,
      holdsKeys: () => Array.from({ length: DATABASES }).some((_, database) => replica.size(database) > 0),
      load: options.load,
      softwareVersion: options.softwareVersion,
      hasTakenIn: (member, ring) => this.#intakes.hasTakenIn(member, ring),
      retire: (ring, missing) => this.#retire(ring, missing),
      onRemoved: (how) => {
        if (how === "left") options.onLeft();
        const text =
          "this member is none of its cluster any more: it stops, and is refused until its data directory is cleared";
        log.warn({ how }, how === "left" ? `${text} (--rejoin yes does)` : text);
        background(sayGoodbye({ clock, how, spread: () => this.cluster.spread() }).then(options.requestStop));
      },
      isRestored: () => restoredAtMs(meta) !== null,
      onPutBack: () => {
        putBack({ meta, identity, clock, log, isServing: this.#mayTakeIn });
        if (this.#mayTakeIn) options.requestStop();
      },
    });
    this.intake = new SlotIntake({
      selfId: this.cluster.selfId,
      peers: this.peers,
      clock,
      log,
      meta,
      settings: transferSettings(live),
      store: (dataKey, bytes, start, end) => this.#store(dataKey, bytes, start, end),
      carrying: replica.carrying,
      beginEpoch: () => identity.beginEpoch(),
    });
    this.cluster.onRing((ring) => {
      if (this.#mayTakeIn) this.intake.update(ring);
    });
    this.#intakes = new Intakes({ selfId: this.cluster.selfId, peers: this.peers, clock, own: this.intake });
    this.#intakes.serve();
    this.backups = new Backups({
      disk: host.disk,
      clock,
      log,
      lsm,
      currentDirectory: options.currentDirectory,
      directory: config.dir,
      backupDirectory: config.backupDir,
      origin: () => this.#backupOrigin(),
    });
    const ranges = new RangeServer({ lsm, clock, ringVersion: () => this.cluster.ring.document.version });
    this.peers.serve(ReplicaKind.range, (request) => ranges.serve(request));
  }

  /** Reads what is stored of hints and membership. Rejects with IO, CORRUPT, CONFIG or UNAVAILABLE. */
  static async open(options: RingStackOptions): Promise<RingStack> {
    const { host, live, log, lsm, meta } = options;
    const hints = await Hints.open({ lsm, meta, clock: host.clock, log, settings: hintSettings(live) });
    return new RingStack(options, hints);
  }

  /** Listens for other members. Rejects with UNAVAILABLE. */
  async listen(address: MemberAddress): Promise<void> {
    this.#peerPort = await this.peers.listen(address);
  }

  /** Finds or founds a ring, and builds what answers clients by it. */
  async join(): Promise<RingParts> {
    const { host, config, live, log, lsm, replica, reaper, identity } = this.#options;
    const { clock, random } = host;
    const { cluster, peers, hints } = this;
    await cluster.start();
    await this.#forgetReaped();
    this.#mayTakeIn = true;
    this.intake.update(cluster.ring);
    const { clusterId, clusterKey } = cluster.ring.document;
    const tokens = new ContextTokens({ clusterId: clusterId.toString("hex"), clusterKey });
    const settings = live.view(({ requestsQueuedMax, appendfsync }) => {
      return { requestsMax: Math.min(requestsQueuedMax, IN_FLIGHT_MAX), appendfsync };
    });
    const plans = new SlotPlans({ ring: cluster.ring, selfId: cluster.selfId, centre: config.dc });
    const local = new LocalKeyspace({
      replica,
      clock,
      random,
      tokens,
      names: (storeId) => cluster.nameOfStore(storeId),
      settings: coordinatorSettings(live),
      reaper,
    });
    const health = new MemberHealth({ peers });
    const context: QuorumContext = {
      selfId: cluster.selfId,
      replica,
      hints,
      remote: new RemoteReplicas({ peers }),
      health,
      inFlight: new InFlight({ clock, health, requestsMax: () => settings.requestsMax }),
      turn: this.#turn,
      clock,
      plans,
      fetchRing: (from) => cluster.fetchRing(from),
    };
    const ringVersion = (): number => cluster.ring.document.version;
    const former = identity.former.map(({ storeId, leaseEnd }) => ({ storeId, sequence: leaseEnd }));
    const leases = (): StorePoint[] => [...cluster.reports().flatMap(leaseOf), ...former];
    const requests = new QuorumRequests({ local, context, random });
    const coordinator = new Coordinator({
      local,
      requests,
      context,
      tokens,
      random,
      agreement: { change: (change, deadlineMs) => cluster.change(change, deadlineMs), leases },
    });
    const forwarding = new CommandForwarding({ requests, local, context });
    const service = new ReplicaService({
      peers,
      replica,
      hints,
      turn: this.#turn,
      clock,
      isStale: (slot, version) => plans.isStale(slot, version),
      ringVersion,
      ownersOf: (slot) => plans.of(slot).owners,
      isAwaitingSync: () => !lsm.isAcknowledged || settings.appendfsync === "always",
    });
    const keys = new KeyService({
      peers,
      lister: local.lister,
      turn: this.#turn,
      isStale: (slot, version) => plans.isStale(slot, version),
      ringVersion,
      fetchRing: (from) => cluster.fetchRing(from),
    });
    const flushes = new FlushService({
      peers,
      replica,
      turn: this.#turn,
      ringVersion,
      fetchRing: (from) => cluster.fetchRing(from),
      leases,
    });
    const handoff = new Handoff({
      hints,
      peers,
      clock,
      log,
      lsm,
      settings: handoffSettings(live),
      self: cluster.selfId,
      ring: plans.sight(),
      isMember: (id) => cluster.ring.indexOf(id) !== null,
      store: (dataKey, bytes, start, end) => this.#store(dataKey, bytes, start, end),
      onStaleRing: (from) => background(cluster.fetchRing(from)),
      carrying: replica.carrying,
      nameOf: (id) => nameOf(cluster.ring, id),
    });
    this.#handoff = handoff;
    const repair = new RepairStack({
      host,
      live,
      log,
      replica,
      lsm,
      identity: this.#options.identity,
      hints,
      peers,
      cluster,
      store: (dataKey, bytes, start, end) => this.#store(dataKey, bytes, start, end),
      nameOf,
    });
    this.#repair = repair;
    const noteRing = (ring: Ring): void => {
      plans.update(ring);
      if (hasCompany(ring)) replica.keepTombstones();
      repair.update(ring, { hasCompany: hasCompany(ring) });
      this.#sweeper.learn(ring.document.flushContexts);
    };
    noteRing(cluster.ring);
    cluster.onRing(noteRing);
    service.serve();
    new RelayService({ peers, remote: context.remote, service, health, clock }).serve();
    keys.serve();
    flushes.serve();
    requests.serve();
    handoff.start();
    repair.serve();
    const view = new RingView({
      selfId: cluster.selfId,
      clock,
      ring: () => cluster.ring,
      reports: () => cluster.reports(),
      intakes: () => [...this.#intakes.known(cluster.ring)],
      awaited: () => cluster.awaited,
      isLinked: (id) => peers.isUsable(id),
      load: this.#options.load,
      ask: (id, database, key) => askForKey({ clock, cluster, peers, replica }, id, replica.keys.of(database, key)),
    });
    const { degradedReason } = cluster.ring.current;
    if (degradedReason !== null && cluster.ring.document.members.length > 1) log.warn({}, degradedReason);
    await this.#settle();
    const operations = new RingOperations({ clock, log, cluster, repair, backups: this.backups });
    return { tokens, plans, local, context, coordinator, forwarding, service, handoff, repair, operations, view };
  }

  /**
   * Waits, for a while, until this node can do what clients ask: is linked with the others, both ways, and has joined. Before
   * all others have a link to it, they may decide elsewhere what it would decide. A member that is down must not keep it from
   * serving, and a join that takes long neither, once it is agreed on: others answer meanwhile what it passes on.
   */
  async #settle(): Promise<void> {
    const { clock } = this.#options.host;
    const startedMs = clock.monotonicMs();
    for (;;) {
      const { members } = this.cluster.ring.document;
      const waitedMs = clock.monotonicMs() - startedMs;
      const linked = members.filter(({ id }) => this.#isLinkedWith(id)).length;
      const isMember = members.some(({ id }) => id === this.cluster.selfId);
      const isJoined = isMember || (waitedMs >= JOIN_MS_MAX && this.cluster.selfIndex >= 0);
      const isLinked = linked === members.length || (waitedMs >= LINKS_MS && 2 * linked > members.length);
      if (this.cluster.removal !== null) throw this.cluster.removal;
      if (this.#isAbandoned) throw new OperatingError("CLOSED", "this node was stopped before it was ready");
      if ((isJoined && isLinked) || (isJoined && waitedMs >= LINKS_MS_MAX)) return;
      await pause(clock, SETTLE_TICK_MS);
    }
  }

  /** A store that was restored or put back, or has lost data, may hold what was removed for good meanwhile. */
  #forgetReaped(): Promise<void> {
    const { host, log, lsm, meta, replica, identity } = this.#options;
    const { cluster, peers, hints } = this;
    return forgetPast({
      peers,
      replica,
      hints,
      lsm,
      meta,
      clock: host.clock,
      log,
      cluster,
      identity,
      hasRun: this.#hasRun,
      nameOf: (id) => nameOf(cluster.ring, id),
      isCancelled: () => this.#isAbandoned,
    });
  }

  /** Ends a `join` under way, which rejects with CLOSED. */
  abandon(): void {
    this.#isAbandoned = true;
    this.cluster.stop();
  }

  #isLinkedWith(id: MemberId): boolean {
    return id === this.cluster.selfId || (this.peers.isUsable(id) && this.peers.isLinkedFrom(id));
  }

  /** The other members are told that this one is about to stop; resolves when what they have begun here is answered. */
  leave(maxMs: number): Promise<void> {
    this.#repair?.beginStop();
    return this.peers.leave(maxMs);
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.backups.stop();
    this.cluster.stop();
    await this.#handoff?.stop();
    await this.#repair?.stop();
    await this.#sweeper.stop();
    await this.peers.close();
    await this.intake.stop();
    this.hints.stop();
  }

  /** Gives away what is kept here for others, and what members that are missing do not take over. */
  async #retire(ring: Ring, missing: ReadonlySet<MemberId>): Promise<void> {
    const { host, lsm, live } = this.#options;
    const { cluster, hints, peers } = this;
    if (missing.size > 0) await this.#repair?.give(ring, missing);
    await evacuateHints({
      hints,
      lsm,
      peers,
      clock: host.clock,
      ringVersion: () => cluster.ring.document.version,
      heirs: () => cluster.ring.document.members.map(({ id }) => id).filter((id) => id !== cluster.selfId),
      settings: handoffSettings(live),
      isCancelled: () => this.#isStopping,
    });
  }

  #backupOrigin(): BackupOrigin | null {
    const { selfId } = this.cluster;
    const { clusterId, members, version } = this.cluster.ring.document;
    const self = members.find(({ id }) => id === selfId);
    if (self === undefined) return null;
    return {
      cluster: clusterId.toString("hex"),
      memberId: selfId,
      member: self.name,
      members: members.map(({ name }) => name).sort(),
      ringVersion: version,
      version: this.#options.softwareVersion,
    };
  }

  async #store(dataKey: string, bytes: Uint8Array, start: number, end: number): Promise<void> {
    const { replica, lsm } = this.#options;
    if (replica.backlog() === "stopped") await replica.room();
    await replica.mergeRead(dataKey, bytes, start, end, NO_LIMIT);
    await lsm.committed();
  }
}

/** The parts that answer clients, and members about copies. */
export interface RingParts {
  readonly tokens: ContextTokens;
  readonly plans: SlotPlans;
  readonly local: LocalKeyspace;
  readonly context: QuorumContext;
  readonly coordinator: Coordinator;
  readonly forwarding: CommandForwarding;
  readonly service: ReplicaService;
  readonly handoff: Handoff;
  readonly repair: RepairStack;
  readonly operations: RingOperations;
  readonly view: RingView;
}

/** The lease of a member's store, where gossip has heard of one. */
function leaseOf({ member }: MemberReport): StorePoint[] {
  const { storeId, sequenceLease } = member.contents;
  return sequenceLease > 0 ? [{ storeId: Buffer.from(storeId, "hex").toString("latin1"), sequence: sequenceLease }] : [];
}

/** True when others hold copies, or may have held some. */
function hasCompany({ document }: Ring): boolean {
  return document.members.length > 1 || document.pending.length > 0 || document.removed.length > 0;
}

function nameOf(ring: Ring, id: MemberId): string {
  const index = ring.indexOf(id);
  return index === null ? id : ring.members[index]!.name;
}
