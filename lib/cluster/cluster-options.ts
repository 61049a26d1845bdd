/** What a `Cluster` is given: the node's settings and seams, and what the layers above it do on its behalf. */
import type { Clock } from "../host/clock.js";
import type { Random } from "../host/random.js";
import type { Log } from "../log.js";
import type { Peers } from "../peer/peer.js";
import type { MemberId } from "./member.js";
import type { MemberAddress, MemberLoad } from "./member-entry.js";
import type { ReplicaCounts } from "./preference-table.js";
import type { Records } from "./records.js";
import type { Ring } from "./ring.js";

export interface ClusterSettings {
  /** For people, 1 to 255 bytes. Asked once the node listens, as the addresses are. */
  readonly name: () => string;
  readonly host: string;
  readonly dc: string;
  readonly rack: string;
  readonly weight: number;
  readonly vnodes: number;
  readonly replicas: ReplicaCounts;
  readonly seeds: readonly MemberAddress[];
  /** Joins in the place of this member, which is gone for good: its id or name. Empty: beside all. */
  readonly replaces: string;
  /** What others are told: where members, and where clients, reach this node. */
  readonly peerAddress: () => MemberAddress;
  readonly clientAddress: () => MemberAddress;
}

export interface ClusterOptions {
  /** Made with `identity` and `admit` of this cluster. Closed by its owner, after `stop`. */
  readonly peers: Peers;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly records: Records;
  readonly settings: ClusterSettings;
  /** 8 latin1 characters. */
  readonly storeId: () => string;
  /** The end of the sequences that the store has leased. */
  readonly sequenceLease: () => number;
  /** The store has keys. */
  readonly holdsKeys: () => boolean;
  readonly load: () => MemberLoad;
  readonly softwareVersion: string;
  /**
   * Whether a member (this one too) holds what it is to own by the change that is under way in this ring: asked again until it
   * does, by the member that drives the change. Rejects with an `OperatingError` where it does not answer.
   */
  readonly hasTakenIn: (member: MemberId, ring: Ring) => Promise<boolean>;
  /**
   * Gives away what this node keeps for others, before it leaves by the change that is under way in this ring: resolves when nothing
   * is left. What members that are `missing` were to take over is given to the other owners. Rejects with an `OperatingError`: it is
   * asked again.
   */
  readonly retire: (ring: Ring, missing: ReadonlySet<MemberId>) => Promise<void>;
  /**
   * This member was removed from its cluster: it is of no use any more. `left`: it had asked for that, and the others have all
   * that it had. Called once.
   */
  readonly onRemoved: (how: "left" | "removed") => void;
  /** The store is of an earlier time than others may know it, and is about to make up for that. */
  readonly isRestored: () => boolean;
  /** Others know a later run of this member than its store does: that was put back to an earlier copy of itself. */
  readonly onPutBack: () => void;
}
