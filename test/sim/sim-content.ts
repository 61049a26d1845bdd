/**
 * The bytes of one file of a simulated disk: as the running program sees them, and what a crash may leave of them.
 *
 * Invariant: the first `#durableSize` bytes survive a crash, except for sectors that a failed sync has lost for ever.
 */
import type { SimRandom } from "./sim-random.js";

const SECTOR_BYTES = 512;

export class SimContent {
  #bytes: Buffer = Buffer.alloc(256);
  #size = 0;
  #durableSize = 0;
  /** Sectors that were dropped by a failed sync: no later sync brings them back. */
  readonly #lostSectors = new Set<number>();
  /** What stood behind the end before a truncation: it may turn up again. */
  #ghost: { readonly start: number; readonly bytes: Buffer } | null = null;

  get size(): number {
    return this.#size;
  }

  append(bytes: Uint8Array, offset: number, length: number): void {
    if (this.#size + length > this.#bytes.length) {
      const larger = Buffer.alloc(Math.max(this.#size + length, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, this.#size);
      this.#bytes = larger;
    }
    this.#bytes.set(bytes.subarray(offset, offset + length), this.#size);
    this.#size += length;
  }

  read(position: number, target: Uint8Array, offset: number, length: number): number {
    const end = Math.min(this.#size, position + length);
    if (end <= position) return 0;
    target.set(this.#bytes.subarray(position, end), offset);
    return end - position;
  }

  truncate(length: number): void {
    this.#ghost = { start: length, bytes: Buffer.from(this.#bytes.subarray(length, this.#size)) };
    this.#bytes.fill(0, length, this.#size);
    this.#size = length;
    this.#durableSize = Math.min(this.#durableSize, length);
  }

  makeDurable(size: number): void {
    this.#durableSize = Math.max(this.#durableSize, Math.min(size, this.#size));
    this.#ghost = null;
  }

  loseUnsynced(random: SimRandom): void {
    const first = Math.ceil(this.#durableSize / SECTOR_BYTES);
    for (let sector = first; sector * SECTOR_BYTES < this.#size; sector++)
      if (random.chance(0.5)) this.#lostSectors.add(sector);
  }

  flip(at: number, bit: number): void {
    this.#bytes[at]! ^= 1 << bit;
  }

  copy(): SimContent {
    return SimContent.#durableOf(Buffer.from(this.#bytes.subarray(0, this.#size)));
  }

  /** What is left: the durable bytes and any subset of the other sectors, some of them torn, each kept with probability `keep`. */
  afterCrash(random: SimRandom, keep: number): SimContent {
    const durable = this.#durableSize;
    const end = random.pick([this.#size, this.#size, durable, durable + random.below(this.#size - durable + 1)]);
    const bytes = Buffer.alloc(end);
    this.#bytes.copy(bytes, 0, 0, Math.min(durable, end));
    for (let sector = Math.floor(durable / SECTOR_BYTES); sector * SECTOR_BYTES < end; sector++) {
      const start = Math.max(durable, sector * SECTOR_BYTES);
      const sectorEnd = Math.min(end, (sector + 1) * SECTOR_BYTES);
      if (this.#ghost !== null && random.chance(0.5)) this.#copyGhost(bytes, start, sectorEnd);
      // A sector may have been written when it was half full.
      if (random.chance(keep)) this.#bytes.copy(bytes, start, start, sectorEnd);
      else if (random.chance(0.2)) this.#bytes.copy(bytes, start, start, start + random.below(sectorEnd - start + 1));
    }
    for (const sector of this.#lostSectors) bytes.fill(0, sector * SECTOR_BYTES, Math.min(end, (sector + 1) * SECTOR_BYTES));
    return SimContent.#durableOf(bytes);
  }

  #copyGhost(target: Buffer, start: number, end: number): void {
    const ghost = this.#ghost!;
    const from = Math.max(start, ghost.start);
    const to = Math.min(end, ghost.start + ghost.bytes.length);
    if (from < to) ghost.bytes.copy(target, from, from - ghost.start, to - ghost.start);
  }

  static #durableOf(bytes: Buffer): SimContent {
    const content = new SimContent();
    content.#bytes = bytes;
    content.#size = bytes.length;
    content.#durableSize = bytes.length;
    return content;
  }
}
