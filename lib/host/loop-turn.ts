/**
 * The turns of Node's event loop. What is deferred runs at the end of the turn: once everything that is ready has been read,
 * or once so much has been read that it is time to let go of it. The latter keeps nodes busy side by side: others work on
 * what they were sent while this one reads on, and a turn's batch does not outgrow the processor's caches.
 *
 * INVARIANT: what is deferred is called once, in the order of the calls, and never within `defer` or a socket's handler.
 */

/** A turn ends after about so many bytes read. */
const TURN_BYTES = 32_768;
/** What a read costs besides its bytes, so that small requests count, too. */
const READ_BYTES = 1_024;

class LoopTurn {
  #due: (() => void)[] = [];
  #isScheduled = false;
  #readBytes = 0;
  readonly #atCheck = (): void => {
    this.#isScheduled = false;
    this.#end();
  };

  /** Has `run` called at the end of this turn, in the order of the calls. */
  defer(run: () => void): void {
    this.#due.push(run);
    this.#schedule();
  }

  /** A socket's bytes were delivered, and whoever got them has returned. */
  noteRead(bytes: number): void {
    this.#readBytes += bytes + READ_BYTES;
    if (this.#readBytes >= TURN_BYTES) this.#end();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(this.#atCheck);
  }

  #end(): void {
    this.#readBytes = 0;
    const due = this.#due;
    if (due.length === 0) return;
    this.#due = [];
    let done = 0;
    try {
      while (done < due.length) due[done++]!();
    } finally {
      // One that throws does not keep the others from being called.
      if (done < due.length) for (const run of due.slice(done)) this.defer(run);
    }
  }
}

/** There is one loop a thread, and so one of these. */
export const loopTurn = new LoopTurn();
