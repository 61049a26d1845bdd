/** What leaves records for good because all members agreed: it must be nowhere else by then, and nowhere ever after. */
import type { Record } from "../../../lib/causality/record.js";
import { covered, covers, describeWrite, type KeyHistory, Violation, type Write, writeOf } from "./key-history.js";

/**
 * A node removed its record. `reaped`: it was nothing but tombstones, and all agreed that it may go. `released`: who owns a key no
 * longer removes its copy once all owners have merged it.
 */
export function howItWent(
  history: KeyHistory,
  node: number,
  record: Record,
  { gone, copies }: { readonly gone: ReadonlySet<number>; readonly copies: number },
): "reaped" | "released" {
  const writes = covered(history, record);
  const isOther = (at: number): boolean => at !== node && !gone.has(at);
  const holders = history.records.filter((other, at) => isOther(at) && writes.every((one) => covers(other, one)));
  if (holders.length >= copies) return "released";
  if (record.versions.some(({ type }) => type !== "tombstone"))
    throw new Violation(history.key, `node ${node} removed a record that ${holders.length} others hold`);
  settle(history, node, { writes, gone });
  return "reaped";
}

/** These leave a node's record for good: as a value none of them may be anywhere else. */
export function settle(
  history: KeyHistory,
  node: number,
  { writes, gone }: { readonly writes: readonly Write[]; readonly gone: ReadonlySet<number> },
): void {
  for (const one of writes) history.settled.add(one);
  for (const at of history.records.keys()) {
    if (at === node || gone.has(at)) continue;
    for (const other of [history.records[at] ?? null, ...history.hints[at]!.values()]) {
      const held = other?.versions.map(({ dot }) => writeOf(history, dot)!) ?? [];
      const back = held.find((one) => isLasting(one) && writes.includes(one));
      if (back !== undefined)
        throw new Violation(history.key, `node ${node} lets go of what node ${at} holds: ${describeWrite(back)}`);
    }
  }
}

/** A value that does not expire: one that does may be held where the clock is behind until it has expired there, too. */
export function isLasting({ value, expiryMs }: Write): boolean {
  return value !== null && expiryMs === 0;
}
