/**
 * The Workers seam: one worker thread with a bounded heap, started with the first job. Should the thread die (its heap is
 * too small), its jobs fail with IO and the next job starts another thread.
 */
import { Worker } from "node:worker_threads";
import { type ErrorCode, messageOf, OperatingError } from "../errors.js";
import type { JobAnswer, JobRequest } from "./job-runner.js";
import type { RunningJob, Workers } from "./workers.js";

export interface NodeWorkersOptions {
  /** Heap of the worker, in bytes. */
  readonly heapBytesMax: number;
  /** Bytes a second that background jobs may write; 0 for no limit. */
  readonly rateBytes: number;
}

/** What the thread is started with. */
export interface WorkerData {
  readonly rateBytes: number;
}

interface Waiting {
  readonly resolve: (output: unknown) => void;
  readonly reject: (error: Error) => void;
}

const BYTES_PER_MB = 1024 * 1024;
/** Young objects: keys of one flush live and die there. */
const YOUNG_MB_MAX = 16;

export class NodeWorkers implements Workers {
  readonly #options: NodeWorkersOptions;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #lastId = 0;

  constructor(options: NodeWorkersOptions) {
    this.#options = options;
  }

  start<Output>(job: string, input: unknown, place: "first" | "last" = "last"): RunningJob<Output> {
    const id = ++this.#lastId;
    const worker = (this.#worker ??= this.#spawn());
    const result = new Promise<Output>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (output: unknown) => void, reject });
    });
    worker.postMessage({ kind: "start", id, job, input, place } satisfies JobRequest);
    return {
      result,
      cancel: () => {
        if (this.#waiting.has(id)) worker.postMessage({ kind: "cancel", id } satisfies JobRequest);
      },
    };
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
    this.#failAll(new OperatingError("CLOSED", "the worker was closed"));
  }

  #spawn(): Worker {
    const { heapBytesMax, rateBytes } = this.#options;
    const worker = new Worker(new URL("../worker.js", import.meta.url), {
      workerData: { rateBytes } satisfies WorkerData,
      resourceLimits: {
        maxOldGenerationSizeMb: Math.ceil(heapBytesMax / BYTES_PER_MB),
        maxYoungGenerationSizeMb: YOUNG_MB_MAX,
      },
    });
    worker.unref();
    worker.on("message", (answer: JobAnswer) => this.#settle(answer));
    worker.on("error", (error) => this.#lose(worker, messageOf(error)));
    worker.on("exit", (code) => this.#lose(worker, `it exited with code ${code}`));
    return worker;
  }

  #settle(answer: JobAnswer): void {
    const waiting = this.#waiting.get(answer.id);
    if (waiting === undefined) return;
    this.#waiting.delete(answer.id);
    switch (answer.kind) {
      case "done":
        waiting.resolve(answer.output);
        break;
      case "failed":
        waiting.reject(new OperatingError(answer.code as ErrorCode, answer.message));
        break;
      case "broken":
        waiting.reject(new Error(`a job failed in the worker: ${answer.message}`));
        break;
    }
  }

  /** The thread is gone: what it was doing is lost, what it would do next is another thread's. */
  #lose(worker: Worker, why: string): void {
    if (this.#worker !== worker) return;
    this.#worker = null;
    this.#failAll(
      new OperatingError("IO", `the worker thread is gone (${why}); raise worker-heap-bytes if its memory was too small`),
    );
  }

  #failAll(error: OperatingError): void {
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(error);
  }
}
