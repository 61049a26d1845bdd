/** What an operation of a client has left in the stores, and when its loss is no broken promise. */
import type { CausalLedger } from "./causal-ledger.js";
import type { Operation } from "./history.js";
import { type KeyHistory, knows, type Write } from "./key-history.js";

/** The versions that an answered operation must have left: one of them is enough. Null where none is certain. */
export function effectsOf(ledger: CausalLedger, operation: Operation): readonly Write[] | null {
  const { name, key, value, outcome, invoked, returned } = operation;
  const reply = outcome.kind === "answered" ? outcome.reply : null;
  const isWithin = ({ at }: Write): boolean => at.order > invoked.order && (returned === null || at.order < returned.order);
  switch (name) {
    case "set":
    case "set context":
      return ledger.writesOfValue(key, value!);
    case "setnx":
      return reply === 1 ? ledger.writesOfValue(key, value!) : null;
    case "incr":
      return ledger.writesOfValue(key, String(reply)).filter(isWithin);
    case "del":
      return reply === 1 ? ledger.ofKey(key).writes.filter((write) => write.value === null && isWithin(write)) : null;
    default:
      return null;
  }
}

/**
 * Lost with what was not synced by all who knew of it, or with as many members that were gone for good at once as it was
 * acknowledged by (`told`): members go one after the other, so that is one.
 */
export function isLost(world: { readonly mayLose: boolean }, writes: readonly Write[], told: number): boolean {
  return writes.every(({ isGone, goneWith }) => isGone && (world.mayLose || goneWith.size >= told));
}

/**
 * As many as it was acknowledged by (`told`) have lost it with what was not synced, and whoever knows of it has left: a leaver gives
 * its copies to those who gain its slots, and does not give again what they lose of them in a power failure before it is gone.
 */
export function wentWithLeavers(
  { ledger, mayLose }: { readonly ledger: Pick<CausalLedger, "gone">; readonly mayLose: boolean },
  history: KeyHistory,
  { writes, told }: { readonly writes: readonly Write[]; readonly told: number },
): boolean {
  const isKnown = (write: Write): boolean => history.records.some((_, at) => !ledger.gone.has(at) && knows(history, at, write));
  return mayLose && writes.every((write) => write.lostAt.size >= told && !isKnown(write));
}

/**
 * Lost on so many disks that a read may meet none of the others: `overlap` replicas of the read had been told of it. Who is gone
 * for good answers nothing, and whoever takes its place has read of others what they knew: so it counts only beside a disk
 * that has lost what was not synced; or where nobody but those that are gone was told (`told`).
 */
export function mayBeMissed(
  world: { readonly mayLose: boolean },
  writes: readonly Write[],
  { overlap, told }: { readonly overlap: number; readonly told: number },
): boolean {
  // EXPIRE has written the value again, perhaps later.
  return writes.some(({ lostAt, goneWith }) => {
    if (goneWith.size >= told) return true;
    return world.mayLose && lostAt.size > 0 && lostAt.size + goneWith.size >= overlap;
  });
}
