/** The entry of the worker thread: the table of jobs, told what the engine cannot know of the values it stores. */
import { serveJobs } from "./host/worker-thread.js";
import { lsmJobs } from "./lsm/jobs.js";

// When values expire, and what compaction may drop of them then, goes in here (CompactionOptions).
serveJobs(lsmJobs());
