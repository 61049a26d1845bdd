/** What WATCH compares of a key. Pure. */
import { hashOf } from "../causality/record.js";
import { decodeRecord } from "../causality/record-encoding.js";
import type { RecordView } from "../causality/record-view.js";

/**
 * Two of a key are equal only if it did not change in between. `dead` says what stands for a key without a value, by its
 * record's hash; where tombstones stay that tells one that came and went (the default), elsewhere it cannot.
 */
export function fingerprintOf(
  view: RecordView | null,
  nowMs: number,
  { dead = (hash) => `dead.${hash}` }: { readonly dead?: (hash: string) => string } = {},
): string {
  if (view === null) return dead("");
  const { high, low } = hashOf(decodeRecord(view.bytes, view.start, view.end));
  const hash = `${high}.${low}`;
  return view.isLive(nowMs) ? hash : dead(hash);
}
