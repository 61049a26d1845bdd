import type { Log } from "../log.js";

/** Complaints that are remembered so as not to be logged again. */
const COMPLAINTS_MAX = 64;

/** Logs what is wrong, each text once. */
export class Complaints {
  readonly #log: Log;
  readonly #said = new Set<string>();

  constructor(log: Log) {
    this.#log = log;
  }

  say(text: string): void {
    if (this.#said.has(text)) return;
    if (this.#said.size >= COMPLAINTS_MAX) this.#said.clear();
    this.#said.add(text);
    this.#log.warn({}, text);
  }
}
