/** Recounts a replica from its records: a check of the whole structure for tests and simulation. */
import { SLOTS } from "../bytes/slot.js";
import { DIGEST_SPAN, digestOf } from "../causality/record-digest.js";
import { RecordView } from "../causality/record-view.js";
import {
  DATA_END,
  DATABASES,
  databaseOfDataKey,
  EXPIRY_START,
  expiryKey,
  hashOfDataKey,
  META_START,
  slotOfDataKey,
} from "./data-key.js";
import { footprintOfView, isIndexed } from "./record-index.js";
import type { Replica } from "./replica.js";

const PAGE = 1_024;

/**
 * What counters and index say that the records do not, a sentence each; nothing when all is well. Holds all index entries in
 * memory. REQUIRES that nothing is stored meanwhile. Rejects with IO or CORRUPT.
 */
export async function auditReplica(replica: Replica): Promise<readonly string[]> {
  const view = new RecordView();
  const live = new Map<number, number>();
  const expiring = new Array<number>(DATABASES).fill(0);
  const hidden = new Array<number>(DATABASES).fill(0);
  const expected = new Set<string>();
  const sums = new Array<number>(SLOTS).fill(0);
  for (let from: string | null = ""; from !== null; ) {
    const page = await replica.scan({ from, to: DATA_END, limit: PAGE, values: "with" });
    for (const { key, value } of page.entries) {
      view.read(value!, 0, value!.length);
      const at = slotOfDataKey(key);
      sums[at] = (sums[at]! + digestOf(view, hashOfDataKey(key))) % DIGEST_SPAN;
      const { isCounted, isHidden, expiries } = footprintOfView(view);
      const database = databaseOfDataKey(key);
      const place = at * DATABASES + database;
      if (isCounted) live.set(place, (live.get(place) ?? 0) + 1);
      if (isHidden) hidden[database]!++;
      if (expiries.length > 0) expiring[database]!++;
      for (const expiryMs of expiries) if (isIndexed(expiryMs)) expected.add(expiryKey(expiryMs, key));
    }
    from = page.next;
  }
  const wrongs: string[] = [];
  const require = (name: string, found: number, counted: number): void => {
    if (found !== counted) wrongs.push(`${name}: the counter says ${found}, the records ${counted}`);
  };
  for (let database = 0; database < DATABASES; database++) {
    require(`expiring records of database ${database}`, replica.expiringSize(database), expiring[database]!);
    require(`hidden records of database ${database}`, replica.hiddenSize(database), hidden[database]!);
    for (let slot = 0; slot < SLOTS; slot++) {
      const counted = live.get(slot * DATABASES + database) ?? 0;
      require(`live records of slot ${slot}, database ${database}`, replica.sizeOfSlot(database, slot), counted);
    }
  }
  for (let slot = 0; slot < SLOTS; slot++) {
    const sum = replica.digests.sumOf(slot);
    if (sum !== null) require(`digests of slot ${slot}`, sum, sums[slot]!);
  }
  for (let from: string | null = EXPIRY_START; from !== null; ) {
    const page = await replica.scan({ from, to: META_START, limit: PAGE, values: "without" });
    for (const { key } of page.entries) {
      if (!expected.delete(key)) wrongs.push(`an index entry names no expiry: ${Buffer.from(key, "latin1").toString("hex")}`);
    }
    from = page.next;
  }
  for (const key of expected) wrongs.push(`an expiry has no index entry: ${Buffer.from(key, "latin1").toString("hex")}`);
  return wrongs;
}
