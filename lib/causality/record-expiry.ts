/** What compaction may drop of a stored record: the values of versions that expired. Dots, expiry and hash stay. */
import { assert } from "../assert.js";
import { decodeRecord, encodeRecord, localAreaOf, withLocalArea } from "./record-encoding.js";
import { EXPIRY, NO_VALUE, SIBLINGS } from "./record-format.js";
import { RecordView } from "./record-view.js";

/** Drops the values of long expired versions. Owned by one job: its view is reused. */
export class ExpiryTrimmer {
  readonly #safetyMarginMs: number;
  readonly #view = new RecordView();

  /** A version's value goes `safetyMarginMs` (>= 0) after its expiry, so that no other node's clock still shows it. */
  constructor(options: { safetyMarginMs: number }) {
    assert(options.safetyMarginMs >= 0, "expiry: the safety margin is not negative");
    this.#safetyMarginMs = options.safetyMarginMs;
  }

  /** The bytes to store instead of `bytes[start, end)`, owned by the caller; null when nothing changes. Throws CORRUPT. */
  trim(bytes: Uint8Array, start: number, end: number, nowMs: number): Uint8Array | null {
    const view = this.#view;
    view.read(bytes, start, end);
    const beforeMs = nowMs - this.#safetyMarginMs;
    const isDue = (view.kind & (EXPIRY | NO_VALUE)) === EXPIRY && view.expiryMs <= beforeMs;
    if (!isDue && (view.flags & SIBLINGS) === 0) return null;
    const record = decodeRecord(bytes, start, end);
    let isChanged = false;
    const versions = record.versions.map((version) => {
      if (version.value === null || version.expiryMs === 0 || version.expiryMs > beforeMs) return version;
      isChanged = true;
      return { ...version, value: null };
    });
    if (!isChanged) return null;
    const trimmed = encodeRecord({ context: record.context, versions });
    const area = localAreaOf(bytes, start, end);
    return area.length === 0 ? trimmed : withLocalArea(trimmed, 0, trimmed.length, area);
  }
}
