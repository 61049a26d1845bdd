/**
 * Version vectors: for each actor the highest sequence seen for one key. An entry claims every earlier dot of its actor
 * too (for that key). Immutable; entries are sorted by actor and sequences are at least 1, so equal vectors are equal
 * entry by entry.
 */
import { assert } from "../assert.js";
import { type Actor, type Dot, readableDot, type StoreNames } from "./actor.js";

export type Order = "equal" | "before" | "after" | "concurrent";

export class VersionVector {
  static readonly EMPTY = new VersionVector([]);

  /** Sorted by actor, each actor once. */
  readonly entries: readonly Dot[];

  private constructor(entries: readonly Dot[]) {
    this.entries = entries;
  }

  /** A vector of these entries. REQUIRES them sorted by actor, each actor once, sequences from 1: what a decoder checked. */
  static ofSorted(entries: readonly Dot[]): VersionVector {
    for (let at = 1; at < entries.length; at++) {
      assert(entries[at - 1]!.actor < entries[at]!.actor, "vector: entries are sorted by actor");
    }
    return entries.length === 0 ? VersionVector.EMPTY : new VersionVector(entries);
  }

  /** The vector that has seen exactly these dots and those that they claim. */
  static of(...dots: readonly Dot[]): VersionVector {
    return dots.reduce<VersionVector>((vector, dot) => vector.with(dot), VersionVector.EMPTY);
  }

  get size(): number {
    return this.entries.length;
  }

  /** The highest sequence seen of `actor`; 0 when none was. */
  sequenceOf(actor: Actor): number {
    for (const entry of this.entries) if (entry.actor === actor) return entry.sequence;
    return 0;
  }

  covers(dot: Dot): boolean {
    return this.sequenceOf(dot.actor) >= dot.sequence;
  }

  /** True when this vector has seen all that `other` has. */
  dominates(other: VersionVector): boolean {
    if (other.entries.length > this.entries.length) return false;
    let at = 0;
    for (const entry of other.entries) {
      while (at < this.entries.length && this.entries[at]!.actor < entry.actor) at++;
      const mine = this.entries[at];
      if (mine === undefined || mine.actor !== entry.actor || mine.sequence < entry.sequence) return false;
    }
    return true;
  }

  /** How this vector stands to `other`: "before" when the other has seen all of it and more. */
  compare(other: VersionVector): Order {
    const isAtLeast = this.dominates(other);
    const isAtMost = other.dominates(this);
    if (isAtLeast) return isAtMost ? "equal" : "after";
    return isAtMost ? "before" : "concurrent";
  }

  /** All that either has seen. Returns one of the two where that one has seen it all (this one where both have). */
  join(other: VersionVector): VersionVector {
    if (this.dominates(other)) return this;
    if (other.dominates(this)) return other;
    const joined: Dot[] = [];
    let left = 0;
    let right = 0;
    for (;;) {
      const mine = this.entries[left];
      const theirs = other.entries[right];
      if (mine === undefined && theirs === undefined) return new VersionVector(joined);
      if (theirs === undefined || (mine !== undefined && mine.actor < theirs.actor)) {
        joined.push(mine!);
        left++;
      } else if (mine === undefined || theirs.actor < mine.actor) {
        joined.push(theirs);
        right++;
      } else {
        joined.push(mine.sequence >= theirs.sequence ? mine : theirs);
        left++;
        right++;
      }
    }
  }

  /** This vector with one more dot (and those that it claims). */
  with(dot: Dot): VersionVector {
    assert(Number.isSafeInteger(dot.sequence) && dot.sequence >= 1, "vector: a sequence is 1 to 2^53 - 1");
    return this.join(new VersionVector([{ actor: dot.actor, sequence: dot.sequence }]));
  }

  /** `node-a:3 node-b:1`, sorted as people read it. */
  readable(names: StoreNames): string {
    return this.entries
      .map((entry) => readableDot(entry, names))
      .sort()
      .join(" ");
  }
}
