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
  REAPING_END,
  REAPING_START,
  reapingKey,
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
  const reapable = new Set<string>();
  const sums = new Array<number>(SLOTS).fill(0);
  for (let from: string | null = ""; from !== null; ) {
    const page = await replica.scan({ from, to: DATA_END, limit: PAGE, values: "with" });
    for (const { key, value } of page.entries) {
      view.read(value!, 0, value!.length);
      const at = slotOfDataKey(key);
      sums[at] = (sums[at]! + digestOf(view, hashOfDataKey(key))) % DIGEST_SPAN;
      const { isCounted, isHidden, expiries, isReapable } = footprintOfView(view);
      if (isReapable) reapable.add(reapingKey(key));
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
  require("records that may be reaped or pruned", replica.reapable, reapable.size);
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
  wrongs.push(...(await compareIndex(replica, [EXPIRY_START, META_START], expected, "expiries")));
  wrongs.push(...(await compareIndex(replica, [REAPING_START, REAPING_END], reapable, "what may be reaped")));
  return wrongs;
}

/** Differences between the keys of a range and those that are expected, which are used up. */
async function compareIndex(
  replica: Replica,
  [start, to]: readonly [string, string],
  expected: Set<string>,
  name: string,
): Promise<string[]> {
  const hex = (key: string): string => Buffer.from(key, "latin1").toString("hex");
  const wrongs: string[] = [];
  for (let from: string | null = start; from !== null; ) {
    const page = await replica.scan({ from, to, limit: PAGE, values: "without" });
    for (const { key } of page.entries) {
      if (!expected.delete(key)) wrongs.push(`an entry of the index of ${name} names none: ${hex(key)}`);
    }
    from = page.next;
  }
  return [...wrongs, ...[...expected].map((key) => `the index of ${name} lacks an entry: ${hex(key)}`)];
}
