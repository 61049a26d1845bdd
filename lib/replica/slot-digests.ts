/**
 * The leaves of the hash tree: for each slot the sum, modulo 2^48, of the digests of its records. Each change of a record adds
 * the difference. A sum of digests is the incremental hash of a set (AdHash: Bellare and Micciancio 1997); we compare friends, and
 * need no defence against who could make two sets collide.
 *
 * A slot's sum is kept only while it is known: a ring of one has nobody to compare with and keeps none; what a crash or a disk that
 * refused a batch has taken back makes all doubtful; and a slot that changes so often that it is cheaper to read it again is given up
 * until then. digest-rebuild.ts finds out those that are missing. A clean stop stores them beside the data:
 *
 *     "digests": format u8 = 1 | (leaf u56, big-endian)* of the slots: 0 for unknown, else twice the sum and one
 */
import { SLOTS } from "../bytes/slot.js";
import { DIGEST_SPAN, digestOf } from "../causality/record-digest.js";
import { RecordView } from "../causality/record-view.js";
import type { Lsm } from "../lsm/lsm.js";
import { hashOfDataKey, slotOfDataKey } from "./data-key.js";
import type { MetaStore } from "./meta-store.js";
import { decodeLeaves, encodeLeaves } from "./tree-messages.js";

const RECORD = "digests";
const FORMAT = 1;
const UNKNOWN = -1;
/** So many changes are followed before a slot is given up, besides so many for each of its records: that costs as reading it does. */
const CHANGES_MIN = 16;
const CHANGES_PER_RECORD = 4;

/** Of a slot: its sum (two integers' room), changes that are still followed, and changes since the start while it was unknown. */
const WIDTH = 4;
const SUM_AT = 2;
const LEFT = 2;
const CHANGES = 3;
const PREFETCH_MAX = 512;
/** What `prefetch` has read. */
const touched = new Int32Array(1);

export class SlotDigests {
  readonly #lsm: Pick<Lsm, "commitsRefused">;
  /** All of a slot lies in one line of the processor's caches: three processes on one machine do not keep them all. */
  readonly #integers = new Int32Array(SLOTS * WIDTH);
  readonly #sums = new Float64Array(this.#integers.buffer);
  readonly #after = new RecordView();
  /** Commits refused as of the last look. */
  #refused = 0;

  constructor(lsm: Pick<Lsm, "commitsRefused">) {
    this.#lsm = lsm;
    this.forgetAll();
  }

  /** Records with these keys are changed next: has the processor fetch what is kept of their slots, all at once. */
  prefetch(dataKeys: readonly string[]): void {
    const integers = this.#integers;
    const count = Math.min(dataKeys.length, PREFETCH_MAX);
    let sum = 0;
    for (let at = 0; at < count; at++) sum += integers[slotOfDataKey(dataKeys[at]!) * WIDTH]!;
    // So that the reads are not left out.
    touched[0] = sum;
  }

  /** The sum of the slot's records; null while it is not known. */
  sumOf(slot: number): number | null {
    this.#noteRefusals();
    const sum = this.#sums[slot * SUM_AT]!;
    return sum === UNKNOWN ? null : sum;
  }

  /** A record, `old` or none, becomes what is in `bytes[start, end)`. */
  changed(dataKey: string, old: RecordView | null, bytes: Uint8Array, start: number, end: number): void {
    const slot = slotOfDataKey(dataKey);
    if (!this.#isFollowed(slot)) return;
    const keyHash = hashOfDataKey(dataKey);
    const after = this.#after;
    after.read(bytes, start, end);
    this.#add(slot, digestOf(after, keyHash) - (old === null ? 0 : digestOf(old, keyHash)));
  }

  /** The record `old` goes. */
  removed(dataKey: string, old: RecordView): void {
    const slot = slotOfDataKey(dataKey);
    if (this.#isFollowed(slot)) this.#add(slot, -digestOf(old, hashOfDataKey(dataKey)));
  }

  /** How often something was stored in the slot while its sum was unknown: whether that happened while it was summed up. */
  changesOf(slot: number): number {
    return this.#integers[slot * WIDTH + CHANGES]!;
  }

  /** The sum of so many records was found out. */
  learn(slot: number, sum: number, records: number): void {
    this.#sums[slot * SUM_AT] = sum;
    this.#integers[slot * WIDTH + LEFT] = CHANGES_MIN + CHANGES_PER_RECORD * records;
  }

  /** The sum is doubted: it is to be found out anew. */
  forget(slot: number): void {
    this.#sums[slot * SUM_AT] = UNKNOWN;
    this.#integers[slot * WIDTH + LEFT] = 0;
  }

  forgetAll(): void {
    for (let slot = 0; slot < SLOTS; slot++) this.forget(slot);
  }

  /** Takes over what the last run has stored, once. REQUIRES that it was stopped in good order, and that nothing was changed since. */
  load(meta: MetaStore): void {
    const bytes = meta.get(RECORD);
    if (bytes === null || bytes[0] !== FORMAT) return;
    for (const [slot, leaf] of decodeLeaves(bytes, 1).entries()) if (leaf !== 0) this.learn(slot, (leaf - 1) / 2, 0);
    meta.put(RECORD, Buffer.alloc(0));
  }

  /** For the next run. REQUIRES that nothing is changed any more. */
  save(meta: MetaStore): void {
    const leaves = Array.from({ length: SLOTS }, (_, slot) => {
      const sum = this.sumOf(slot);
      return sum === null ? 0 : 2 * sum + 1;
    });
    if (leaves.some((leaf) => leaf !== 0)) meta.put(RECORD, Buffer.concat([Buffer.of(FORMAT), encodeLeaves(leaves)]));
    // What an earlier run stored may be on the disk still: it was refused when `load` took it away.
    else if (meta.get(RECORD) !== null) meta.put(RECORD, Buffer.alloc(0));
  }

  #isFollowed(slot: number): boolean {
    this.#noteRefusals();
    const integers = this.#integers;
    const at = slot * WIDTH;
    const left = integers[at + LEFT]!;
    if (left > 0) {
      integers[at + LEFT] = left - 1;
      return true;
    }
    // It changes too often, or was not known before.
    this.#sums[slot * SUM_AT] = UNKNOWN;
    integers[at + CHANGES]!++;
    return false;
  }

  /** What was added of a batch that the disk has refused is not to be told from the rest. */
  #noteRefusals(): void {
    if (this.#refused === this.#lsm.commitsRefused) return;
    this.#refused = this.#lsm.commitsRefused;
    this.forgetAll();
  }

  #add(slot: number, difference: number): void {
    const sum = this.#sums[slot * SUM_AT]! + difference;
    this.#sums[slot * SUM_AT] = sum < 0 ? sum + DIGEST_SPAN : sum >= DIGEST_SPAN ? sum - DIGEST_SPAN : sum;
  }
}
