/**
 * Bloom filters of tables: the package `bloom-filters` sizes and fills them, this file gives it a hash that is computed
 * once a key and probes its bits directly. The invariant, held by a test: `TableFilter.mayHold` answers what the
 * package's own `has` would. Everything that knows the package is here.
 *
 * Stored form, little-endian: bits u32, hashes u8, then the bits, lowest bit of the first byte first.
 */
import bloomFilters from "bloom-filters";
import { assert } from "../assert.js";
import { hash32OfString } from "../bytes/hash.js";
import { OperatingError } from "../errors.js";

const { BloomFilter } = bloomFilters;
type PackageFilter = InstanceType<typeof BloomFilter>;

const HEADER_BYTES = 5;
/** More than a filter of one in a billion false positives uses; a larger count is damage. */
const HASHES_MAX = 64;
const TWO_TO_32 = 2 ** 32;

/** The hash by which filters know a key: unsigned, 32 bits. Compute it once and pass it to every probe. */
export function keyHashOf(key: string): number {
  return hash32OfString(key);
}

/**
 * The stored form of a filter that holds the first `count` of `hashes`, with about `falsePositives` (0 to 1, exclusive) of
 * absent keys let through. REQUIRES count >= 1.
 */
export function encodeFilter(hashes: Uint32Array, count: number, falsePositives: number): Buffer {
  assert(count >= 1 && count <= hashes.length, "filter: at least one hash");
  const filter = new HashedBloomFilter(count, falsePositives);
  for (let index = 0; index < count; index++) filter.add(hashes[index]!);
  return filter.encode();
}

/** The package's filter behind a hash that is given instead of computed. Used to build filters, and by tests as the reference. */
export class HashedBloomFilter {
  readonly #filter: PackageFilter;
  readonly #hashing: GivenHash;

  constructor(count: number, falsePositives: number) {
    this.#filter = BloomFilter.create(count, falsePositives);
    this.#hashing = new GivenHash(this.#filter._nbHashes);
    (this.#filter as unknown as { _hashing: GivenHash })._hashing = this.#hashing;
  }

  add(hash: number): void {
    this.#hashing.hash = hash;
    this.#filter.add("");
  }

  has(hash: number): boolean {
    this.#hashing.hash = hash;
    return this.#filter.has("");
  }

  encode(): Buffer {
    const bits = this.#filter._filter.array;
    const encoded = Buffer.alloc(HEADER_BYTES + bits.length);
    encoded.writeUInt32LE(this.#filter._size, 0);
    encoded.writeUInt8(this.#filter._nbHashes, 4);
    encoded.set(bits, HEADER_BYTES);
    return encoded;
  }
}

/** A loaded filter, for probing only. Keeps the bytes it is given. */
export class TableFilter {
  readonly #bytes: Buffer;
  readonly #bits: number;
  readonly #hashes: number;

  /** Throws `CORRUPT` when the header does not fit the length. */
  constructor(bytes: Buffer) {
    const bits = bytes.length > HEADER_BYTES ? bytes.readUInt32LE(0) : 0;
    const hashes = bits > 0 ? bytes.readUInt8(4) : 0;
    if (hashes < 1 || hashes > HASHES_MAX || bytes.length !== HEADER_BYTES + Math.ceil(bits / 8)) {
      throw new OperatingError("CORRUPT", "a table's filter has an impossible header");
    }
    this.#bytes = bytes;
    this.#bits = bits;
    this.#hashes = hashes;
  }

  /** False: no key of this hash is in the table. True: one may be. `hash` is the `keyHashOf` the key. */
  mayHold(hash: number): boolean {
    const bytes = this.#bytes;
    const bits = this.#bits;
    const stride = strideOf(hash);
    let probe = hash;
    for (let left = this.#hashes; left > 0; left--) {
      const bit = Math.floor(((probe >>> 0) * bits) / TWO_TO_32);
      if ((bytes[HEADER_BYTES + (bit >>> 3)]! & (1 << (bit & 7))) === 0) return false;
      probe = (probe + stride) | 0;
    }
    return true;
  }

  get memoryBytes(): number {
    return this.#bytes.length;
  }
}

/**
 * What the package asks for the positions of an element's bits. Double hashing (Kirsch and Mitzenmacher 2006) in the ring
 * of 32-bit integers, scaled to the number of bits. The element itself is ignored: its hash was set before.
 */
class GivenHash {
  hash = 0;
  readonly #positions: number[];

  constructor(hashes: number) {
    this.#positions = new Array<number>(hashes).fill(0);
  }

  getIndexes(_element: unknown, bits: number): number[] {
    const positions = this.#positions;
    const stride = strideOf(this.hash);
    let probe = this.hash;
    for (let index = 0; index < positions.length; index++) {
      positions[index] = Math.floor(((probe >>> 0) * bits) / TWO_TO_32);
      probe = (probe + stride) | 0;
    }
    return positions;
  }
}

/** A second hash made of the first: its bits mixed again, and odd, so that no two of a key's positions coincide by cycle. */
function strideOf(hash: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (mixed ^ (mixed >>> 12)) | 1;
}
