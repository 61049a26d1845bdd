/**
 * How a member that was removed while it was away learns of it: the others refuse its links, and say why. What one says without a
 * link to it is not proven to come from it, so those who say so have to be more than those who have a link to this node. Pure.
 */
import { OperatingError } from "../errors.js";
import type { PeerRefusal } from "../peer/peer.js";
import type { MemberId } from "./member.js";

export class RemovalNews {
  readonly #sayers = new Set<MemberId>();
  #isCertain = false;

  /**
   * A dialled member refuses the link, or a seed, of which nobody knows who it is (null): that counts where there is no link at all.
   * `linked`: members that this node has links with. True where it makes the news certain.
   */
  refused(by: MemberId | null, refusal: PeerRefusal, linked: number): boolean {
    if (refusal.reason !== "removed" || refusal.by !== "them" || this.#isCertain) return false;
    if (by !== null) this.#sayers.add(by);
    this.#isCertain = by === null ? linked === 0 : this.#sayers.size > linked;
    return this.#isCertain;
  }

  /** There is a link with it: what it said, if it did, is past. */
  linked(member: MemberId): void {
    this.#sayers.delete(member);
  }

  /** Stays so. */
  get isCertain(): boolean {
    return this.#isCertain;
  }
}

export function removalError(id: MemberId): OperatingError {
  const advice = "to join anew, start it with an empty data directory (--dir), or with --rejoin yes if it has left by itself";
  return new OperatingError("UNAVAILABLE", `this member (${id}) was removed from its cluster; ${advice}`);
}
