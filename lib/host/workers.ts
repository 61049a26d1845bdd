/**
 * The Workers seam: long, pure jobs off the thread of requests. A job is a generator function that reads and writes files
 * through the Disk it is given and yields between steps; a worker drains it, the simulator steps it in virtual time.
 * Inputs and outputs cross threads, so they are plain data (structured clone).
 */
import type { Disk } from "./disk.js";

/** A job by name: the names and their generators are listed in one table known to both sides. */
export interface Workers {
  /**
   * Queues a job behind the others, or, for `first`, before them: what runs then waits between two of its steps. One job
   * of a `Workers` runs at a time.
   */
  start<Output>(job: string, input: unknown, place?: "first" | "last"): RunningJob<Output>;
  /** Cancels what runs and ends the worker. */
  close(): Promise<void>;
}

export interface RunningJob<Output> {
  /** Rejects with an `OperatingError`: `IO`, `CORRUPT`, or `CLOSED` after `cancel`. */
  readonly result: Promise<Output>;
  /** Asks the job to stop at its next step. */
  cancel(): void;
}

/** What a job may touch. */
export interface JobHost {
  readonly disk: Disk;
}

/** Yields after each bounded step (about a block) the bytes it wrote in that step, so that the driver can limit the rate. */
export type Job<Input, Output> = (host: JobHost, input: Input) => Generator<number, Output, void>;

/** The table of jobs that an implementation of Workers runs, by name. */
export type JobTable = Readonly<Record<string, Job<never, unknown>>>;
