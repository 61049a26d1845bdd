/** The engine's jobs, by the names under which it starts them. */
import type { JobTable } from "../host/workers.js";

export const lsmJobs: JobTable = {};
