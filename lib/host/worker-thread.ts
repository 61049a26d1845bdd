/** The worker's side of NodeWorkers: takes requests from the thread that started this one and runs them on Node's disk. */
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../assert.js";
import { type JobRequest, JobRunner } from "./job-runner.js";
import { NodeDisk } from "./node-disk.js";
import type { WorkerData } from "./node-workers.js";
import type { JobTable } from "./workers.js";

/** Serves `jobs` until the thread is ended. REQUIRES that this thread was started by NodeWorkers. */
export function serveJobs(jobs: JobTable): void {
  const port = parentPort;
  assert(port !== null, "worker: started as a thread");
  const { rateBytes } = workerData as WorkerData;
  const runner = new JobRunner({
    host: { disk: new NodeDisk() },
    jobs,
    rateBytes,
    answer: (answer) => port.postMessage(answer),
  });
  port.on("message", (request: JobRequest) => runner.receive(request));
}
