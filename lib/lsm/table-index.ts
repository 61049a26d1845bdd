/**
 * Finds the block of a key in a table: a binary search over the first four bytes of every block's start (behind the bytes
 * that all keys of the table share), and over the whole starts only where those four are equal. All of it lies in a few
 * typed arrays, about 25 bytes a block.
 */
import { compareKey } from "./block.js";
import type { BlockList } from "./table-format.js";

export class TableIndex {
  readonly blocks: number;
  readonly #prefix: number;
  readonly #list: BlockList;
  readonly #heads: Uint32Array;

  /** `prefix` is how many bytes the table's first and last key have in common. */
  constructor(list: BlockList, prefix: number) {
    this.blocks = list.startEnds.length;
    this.#prefix = prefix;
    this.#list = list;
    this.#heads = new Uint32Array(this.blocks);
    for (let block = 0; block < this.blocks; block++) {
      const from = this.#startOf(block);
      const end = list.startEnds[block]!;
      let head = 0;
      for (let at = from; at < from + 4; at++) head = (head << 8) | (at < end ? list.starts[at]! : 0);
      this.#heads[block] = head;
    }
  }

  /**
   * The only block that may hold `key`; the first entry at or above `key` is in it or begins the next. REQUIRES that `key`
   * lies between the first and the last key of the table.
   */
  find(key: string): number {
    const heads = this.#heads;
    const head = this.#headOf(key);
    let low = 1;
    let high = this.blocks;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (heads[middle]! <= head) low = middle + 1;
      else high = middle;
    }
    const block = low - 1;
    if (block === 0 || heads[block] !== head || this.#isAtOrBelow(block, key)) return block;
    return this.#findAmongEqualHeads(key, head, block);
  }

  /** Where the block's sealed bytes begin. `blocks` is allowed: where the last one ends. */
  offsetOf(block: number): number {
    return this.#list.offsets[block]!;
  }

  /** Length of the block's sealed bytes. */
  lengthOf(block: number): number {
    return this.#list.offsets[block + 1]! - this.#list.offsets[block]!;
  }

  get memoryBytes(): number {
    return 12 * this.blocks + this.#list.starts.length;
  }

  /** The same search when `above`, of the same head, is known to start above `key`. */
  #findAmongEqualHeads(key: string, head: number, above: number): number {
    let low = 1;
    let high = above;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#heads[middle]! < head || this.#isAtOrBelow(middle, key)) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #isAtOrBelow(block: number, key: string): boolean {
    const { starts, startEnds } = this.#list;
    const from = this.#startOf(block);
    return compareKey(starts, from, startEnds[block]! - from, key, this.#prefix) <= 0;
  }

  #startOf(block: number): number {
    return block === 0 ? 0 : this.#list.startEnds[block - 1]!;
  }

  #headOf(key: string): number {
    const at = this.#prefix;
    if (at + 4 <= key.length) {
      const low = (key.charCodeAt(at + 1) << 16) | (key.charCodeAt(at + 2) << 8) | key.charCodeAt(at + 3);
      return ((key.charCodeAt(at) << 24) | low) >>> 0;
    }
    let head = 0;
    for (let index = at; index < at + 4; index++) head = (head << 8) | (index < key.length ? key.charCodeAt(index) : 0);
    return head >>> 0;
  }
}
