/**
 * How many hints wait for whom. Sums follow each change and are taken back with the batch that it was in. They are exact, or
 * too high for as long as the disk has not told whether a mark was there before; after a refused batch they are too low
 * until its promise has been told.
 */
import { background } from "../background.js";
import type { MemberId } from "../cluster/member.js";
import { OperatingError } from "../errors.js";
import type { Lsm } from "../lsm/lsm.js";
import { HintKind, hintPrefix } from "./hint-key.js";

const NEVER = Number.POSITIVE_INFINITY;

/** Questions to the disk that may be open at once; what is not asked is counted as new. */
const CORRECTIONS_MAX = 1_024;

export interface TargetTotals {
  readonly target: MemberId;
  readonly count: number;
  readonly bytes: number;
  /** No hint for the target is older: ms of Unix time. */
  readonly oldestMs: number;
}

/** What waits for one target. Changed by `HintTotals` only. */
export class Waiting implements TargetTotals {
  readonly target: MemberId;
  /** Where its hints of a kind lie. */
  readonly prefixes: readonly string[];
  readonly counts: number[] = [0, 0, 0];
  bytes = 0;
  oldestMs = NEVER;

  constructor(target: MemberId) {
    this.target = target;
    this.prefixes = ["", hintPrefix(target, HintKind.record), hintPrefix(target, HintKind.mark)];
  }

  get count(): number {
    return this.counts[HintKind.record]! + this.counts[HintKind.mark]!;
  }

  /** The key of a hint for this target. */
  keyOf(kind: HintKind, dataKey: string): string {
    return this.prefixes[kind]! + dataKey.slice(1);
  }
}

export interface HintChange {
  readonly waiting: Waiting;
  readonly kind: HintKind;
  readonly count: number;
  readonly bytes: number;
  /** Of a mark that is put, which nobody asks after: its slot. */
  readonly slot?: number;
}

export class HintTotals {
  readonly #lsm: Lsm;
  readonly #onMarkLost: (target: MemberId, slot: number) => void;
  readonly #waiting = new Map<MemberId, Waiting>();
  /** Of all targets together: bytes of keys and values, and hints that are whole records. */
  bytes = 0;
  records = 0;
  /** Changes since the last commit, and how many commits there had been before them. */
  #changes: HintChange[] = [];
  #commitsTried = -1;
  /** Batches with changes of ours whose fate is not known yet. */
  #undecided = 0;
  #corrections = 0;

  /** `onMarkLost`: the disk refused the batch that a mark was in. */
  constructor(lsm: Lsm, onMarkLost: (target: MemberId, slot: number) => void) {
    this.#lsm = lsm;
    this.#onMarkLost = onMarkLost;
  }

  of(target: MemberId): Waiting {
    let waiting = this.#waiting.get(target);
    if (waiting === undefined) {
      waiting = new Waiting(target);
      this.#waiting.set(target, waiting);
    }
    return waiting;
  }

  /** Null when there never was a hint for the target. */
  find(target: MemberId): Waiting | null {
    return this.#waiting.get(target) ?? null;
  }

  /** Those for whom hints wait. */
  list(): TargetTotals[] {
    return [...this.#waiting.values()].filter((waiting) => waiting.count > 0);
  }

  get count(): number {
    let count = 0;
    for (const waiting of this.#waiting.values()) count += waiting.count;
    return count;
  }

  /** Counts for good. */
  add({ waiting, kind, count, bytes }: HintChange): void {
    waiting.counts[kind]! += count;
    waiting.bytes += bytes;
    this.bytes += bytes;
    if (kind === HintKind.record) this.records += count;
    if (waiting.count === 0) waiting.oldestMs = NEVER;
  }

  /** Counts what was put or removed just now, until its batch is refused. */
  changed(change: HintChange): void {
    this.add(change);
    const { commitsTried } = this.#lsm;
    if (commitsTried !== this.#commitsTried) {
      this.#commitsTried = commitsTried;
      this.#changes = [];
      background(this.#awaitCommit(this.#changes));
    }
    this.#changes.push(change);
  }

  /** Asks the disk what was there before something was put, when nobody knows. Null: too much is asked already. */
  readBefore(key: string): Promise<Buffer | null> | null {
    return this.#corrections < CORRECTIONS_MAX ? this.#lsm.read(key) : null;
  }

  /** Counts `correction` for good when `before`, from `readBefore`, says that what was put just now was there already. */
  async correct(before: Promise<Buffer | null>, correction: HintChange): Promise<void> {
    this.#corrections++;
    try {
      const [value] = await Promise.all([before, this.#lsm.committed()]);
      if (value !== null) this.add(correction);
    } catch (error) {
      // It is counted twice until the target has been walked over: `metNone`.
      if (!(error instanceof OperatingError)) throw error;
    } finally {
      this.#corrections--;
    }
  }

  /** There is certainly no hint for the target. */
  metNone(target: MemberId): void {
    const waiting = this.#waiting.get(target);
    if (waiting !== undefined && this.#undecided + this.#corrections === 0) {
      for (const change of lossOf(waiting)) this.add(change);
    }
  }

  /** The engine was emptied in this turn. */
  cleared(): void {
    for (const waiting of this.#waiting.values()) for (const change of lossOf(waiting)) this.changed(change);
  }

  async #awaitCommit(changes: readonly HintChange[]): Promise<void> {
    this.#undecided++;
    try {
      await this.#lsm.committed();
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      for (const { waiting, kind, count, bytes, slot } of changes) {
        this.add({ waiting, kind, count: -count, bytes: -bytes });
        if (slot !== undefined) this.#onMarkLost(waiting.target, slot);
      }
    } finally {
      this.#undecided--;
    }
  }
}

/** All that waits for a target goes. */
function lossOf(waiting: Waiting): HintChange[] {
  const { counts, bytes } = waiting;
  return [
    { waiting, kind: HintKind.record, count: -counts[HintKind.record]!, bytes: -bytes },
    { waiting, kind: HintKind.mark, count: -counts[HintKind.mark]!, bytes: 0 },
  ];
}
