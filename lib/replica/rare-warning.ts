/** Says once a minute what may go wrong many times a second. */
import type { Clock } from "../host/clock.js";
import type { Log } from "../log.js";

const EVERY_MS = 60_000;

export class RareWarning {
  readonly #clock: Clock;
  readonly #log: Log;
  #quietUntilMs = 0;

  constructor(options: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = options.clock;
    this.#log = options.log;
  }

  say(fields: object, message: string): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs < this.#quietUntilMs) return;
    this.#quietUntilMs = nowMs + EVERY_MS;
    this.#log.warn(fields, message);
  }
}
