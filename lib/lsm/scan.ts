/** One page of a scan over sorted entries. */
import { type Cursor, Step } from "./cursor.js";
import { PUT } from "./entry.js";

export interface ScanPage {
  /** In key order. The values are the caller's; null where none were asked for. */
  readonly entries: readonly { readonly key: string; readonly value: Buffer | null }[];
  /** Where the next page starts; null at the end of the range. */
  readonly next: string | null;
}

export interface ScanRange {
  /** The first key of the range. */
  readonly from: string;
  /** The first key behind the range; null for no end. */
  readonly to: string | null;
  /** How many entries the page has at most, 1 or more. */
  readonly limit: number;
  readonly values: "with" | "without";
  /** The page ends with the entry whose key and value bring it to so many bytes. Default: no bound. */
  readonly bytesMax?: number;
}

/** Walks `cursor` over the range, leaving tombstones out, until the page is full. Rejects with IO or CORRUPT. */
export async function scanPage(cursor: Cursor, range: ScanRange): Promise<ScanPage> {
  const { from, to, limit, values, bytesMax = Number.POSITIVE_INFINITY } = range;
  const entries: { key: string; value: Buffer | null }[] = [];
  let bytes = 0;
  let step: Step = cursor.seek(from);
  for (;;) {
    if (step === Step.UNREAD) step = await cursor.load();
    if (step === Step.END || (to !== null && cursor.key >= to)) return { entries, next: null };
    if (cursor.kind === PUT) {
      if (entries.length === limit || bytes >= bytesMax) return { entries, next: cursor.key };
      const value = values === "with" ? Buffer.from(cursor.buffer.subarray(cursor.start, cursor.end)) : null;
      entries.push({ key: cursor.key, value });
      bytes += cursor.key.length + (value?.length ?? 0);
    }
    step = cursor.next();
  }
}
