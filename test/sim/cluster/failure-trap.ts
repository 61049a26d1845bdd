/**
 * Catches what a node's code throws outside any call of ours: a failed assertion in a microtask, a rejection that nobody
 * handles. In production it ends the process; in a simulation it is a violation of the seed that is running.
 */
export class FailureTrap {
  #failure: unknown = null;
  #isSet = false;

  /** One trap of the process at a time: the latest. */
  set(): void {
    process.setUncaughtExceptionCaptureCallback(null);
    process.setUncaughtExceptionCaptureCallback((error) => this.note(error));
    this.#isSet = true;
  }

  release(): void {
    if (this.#isSet) process.setUncaughtExceptionCaptureCallback(null);
    this.#isSet = false;
  }

  note(error: unknown): void {
    this.#failure ??= error;
  }

  /** Throws what was caught. */
  check(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}
