/**
 * Whom the change of the ring that is under way waits for, and what is to be done about it, in words for operators: the log of the
 * member that drives it, `kindred status`, and the answer to who asks for a change that would wait. Pure.
 */
import type { Member, MemberId } from "./member.js";
import type { Ring } from "./ring.js";
import { isTooOld } from "./ring-changes.js";
import { isForced } from "./ring-document.js";

/** What is known of members. */
export interface MemberSight {
  readonly isDown: (id: MemberId) => boolean;
  /** The highest protocol version that it speaks; null where nothing was heard of it. */
  readonly protocolOf: (id: MemberId) => number | null;
}

/** A phrase for each member that gains slots by the change and cannot take them in as it is; none where nothing is in the way. */
export function obstaclesOf(ring: Ring, sight: MemberSight): string[] {
  const { change } = ring;
  const obstacles = ring.gainers().flatMap((index) => obstacleOf(ring, ring.members[index]!, sight) ?? []);
  const slots = change?.kind === "leave" && isForced(change) ? slotsTooThin(ring, sight.isDown) : 0;
  if (slots > 0) obstacles.push(`members that are down: ${slots} slots would have no majority of owners that are up`);
  return obstacles;
}

function obstacleOf({ change }: Ring, { id, name }: Member, { isDown, protocolOf }: MemberSight): string | null {
  if (isDown(id)) {
    if (change !== null && isForced(change)) return null;
    const advice = `start it again, or if it is gone for good have it removed or replaced (kindred remove ${name})`;
    const isDeparture = change?.kind === "leave" || change?.kind === "remove";
    return `${name}, which is down: ${advice}${isDeparture ? `; ${change.kind} --force does without it` : ""}`;
  }
  const protocol = protocolOf(id);
  return isTooOld(protocol) ? `${name}, which speaks protocol ${protocol}: upgrade it first` : null;
}

/**
 * Slots that change owners, and of whose new ones no majority is up: who leaves in spite of that would leave fewer complete copies
 * than a majority.
 */
export function slotsTooThin(ring: Ring, isDown: (id: MemberId) => boolean): number {
  const down = ring.members.map(({ id }) => isDown(id));
  let slots = 0;
  for (const slot of ring.changingSlots()) {
    const owners = [...ring.owners(slot).new];
    if (2 * owners.filter((owner) => !down[owner]).length <= owners.length) slots++;
  }
  return slots;
}
