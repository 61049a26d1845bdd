/**
 * Walks the keys of a database in the engine's order: slot by slot, in a slot by hash. A cursor is (slot, hash) of the
 * next key to look at, 0 for both ends, so a walk needs no state on any node: every key that stays from the first page to
 * the last appears in one of them. Slots without live keys are skipped by their counts.
 */
import { SLOTS } from "../bytes/slot.js";
import { type Clock, pause } from "../host/clock.js";
import type { Random } from "../host/random.js";
import { dataKeyFloor, rawKeyOf } from "../replica/data-key.js";
import { HASHES, type KeyLister } from "../replica/key-lister.js";
import type { KeyQueues } from "../replica/key-queues.js";
import type { Records, Replica, ScanPage } from "../replica/replica.js";
import type { KeyPage } from "./keyspace.js";

/** Keys of a page where no number is asked for. */
const PAGE_KEYS = 1_024;
/** Keys of a database being emptied that wait for the disk, or for their turn, at once. */
const REMOVED_TOGETHER = 64;
const RANDOM_TRIES = 16;
/** A random key of a slot is found by counting up to here. */
const RANK_MAX = 64;

export class KeyWalk {
  readonly #replica: Replica;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #lister: KeyLister;

  constructor(options: { replica: Replica; lister: KeyLister; clock: Clock; random: Random }) {
    this.#replica = options.replica;
    this.#lister = options.lister;
    this.#clock = options.clock;
    this.#random = options.random;
  }

  /** The live keys among the next `count` or more records from `cursor` on, and where the next page starts. */
  async page(database: number, cursor: bigint, count: number): Promise<KeyPage> {
    const keys: string[] = [];
    let slot = Number(cursor >> 32n);
    let hash = Number(cursor & 0xffff_ffffn);
    // Expired keys that wait for collection count as looked at, so that a page of nothing else ends too.
    let lookedAt = 0;
    for (; slot < SLOTS; slot++, hash = 0) {
      if (this.#replica.isSlotEmpty(database, slot)) continue;
      while (hash < HASHES) {
        if (lookedAt >= count) return { keys, cursor: cursorOf(slot, hash) };
        const part = await this.#part(database, slot, hash, count - lookedAt);
        keys.push(...part.keys);
        lookedAt += part.lookedAt;
        hash = part.nextHash;
      }
    }
    return { keys, cursor: 0n };
  }

  async keysInSlot(database: number, slot: number, count: number): Promise<readonly string[]> {
    const keys: string[] = [];
    // The more of them turn out removed or expired, the more are looked at together.
    for (let hash = 0, lookedAt = 0; hash < HASHES && keys.length < count; ) {
      const part = await this.#part(database, slot, hash, count - keys.length + lookedAt);
      keys.push(...part.keys);
      lookedAt += part.lookedAt;
      hash = part.nextHash;
    }
    return keys.slice(0, count);
  }

  /** A live key, each about equally likely; null when there is none. */
  async randomKey(database: number): Promise<string | null> {
    for (let attempt = 0; attempt < RANDOM_TRIES; attempt++) {
      const size = this.#replica.size(database);
      if (size === 0) return null;
      let rank = Math.floor(this.#random.fraction() * size);
      let slot = 0;
      while (slot < SLOTS - 1 && rank >= this.#replica.sizeOfSlot(database, slot)) {
        rank -= this.#replica.sizeOfSlot(database, slot++);
      }
      const key =
        rank < RANK_MAX ? await this.#keyOfRank(database, slot, rank) : await this.#keyNear(database, slot, 2 ** attempt);
      if (key !== null) return key;
    }
    // Nearly all is removed or expired: take the first that is not.
    for (let cursor = 0n; ; ) {
      const page = await this.page(database, cursor, PAGE_KEYS);
      if (page.keys.length > 0) return page.keys[0]!;
      if (page.cursor === 0n) return null;
      cursor = page.cursor;
    }
  }

  /** Removes all keys of one database that were there when it was called. Others get their turn in between. */
  async removeAll(database: number, queuesOf: (dataKey: string) => KeyQueues): Promise<void> {
    const replica = this.#replica;
    let found: string[] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      if (replica.isSlotEmpty(database, slot) && replica.hiddenSize(database) === 0) continue;
      const range = slotRange(database, slot, 0);
      // Only onwards: a client that keeps writing to the slot does not keep this from ending.
      for (let from: string | null = range.from; from !== null; ) {
        const page: ScanPage = await replica.scan({ from, to: range.to, limit: REMOVED_TOGETHER, values: "without" });
        for (const { key } of page.entries) found.push(key);
        from = page.next;
        if (found.length < REMOVED_TOGETHER) continue;
        await this.#removeTogether(found, queuesOf);
        found = [];
      }
    }
    await this.#removeTogether(found, queuesOf);
  }

  async #removeTogether(dataKeys: readonly string[], queuesOf: (dataKey: string) => KeyQueues): Promise<void> {
    const replica = this.#replica;
    if (replica.backlog() === "stopped") await replica.room();
    const removals = await Promise.allSettled(dataKeys.map((dataKey) => this.#removeOne(dataKey, queuesOf(dataKey))));
    // Not before the others have ended: whoever is told of a failure may rely on nothing being removed any more.
    for (const removal of removals) if (removal.status === "rejected") throw removal.reason;
    await replica.committed();
    await pause(this.#clock, 0);
  }

  async #removeOne(dataKey: string, queues: KeyQueues): Promise<void> {
    const replica = this.#replica;
    replica.reserve(1);
    if (!queues.isTaken(dataKey) && replica.peek(dataKey) === "found") {
      this.#removeAtHand(dataKey);
      return;
    }
    await queues.run(dataKey, async () => {
      const fetched: Records = new Map();
      let records = replica.gather([dataKey], fetched);
      for (; records === null; records = replica.gather([dataKey], fetched)) await replica.fetch([dataKey], fetched);
      replica.reserve(1);
      if (replica.at(dataKey, records) !== null) this.#removeAtHand(dataKey);
    });
  }

  #removeAtHand(dataKey: string): void {
    const { record } = this.#replica;
    if (!record.isRemoved || record.versionCount > 1) this.#replica.mintRemoval(dataKey, record);
  }

  async #keyOfRank(database: number, slot: number, rank: number): Promise<string | null> {
    const keys = await this.keysInSlot(database, slot, rank + 1);
    return keys[Math.min(rank, keys.length - 1)] ?? null;
  }

  /** In a slot of many keys: the first one from a random hash on, if it is among so many records. */
  async #keyNear(database: number, slot: number, records: number): Promise<string | null> {
    const part = await this.#part(database, slot, Math.floor(this.#random.fraction() * HASHES), records);
    return part.keys[0] ?? null;
  }

  /** Some live keys of one slot from `hash` on, ending between two hashes. */
  async #part(
    database: number,
    slot: number,
    hash: number,
    wanted: number,
  ): Promise<{ keys: string[]; lookedAt: number; nextHash: number }> {
    const nowMs = this.#clock.wallMs();
    const { keys, lookedAt, nextHash } = await this.#lister.part(database, slot, hash, wanted);
    const live = keys.filter(({ expiryMs }) => expiryMs === 0 || expiryMs > nowMs);
    return { keys: live.map(({ dataKey }) => rawKeyOf(dataKey)), lookedAt, nextHash };
  }
}

function slotRange(database: number, slot: number, hash: number): { from: string; to: string } {
  return { from: dataKeyFloor(slot, database, hash), to: dataKeyFloor(slot, database + 1, 0) };
}

function cursorOf(slot: number, hash: number): bigint {
  return (BigInt(slot) << 32n) | BigInt(hash);
}
