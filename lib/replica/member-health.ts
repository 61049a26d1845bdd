/**
 * Whom to ask first. A peer without a link, or that missed several deadlines, is not asked at all; one that was asked and has
 * been silent for longer than it usually takes is *quiet*: it may be stopped, so others are asked before it, and what is sent
 * to it is hedged at once. Routing relies on this, not on gossip, which is slower.
 *
 * Time is that of the turn: it stands still within one, so that a turn of many requests judges each peer once and alike.
 */
import type { MemberId } from "../cluster/member.js";
import type { PeerState, Peers } from "../peer/peer.js";

/** Silence is judged by four times what an answer rarely exceeds, within these bounds. */
const QUIET_FACTOR = 4;
const QUIET_MS_MIN = 40;
const QUIET_MS_MAX = 200;
/** From this silence on a member is taken for stopped. Longer than a busy moment, shorter than clients may notice. */
const STOPPED_MS = 250;
/** A request is hedged after what an answer rarely exceeds, within these bounds. */
const HEDGE_MS_MIN = 10;
const HEDGE_MS_MAX = 100;
/** A way there and back from so long on is that to another data centre: all bounds are longer by it. */
const FAR_MS_MIN = 5;

export class MemberHealth {
  readonly #peers: Peers;
  /** By member: when it last answered what was passed on to it to be decided. */
  readonly #decidedMs = new Map<MemberId, number>();

  constructor({ peers }: { peers: Peers }) {
    this.#peers = peers;
  }

  /** Monotonic, read once a turn. */
  nowMs(): number {
    return this.#peers.turnMs();
  }

  /** What is known of a member's link: for `isQuietNow`, and its `isUsable`; null for one without an address. */
  linkOf(id: MemberId): PeerState | null {
    return this.#peers.state(id);
  }

  isUsable(id: MemberId): boolean {
    return this.#peers.isUsable(id);
  }

  isQuiet(id: MemberId): boolean {
    const link = this.#peers.state(id);
    return link !== null && this.isQuietNow(link);
  }

  isQuietNow(link: PeerState): boolean {
    const silentMs = link.silentMs;
    if (silentMs < QUIET_MS_MIN) return false;
    const farMs = farMsOf(link);
    return silentMs > farMs + Math.min(Math.max(QUIET_MS_MIN, QUIET_FACTOR * (link.usualMsMax - farMs)), QUIET_MS_MAX);
  }

  /** Linked, and not quiet. */
  isPrompt(id: MemberId): boolean {
    const link = this.#peers.state(id);
    return link?.isUsable === true && !this.isQuietNow(link);
  }

  /** Linked, and not silent for so long that it seems to have stopped. */
  isAnswering(id: MemberId): boolean {
    const link = this.#peers.state(id);
    return link?.isUsable === true && link.silentMs < STOPPED_MS + farMsOf(link);
  }

  /** It was asked something and seems to have stopped, or its link is of no use. False for this node itself. */
  hasStopped(id: MemberId): boolean {
    return this.#peers.state(id) !== null && !this.isAnswering(id);
  }

  /** How long nothing has come from it although it was asked something. */
  silentMs(id: MemberId): number {
    return this.#peers.state(id)?.silentMs ?? Number.POSITIVE_INFINITY;
  }

  /** Milliseconds after which the next candidate is asked besides this peer. */
  hedgeAfterMs(id: MemberId): number {
    const link = this.#peers.state(id);
    return link === null ? HEDGE_MS_MAX : this.hedgeAfterMsOf(link);
  }

  hedgeAfterMsOf(link: PeerState): number {
    const farMs = farMsOf(link);
    return farMs + Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, link.usualMsMax - farMs));
  }

  /**
   * True when a call that was sent `agoMs` ago is worth a second one elsewhere: nothing came from the peer for longer than its
   * answers take, or this one waits for very long although others are answered. A peer that has much to do answers in order,
   * and would only get more to do.
   */
  isLate(id: MemberId, agoMs: number): boolean {
    const link = this.#peers.state(id);
    return link === null || agoMs >= HEDGE_MS_MAX + farMsOf(link) || link.silentMs >= this.hedgeAfterMsOf(link);
  }

  /** A member has answered what was passed on to it to be decided. */
  noteDecision(id: MemberId): void {
    this.#decidedMs.set(id, this.nowMs());
  }

  hasDecidedWithin(id: MemberId, ms: number): boolean {
    return this.nowMs() - (this.#decidedMs.get(id) ?? Number.NEGATIVE_INFINITY) < ms;
  }
}

function farMsOf({ leastMs }: PeerState): number {
  return leastMs < FAR_MS_MIN ? 0 : leastMs;
}
