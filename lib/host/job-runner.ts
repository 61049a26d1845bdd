/**
 * Drains jobs inside a worker: steps the first of the queue for a slice of time, then looks for messages, so that a more
 * urgent job can go before it and a cancelled one ends soon. Limits the rate at which jobs write.
 *
 * Invariant: one generator runs at a time, and an unfinished one is left only between two of its steps.
 */
import { messageOf, OperatingError } from "../errors.js";
import type { JobHost, JobTable } from "./workers.js";

/** What the thread of requests sends. */
export type JobRequest =
  | {
      readonly kind: "start";
      readonly id: number;
      readonly job: string;
      readonly input: unknown;
      readonly place: "first" | "last";
    }
  | { readonly kind: "cancel"; readonly id: number };

/** What the worker answers, once for each start. */
export type JobAnswer =
  | { readonly kind: "done"; readonly id: number; readonly output: unknown }
  | { readonly kind: "failed"; readonly id: number; readonly code: string; readonly message: string }
  /** A bug: the message carries the stack. */
  | { readonly kind: "broken"; readonly id: number; readonly message: string };

export interface JobRunnerOptions {
  readonly host: JobHost;
  readonly jobs: JobTable;
  /** Bytes a second that jobs started in the `last` place may write; 0 for no limit. */
  readonly rateBytes: number;
  readonly answer: (answer: JobAnswer) => void;
}

interface Running {
  readonly id: number;
  readonly place: "first" | "last";
  readonly generator: Generator<number, unknown, void>;
}

/** How long a slice takes: as long as a message may wait. */
const SLICE_MS = 10;
/** Writing may run ahead of the rate by so much time. */
const AHEAD_MS_MAX = 100;

export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #queue: Running[] = [];
  #isSliceDue = false;
  /** When the bytes written so far are paid for, by `performance.now`. */
  #paidAtMs = 0;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  receive(request: JobRequest): void {
    if (request.kind === "cancel") this.#cancel(request.id);
    else this.#start(request);
  }

  #start({ id, job, input, place }: JobRequest & { kind: "start" }): void {
    const { jobs, host } = this.#options;
    const generator = jobs[job]!(host, input as never);
    if (place === "first") this.#queue.unshift({ id, place, generator });
    else this.#queue.push({ id, place, generator });
    this.#scheduleSlice();
  }

  #cancel(id: number): void {
    const running = this.#queue.find((candidate) => candidate.id === id);
    if (running === undefined) return;
    this.#finish(running, () => {
      running.generator.return(undefined);
      throw new OperatingError("CLOSED", "the job was cancelled");
    });
  }

  #scheduleSlice(): void {
    if (this.#isSliceDue || this.#queue.length === 0) return;
    this.#isSliceDue = true;
    const run = () => {
      this.#isSliceDue = false;
      this.#runSlice();
      this.#scheduleSlice();
    };
    const waitMs = this.#queue[0]!.place === "last" ? this.#paidAtMs - performance.now() - AHEAD_MS_MAX : 0;
    if (waitMs > 1) setTimeout(run, waitMs);
    else setImmediate(run);
  }

  #runSlice(): void {
    const running = this.#queue[0];
    if (running === undefined) return;
    const startMs = performance.now();
    let bytes = 0;
    try {
      while (performance.now() - startMs < SLICE_MS) {
        const step = running.generator.next();
        if (step.done) return this.#finish(running, () => step.value);
        bytes += step.value;
      }
    } catch (error) {
      this.#finish(running, () => {
        throw error;
      });
    } finally {
      this.#pay(startMs, bytes);
    }
  }

  /** What a slice has written takes its time at the rate allowed. */
  #pay(startMs: number, bytes: number): void {
    const { rateBytes } = this.#options;
    if (rateBytes > 0) this.#paidAtMs = Math.max(this.#paidAtMs, startMs) + (bytes / rateBytes) * 1_000;
  }

  /** Takes the job out of the queue and answers with what `outcome` returns or throws. */
  #finish(running: Running, outcome: () => unknown): void {
    const { id } = running;
    this.#queue.splice(this.#queue.indexOf(running), 1);
    try {
      this.#options.answer({ kind: "done", id, output: outcome() });
    } catch (error) {
      if (error instanceof OperatingError) {
        this.#options.answer({ kind: "failed", id, code: error.code, message: error.message });
      } else {
        const message = error instanceof Error ? (error.stack ?? error.message) : messageOf(error);
        this.#options.answer({ kind: "broken", id, message });
      }
    }
  }
}
