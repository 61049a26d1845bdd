/** The engine's jobs, by the names under which it starts them. */
import type { JobTable } from "../host/workers.js";
import { type CompactionOptions, compactionJob } from "./compaction.js";
import { flushJob } from "./flush.js";

/** `options` is what the owner of the values' format knows of them: their expiry, and what may be dropped. */
export function lsmJobs(options: CompactionOptions = {}): JobTable {
  return { flush: flushJob(options), compaction: compactionJob(options) };
}
