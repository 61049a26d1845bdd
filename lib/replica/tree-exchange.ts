/**
 * Compares this node's copies with those of one other member, and repairs what differs: root, groups, slots, keys. What is
 * on its way looks like a difference, so slots are looked at twice, some time apart, before keys are; a key that turns out equal
 * when its record is fetched costs one read. Only records that differ travel: theirs is merged here, and what the two came to
 * goes back where it is more than they have.
 *
 * Merging commutes and is idempotent, so an exchange may end anywhere, run twice, or run both ways at once.
 */
import { digestOf } from "../causality/record-digest.js";
import { forSending } from "../causality/record-encoding.js";
import { RecordView } from "../causality/record-view.js";
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import { type Clock, pause } from "../host/clock.js";
import { PeerCallError, type Peers } from "../peer/peer.js";
import { hashOfDataKey } from "./data-key.js";
import { encodedRecordOf } from "./encoded-record.js";
import { differingSlots, type HashTrees } from "./hash-tree.js";
import type { Replica } from "./replica.js";
import { AnswerStatus, ReplicaKind, readBytesMax, storeBytesMax, writeRead, writeStore } from "./replica-messages.js";
import { cutIntoStretches, keysOfSlot } from "./slot-keys.js";
import { spansOf } from "./slot-spans.js";
import type { TokenBucket } from "./token-bucket.js";
import {
  decodeKeysAnswer,
  decodeLeavesAnswer,
  decodeSumsAnswer,
  encodeTreeRequest,
  GROUPS,
  type KeyDigest,
  PLACES,
  placeOf,
  SLOTS_PER_GROUP,
  type Stretch,
  type TreeRequest,
} from "./tree-messages.js";

/** Between two looks at slots that differ: what was on its way has arrived by then. */
const SETTLE_MS = 1_000;
const CALL_MS = 5_000;
/** Slots compared key by key, and keys repaired, at once. */
const SLOTS_AT_ONCE = 4;
const KEYS_AT_ONCE = 16;
/** Keys of a slot that are compared with one request, and in one stretch of it. */
const KEYS_PER_REQUEST = 2_048;
const KEYS_PER_STRETCH = 8;
const WAIT_MS_MAX = 1_000;
/** A member that is busy is asked again so often, and after so long. */
const TRIES = 5;
const BUSY_MS = 100;

export interface ExchangeNode {
  readonly replica: Replica;
  readonly trees: HashTrees;
  readonly peers: Pick<Peers, "call" | "isUsable">;
  readonly clock: Clock;
  /** Merges a record into this node's copy, and resolves when that is stored. Rejects with IO, CORRUPT, BUSY. */
  readonly store: (dataKey: string, bytes: Uint8Array, start: number, end: number) => Promise<void>;
  /** Bytes a second of records that are read and sent. Read at each use. */
  readonly settings: { readonly repairRateBytes: number };
  /** The sum of this slot is doubted: it differs though no key of it does. */
  readonly doubt: (slot: number) => void;
}

/** What an exchange has done; all counts from 0. */
export class ExchangeResult {
  /** Slots that differed when they were looked at first, and still did the second time. */
  slotsAtFirst = 0;
  slotsDiffering: readonly number[] = [];
  keysDiffering = 0;
  /** Records that this node took, and those that the other did. */
  taken = 0;
  given = 0;
  /** Sent and received, records and all. */
  bytes = 0;
  /** Slots or keys that could not be compared or repaired this time. */
  failed = 0;
  complaint = "";
}

/** The other member has another ring, an earlier protocol, or the link is gone: nothing more can be done for now. */
class Ended extends Error {
  readonly why: "stale ring" | "too old" | "gone" | "stopped";
  /** For people. */
  readonly reason: string;

  constructor(why: Ended["why"], reason = "") {
    super(why);
    this.why = why;
    this.reason = reason;
  }
}

export type ExchangeOutcome = "done" | Ended["why"];

export class TreeExchange {
  readonly result = new ExchangeResult();
  readonly #node: ExchangeNode;
  readonly #peer: MemberId;
  readonly #bucket: TokenBucket;
  readonly #isWanted: (slot: number) => boolean;
  readonly #view = new RecordView();
  #isStopped = false;

  /** `isWanted`: which slots are compared. */
  constructor(
    node: ExchangeNode,
    peer: MemberId,
    { bucket, isWanted }: { bucket: TokenBucket; isWanted: (slot: number) => boolean },
  ) {
    this.#node = node;
    this.#peer = peer;
    this.#bucket = bucket;
    this.#isWanted = isWanted;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Rejects with IO or CORRUPT of this node's own copies. */
  async run(): Promise<ExchangeOutcome> {
    try {
      const slots = await this.#differing();
      this.result.slotsDiffering = slots;
      await atOnce(slots, SLOTS_AT_ONCE, (slot) => this.#compareSlot(slot, "both"));
      return "done";
    } catch (error) {
      if (!(error instanceof Ended)) throw error;
      this.result.complaint ||= error.reason;
      return error.why;
    }
  }

  /** Has the other member merge all that is here of a slot. False when it could not be had to. */
  async give(slot: number): Promise<boolean> {
    try {
      await this.#compareSlot(slot, "ours");
      return this.result.failed === 0;
    } catch (error) {
      if (error instanceof Ended) return false;
      throw error;
    }
  }

  /** Slots that differ at two looks, ascending. */
  async #differing(): Promise<number[]> {
    const { trees, clock } = this.#node;
    const peer = this.#peer;
    // One sum where all is well.
    if ((await this.#sums(1)).size === 0) return [];
    let groups = await this.#sums(GROUPS);
    // Those that it does not know it is finding out now.
    if (this.#hasUnknown(groups)) {
      await pause(clock, SETTLE_MS);
      groups = await this.#sums(GROUPS);
    }
    const first = differingSlots(trees, peer, groups).filter(({ slot }) => this.#isWanted(slot));
    this.result.slotsAtFirst = first.length;
    if (first.length === 0) return [];
    await pause(clock, SETTLE_MS);
    const slots = first.map(({ slot }) => slot);
    const answer = await this.#ask({ what: "leaves", ringVersion: trees.ringVersion, spans: spansOf(slots) });
    const leaves = decodeLeavesAnswer(answer, slots.length);
    return slots.filter((slot, at) => {
      const own = trees.leaf(peer, slot);
      return own !== 0 && leaves[at] !== 0 && own !== leaves[at];
    });
  }

  /** Slots that both own and the other does not know the sums of. */
  #hasUnknown(groups: ReadonlyMap<number, readonly number[]>): boolean {
    const shared = this.#node.trees.sharedWith(this.#peer);
    for (const [group, leaves] of groups) {
      if (leaves.some((leaf, at) => leaf === 0 && shared[group * SLOTS_PER_GROUP + at] === 1)) return true;
    }
    return false;
  }

  async #sums(count: number): Promise<Map<number, number[]>> {
    const { trees } = this.#node;
    const sums = trees.sums(this.#peer, count);
    return decodeSumsAnswer(await this.#ask({ what: "sums", ringVersion: trees.ringVersion, sums }), count);
  }

  /** `ours`: what only the other has is of no interest. */
  async #compareSlot(slot: number, whose: "both" | "ours"): Promise<void> {
    const { replica, trees, doubt } = this.#node;
    const leaf = trees.leaf(this.#peer, slot);
    let differing = 0;
    for (let from = 0; from < PLACES; ) {
      await this.#turn();
      const own = await keysOfSlot(replica, slot, { from, to: PLACES, wanted: KEYS_PER_REQUEST });
      this.#bucket.take(own.bytesRead);
      const stretches = cutIntoStretches(own.keys, own.end, KEYS_PER_STRETCH);
      const answer = await this.#ask({ what: "keys", ringVersion: trees.ringVersion, slot, from, stretches });
      const theirs = decodeKeysAnswer(answer, slot, stretches.length);
      const end = Math.min(theirs.end, own.end);
      // A place that was not gone past would be asked for for ever.
      if (end <= from) throw new OperatingError("CORRUPT", "a member compares keys that it was not asked for");
      const all = unequalKeys(own.keys, stretches, theirs, end);
      const unequal = whose === "both" ? all : all.filter((key) => key.own !== null);
      differing += unequal.length;
      await atOnce(unequal, KEYS_AT_ONCE, (key) => (whose === "both" ? this.#repair(key) : this.#giveOwn(key)));
      from = end;
    }
    this.result.keysDiffering += differing;
    if (whose === "both" && differing === 0 && trees.leaf(this.#peer, slot) === leaf) doubt(slot);
  }

  /** Makes a key equal on both. */
  async #repair({ dataKey, theirs }: UnequalKey): Promise<void> {
    const { store } = this.#node;
    try {
      await this.#turn();
      if (theirs !== null) {
        const before = await this.#ownDigest(dataKey);
        if (before.digest !== theirs) {
          const record = await this.#fetch(dataKey);
          if (record.length > 0) await store(dataKey, record, 0, record.length);
        }
        const after = await this.#ownDigest(dataKey);
        if (after.digest !== before.digest) this.result.taken++;
        if (after.digest === theirs) return;
      }
      await this.#send(dataKey);
    } catch (error) {
      this.#noteFailure(error);
    }
  }

  async #giveOwn({ dataKey }: UnequalKey): Promise<void> {
    try {
      await this.#turn();
      await this.#send(dataKey);
    } catch (error) {
      this.#noteFailure(error);
    }
  }

  #noteFailure(error: unknown): void {
    if (!(error instanceof OperatingError)) throw error;
    this.result.failed++;
    this.result.complaint = messageOf(error);
  }

  /** Has the other member merge this node's record. */
  async #send(dataKey: string): Promise<void> {
    const { replica } = this.#node;
    const own = await replica.read(dataKey);
    if (own === null) return;
    await replica.committed();
    await this.#give(dataKey, forSending(own));
  }

  /** -1 where there is no record. */
  async #ownDigest(dataKey: string): Promise<{ digest: number }> {
    const bytes = await this.#node.replica.read(dataKey);
    if (bytes === null) return { digest: -1 };
    this.#view.read(bytes, 0, bytes.length);
    return { digest: digestOf(this.#view, hashOfDataKey(dataKey)) };
  }

  /** What the other member holds of a key; empty for nothing. */
  async #fetch(dataKey: string): Promise<Buffer> {
    const { trees } = this.#node;
    const payload = Buffer.allocUnsafe(readBytesMax(dataKey));
    const end = writeRead(payload, 0, { ringVersion: trees.ringVersion, dataKey, from: "records" });
    const answer = await this.#call(ReplicaKind.read, payload.subarray(0, end));
    return answer.subarray(1);
  }

  async #give(dataKey: string, record: Uint8Array): Promise<void> {
    const { trees } = this.#node;
    const payload = Buffer.allocUnsafe(storeBytesMax(dataKey, record.length));
    const head = { ringVersion: trees.ringVersion, hintFor: null, dataKey };
    const end = writeStore(payload, 0, head, encodedRecordOf(record));
    await this.#call(ReplicaKind.handover, payload.subarray(0, end));
    this.result.given++;
  }

  #ask(request: TreeRequest): Promise<Buffer> {
    return this.#call(ReplicaKind.tree, encodeTreeRequest(request));
  }

  /** The answer, whose status is that it was done. */
  async #call(kind: number, payload: Uint8Array): Promise<Buffer> {
    const { peers, clock } = this.#node;
    for (let tries = 1; ; tries++) {
      if (this.#isStopped) throw new Ended("stopped");
      if (!peers.isUsable(this.#peer)) throw new Ended("gone");
      try {
        const deadlineMs = clock.monotonicMs() + CALL_MS;
        const answer = await peers.call({ to: this.#peer, kind, payload, deadlineMs });
        this.#bucket.take(payload.length + answer.length);
        this.result.bytes += payload.length + answer.length;
        if (answer[0] === AnswerStatus.staleRing) throw new Ended("stale ring");
        return answer;
      } catch (error) {
        if (!(error instanceof PeerCallError)) throw error;
        if (error.failure === "NO_HANDLER") throw new Ended("too old", error.reason);
        if (error.code !== "BUSY" || tries === TRIES) {
          if (kind === ReplicaKind.tree) throw new Ended("gone");
          throw error;
        }
      }
      await pause(clock, BUSY_MS * tries);
    }
  }

  /** Waits until the rate and the engine allow more. */
  async #turn(): Promise<void> {
    const { clock, settings, replica } = this.#node;
    if (replica.backlog() === "stopped") await replica.room();
    for (;;) {
      if (this.#isStopped) throw new Ended("stopped");
      const waitMs = this.#bucket.waitMs(clock.monotonicMs(), settings.repairRateBytes);
      if (waitMs === 0) return;
      await pause(clock, Math.min(waitMs, WAIT_MS_MAX));
    }
  }
}

/** A key that two members hold differently; null: not at all. */
export interface UnequalKey {
  readonly dataKey: string;
  readonly own: number | null;
  readonly theirs: number | null;
}

/** The keys, up to `end`, of stretches that differ and that the two sides do not hold alike. Pure. */
export function unequalKeys(
  own: readonly KeyDigest[],
  stretches: readonly Stretch[],
  theirs: { readonly differing: readonly boolean[]; readonly keys: readonly KeyDigest[] },
  end: number,
): UnequalKey[] {
  const left = new Map(theirs.keys.filter(({ dataKey }) => placeOf(dataKey) < end).map((key) => [key.dataKey, key.digest]));
  const unequal: UnequalKey[] = [];
  let stretch = 0;
  for (const { dataKey, digest } of own) {
    const place = placeOf(dataKey);
    if (place >= end) break;
    while (place >= stretches[stretch]!.end) stretch++;
    if (theirs.differing[stretch] !== true) continue;
    const other = left.get(dataKey) ?? null;
    left.delete(dataKey);
    if (other !== digest) unequal.push({ dataKey, own: digest, theirs: other });
  }
  for (const [dataKey, digest] of left) unequal.push({ dataKey, own: null, theirs: digest });
  return unequal;
}

/** Works on all items, so many at a time. Rejects with the first failure, when all that were begun have ended. */
async function atOnce<Item>(items: readonly Item[], most: number, work: (item: Item) => Promise<void>): Promise<void> {
  const waiting = [...items].reverse();
  const failures: unknown[] = [];
  const worker = async (): Promise<void> => {
    try {
      for (let item = waiting.pop(); item !== undefined && failures.length === 0; item = waiting.pop()) await work(item);
    } catch (error) {
      failures.push(error);
    }
  };
  await Promise.all(Array.from({ length: most }, worker));
  if (failures.length > 0) throw failures[0];
}
