/**
 * Judges one client by the replies that it has not taken yet: whether its requests should wait, and whether it is to be
 * closed. Pure: bytes and times are handed in.
 */
import type { Session } from "./session.js";
import { type RespSettings, UNAUTHENTICATED_OUTPUT_BYTES_MAX } from "./settings.js";

/** What connections have not sent, all together. */
export interface UnsentTotal {
  unsentBytes: number;
}

export class OutputWatch {
  readonly #settings: RespSettings;
  readonly #total: UnsentTotal;
  /** This connection's share of the total. */
  #counted = 0;
  #isBackedUp = false;
  #writtenBytes = 0;
  /** How much had left when it was last looked at, and when that last was more than before. */
  #leftBytes = 0;
  #leftMs = 0;
  #softSinceMs: number | null = null;

  constructor(settings: RespSettings, total: UnsentTotal) {
    this.#settings = settings;
    this.#total = total;
  }

  /** True from the time too much waits until half of it is gone: then no more requests are run. */
  get isBackedUp(): boolean {
    return this.#isBackedUp;
  }

  start(nowMs: number): void {
    this.#leftMs = nowMs;
  }

  /** Bytes were handed to the socket. */
  wrote(bytes: number): void {
    this.#writtenBytes += bytes;
  }

  /** Tells the total what the socket holds now; 0 for a closed one. */
  count(unsentBytes: number): void {
    this.#total.unsentBytes += unsentBytes - this.#counted;
    this.#counted = unsentBytes;
  }

  /** Output grew to `bytes`, unsent or not even written. False when that is more than such a client may have. */
  isAllowed(bytes: number, { isAuthenticated }: Pick<Session, "isAuthenticated">): boolean {
    const { outputHardBytes, outputPauseBytes, outputSharedBytes } = this.#settings;
    if (outputHardBytes > 0 && bytes > outputHardBytes) return false;
    if (!isAuthenticated && bytes > UNAUTHENTICATED_OUTPUT_BYTES_MAX) return false;
    if (bytes > outputPauseBytes) {
      if (bytes > outputSharedBytes || this.#total.unsentBytes > outputSharedBytes) this.#isBackedUp = true;
    }
    return true;
  }

  /** Output shrank to `bytes`. */
  relieve(bytes: number): void {
    if (bytes <= this.#settings.outputPauseBytes / 2) this.#isBackedUp = false;
  }

  /** False when the client has had too much waiting for too long, or has taken nothing for too long. */
  isAllowedAt(nowMs: number, waiting: { bytes: number; unsentBytes: number }): boolean {
    const { outputStallSeconds, outputSoftBytes, outputSoftSeconds } = this.#settings;
    const left = this.#writtenBytes - waiting.unsentBytes;
    if (waiting.unsentBytes === 0 || left > this.#leftBytes) this.#leftMs = nowMs;
    this.#leftBytes = left;
    if (outputStallSeconds > 0 && nowMs - this.#leftMs >= outputStallSeconds * 1_000) return false;

    if (outputSoftBytes === 0 || waiting.bytes <= outputSoftBytes) {
      this.#softSinceMs = null;
      return true;
    }
    this.#softSinceMs ??= nowMs;
    return nowMs - this.#softSinceMs < outputSoftSeconds * 1_000;
  }
}
