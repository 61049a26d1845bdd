/** The last that a member does which is none of its cluster any more. */
import { type Clock, pause } from "../host/clock.js";

/** From learning that it was removed until it stops. */
const REMOVED_MS = 1_000;
/** How long one that has left tries to tell anybody. */
const SPREAD_MS_MAX = 30_000;
const SPREAD_PAUSE_MS = 250;

export interface GoodbyeOptions {
  readonly clock: Clock;
  readonly how: "left" | "removed";
  /** Tells others of the ring without this member; true once one of them knows it. */
  readonly spread: () => Promise<boolean>;
}

/**
 * Resolves when the member may stop. One that has left has proposed the ring without it: a majority has voted for that, but only
 * who is told knows that it came to pass, and the others find out late.
 */
export async function sayGoodbye({ clock, how, spread }: GoodbyeOptions): Promise<void> {
  // Who asked for it is answered first.
  await pause(clock, REMOVED_MS);
  if (how === "removed") return;
  const untilMs = clock.monotonicMs() + SPREAD_MS_MAX;
  while (!(await spread()) && clock.monotonicMs() < untilMs) await pause(clock, SPREAD_PAUSE_MS);
}
