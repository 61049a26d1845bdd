/** The entry of the worker thread: a disk of its own, and the table of jobs. Talks to NodeWorkers. */
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "./assert.js";
import { type JobRequest, JobRunner } from "./host/job-runner.js";
import { NodeDisk } from "./host/node-disk.js";
import type { WorkerData } from "./host/node-workers.js";
import { lsmJobs } from "./lsm/jobs.js";
import { recordJobOptions } from "./replica/record-jobs.js";

const port = parentPort;
assert(port !== null, "worker: started as a thread");

const runner = new JobRunner({
  host: { disk: new NodeDisk() },
  jobs: lsmJobs(recordJobOptions()),
  rateBytes: (workerData as WorkerData).rateBytes,
  answer: (answer) => port.postMessage(answer),
});
port.on("message", (request: JobRequest) => runner.receive(request));
