/**
 * Whom to ask first. A peer without a link, or that missed several deadlines, is not asked at all; one that was asked and has
 * been silent for longer than it usually takes is *quiet*: it may be stopped, so others are asked before it, and what is sent
 * to it is hedged at once. Routing relies on this, not on gossip, which is slower.
 */
import type { MemberId } from "../cluster/member.js";
import type { Clock } from "../host/clock.js";
import type { PeerState, Peers } from "../peer/peer.js";

/** Silence is judged by four times what an answer rarely exceeds, within these bounds. */
const QUIET_FACTOR = 4;
const QUIET_MS_MIN = 40;
const QUIET_MS_MAX = 200;
/** A request is hedged after what an answer rarely exceeds, within these bounds. */
const HEDGE_MS_MIN = 10;
const HEDGE_MS_MAX = 100;

interface Known {
  readonly state: PeerState;
  /** When a call was sent while none was in flight: silence counts from then on. */
  askedMs: number;
}

export class MemberHealth {
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #known = new Map<MemberId, Known>();

  constructor(options: { peers: Peers; clock: Clock }) {
    this.#peers = options.peers;
    this.#clock = options.clock;
  }

  isUsable(id: MemberId): boolean {
    return this.#peers.isUsable(id);
  }

  /** Comes before each call to the peer. */
  noteCall(id: MemberId): void {
    const known = this.#of(id);
    if (known !== null && known.state.callsInFlight === 0) known.askedMs = this.#clock.monotonicMs();
  }

  isQuiet(id: MemberId): boolean {
    const known = this.#of(id);
    if (known === null || known.state.callsInFlight === 0) return false;
    const usualMs = Math.max(QUIET_MS_MIN, QUIET_FACTOR * known.state.usualMsMax);
    return this.#silentMs(known) > Math.min(usualMs, QUIET_MS_MAX);
  }

  /**
   * True when a call that was sent `agoMs` ago is worth a second one elsewhere: nothing came from the peer for longer than its
   * answers take, or this one waits for very long although others are answered. A peer that has much to do answers in order,
   * and would only get more to do.
   */
  isLate(id: MemberId, agoMs: number): boolean {
    const known = this.#of(id);
    return known === null || agoMs >= HEDGE_MS_MAX || this.#silentMs(known) >= this.hedgeAfterMs(id);
  }

  /** How long nothing has come from it although it was asked something. */
  #silentMs({ state, askedMs }: Known): number {
    if (state.callsInFlight === 0) return 0;
    return this.#clock.monotonicMs() - Math.max(askedMs, state.lastAnswerMs ?? 0);
  }

  /** Linked, and not quiet. */
  isPrompt(id: MemberId): boolean {
    return this.#peers.isUsable(id) && !this.isQuiet(id);
  }

  /** Milliseconds after which the next candidate is asked besides this peer. */
  hedgeAfterMs(id: MemberId): number {
    const usualMs = this.#of(id)?.state.usualMsMax ?? HEDGE_MS_MAX;
    return Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, usualMs));
  }

  #of(id: MemberId): Known | null {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const state = this.#peers.state(id);
    if (state === null) return null;
    const fresh = { state, askedMs: this.#clock.monotonicMs() };
    this.#known.set(id, fresh);
    return fresh;
  }

  /** The peer was forgotten: its state is no longer what it was. */
  forget(id: MemberId): void {
    this.#known.delete(id);
  }
}
