/** Waiting for conditions in the world outside: with a deadline, and with the last thing that was seen when it passes. */

const POLL_MS = 5;

export interface Patience {
  /** What is waited for, for the error: "the server answers". */
  readonly what: string;
  readonly withinMs: number;
}

/** Looks until `look` gives something other than null, and resolves with it. Rejects when the time is over. */
export async function until<Seen>({ what, withinMs }: Patience, look: () => Promise<Seen | null> | Seen | null): Promise<Seen> {
  const deadlineMs = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (seen !== null) return seen;
    if (performance.now() > deadlineMs) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** The outcome of `work`, or a rejection that says what was waited for. The work itself goes on. */
export function within<Result>({ what, withinMs }: Patience, work: Promise<Result>): Promise<Result> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not within ${withinMs} ms: ${what}`)), withinMs);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
