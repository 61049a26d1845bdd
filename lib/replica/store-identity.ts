/**
 * Who this store is in dots: a random store id, an epoch, and one counter of sequences for all keys.
 *
 * Invariant: no (store id, sequence) is ever given out twice. Sequences are leased in blocks, and a lease is on the disk
 * before its first sequence is used; after a stop that was not clean the store goes on above its last lease, in a new
 * epoch, because it may have forgotten dots that it gave out. Within an epoch a store has seen all its own dots.
 */
import { assert } from "../assert.js";
import { latin1Of, writeLatin1 } from "../bytes/latin1.js";
import { type Cursor, readVarint, varintLength, writeVarint } from "../bytes/varint.js";
import { type Actor, actorOf, EPOCH_MAX, epochOf, STORE_ID_BYTES, storeIdOf } from "../causality/actor.js";
import type { VersionVector } from "../causality/version-vector.js";
import { OperatingError } from "../errors.js";
import type { Random } from "../host/random.js";
import type { MetaStore } from "./meta-store.js";

/** Sequences a lease holds: one short, blocking sync of the log every so many writes. */
const LEASE = 2 ** 22;
const VERSION = 1;
const RECORD = "store";
/** The stores that this one was before it lost data or was restored: those who flush must cover their dots, too. */
const FORMER_RECORD = "former-stores";
const FORMER_VERSION = 1;
const FORMER_MAX = 64;

/** What is stored; `next` is set only by a clean stop: the first sequence not given out. */
interface Identity {
  /** 8 latin1 characters. */
  readonly storeId: string;
  readonly epoch: number;
  readonly leaseEnd: number;
  readonly next: number | null;
}

/** A store id that was given up, and the end of the sequences that it had leased. */
export interface FormerStore {
  readonly storeId: string;
  readonly leaseEnd: number;
}

export class StoreIdentity {
  readonly #meta: MetaStore;
  /** 8 latin1 characters, random. */
  readonly storeId: string;
  #epoch: number;
  #actor: Actor;
  /** How the last run ended, as far as the store can tell. */
  readonly start: "new" | "clean" | "unclean";
  /** Oldest first. */
  readonly former: readonly FormerStore[];
  #next: number;
  #leaseEnd: number;

  private constructor(meta: MetaStore, identity: Identity & { next: number }, start: StoreIdentity["start"]) {
    this.#meta = meta;
    this.storeId = identity.storeId;
    this.#epoch = identity.epoch;
    this.#actor = actorOf(identity.storeId, identity.epoch);
    this.start = start;
    this.former = decodeFormer(meta.get(FORMER_RECORD));
    this.#next = identity.next;
    this.#leaseEnd = identity.next;
    this.#extendLease(identity.epoch);
  }

  /**
   * Reads the identity of the store and leases the first block of sequences. A store that is new, or that has lost data
   * (`hasLostData`: it may not even know its last epoch), mints an identity.
   */
  static open({ meta, random, hasLostData }: { meta: MetaStore; random: Random; hasLostData: boolean }): StoreIdentity {
    const stored = meta.get(RECORD);
    if (stored !== null && hasLostData) {
      const { storeId, leaseEnd } = decode(stored);
      const former = [...decodeFormer(meta.get(FORMER_RECORD)), { storeId, leaseEnd }];
      meta.put(FORMER_RECORD, encodeFormer(former.slice(-FORMER_MAX)));
    }
    if (stored === null || hasLostData) {
      const storeId = latin1Of(random.bytes(STORE_ID_BYTES));
      return new StoreIdentity(meta, { storeId, epoch: 1, leaseEnd: 1, next: 1 }, "new");
    }
    const identity = decode(stored);
    if (identity.next !== null) return new StoreIdentity(meta, { ...identity, next: identity.next }, "clean");
    return new StoreIdentity(meta, { ...identity, epoch: identity.epoch + 1, next: identity.leaseEnd }, "unclean");
  }

  /** (store id, epoch): the actor of every dot given out until the epoch changes. */
  get actor(): Actor {
    return this.#actor;
  }

  /** The end of the sequences that are leased: none above it was given out. */
  get leaseEnd(): number {
    return this.#leaseEnd;
  }

  /** The highest sequence that was given out; 0 for none. */
  get lastSequence(): number {
    return this.#next - 1;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /**
   * Goes on as a new actor if `context` has dots that this store would give out again: it was restored from an old copy,
   * or lost its data. Blocks on one sync of the disk then. Throws IO, and nothing has changed then.
   */
  goBeyond(context: VersionVector): void {
    let last = 0;
    for (const { actor, sequence } of context.entries) {
      if (storeIdOf(actor) === this.storeId && !this.hasGiven(epochOf(actor), sequence)) last = Math.max(last, epochOf(actor));
    }
    if (last > 0) this.beginEpoch(last);
  }

  /** False for a dot of this store (sequence from 1) that it does not know to have given: of a time that it has forgotten. */
  hasGiven(epoch: number, sequence: number): boolean {
    return epoch < this.#epoch || (epoch === this.#epoch && sequence < this.#next);
  }

  /**
   * Goes on as a new actor, of the epoch after `after`: for whenever the store may not hold all its own dots of a key, as one
   * does that stands in for others, or regains a slot. It is on the disk when this returns, and so is what this turn has
   * done so far. Throws IO, or CORRUPT where epochs end (nobody has had so many), and nothing has changed then.
   */
  beginEpoch(after = this.#epoch): void {
    assert(after >= this.#epoch, "identity: epochs only rise");
    if (after >= EPOCH_MAX)
      throw new OperatingError("CORRUPT", `a record claims epoch ${after} of this store, the last there is`);
    this.#extendLease(after + 1);
    this.#epoch = after + 1;
    this.#actor = actorOf(this.storeId, after + 1);
  }

  /** Makes sure of the next `count` sequences. Blocks on one sync of the disk when a lease ends. Throws IO. */
  reserve(count: number): void {
    if (this.#next + count > this.#leaseEnd) this.#extendLease(this.#epoch);
  }

  /** What is given out from now on is above `sequence`. REQUIRES that `reserve` comes before the next one is. */
  goAbove(sequence: number): void {
    this.#next = Math.max(this.#next, sequence + 1);
  }

  /** The next sequence. REQUIRES `reserve`. */
  nextSequence(): number {
    assert(this.#next < this.#leaseEnd, "identity: a sequence is leased before it is used");
    return this.#next++;
  }

  /** Marks a clean stop: the next start goes on in this epoch. Nothing may be minted afterwards. */
  stop(): void {
    const { storeId } = this;
    this.#meta.putNow(RECORD, encode({ storeId, epoch: this.#epoch, leaseEnd: this.#leaseEnd, next: this.#next }));
  }

  /** A lease counts from when it is on the disk: when the disk refuses, everything is as before. */
  #extendLease(epoch: number): void {
    const leaseEnd = Math.max(this.#leaseEnd, this.#next) + LEASE;
    this.#meta.putNow(RECORD, encode({ storeId: this.storeId, epoch, leaseEnd, next: null }));
    this.#leaseEnd = leaseEnd;
  }
}

/** Layout: version u8 | store id 8 bytes | epoch varint | lease end varint | clean next varint (0: none). */
function encode(identity: Identity): Buffer {
  const { storeId, epoch, leaseEnd } = identity;
  const next = identity.next ?? 0;
  const bytes = Buffer.alloc(1 + STORE_ID_BYTES + varintLength(epoch) + varintLength(leaseEnd) + varintLength(next));
  bytes[0] = VERSION;
  writeLatin1(bytes, 1, storeId);
  let at = writeVarint(bytes, 1 + STORE_ID_BYTES, epoch);
  at = writeVarint(bytes, at, leaseEnd);
  at = writeVarint(bytes, at, next);
  assert(at === bytes.length, "identity: length");
  return bytes;
}

/** Layout: version u8 | (store id 8 bytes | lease end varint)*. */
function encodeFormer(former: readonly FormerStore[]): Buffer {
  const parts = former.map(({ storeId, leaseEnd }) => {
    const bytes = Buffer.alloc(STORE_ID_BYTES + varintLength(leaseEnd));
    writeLatin1(bytes, 0, storeId);
    writeVarint(bytes, STORE_ID_BYTES, leaseEnd);
    return bytes;
  });
  return Buffer.concat([Buffer.of(FORMER_VERSION), ...parts]);
}

function decodeFormer(bytes: Buffer | null): FormerStore[] {
  const former: FormerStore[] = [];
  const cursor: Cursor = { at: 1 };
  while (bytes !== null && cursor.at < bytes.length) {
    const storeId = latin1Of(bytes, cursor.at, cursor.at + STORE_ID_BYTES);
    cursor.at += STORE_ID_BYTES;
    former.push({ storeId, leaseEnd: readVarint(bytes, cursor, bytes.length) });
  }
  return former;
}

function decode(bytes: Buffer): Identity {
  if (bytes[0] !== VERSION) {
    throw new OperatingError(
      "CORRUPT",
      `the store's identity has format ${bytes[0]}; this version of Kindred reads ${VERSION}`,
    );
  }
  const cursor: Cursor = { at: 1 + STORE_ID_BYTES };
  const storeId = latin1Of(bytes, 1, cursor.at);
  const epoch = readVarint(bytes, cursor, bytes.length);
  const leaseEnd = readVarint(bytes, cursor, bytes.length);
  const next = readVarint(bytes, cursor, bytes.length);
  return { storeId, epoch, leaseEnd, next: next === 0 ? null : next };
}
