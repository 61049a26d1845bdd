/**
 * Puts operations on one key in order: an operation that has to wait (for the disk, for room, for peers) keeps its key,
 * and what comes later for that key waits behind it. Operations on different keys do not meet.
 *
 * Invariant: a key is in the map exactly while an operation holds it or waits for it.
 */
import { OperatingError } from "../errors.js";

export class KeyQueues {
  readonly #tails = new Map<string, Promise<void>>();
  readonly waitingMax: number;
  #waiting = 0;

  /** `waitingMax`: operations that may hold or wait at once; one more is refused with BUSY. */
  constructor(waitingMax: number) {
    this.waitingMax = waitingMax;
  }

  /** True while some operation holds or waits for the key: then nothing may be done to it out of turn. */
  isTaken(key: string): boolean {
    return this.#tails.size > 0 && this.#tails.has(key);
  }

  /** Operations that hold or wait for a key. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Runs `work` when all earlier operations on `key` are done. The place in the queue is taken before this returns. */
  async run<Result>(key: string, work: () => Promise<Result>): Promise<Result> {
    const turn = this.take(key);
    try {
      await turn.ready;
      return await work();
    } finally {
      turn.release();
    }
  }

  /** Takes the key's next turn: wait for `ready`, then `release` exactly once whatever happened. */
  take(key: string): { readonly ready: Promise<void>; readonly release: () => void } {
    this.#enter();
    const ready = this.#tails.get(key) ?? Promise.resolve();
    let resolveDone!: () => void;
    const done = new Promise<void>((resolve) => {
      resolveDone = resolve;
    });
    this.#tails.set(key, done);
    const finish = (): void => {
      this.#waiting--;
      if (this.#tails.get(key) === done) this.#tails.delete(key);
      resolveDone();
    };
    // Who gives up before its turn came must not let the next one overtake those before.
    return { ready, release: () => void ready.then(finish) };
  }

  /** What stands for the last turn of a key: the same object as long as nobody has taken one since. Undefined: none is taken. */
  lastOf(key: string): object | undefined {
    return this.#tails.get(key);
  }

  /** One more operation waits in a turn that another took: `leave` when it is done. Throws BUSY. */
  join(): { readonly leave: () => void } {
    this.#enter();
    return { leave: () => void this.#waiting-- };
  }

  #enter(): void {
    if (this.#waiting >= this.waitingMax) {
      throw new OperatingError(
        "BUSY",
        `${this.waitingMax} requests are waiting for disk or for others on their key; try again (requests-queued-max)`,
      );
    }
    this.#waiting++;
  }
}
