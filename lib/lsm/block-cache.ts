/**
 * The block cache: uncompressed blocks in the frames of one slab, replaced by CLOCK (a frame used since the hand last
 * passed gets another round). A table finds its cached blocks by array look-up: its shelf holds, for each of its blocks,
 * the frame, or -1. The invariant: a shelf names a frame exactly if that frame names the shelf and the block.
 */
import { assert } from "../assert.js";
import { WordBuffer } from "./snappy-decode.js";

/** Which frames hold the blocks of one table. Index: the number of the block in its table. */
export class Shelf {
  readonly frames: Int32Array;

  constructor(blocks: number) {
    this.frames = new Int32Array(blocks).fill(NO_FRAME);
  }
}

export const NO_FRAME = -1;

export interface BlockCacheOptions {
  /** Bytes of the slab. */
  readonly bytes: number;
  /** Bytes of a frame: the longest block that is cached. At most 32,768. */
  readonly frameBytes: number;
}

export class BlockCache {
  readonly frameBytes: number;
  /** The frame f is `slab[f * frameBytes, ...)`, as long as `lengthOf(f)`. Borrowed until the next `insert`. */
  readonly slab: Buffer;
  /** The slab, for writing into a frame that `reserve` gave. */
  readonly words: WordBuffer;
  readonly #frames: number;
  readonly #lengths: Uint16Array;
  readonly #isUsed: Uint8Array;
  readonly #shelves: (Shelf | null)[];
  readonly #blocks: Int32Array;
  #hand = 0;
  #held = 0;

  /** The slab is taken at once, at least 16 frames of it; the system backs it with memory as it fills. */
  constructor(options: BlockCacheOptions) {
    assert(options.frameBytes >= 64 && options.frameBytes <= 32_768, "block cache: frame size out of range");
    this.frameBytes = options.frameBytes;
    this.#frames = Math.max(16, Math.floor(options.bytes / options.frameBytes));
    this.words = new WordBuffer(this.#frames * options.frameBytes);
    this.slab = this.words.bytes;
    this.#lengths = new Uint16Array(this.#frames);
    this.#isUsed = new Uint8Array(this.#frames);
    this.#shelves = new Array<Shelf | null>(this.#frames).fill(null);
    this.#blocks = new Int32Array(this.#frames);
  }

  get capacityBytes(): number {
    return this.slab.length;
  }

  /** Bytes of the frames that hold a block. */
  get usedBytes(): number {
    return this.#held * this.frameBytes;
  }

  /** The frame of a block, marked as used; `NO_FRAME` when it is not cached. */
  use(shelf: Shelf, block: number): number {
    const frame = shelf.frames[block]!;
    if (frame !== NO_FRAME) this.#isUsed[frame] = 1;
    return frame;
  }

  lengthOf(frame: number): number {
    return this.#lengths[frame]!;
  }

  /** Copies a block of at most `frameBytes` into a frame and returns it. One that is cached already stays. */
  insert(shelf: Shelf, block: number, bytes: Buffer): number {
    const present = this.use(shelf, block);
    if (present !== NO_FRAME) return present;
    const frame = this.reserve(shelf, block, bytes.length);
    bytes.copy(this.slab, frame * this.frameBytes);
    return frame;
  }

  /**
   * A frame for a block of `length` bytes, at most `frameBytes`, which the caller writes there at once; if it cannot, it
   * takes the block out with `drop`. REQUIRES that the block is not cached.
   */
  reserve(shelf: Shelf, block: number, length: number): number {
    assert(length <= this.frameBytes, "block cache: the block fits a frame");
    assert(shelf.frames[block] === NO_FRAME, "block cache: the block has one frame");
    const frame = this.#freeFrame();
    this.#shelves[frame] = shelf;
    this.#blocks[frame] = block;
    this.#lengths[frame] = length;
    // Not marked: a block read once goes before one that was used again.
    this.#isUsed[frame] = 0;
    shelf.frames[block] = frame;
    this.#held++;
    return frame;
  }

  /** Takes a cached block out. */
  drop(shelf: Shelf, block: number): void {
    this.#evict(shelf.frames[block]!);
  }

  /** Frees all frames of a table. */
  release(shelf: Shelf): void {
    for (let block = 0; block < shelf.frames.length; block++) {
      const frame = shelf.frames[block]!;
      if (frame !== NO_FRAME) this.#evict(frame);
    }
  }

  #freeFrame(): number {
    for (;;) {
      const frame = this.#hand;
      this.#hand = frame + 1 === this.#frames ? 0 : frame + 1;
      if (this.#isUsed[frame] === 1) {
        this.#isUsed[frame] = 0;
        continue;
      }
      if (this.#shelves[frame] !== null) this.#evict(frame);
      return frame;
    }
  }

  #evict(frame: number): void {
    const shelf = this.#shelves[frame]!;
    const block = this.#blocks[frame]!;
    assert(shelf !== null && shelf.frames[block] === frame, "block cache: shelf and frame name each other");
    shelf.frames[block] = NO_FRAME;
    this.#shelves[frame] = null;
    this.#isUsed[frame] = 0;
    this.#held--;
  }
}
