/** The ring as clients may see it: members, and who answers which slots best. Pure; the cluster implements it. */
import { SLOTS } from "../bytes/slot.js";

export interface ClusterMember {
  /** 40 hexadecimal digits, the same for the life of the member. */
  readonly id: string;
  /** What clients connect to: an IP address, never empty (some clients loop for ever on an empty one). */
  readonly ip: string;
  readonly port: number;
  readonly peerPort: number;
  readonly health: "online" | "failed" | "loading";
}

/** Consecutive slots with the same preference list. */
export interface SlotRange {
  /** Both inclusive. */
  readonly first: number;
  readonly last: number;
  /** In the order of preference, at least one: the first is shown as master, the others as its replicas. */
  readonly members: readonly ClusterMember[];
}

export interface ClusterView {
  self(): ClusterMember;
  /** All members, this one included. */
  members(): readonly ClusterMember[];
  /** Ascending, together all slots. */
  ranges(): readonly SlotRange[];
  /** The version of the ring document. */
  version(): number;
}

/** The view of a node that is alone. `self` is asked each time: a port may be known only after listening. */
export function ringOfOne(self: () => ClusterMember): ClusterView {
  return {
    self,
    members: () => [self()],
    ranges: () => [{ first: 0, last: SLOTS - 1, members: [self()] }],
    version: () => 0,
  };
}
