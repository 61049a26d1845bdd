/** Who runs the members: starts one more and takes one away when it is asked to. */
import type { ObservedMember } from "./observation.js";

export interface Growth {
  /** How many members there are to be. */
  readonly to: number;
  /** Names of those that there are. */
  readonly names: readonly string[];
}

export interface Shrinkage {
  readonly to: number;
  /** One of `leavers`. */
  readonly member: { readonly id: string; readonly name: string; readonly clientAddress: string | null };
  /** It may go as long as the ring has this version. */
  readonly ringVersion: number;
}

export interface Provider {
  /** Ids of the members that it can take away; the first of them that may go goes. */
  leavers(members: readonly ObservedMember[]): readonly string[];
  /**
   * Resolve when that is begun: what comes of it shows in the ring. Reject with an `OperatingError` when it cannot be. Each
   * ends within a time of its own.
   */
  grow(growth: Growth): Promise<void>;
  shrink(shrinkage: Shrinkage): Promise<void>;
}
