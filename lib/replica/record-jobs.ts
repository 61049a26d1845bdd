/**
 * What the engine's jobs are told of the values that they move: which of them expire, and what may be dropped of them
 * then. Runs in the worker. Only data keys hold records; everything else is kept as it is.
 */
import { ExpiryTrimmer } from "../causality/record-expiry.js";
import { RecordView } from "../causality/record-view.js";
import type { CompactionOptions } from "../lsm/compaction.js";
import { isDataKey } from "./data-key.js";

/** How long a value is kept after its expiry: no clock that may still show it is further behind. */
const SAFETY_MARGIN_MS = 60_000;

/** One set for one worker: it reuses its views. */
export function recordJobOptions(): CompactionOptions {
  const trimmer = new ExpiryTrimmer({ safetyMarginMs: SAFETY_MARGIN_MS });
  const view = new RecordView();
  return {
    transform: (key, bytes, start, end, nowMs) =>
      isDataKey(key) ? (trimmer.trim(bytes, start, end, nowMs) ?? "keep") : "keep",
    expiresAtMs: (key, bytes, start, end) => {
      if (!isDataKey(key)) return Number.POSITIVE_INFINITY;
      view.read(bytes, start, end);
      const hasValueToDrop = view.expiryMs !== 0 && !view.isTombstone;
      return hasValueToDrop ? view.expiryMs + SAFETY_MARGIN_MS : Number.POSITIVE_INFINITY;
    },
  };
}
