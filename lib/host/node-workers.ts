/** No worker yet: the engine starts no jobs so far. */
import { OperatingError } from "../errors.js";
import type { RunningJob, Workers } from "./workers.js";

export class NodeWorkers implements Workers {
  start<Output>(job: string): RunningJob<Output> {
    return {
      result: Promise.reject(new OperatingError("CLOSED", `there is no worker to run ${job}`)),
      cancel: () => undefined,
    };
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
