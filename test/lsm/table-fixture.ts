/** What tests of tables share: entries, tables made of them, and readers whose clock and policy the test holds. */
import fc from "fast-check";
import type { Clock } from "../../lib/host/clock.js";
import { BlockCache } from "../../lib/lsm/block-cache.js";
import { type EntryKind, PUT, TOMBSTONE } from "../../lib/lsm/entry.js";
import { FilePool } from "../../lib/lsm/file-pool.js";
import { ReadPolicy } from "../../lib/lsm/read-policy.js";
import { Table } from "../../lib/lsm/table.js";
import type { TableMeta } from "../../lib/lsm/table-format.js";
import { TableReader } from "../../lib/lsm/table-reader.js";
import { TableWriter } from "../../lib/lsm/table-writer.js";
import { MemoryDisk } from "./memory-disk.js";

export interface Entry {
  readonly key: string;
  readonly kind: EntryKind;
  readonly value: Buffer;
}

export const DIRECTORY = "data";

export function put(key: string, value: string | Buffer = `value of ${key}`): Entry {
  return { key, kind: PUT, value: Buffer.from(value) };
}

export function tombstone(key: string): Entry {
  return { key, kind: TOMBSTONE, value: Buffer.alloc(0) };
}

/** Ascending entries of distinct keys. */
export function sorted(entries: Iterable<Entry>): Entry[] {
  const byKey = new Map<string, Entry>();
  for (const entry of entries) byKey.set(entry.key, entry);
  return [...byKey.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
}

/** Bytes that do not compress, the same on every run. */
export function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) >>> 24;
  }
  return bytes;
}

/** `count` ascending entries `prefix00000 ...`, `step` apart. */
export function numbered(
  count: number,
  options: { prefix?: string; valueBytes?: number; from?: number; step?: number } = {},
): Entry[] {
  const { prefix = "key", valueBytes = 100, from = 0, step = 1 } = options;
  return Array.from({ length: count }, (_, index) => {
    const key = `${prefix}${String(from + index * step).padStart(8, "0")}`;
    const value = Buffer.alloc(valueBytes, `${key}/`);
    return { key, kind: PUT, value };
  });
}

/** Keys and values of all sorts: close neighbours, long ones, empty values, values above a block, any byte. */
export function arbitraryEntries(options: { maxLength?: number } = {}): fc.Arbitrary<Entry[]> {
  const byte = fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code));
  const key = fc.oneof(
    { weight: 8, arbitrary: fc.string({ unit: fc.constantFrom("a", "b", "\x00", "\xff"), maxLength: 12 }) },
    { weight: 4, arbitrary: fc.string({ unit: byte, maxLength: 20 }) },
    { weight: 1, arbitrary: fc.tuple(byte, fc.integer({ min: 1, max: 3_000 })).map(([unit, length]) => unit.repeat(length)) },
  );
  const value = fc.oneof(
    { weight: 8, arbitrary: fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)) },
    { weight: 1, arbitrary: fc.tuple(fc.nat(255), fc.nat(20_000)).map(([fill, length]) => Buffer.alloc(length, fill)) },
  );
  const entry = fc.record({ key, value, isPut: fc.boolean() }).map(({ key, value, isPut }): Entry => {
    return isPut ? { key, kind: PUT, value } : tombstone(key);
  });
  return fc.array(entry, { minLength: 1, maxLength: options.maxLength ?? 120, size: "max" }).map(sorted);
}

/** A store of tables on a disk in memory. */
export class TableFixture {
  readonly disk = new MemoryDisk();
  readonly clock = new HandClock();
  readonly policy = new ReadPolicy();
  readonly cache: BlockCache;
  readonly files: FilePool;
  readonly reader: TableReader;
  readonly blockBytes: number;

  constructor(options: { blockBytes?: number; cacheBytes?: number; openFilesMax?: number } = {}) {
    this.blockBytes = options.blockBytes ?? 4_096;
    this.cache = new BlockCache({ bytes: options.cacheBytes ?? 64 * this.blockBytes, frameBytes: this.blockBytes });
    this.files = new FilePool(this.disk, options.openFilesMax ?? 100);
    this.reader = new TableReader({ clock: this.clock, cache: this.cache, policy: this.policy });
  }

  write(number: number, entries: readonly Entry[]): TableMeta {
    const writer = this.writer(number);
    for (const { key, kind, value } of entries) writer.add(key, kind, value, 0, value.length);
    return writer.finish();
  }

  writer(number: number, nowMs = 0): TableWriter {
    const { disk, blockBytes } = this;
    return new TableWriter({ disk, directory: DIRECTORY, number, blockBytes, filterFalsePositives: 0.01, nowMs });
  }

  open(number: number): Table {
    return Table.open({ files: this.files, cache: this.cache, directory: DIRECTORY, number });
  }

  table(number: number, entries: readonly Entry[]): Table {
    this.write(number, entries);
    return this.open(number);
  }

  /** From now on nothing is read blocking. */
  forbidBlocking(): void {
    this.policy.observe(10, Number.MAX_SAFE_INTEGER);
  }
}

/** A clock that stands still until it is set. */
export class HandClock implements Clock {
  nowMs = 0;

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(): never {
    throw new Error("tables set no timers");
  }

  defer(): never {
    throw new Error("tables defer nothing");
  }
}
