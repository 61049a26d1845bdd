/** Runs jobs one step at a time in virtual time, one job at a time, the first of the queue, with reads, writes and crashes between steps. */
import { OperatingError } from "../../lib/errors.js";
import type { Clock } from "../../lib/host/clock.js";
import type { Disk } from "../../lib/host/disk.js";
import type { JobTable, RunningJob, Workers } from "../../lib/host/workers.js";
import type { SimRandom } from "./sim-random.js";

interface QueuedJob {
  readonly name: string;
  readonly generator: Generator<number, unknown, void>;
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
  #isStepDue = false;
  /** What is being done, for tests: the names of the jobs that are not finished. */
  get unfinished(): readonly string[] {
    return this.#queue.map(({ name }) => name);
  }

  /** Jobs that ran to their end. */
  finished = 0;

  constructor(options: SimWorkersOptions) {
    this.#options = options;
  }

  start<Output>(job: string, input: unknown, place: "first" | "last" = "last"): RunningJob<Output> {
    const { jobs, disk } = this.#options;
    let queued: QueuedJob | undefined;
    const result = new Promise<Output>((resolve, reject) => {
      queued = {
        name: job,
        // Inputs and outputs cross threads in earnest: what cannot be cloned fails here too.
        generator: jobs[job]!({ disk }, structuredClone(input) as never),
        resolve: (output) => resolve(structuredClone(output) as Output),
        reject,
        isCancelled: false,
      };
    });
    if (place === "first") this.#queue.unshift(queued!);
    else this.#queue.push(queued!);
    this.#scheduleStep();
    return {
      result,
      cancel: () => {
        queued!.isCancelled = true;
      },
    };
  }

  async close(): Promise<void> {
    for (const job of this.#queue) job.isCancelled = true;
  }

  #scheduleStep(): void {
    if (this.#isStepDue || this.#queue.length === 0) return;
    this.#isStepDue = true;
    const { clock, random, stepMsMax } = this.#options;
    clock.after(random.fraction() * stepMsMax, () => {
      this.#isStepDue = false;
      this.#step(this.#queue[0]!);
      this.#scheduleStep();
    });
  }

  #step(job: QueuedJob): void {
    try {
      if (job.isCancelled) {
        job.generator.return(undefined);
        throw new OperatingError("CLOSED", `the job ${job.name} was cancelled`);
      }
      const step = job.generator.next();
      if (!step.done) return;
      this.finished++;
      job.resolve(step.value);
    } catch (error) {
      job.reject(error);
    }
    this.#queue.splice(this.#queue.indexOf(job), 1);
  }
}
