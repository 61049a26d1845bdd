/**
 * What may reach the process of a machine: nothing while it is stopped (SIGSTOP), and nothing ever after it has ended, even
 * though its objects and promises are still there. Clock, network and, through the clock, disk and workers of a machine all
 * pass through its gate, so code of a dead process never runs again.
 */

/** Which process of a machine it is: 1 for the first. 0 when there is none. */
export type ProcessNumber = number;

export class ProcessGate {
  #last: ProcessNumber = 0;
  #isEnded = true;
  #isStopped = false;
  #waiting: { readonly process: ProcessNumber; readonly run: () => void }[] = [];

  /** The process there is, stopped or not. */
  get process(): ProcessNumber {
    return this.#isEnded ? 0 : this.#last;
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  begin(): void {
    this.#last++;
    this.#isEnded = false;
    this.#isStopped = false;
  }

  end(): void {
    this.#isEnded = true;
    this.#isStopped = false;
    this.#waiting = [];
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Returns what was held back, in its order, for the caller to run one after the other. */
  goOn(): readonly (() => void)[] {
    this.#isStopped = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting.map(
      ({ process, run }) =>
        () =>
          this.pass(process, run),
    );
  }

  /** Runs it in that process: now, when that goes on, or never. */
  pass(process: ProcessNumber, run: () => void): void {
    if (process === 0 || process !== this.process) return;
    if (this.#isStopped) this.#waiting.push({ process, run });
    else run();
  }
}
