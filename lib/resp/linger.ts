/**
 * A connection whose own end is sent is read on for a moment, so that the client sees why before it meets a reset; for so long and so
 * many bytes, however fast it goes on sending.
 */

const LINGER_MS = 1_000;
/** With what the system holds of a connection on both sides this stays below 16 MiB. */
const LINGER_BYTES_MAX = 4_194_304;

export class Linger {
  #endedMs: number | null = null;
  #readBytes = 0;

  /** Something came that nobody will look at. True when that is enough. */
  read(bytes: number): boolean {
    this.#readBytes += bytes;
    return this.#readBytes > LINGER_BYTES_MAX;
  }

  /** Asked now and then: true once all has been sent for long enough. `nowMs`: monotonic. */
  isOver(nowMs: number, unsentBytes: number): boolean {
    if (this.#endedMs === null || unsentBytes > 0) this.#endedMs = nowMs;
    return nowMs - this.#endedMs >= LINGER_MS;
  }
}
