/**
 * An immutable list of levels of open tables. Level 0 overlaps and is newest first; the tables of each deeper level are
 * disjoint and ascending. Every change makes a new set, so whoever pinned a set reads it undisturbed. The invariant: a
 * table is closed, and handed to `onUnused`, exactly when the last set that holds it has lost its last pin.
 */
import { assert } from "../assert.js";
import type { Table } from "./table.js";
import type { TableMeta } from "./table-format.js";

export type OnUnused = (table: Table) => void;

export interface TableSetChange {
  /** A table added to level 0 becomes its newest; of several the last one is the newest. */
  readonly add: readonly { readonly level: number; readonly table: Table }[];
  /** Numbers of tables. To move a table, remove it and add it in one change. */
  readonly remove: ReadonlySet<number>;
}

export class TableSet {
  readonly levels: readonly (readonly Table[])[];
  readonly #onUnused: OnUnused;
  #pins = 1;

  private constructor(levels: readonly (readonly Table[])[], onUnused: OnUnused) {
    this.levels = levels;
    this.#onUnused = onUnused;
    for (const level of levels) for (const table of level) table.holders++;
  }

  /** A set pinned once, for its creator. `onUnused` is called with each table that nobody needs any more: its file may go. */
  static of(levels: readonly (readonly Table[])[], onUnused: OnUnused): TableSet {
    levels.slice(1).forEach(assertDisjoint);
    return new TableSet(levels.length === 0 ? [[]] : levels, onUnused);
  }

  /** The set after a change, pinned once. This one keeps its pins: unpin it when the new one has taken its place. */
  with({ add, remove }: TableSetChange): TableSet {
    const depth = Math.max(this.levels.length, ...add.map(({ level }) => level + 1));
    const levels: (readonly Table[])[] = [];
    let removed = 0;
    for (let level = 0; level < depth; level++) {
      const old = this.levels[level] ?? [];
      const kept = old.filter((table) => !remove.has(table.meta.number));
      removed += old.length - kept.length;
      const added = add.filter((addition) => addition.level === level).map(({ table }) => table);
      levels.push(level === 0 ? [...added.reverse(), ...kept] : [...kept, ...added].sort(byFirstKey));
    }
    assert(removed === remove.size, "table set: what is removed was there");
    while (levels.length > 1 && levels.at(-1)!.length === 0) levels.pop();
    return TableSet.of(levels, this.#onUnused);
  }

  /** What the manifest and the choice of compactions know of the tables, in the order of `levels`. */
  metas(): TableMeta[][] {
    return this.levels.map((level) => level.map((table) => table.meta));
  }

  bytesOfLevel(level: number): number {
    let bytes = 0;
    for (const table of this.levels[level] ?? []) bytes += table.meta.bytes;
    return bytes;
  }

  /** Of all tables. */
  get entries(): number {
    let entries = 0;
    for (const level of this.levels) for (const table of level) entries += table.meta.entries;
    return entries;
  }

  /** Memory of all open tables, without cached blocks. */
  get memoryBytes(): number {
    let bytes = 0;
    for (const level of this.levels) for (const table of level) bytes += table.memoryBytes;
    return bytes;
  }

  pin(): void {
    assert(this.#pins > 0, "table set: alive");
    this.#pins++;
  }

  /** Takes one pin back. After the last one the set must not be used. */
  unpin(): void {
    assert(this.#pins > 0, "table set: pinned");
    if (--this.#pins > 0) return;
    for (const level of this.levels) {
      for (const table of level) {
        if (--table.holders > 0) continue;
        table.close();
        this.#onUnused(table);
      }
    }
  }

  /** Closes all tables without calling them unused: for the end of the engine. The set must not be used afterwards. */
  close(): void {
    for (const level of this.levels) for (const table of level) table.close();
  }
}

/** The index of the only table of a deeper level that may hold `key`: the first that ends at or after it. Past the end: none. */
export function tableAtOrAfter(level: readonly Table[], key: string): number {
  let low = 0;
  let high = level.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (level[middle]!.meta.last < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function byFirstKey(a: Table, b: Table): number {
  return a.meta.first < b.meta.first ? -1 : 1;
}

function assertDisjoint(level: readonly Table[]): void {
  for (let at = 1; at < level.length; at++) {
    assert(level[at - 1]!.meta.last < level[at]!.meta.first, "table set: deeper levels are disjoint and ascend");
  }
}
