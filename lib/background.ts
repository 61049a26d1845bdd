/**
 * The one place where a promise may be left to itself. Work handed here is expected to handle its own operating errors;
 * what still escapes is a bug, and a bug ends the process with its stack rather than leaving it half alive.
 */

/** Lets `work` run on its own. An escaping error is rethrown outside any promise, so that the process ends. */
export function background(work: Promise<unknown>): void {
  work.catch((error: unknown) => {
    queueMicrotask(() => {
      throw error;
    });
  });
}
