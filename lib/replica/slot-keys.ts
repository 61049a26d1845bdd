/**
 * The keys of one slot with their digests, a bounded number at a time, in the order of their places (tree-messages.ts): what
 * two members compare where the sums of a slot differ.
 */
import { DIGEST_SPAN, digestOf } from "../causality/record-digest.js";
import { RecordView } from "../causality/record-view.js";
import { hashOfDataKey } from "./data-key.js";
import type { StoredRecords } from "./stored-records.js";
import { floorAt, type KeyDigest, placeOf, type Stretch } from "./tree-messages.js";

const PAGE_BYTES = 1_048_576;

export interface SlotKeys {
  readonly keys: readonly KeyDigest[];
  /** The place up to which these are all. */
  readonly end: number;
  /** Of keys and records that were read. */
  readonly bytesRead: number;
}

/** About `wanted` keys of a slot from a place on, tombstones included. Rejects with IO or CORRUPT. */
export async function keysOfSlot(
  records: StoredRecords,
  slot: number,
  { from, to, wanted }: { from: number; to: number; wanted: number },
): Promise<SlotKeys> {
  const view = new RecordView();
  const keys: KeyDigest[] = [];
  let bytesRead = 0;
  const read = async (start: string, end: string, limit: number): Promise<string | null> => {
    const page = await records.scan({ from: start, to: end, limit, values: "with", bytesMax: PAGE_BYTES });
    for (const { key, value } of page.entries) {
      bytesRead += key.length + value!.length;
      view.read(value!, 0, value!.length);
      keys.push({ dataKey: key, digest: digestOf(view, hashOfDataKey(key)) });
    }
    return page.next;
  };
  const next = await read(floorAt(slot, from), floorAt(slot, to), wanted);
  if (next === null) return { keys, end: to, bytesRead };
  // The rest of the last place belongs to it: nearly always nothing.
  const end = placeOf(keys.at(-1)!.dataKey) + 1;
  const limit = floorAt(slot, end);
  for (let rest: string | null = next; rest !== null && rest < limit; rest = await read(rest, limit, wanted));
  return { keys, end, bytesRead };
}

/** Cuts keys, which are all up to `end`, into stretches of about `each`, which end only between places. */
export function cutIntoStretches(keys: readonly KeyDigest[], end: number, each: number): Stretch[] {
  const stretches: Stretch[] = [];
  let sum = 0;
  let count = 0;
  keys.forEach(({ dataKey, digest }, index) => {
    sum = (sum + digest) % DIGEST_SPAN;
    count++;
    const following = keys[index + 1];
    if (following === undefined || count < each) return;
    const place = placeOf(dataKey) + 1;
    if (placeOf(following.dataKey) < place) return;
    stretches.push({ end: place, sum });
    sum = 0;
    count = 0;
  });
  return [...stretches, { end, sum }];
}

/** Which of the stretches differ from what `keys` has of them, which are all up to `end`, and the keys of those. */
export function compareStretches(
  keys: readonly KeyDigest[],
  stretches: readonly Stretch[],
  end: number,
): { differing: boolean[]; keys: KeyDigest[] } {
  const differing: boolean[] = [];
  const ofThose: KeyDigest[] = [];
  let at = 0;
  for (const stretch of stretches) {
    const first = at;
    let sum = 0;
    for (; at < keys.length && placeOf(keys[at]!.dataKey) < stretch.end; at++) sum = (sum + keys[at]!.digest) % DIGEST_SPAN;
    // Of a stretch that was not read to its end it is not known: it is taken to differ.
    const differs = sum !== stretch.sum || stretch.end > end;
    differing.push(differs);
    if (differs) ofThose.push(...keys.slice(first, at));
  }
  return { differing, keys: ofThose };
}
