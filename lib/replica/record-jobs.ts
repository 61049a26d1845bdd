/**
 * What the engine's jobs are told of the values that they move: which of them expire, and what may be dropped of them
 * then. Runs in the worker. Only data keys hold records; everything else is kept as it is.
 */
import { ExpiryTrimmer } from "../causality/record-expiry.js";
import { RecordView } from "../causality/record-view.js";
import { OperatingError } from "../errors.js";
import type { CompactionOptions } from "../lsm/compaction.js";
import { isDataKey } from "./data-key.js";

/** How long a value is kept after its expiry: no clock that may still show it is further behind. */
const SAFETY_MARGIN_MS = 60_000;

const NEVER = Number.POSITIVE_INFINITY;

/** One set for one worker: it reuses its views. */
export function recordJobOptions(): CompactionOptions {
  const trimmer = new ExpiryTrimmer({ safetyMarginMs: SAFETY_MARGIN_MS });
  const view = new RecordView();
  return {
    transform: (key, bytes, start, end, nowMs) =>
      isDataKey(key) ? orWhenCorrupt("keep", () => trimmer.trim(bytes, start, end, nowMs) ?? "keep") : "keep",
    expiresAtMs: (key, bytes, start, end) =>
      isDataKey(key)
        ? orWhenCorrupt(NEVER, () => {
            view.read(bytes, start, end);
            return view.expiryMs !== 0 && !view.isTombstone ? view.expiryMs + SAFETY_MARGIN_MS : NEVER;
          })
        : NEVER,
  };
}

/** A record that does not parse moves on as it is: its reader is told, and the others must not wait for it. */
function orWhenCorrupt<Result>(instead: Result, work: () => Result): Result {
  try {
    return work();
  } catch (error) {
    if (error instanceof OperatingError && error.code === "CORRUPT") return instead;
    throw error;
  }
}
