/** One connection's share of a turn: so that no client with an endless pipeline starves the others. Pure. */

/** A connection runs at most so many requests, and consumes at most so many bytes of them, before the others have a turn. */
export const SLICE_REQUESTS_MAX = 1_024;
const SLICE_BYTES_MAX = 262_144;

export class TurnSlice {
  #turn = -1;
  #requests = 0;
  #bytes = 0;

  /** Requests that may still run, as of the last `isLeft`. */
  get requests(): number {
    return this.#requests;
  }

  /** False when the share of `turn` is used up. */
  isLeft(turn: number): boolean {
    if (this.#turn !== turn) {
      this.#turn = turn;
      this.#requests = SLICE_REQUESTS_MAX;
      this.#bytes = SLICE_BYTES_MAX;
    }
    return this.#requests > 0 && this.#bytes > 0;
  }

  /** What was consumed; one request may exceed what was left. */
  use(requests: number, bytes: number): void {
    this.#requests -= requests;
    this.#bytes -= bytes;
  }
}
