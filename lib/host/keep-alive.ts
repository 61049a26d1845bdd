/** For programs that wait on timers of the Clock, none of which keeps a process alive. */

const LONG_MS = 2 ** 30;

/** Resolves and rejects as `work` does; until then the process does not end for want of anything to do. */
export async function keptAlive<Result>(work: Promise<Result>): Promise<Result> {
  const timer = setInterval(() => undefined, LONG_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
  }
}
