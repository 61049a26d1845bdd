/**
 * Ids of requests that other nodes passed on and whose versions came to this store lately, by whichever way: one that comes a
 * second time is known by it, even after a later write has superseded its version. Bounded: the older half is forgotten when
 * the younger is full. A request is given to a second node within `request-timeout`, so lately is long enough.
 *
 * INVARIANT: what the disk has refused is not among them.
 */
import type { Lsm } from "../lsm/lsm.js";

const HALF_MAX = 32_768;

export class RecentWrites {
  readonly #lsm: Pick<Lsm, "commitsTried" | "commitsRefused">;
  #young = new Set<string>();
  #old = new Set<string>();
  /** Noted since the commits were so many. */
  #uncommitted = new Set<string>();
  #tried = 0;
  #refused = 0;

  constructor(lsm: Pick<Lsm, "commitsTried" | "commitsRefused">) {
    this.#lsm = lsm;
  }

  /** A version of it was stored just now. */
  note(writeId: string): void {
    this.#settle();
    this.#uncommitted.add(writeId);
  }

  has(writeId: string): boolean {
    this.#settle();
    return this.#young.has(writeId) || this.#old.has(writeId) || this.#uncommitted.has(writeId);
  }

  #settle(): void {
    const { commitsTried, commitsRefused } = this.#lsm;
    if (commitsTried === this.#tried) return;
    const noted = this.#uncommitted;
    this.#uncommitted = new Set();
    // Of several batches one may have been written: then its ids are forgotten, too, and their versions tell.
    if (commitsRefused === this.#refused) for (const writeId of noted) this.#add(writeId);
    this.#tried = commitsTried;
    this.#refused = commitsRefused;
  }

  #add(writeId: string): void {
    if (this.#young.size >= HALF_MAX) {
      this.#old = this.#young;
      this.#young = new Set();
    }
    this.#young.add(writeId);
  }
}
