/**
 * Logs connections that are refused before anything of them was understood (no TLS, a wrong certificate). Anybody who reaches
 * the port can cause these, as often as they like: so each reason is logged when it first comes up, and then at most once a
 * minute, with how often it came up meanwhile.
 */
import type { Log } from "../log.js";
import type { Clock } from "./clock.js";

const QUIET_MS = 60_000;
/** Reasons that are told apart; past it all are forgotten and told anew. */
const REASONS_MAX = 64;

export class RefusalLog {
  readonly #log: Log;
  readonly #clock: Clock;
  /** When each reason was last logged, in monotonic ms, and how often it came up since. */
  readonly #reasons = new Map<string, { loggedMs: number; unlogged: number }>();

  constructor(options: { log: Log; clock: Clock }) {
    this.#log = options.log;
    this.#clock = options.clock;
  }

  /** `why` is a sentence about the other side: "it ...". */
  note(remoteAddress: string, why: string): void {
    const nowMs = this.#clock.monotonicMs();
    const known = this.#reasons.get(why);
    if (known !== undefined && nowMs - known.loggedMs < QUIET_MS) {
      known.unlogged++;
      return;
    }
    if (known === undefined && this.#reasons.size >= REASONS_MAX) this.#reasons.clear();
    this.#reasons.set(why, { loggedMs: nowMs, unlogged: 0 });
    const more = known === undefined || known.unlogged === 0 ? {} : { others: known.unlogged };
    this.#log.warn({ client: remoteAddress, ...more }, `a client's connection was refused: ${why}`);
  }
}
