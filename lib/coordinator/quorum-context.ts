/** What all requests to a quorum share. One object for the life of the node. */
import type { MemberId } from "../cluster/member.js";
import type { Clock } from "../host/clock.js";
import type { Hints } from "../replica/hints.js";
import type { MemberHealth } from "../replica/member-health.js";
import type { RemoteReplicas } from "../replica/remote-replicas.js";
import type { Replica } from "../replica/replica.js";
import type { TurnEnd } from "../replica/turn-end.js";
import type { InFlight } from "./in-flight.js";
import type { SlotPlan, SlotPlans } from "./slot-plan.js";

export interface QuorumContext {
  readonly selfId: MemberId;
  readonly replica: Replica;
  readonly hints: Hints;
  readonly remote: RemoteReplicas;
  readonly health: MemberHealth;
  readonly inFlight: InFlight;
  readonly turn: TurnEnd;
  readonly clock: Clock;
  readonly plans: SlotPlans;
  /** A peer answered that it knows a newer ring: resolves when it is known here, or could not be had. */
  fetchRing(from: MemberId): Promise<void>;
}

/**
 * The next member that may stand in for a replica of the slot in data centre `centre`: linked, prompt, no replica of the slot,
 * and not among `used`; this node only where it is said. `elsewhere`: may it be of another data centre? At LOCAL and EACH levels
 * such a one would not count.
 */
export function standInFor(
  context: QuorumContext,
  plan: SlotPlan,
  place: {
    readonly slot: number;
    readonly centre: string;
    readonly used: ReadonlySet<MemberId> | null;
    readonly elsewhere: "too" | "not";
    readonly self?: "too";
  },
): MemberId | null {
  const { members, current } = plan.ring;
  for (const index of current.candidatesAfter(place.slot, place.centre)) {
    const { id, dc } = members[index]!;
    // Those of the data centre come first.
    if (place.elsewhere === "not" && dc !== place.centre) return null;
    if (place.used?.has(id) || plan.isOwner(id)) continue;
    if (id === context.selfId ? place.self === "too" : context.health.isPrompt(id)) return id;
  }
  return null;
}
