/**
 * Waits until the machine has nothing to do: what a server does in the background after a run (rewriting its log, flushing,
 * compacting) is its own affair, and not to slow down the other side, which is measured next.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

/** The processors are looked at for so long, and are quiet when they were idle for so much of it. */
const WINDOW_MS = 150;
const IDLE_SHARE_MIN = 0.9;
/** A machine that others use as well is never quiet: then it is measured all the same. */
const WAIT_MS_MAX = 4_000;

/** Resolves when the machine is quiet, or has not become so in time; at once where the system does not tell. */
export async function untilQuiet(): Promise<void> {
  const untilMs = performance.now() + WAIT_MS_MAX;
  let before = processorTimes();
  while (before !== null && performance.now() < untilMs) {
    await sleep(WINDOW_MS);
    const after = processorTimes();
    if (after === null) return;
    if (after.idle - before.idle >= IDLE_SHARE_MIN * (after.all - before.all)) return;
    before = after;
  }
}

/** Of all processors, in ticks since the system started: proc(5), /proc/stat. */
function processorTimes(): { readonly idle: number; readonly all: number } | null {
  let text: string;
  try {
    text = readFileSync("/proc/stat", "utf8");
  } catch {
    return null;
  }
  const ticks = text.slice(0, text.indexOf("\n")).split(/\s+/).slice(1, 9).map(Number);
  const [, , , idle = 0, waiting = 0] = ticks;
  return { idle: idle + waiting, all: ticks.reduce((sum, count) => sum + count, 0) };
}
