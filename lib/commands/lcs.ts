/**
 * The longest common subsequence of two byte strings, by the bit-parallel recurrence of Hyyrö (2004, "Bit-parallel
 * LCS-length computation revisited"): one bit a cell instead of one number, 32 cells a step. In a row, a cleared bit says
 * that the length grows by one at this column. Those bits are all that walking back needs, and the walk takes the turns
 * that Redis takes, so that of several longest subsequences both answer the same one. Pure.
 */
import { assert } from "../assert.js";

/** Largest product of the two lengths that is computed: 64 MB of bits, some tenths of a second. */
export const LCS_CELLS_MAX = 2 ** 29;

/** A run of equal bytes; positions of its first bytes, from 0. */
export interface CommonRun {
  readonly startA: number;
  readonly startB: number;
  readonly length: number;
}

/** The length alone. Latin1 texts. REQUIRES the product of the lengths to be at most `LCS_CELLS_MAX`. */
export function lcsLength(a: string, b: string): number {
  const columns = new Columns(b);
  let row = columns.firstRow();
  for (let i = 0; i < a.length; i++) row = columns.advance(row, a.charCodeAt(i), row);
  let length = 0;
  for (let j = 0; j < b.length; j++) if (isGrowth(row, j)) length++;
  return length;
}

/** The runs that make up the subsequence, last first. REQUIRES the same. */
export function lcsRuns(a: string, b: string): CommonRun[] {
  assert(a.length * b.length <= LCS_CELLS_MAX, "lcs: texts too long");
  const rows = rowsOf(a, b);
  const runs: CommonRun[] = [];
  let i = a.length;
  let j = b.length;
  while (i > 0 && j > 0) {
    let length = 0;
    while (i > 0 && j > 0 && a.charCodeAt(i - 1) === b.charCodeAt(j - 1)) {
      i--;
      j--;
      length++;
    }
    if (length > 0) runs.push({ startA: i, startB: j, length });
    if (i === 0 || j === 0) break;
    // Where the bytes differ, growth in this row at this column means that the cell above is longer than the one before.
    if (isGrowth(rows[i - 1]!, j - 1)) i--;
    else j--;
  }
  return runs;
}

/** The subsequence itself. */
export function textOfRuns(a: string, runs: readonly CommonRun[]): string {
  let text = "";
  for (let at = runs.length - 1; at >= 0; at--) {
    const run = runs[at]!;
    text += a.slice(run.startA, run.startA + run.length);
  }
  return text;
}

function rowsOf(a: string, b: string): Uint32Array[] {
  const columns = new Columns(b);
  const bits = new Uint32Array(columns.words * a.length);
  const rows: Uint32Array[] = [];
  let above = columns.firstRow();
  for (let i = 0; i < a.length; i++) {
    const row = bits.subarray(i * columns.words, (i + 1) * columns.words);
    rows.push(columns.advance(above, a.charCodeAt(i), row));
    above = row;
  }
  return rows;
}

function isGrowth(row: Uint32Array, column: number): boolean {
  return ((row[column >>> 5]! >>> (column & 31)) & 1) === 0;
}

/** Where each byte stands in the text that the columns are of, and the step from one row to the next. */
class Columns {
  readonly words: number;
  readonly #text: string;
  readonly #places = new Map<number, Uint32Array>();

  constructor(text: string) {
    this.#text = text;
    this.words = (text.length + 31) >>> 5;
  }

  firstRow(): Uint32Array {
    return new Uint32Array(this.words).fill(0xffff_ffff);
  }

  /** Writes the row below `above` for one byte of the other text to `row`, which may be `above` itself, and returns it. */
  advance(above: Uint32Array, code: number, row: Uint32Array): Uint32Array {
    const places = this.#placesOf(code);
    let carry = 0;
    for (let word = 0; word < this.words; word++) {
      const before = above[word]!;
      const here = places[word]!;
      const sum = before + ((before & here) >>> 0) + carry;
      carry = sum > 0xffff_ffff ? 1 : 0;
      row[word] = sum | (before & ~here);
    }
    return row;
  }

  #placesOf(code: number): Uint32Array {
    const known = this.#places.get(code);
    if (known !== undefined) return known;
    const places = new Uint32Array(this.words);
    const text = this.#text;
    for (let at = 0; at < text.length; at++) if (text.charCodeAt(at) === code) places[at >>> 5]! |= 1 << (at & 31);
    this.#places.set(code, places);
    return places;
  }
}
