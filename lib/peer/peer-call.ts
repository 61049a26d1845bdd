/** What a caller hands to `Peers.send`. */
import type { PeerFailureCode } from "./failure.js";

/** Kinds from here on are work in the background: how long they take says nothing about how fast a peer is. */
export const BACKGROUND_KIND_MIN = 128;

/** A call without its payload. The object is kept until one of its two callbacks was called, exactly once, never within `send`. */
export interface PeerCallHead {
  /** The peer's id. */
  readonly to: string;
  /** Which handler, 0 to 255; from 128 on the latency of the peer is not learned from it. */
  readonly kind: number;
  /** Absolute, on the local monotonic clock. */
  readonly deadlineMs: number;
  /** `payload` is borrowed until the callback returns. */
  onAnswer(payload: Buffer): void;
  /** `text` is for people. UNAVAILABLE and TIMEOUT leave open whether the call took effect. */
  onFailure(code: PeerFailureCode, text: string): void;
}

export interface PeerCall extends PeerCallHead {
  /** Copied within `send`. */
  readonly payload: Uint8Array;
}

/** One way: nobody learns whether it arrived. */
export interface PeerNotice {
  readonly to: string;
  readonly kind: number;
  readonly payload: Uint8Array;
  /** After this the receiver drops it unseen. Default: never. */
  readonly deadlineMs?: number;
}
