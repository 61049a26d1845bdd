/** Replicas of a ring of several, and what they send each other: shared by the tests of merging. */

import type { Record } from "../../lib/causality/record.js";
import { decodeRecord } from "../../lib/causality/record-encoding.js";
import type { RecordView } from "../../lib/causality/record-view.js";
import { auditReplica } from "../../lib/replica/audit.js";
import { DATA_END } from "../../lib/replica/data-key.js";
import { encodedRecordOf } from "../../lib/replica/encoded-record.js";
import type { MergeResult } from "../../lib/replica/replica.js";
import { StoreRequest, storeBytesMax, writeStore } from "../../lib/replica/replica-messages.js";
import { bytes, World, type WorldOptions } from "../model/world.js";

/** A replica with a store of its own: worlds of different seeds have different store ids. */
export async function member(seed: number, options: WorldOptions = {}): Promise<World> {
  const world = await World.start({ seed, ...options });
  world.replica.keepTombstones();
  return world;
}

export function dataKeyOf(world: World, key: string): string {
  return world.replica.keys.of(0, bytes(key));
}

/** The record that a replica holds in memory. REQUIRES that memory tells. */
export function recordAt({ replica }: World, dataKey: string): RecordView | null {
  const look = replica.peek(dataKey);
  if (look === "unread") throw new Error("the record is not in memory");
  return look === "found" ? replica.record : null;
}

export function put(world: World, dataKey: string, value: string, expiryMs = 0): void {
  world.replica.reserve(1);
  world.replica.mintPlain(dataKey, recordAt(world, dataKey), value, expiryMs);
}

export function remove(world: World, dataKey: string): void {
  world.replica.reserve(1);
  world.replica.mintRemoval(dataKey, recordAt(world, dataKey));
}

/** What a replica would send of a record: owned bytes, null where there is none. */
export function sent(world: World, dataKey: string): Buffer | null {
  if (recordAt(world, dataKey) === null) return null;
  const record = world.replica.encodedAtHand();
  return Buffer.from(record.bytes.subarray(record.start, record.end));
}

/** Carries what `from` has at hand to `to` in a STORE, as it leaves and comes. */
export function carry(from: World, to: World, dataKey: string): MergeResult {
  const record = from.replica.encodedAtHand();
  const payload = Buffer.alloc(storeBytesMax(dataKey, record.end - record.start));
  const end = writeStore(payload, 0, { ringVersion: 1, hintFor: null, dataKey }, record);
  const store = new StoreRequest();
  store.read(payload.subarray(0, end));
  return { ...to.replica.merge(store.dataKey, recordAt(to, store.dataKey), store.record, to.clock.wallMs()) };
}

export function receive(world: World, dataKey: string, record: Buffer): MergeResult {
  return { ...world.replica.merge(dataKey, recordAt(world, dataKey), encodedRecordOf(record), world.clock.wallMs()) };
}

/** Sends what `from` holds of a key, if anything, to `to`. */
export function send(from: World, to: World, dataKey: string): void {
  const record = sent(from, dataKey);
  if (record !== null) receive(to, dataKey, record);
}

export function decoded(world: World, dataKey: string): Record | null {
  const record = sent(world, dataKey);
  return record === null ? null : decodeRecord(record);
}

/** The values of a key's versions as text, newest first; null for tombstones and dropped values. */
export function valuesAt(world: World, dataKey: string): (string | null)[] {
  return (decoded(world, dataKey)?.versions ?? []).map(({ value }) =>
    value === null ? null : Buffer.from(value).toString("latin1"),
  );
}

export function audited(world: World): Promise<readonly string[]> {
  return world.run(auditReplica(world.replica));
}

/** Records stored, dead ones included. */
export async function storedKeys(world: World): Promise<readonly string[]> {
  const page = await world.run(world.lsm.scan({ from: "", to: DATA_END, limit: 1e6, values: "without" }));
  return page.entries.map(({ key }) => key);
}
