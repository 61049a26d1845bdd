/** What operators have this node do to the cluster, in terms of its parts. */
import type { Cluster } from "../cluster/cluster.js";
import type { MemberId } from "../cluster/member.js";
import { leaveChange, removeChange } from "../cluster/ring-changes.js";
import { comingMembers } from "../cluster/ring-document.js";
import type { RingChange } from "../cluster/ring-proposer.js";
import type {
  BackupReply,
  ClusterOperations,
  RemoveRequest,
  RepairReply,
  RepairRequest,
} from "../commands/cluster-operations.js";
import type { Clock } from "../host/clock.js";
import type { Backups } from "./backups.js";
import type { RepairStack } from "./repair-stack.js";

const CHANGE_MS_MAX = 10_000;

export class RingOperations implements ClusterOperations {
  readonly #clock: Clock;
  readonly #cluster: Cluster;
  readonly #repair: RepairStack;
  readonly #backups: Backups;

  constructor(options: {
    readonly clock: Clock;
    readonly cluster: Cluster;
    readonly repair: RepairStack;
    readonly backups: Backups;
  }) {
    this.#clock = options.clock;
    this.#cluster = options.cluster;
    this.#repair = options.repair;
    this.#backups = options.backups;
  }

  repair(request: RepairRequest): string | null {
    return this.#repair.repair(request);
  }

  repairStatus(): RepairReply {
    return this.#repair.repairStatus();
  }

  backup(path: string): string | null {
    return this.#backups.begin(path);
  }

  backupStatus(): BackupReply {
    return this.#backups.status;
  }

  leave({ ifVersion }: { readonly ifVersion: number | null }): Promise<string | null> {
    return this.#change(leaveChange(this.#cluster.selfId, { ifVersion }));
  }

  async remove({ member, mayBeUp }: RemoveRequest): Promise<string | null> {
    const cluster = this.#cluster;
    const { members, pending } = cluster.ring.document;
    const isMeant = ({ id, name }: { readonly id: MemberId; readonly name: string }): boolean =>
      id === member || name === member;
    const meant = [...members, ...comingMembers(pending)].filter(isMeant);
    const [found] = meant;
    if (found === undefined) return `there is no member called ${member} (kindred status lists them)`;
    if (meant.length > 1) return `${meant.length} members are called ${member}: give the id of one (kindred ring lists them)`;
    if (found.id === cluster.selfId) return "this node is that member: it may leave (kindred leave)";
    if (!mayBeUp && (cluster.isUsable(found.id) || cluster.statusOf(found.id) !== "down")) {
      return `${found.name} is not down: let it leave (kindred leave, asked of it), or give --force`;
    }
    return this.#change(removeChange(found.id));
  }

  /** Null, or why the change was not made. */
  async #change(change: RingChange): Promise<string | null> {
    const outcome = await this.#cluster.change(change, this.#clock.monotonicMs() + CHANGE_MS_MAX);
    if (outcome.kind === "made") return null;
    if (outcome.kind === "refused") return outcome.reason;
    return `${outcome.reached} members answered about the ring, ${outcome.needed} are needed`;
  }
}
