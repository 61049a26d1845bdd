/**
 * Order over the keys of a memory table, made on demand: a scan sorts only the neighbourhoods that it visits. Keys are
 * spread over buckets by their first three bytes (for the replica: space and slot), each bucket is sorted when it is first
 * needed after it grew.
 */

export class SortedKeys {
  readonly #buckets = new Map<number, Bucket>();
  /** The numbers of the buckets, ascending, but for those in `#added`. */
  #order: Uint32Array = new Uint32Array(0);
  /** Numbers of buckets that were added since a scan last went from one to the next. */
  #added: number[] = [];

  /** `keys` are distinct. */
  constructor(keys: readonly string[]) {
    for (const key of keys) this.add(key);
  }

  /** Adds a key that is not there yet. */
  add(key: string): void {
    const number = bucketOf(key);
    const bucket = this.#buckets.get(number);
    if (bucket !== undefined) bucket.add(key);
    else {
      this.#buckets.set(number, new Bucket(key));
      this.#added.push(number);
    }
  }

  /** The first key at or after `from`, or null. */
  ceiling(from: string): string | null {
    const number = bucketOf(from);
    const bucket = this.#buckets.get(number);
    const found = bucket === undefined ? undefined : bucket.ceiling(from);
    if (found !== undefined) return found;
    const order = this.#ordered();
    const next = order[lowerBound(order, number + 1)];
    return next === undefined ? null : this.#buckets.get(next)!.first();
  }

  #ordered(): Uint32Array {
    if (this.#added.length === 0) return this.#order;
    const added = Uint32Array.from(this.#added).sort();
    this.#order = merged(this.#order, added);
    this.#added = [];
    return this.#order;
  }
}

/** Never empty. */
class Bucket {
  readonly #keys: string[];
  #isSorted = true;

  constructor(key: string) {
    this.#keys = [key];
  }

  add(key: string): void {
    this.#keys.push(key);
    this.#isSorted = false;
  }

  first(): string {
    this.#sort();
    return this.#keys[0]!;
  }

  ceiling(from: string): string | undefined {
    this.#sort();
    return this.#keys[lowerBound(this.#keys, from)];
  }

  #sort(): void {
    // Latin1 strings: the default order, by code unit, is the order of the bytes. After growth only the tail is unsorted,
    // which the runtime's merge sort takes in one pass.
    if (!this.#isSorted) this.#keys.sort();
    this.#isSorted = true;
  }
}

/** The first three bytes as a number; a shorter key counts as padded with zeros, which keeps the order of buckets. */
function bucketOf(key: string): number {
  const { length } = key;
  if (length >= 3) return (key.charCodeAt(0) << 16) | (key.charCodeAt(1) << 8) | key.charCodeAt(2);
  return length === 0 ? 0 : length === 1 ? key.charCodeAt(0) << 16 : (key.charCodeAt(0) << 16) | (key.charCodeAt(1) << 8);
}

/** Both, ascending, have no number in common. */
function merged(one: Uint32Array, other: Uint32Array): Uint32Array {
  if (one.length === 0) return other;
  const all = new Uint32Array(one.length + other.length);
  for (let at = 0, left = 0, right = 0; at < all.length; at++) {
    const isLeft = right === other.length || (left < one.length && one[left]! < other[right]!);
    all[at] = isLeft ? one[left++]! : other[right++]!;
  }
  return all;
}

/** The index of the first element at or after `from`. */
function lowerBound<Element extends string | number>(sorted: ArrayLike<Element>, from: Element): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! < from) low = middle + 1;
    else high = middle;
  }
  return low;
}
