/** What keeps copies equal in the background, put together: hash trees, their rebuilding, anti-entropy, reaping. No logic of its own. */
import { background } from "../background.js";
import type { Cluster, Ring } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import type { RepairReply, RepairRequest } from "../commands/cluster-operations.js";
import type { Host } from "../host/host.js";
import type { Log } from "../log.js";
import type { Lsm } from "../lsm/lsm.js";
import type { Peers } from "../peer/peer.js";
import { AgreedReaping } from "../replica/agreed-reaping.js";
import { AntiEntropy } from "../replica/anti-entropy.js";
import { DigestRebuild } from "../replica/digest-rebuild.js";
import { HashTrees } from "../replica/hash-tree.js";
import type { Hints } from "../replica/hints.js";
import { ReapService } from "../replica/reap-service.js";
import type { Replica } from "../replica/replica.js";
import { giveSlots } from "../replica/slot-giving.js";
import { SlotRelease } from "../replica/slot-release.js";
import type { StoreIdentity } from "../replica/store-identity.js";
import type { ExchangeNode } from "../replica/tree-exchange.js";
import { TreeService } from "../replica/tree-service.js";
import type { LiveConfig } from "./live-config.js";
import { reapSettings, repairSettings } from "./settings.js";
import { unknownMember } from "./unknown-member.js";

export interface RepairStackOptions {
  readonly host: Pick<Host, "clock">;
  readonly live: LiveConfig;
  readonly log: Log;
  readonly replica: Replica;
  readonly lsm: Lsm;
  readonly identity: StoreIdentity;
  readonly hints: Hints;
  readonly peers: Peers;
  readonly cluster: Cluster;
  /** Merges a record into this node's copy, and resolves when that is stored. */
  readonly store: (dataKey: string, bytes: Uint8Array, start: number, end: number) => Promise<void>;
  readonly nameOf: (ring: Ring, id: string) => string;
}

const NO_PROGRESS = { membersDone: 0, members: 0, slotsDiffering: 0, taken: 0, given: 0, bytes: 0, failed: 0, complaint: "" };

export class RepairStack {
  readonly antiEntropy: AntiEntropy;
  readonly rebuild: DigestRebuild;
  readonly release: SlotRelease;
  readonly #cluster: Cluster;
  readonly #trees: HashTrees;
  readonly #service: TreeService;
  readonly #reapService: ReapService;
  readonly #reaping: AgreedReaping;
  readonly #node: ExchangeNode;

  /** REQUIRES that a ring is known. */
  constructor(options: RepairStackOptions) {
    const { host, live, log, replica, lsm, identity, hints, peers, cluster, store } = options;
    const { clock } = host;
    const settings = repairSettings(live);
    this.#cluster = cluster;
    const rebuild = new DigestRebuild({ records: replica, clock, log, settings });
    this.rebuild = rebuild;
    this.#trees = new HashTrees({ digests: replica.digests, selfId: cluster.selfId, ring: cluster.ring });
    this.#service = new TreeService({ peers, records: replica, trees: this.#trees, onCompare: () => this.antiEntropy.sumUp() });
    const node: ExchangeNode = {
      replica,
      trees: this.#trees,
      peers,
      clock,
      store,
      settings,
      doubt: (slot) => rebuild.doubt(slot),
    };
    this.#node = node;
    this.release = new SlotRelease({ ...node, log, selfId: cluster.selfId });
    const nameOf = (id: string): string => options.nameOf(cluster.ring, id);
    const { selfId } = cluster;
    const reaping = reapSettings(live);
    const { saveRuns } = cluster;
    this.#reapService = new ReapService({ selfId, peers, replica, hints, lsm, identity, clock, saveRuns, settings: reaping });
    this.#reaping = new AgreedReaping({
      selfId,
      peers,
      replica,
      service: this.#reapService,
      clock,
      log,
      settings: reaping,
      nextId: () => replica.nextStamp(),
      nameOf,
    });
    this.antiEntropy = new AntiEntropy({
      ...node,
      peers,
      hints,
      log,
      settings,
      nameOf,
      onStaleRing: (from) => background(cluster.fetchRing(from)),
      slotsUnknown: () => rebuild.missing,
      onUnknown: () => rebuild.start(),
      isSummingUp: () => rebuild.isRunning,
    });
  }

  serve(): void {
    this.#service.serve();
    this.#reapService.serve();
    this.antiEntropy.start();
    this.#reaping.start();
  }

  /** `hasCompany`: others hold copies, or may have held some. */
  update(ring: Ring, { hasCompany }: { hasCompany: boolean }): void {
    this.#trees.update(ring);
    this.#reapService.update(ring);
    this.#reaping.update(ring);
    if (!hasCompany) return;
    this.rebuild.start();
    this.release.update(ring);
  }

  /** See `giveSlots`. */
  give(ring: Ring, missing: ReadonlySet<MemberId>): Promise<void> {
    return this.#node.replica.carrying.during(() => giveSlots(this.#node, { ring, selfId: this.#cluster.selfId, missing }));
  }

  /** See `ClusterOperations`. */
  repair({ slot, member, sums }: RepairRequest): string | null {
    const { members } = this.#cluster.ring.document;
    const others = members.filter(({ id }) => id !== this.#cluster.selfId);
    const peer = member === null ? null : (others.find(({ id, name }) => id === member || name === member) ?? "unknown");
    if (peer === "unknown") return unknownMember("other member", member!);
    if (sums === "full") this.rebuild.doubtAll();
    else this.rebuild.start();
    const isBegun = this.antiEntropy.begin({ slot, peer: peer?.id ?? null });
    return isBegun ? null : "an earlier repair is under way on this node: CLUSTER REPAIR STATUS tells how far it is";
  }

  repairStatus(): RepairReply {
    const { progress } = this.antiEntropy;
    const slotsUnknown = this.rebuild.missing;
    if (progress === null) return { state: "none", slotsUnknown, ...NO_PROGRESS };
    const isDone = progress.membersDone === progress.members;
    const isSummingUp = slotsUnknown > 0 && progress.membersDone === 0;
    return { state: isDone ? "done" : isSummingUp ? "summing up" : "comparing", slotsUnknown, ...progress };
  }

  /** INFO `# Anti-entropy`. */
  *fields(): Generator<[string, number | string], void, undefined> {
    yield* this.antiEntropy.fields();
    yield ["slots_to_release", this.release.foreign().length];
    yield ["records_released", this.release.released];
    yield* this.#reaping.fields();
  }

  /** Comes before the others are told that this node is about to stop. */
  beginStop(): void {
    this.#reapService.end();
  }

  async stop(): Promise<void> {
    await this.#reaping.stop();
    await this.antiEntropy.stop();
    await this.release.stop();
    await this.rebuild.stop();
  }
}
