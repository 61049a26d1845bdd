/** What operators have this node do to the cluster, in terms of its parts. */
import { SLOTS } from "../bytes/slot.js";
import { obstaclesOf } from "../cluster/change-obstacles.js";
import type { Cluster } from "../cluster/cluster.js";
import { ambiguityOf, type Member, type MemberId, membersCalled } from "../cluster/member.js";
import { Ring } from "../cluster/ring.js";
import {
  forcedRemoval,
  leaveChange,
  PROTOCOL_OF_DEPARTURES,
  removeChange,
  tooOldForDepartures,
} from "../cluster/ring-changes.js";
import { comingMembers, type RingDocument } from "../cluster/ring-document.js";
import type { RingChange } from "../cluster/ring-proposer.js";
import type {
  BackupReply,
  ClusterOperations,
  LeaveRequest,
  OperationOutcome,
  RemoveRequest,
  RepairReply,
  RepairRequest,
} from "../commands/cluster-operations.js";
import type { Clock } from "../host/clock.js";
import type { Log } from "../log.js";
import type { Backups } from "./backups.js";
import type { RepairStack } from "./repair-stack.js";
import { unknownMember } from "./unknown-member.js";

const CHANGE_MS_MAX = 10_000;

export interface RingOperationsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly cluster: Pick<
    Cluster,
    "selfId" | "ring" | "isUsable" | "statusOf" | "protocolOf" | "change" | "force" | "fetchRing"
  >;
  readonly repair: Pick<RepairStack, "repair" | "repairStatus">;
  readonly backups: Pick<Backups, "begin" | "status">;
}

export class RingOperations implements ClusterOperations {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #cluster: RingOperationsOptions["cluster"];
  readonly #repair: RingOperationsOptions["repair"];
  readonly #backups: RingOperationsOptions["backups"];

  constructor(options: RingOperationsOptions) {
    this.#clock = options.clock;
    this.#log = options.log;
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

  async leave(request: LeaveRequest): Promise<OperationOutcome> {
    const { selfId } = this.#cluster;
    const objection = this.#tooOld(selfId) ?? (request.isForced ? null : this.#tooFewWithout(selfId));
    return objection !== null ? refused(objection) : this.#change(leaveChange(selfId, request));
  }

  /** Why the others could not go on without this member: too many of them are down. */
  #tooFewWithout(selfId: MemberId): string | null {
    const others = this.#cluster.ring.document.members.filter(({ id }) => id !== selfId);
    const silent = others.filter(({ id }) => !this.#answers(id)).map(({ name }) => name);
    if (silent.length === 0 || 2 * (others.length - silent.length) > others.length) return null;
    const left = `without this one ${others.length - silent.length} of ${others.length} members would answer, which is no majority`;
    return `${left}: start ${silent.join(", ")} again or have it removed first; leave --force goes all the same`;
  }

  async remove({ members: names, isForced }: RemoveRequest): Promise<OperationOutcome> {
    const cluster = this.#cluster;
    const { members, pending } = cluster.ring.document;
    const found: Member[] = [];
    for (const name of names) {
      const meant = membersCalled([...members, ...comingMembers(pending)], name);
      const [one] = meant;
      if (one === undefined) return refused(unknownMember("member", name));
      if (meant.length > 1) return refused(ambiguityOf(name, meant.length));
      if (one.id === cluster.selfId) return refused("this node is that member: it may leave (kindred leave)");
      found.push(one);
    }
    const up = members.filter(({ id }) => this.#answers(id)).length;
    const needed = Math.floor(members.length / 2) + 1;
    const isLost = up < needed && members.some(({ id }) => found.some((one) => one.id === id));
    if (isLost && isForced) return this.#forceOut(found, { up, needed });
    if (isLost) return refused(this.#tooFew(found, { up, needed }));
    const [first, ...more] = found;
    if (first === undefined || more.length > 0) {
      return refused(`${up} of ${members.length} members are up, which is a majority: remove them one by one`);
    }
    if (!isForced && !this.#isDown(first.id)) {
      const advice = "let it leave (kindred leave, asked of it), wait some seconds where it has just died, or give --force";
      return refused(`${first.name} is not down: ${advice}`);
    }
    const lost = isForced ? 0 : slotsOnlyOn(cluster.ring, (id) => id === first.id);
    if (lost > 0) {
      return refused(
        `${first.name} has the only copies of ${lost} slots: what is in them is lost with it; --force removes it all the same`,
      );
    }
    // Who is still to come is only struck out, which every version understands.
    const tooOld = members.some(({ id }) => id === first.id) ? this.#tooOld(first.id) : null;
    return tooOld !== null ? refused(tooOld) : this.#change(removeChange(first.id, { isForced }));
  }

  /** A majority is lost: those who are left go on without the lost ones, all of which the operator has named. */
  async #forceOut(gone: readonly Member[], { up, needed }: { up: number; needed: number }): Promise<OperationOutcome> {
    const cluster = this.#cluster;
    const living = gone.find(({ id }) => !this.#isDown(id));
    if (living !== undefined)
      return refused(`${living.name} is not down: only members that are can be taken out without a majority`);
    const isGone = (id: MemberId): boolean => gone.some((member) => member.id === id);
    const left = cluster.ring.document.members.filter(({ id }) => !isGone(id));
    if (left.some(({ id }) => !this.#answers(id))) return refused(this.#tooFew(gone, { up, needed }));
    // One of those who are left may know a newer ring.
    await Promise.all(left.map(({ id }) => (id === cluster.selfId ? null : cluster.fetchRing(id))));
    const before = cluster.ring;
    const document = forcedRemoval(
      before.document,
      gone.map(({ id }) => id),
    );
    const lost = slotsOnlyOn(before, isGone);
    const names = gone.map(({ name }) => name).join(", ");
    await cluster.force(document);
    const whole = `had all copies of ${lost} of the slots: what was in them is lost, and so is what only they had of others`;
    const loss = lost > 0 ? whole : "may have had keys that nobody else has: those are lost";
    const note = `${names} ${loss}; the members that are left are compared now (kindred repair)`;
    this.#log.warn({ version: document.version, lost }, `forced: ${note}`);
    this.#repair.repair({ slot: null, member: null, sums: "kept" });
    return { kind: "agreed", note };
  }

  #tooFew(gone: readonly Member[], { up, needed }: { up: number; needed: number }): string {
    const silent = this.#cluster.ring.document.members.filter(
      ({ id }) => !this.#answers(id) && !gone.some((one) => one.id === id),
    );
    const names = [...gone, ...silent].map(({ name }) => name).join(" ");
    const few = `only ${up} members answer, and ${needed} have to agree on a change`;
    const lost = "if those that are down are gone for good, name all of them, and the others go on without them";
    return `${few}: ${lost} (kindred remove ${names} --force)`;
  }

  #answers(id: MemberId): boolean {
    return id === this.#cluster.selfId || this.#cluster.isUsable(id);
  }

  #isDown(id: MemberId): boolean {
    return !this.#answers(id) && this.#cluster.statusOf(id) === "down";
  }

  /** Why a member cannot go yet: others would not take over from it. Null where all would. */
  #tooOld(going: MemberId): string | null {
    const cluster = this.#cluster;
    const older = tooOldForDepartures(cluster.ring.document, { going, protocolOf: (id) => cluster.protocolOf(id) });
    const [first] = older;
    if (first === undefined) return null;
    const needed = `members leave and are removed from protocol ${PROTOCOL_OF_DEPARTURES} on`;
    if (older.length === 1) {
      return `member ${first.name} speaks protocol ${cluster.protocolOf(first.id)}, and ${needed}: upgrade it first`;
    }
    const names = older.map(({ name }) => name).join(", ");
    return `members ${names} speak earlier protocols, and ${needed}: upgrade them first`;
  }

  async #change(change: RingChange): Promise<OperationOutcome> {
    const cluster = this.#cluster;
    const outcome = await cluster.change(change, this.#clock.monotonicMs() + CHANGE_MS_MAX);
    if (outcome.kind === "refused") return refused(outcome.reason);
    if (outcome.kind === "made") return { kind: "agreed", note: this.#waits(outcome.document) };
    return refused(`${outcome.reached} members answered about the ring, ${outcome.needed} are needed`);
  }

  /** For whom the change that is under way waits. */
  #waits(document: RingDocument): string {
    const cluster = this.#cluster;
    const sight = { isDown: (id: MemberId) => this.#isDown(id), protocolOf: (id: MemberId) => cluster.protocolOf(id) };
    const obstacles = obstaclesOf(new Ring(document), sight);
    return obstacles.length === 0 ? "" : `it waits for ${obstacles.join("; ")}`;
  }
}

function refused(reason: string): OperationOutcome {
  return { kind: "refused", reason };
}

/** Slots of which only these members have copies. */
function slotsOnlyOn({ current, members }: Ring, isGone: (id: MemberId) => boolean): number {
  const gone = members.map(({ id }) => isGone(id));
  let slots = 0;
  for (let slot = 0; slot < SLOTS; slot++) if ([...current.replicas(slot)].every((owner) => gone[owner])) slots++;
  return slots;
}
