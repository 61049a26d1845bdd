/** The entry of the worker thread: the table of jobs, told what the engine cannot know of the values it stores. */
import { serveJobs } from "./host/worker-thread.js";
import { lsmJobs } from "./lsm/jobs.js";
import { recordJobOptions } from "./replica/record-jobs.js";

serveJobs(lsmJobs(recordJobOptions()));
