/** Runs jobs one step at a time in virtual time, one job at a time, in order, with reads, writes and crashes between steps. */
import { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";
import type { Disk } from "../../lib/host/disk.js";
import type { JobTable, RunningJob, Workers } from "../../lib/host/workers.js";
import type { SimRandom } from "./sim-random.js";

interface QueuedJob {
  readonly name: string;
  readonly input: unknown;
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: unknown) => void;
  isCancelled: boolean;
}

export interface SimWorkersOptions {
  readonly clock: Clock;
  readonly disk: Disk;
  readonly random: SimRandom;
  readonly jobs: JobTable;
  /** A step takes a random time of at most this long. */
  readonly stepMsMax: number;
}

export class SimWorkers implements Workers {
  readonly #options: SimWorkersOptions;
  readonly #queue: QueuedJob[] = [];
  #running: QueuedJob | null = null;
  /** Jobs that ran to their end. */
  finished = 0;

  constructor(options: SimWorkersOptions) {
    this.#options = options;
  }

  start<Output>(job: string, input: unknown): RunningJob<Output> {
    let queued: QueuedJob | undefined;
    const result = new Promise<Output>((resolve, reject) => {
      queued = {
        name: job,
        // Inputs and outputs cross threads in earnest: what cannot be cloned fails here too.
        input: structuredClone(input),
        resolve: (output) => resolve(structuredClone(output) as Output),
        reject,
        isCancelled: false,
      };
    });
    this.#queue.push(queued!);
    this.#runNext();
    return {
      result,
      cancel: () => {
        queued!.isCancelled = true;
      },
    };
  }

  async close(): Promise<void> {
    for (const job of this.#queue) job.isCancelled = true;
    if (this.#running !== null) this.#running.isCancelled = true;
  }

  #runNext(): void {
    if (this.#running !== null) return;
    const job = this.#queue.shift();
    if (job === undefined) return;
    this.#running = job;
    const { jobs, disk } = this.#options;
    const generator = jobs[job.name]!({ disk }, job.input as never);
    this.#scheduleStep(job, generator);
  }

  #scheduleStep(job: QueuedJob, generator: Generator<number, unknown, void>): void {
    const { clock, random, stepMsMax } = this.#options;
    clock.after(random.fraction() * stepMsMax, () => {
      try {
        if (job.isCancelled) {
          generator.return(undefined);
          throw new OperatingError("CLOSED", `the job ${job.name} was cancelled`);
        }
        const step = generator.next();
        if (!step.done) return this.#scheduleStep(job, generator);
        this.finished++;
        job.resolve(step.value);
      } catch (error) {
        job.reject(error);
      }
      this.#running = null;
      this.#runNext();
    });
  }
}
