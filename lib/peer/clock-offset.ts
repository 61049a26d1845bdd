/**
 * Estimates what to add to a peer's monotonic clock to get ours. Each batch of frames carries the time at which it was sent;
 * arrival minus that is the offset plus the time under way. What was under way the shortest is nearest to the truth, so the
 * estimate is the smallest difference seen: the clock filter of NTP (Mills, RFC 5905, section 10), and the minimum of one-way
 * delays of Moon, Skelly and Towsley ("Estimation and removal of clock skew from network delay measurements", 1999).
 *
 * Its use: a request that lay in a stopped process's socket buffers is told from a fresh one although both "just arrived".
 * The error is one-sided: never more than the fastest way seen too late, so a deadline is held to at most so much longer.
 *
 * Clocks drift by up to some 100 parts per million, so the minimum ages: it rises by AGEING with time, and a newer smallest
 * difference takes over. It rises by no more than `STEP_MS_MAX` worth of ageing between two samples: a pause of any
 * length (the process was stopped) must not make what came during it look fresh.
 *
 * A new link has a new estimate: the peer may have restarted, and with it its clock. A peer whose clock stood still (a paused
 * virtual machine) is found late from then on; it notices, and makes a new link (outgoing-link.ts).
 */
const AGEING = 200e-6;
const STEP_MS_MAX = 5_000;

export class ClockOffset {
  #offsetMs = Number.POSITIVE_INFINITY;
  #sampledMs = 0;

  /** A batch sent at `sentMs` of the peer's clock arrived at `arrivedMs` of ours. Both are finite. */
  sample(arrivedMs: number, sentMs: number): void {
    const agedMs = this.#offsetMs + AGEING * Math.min(Math.max(arrivedMs - this.#sampledMs, 0), STEP_MS_MAX);
    this.#offsetMs = Math.min(agedMs, arrivedMs - sentMs);
    this.#sampledMs = arrivedMs;
  }

  /** A time of the peer's clock on ours. Infinitely late before the first sample. */
  toLocalMs(peerMs: number): number {
    return peerMs + this.#offsetMs;
  }
}
