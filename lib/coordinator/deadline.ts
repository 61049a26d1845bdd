/** Bounds a wait: no request waits longer than `request-timeout`. */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";

/** Settles as `work` does, or rejects with TIMEOUT and `message` after `timeoutMs`. `work` itself goes on. */
export function withDeadline<Result>(clock: Clock, timeoutMs: number, work: Promise<Result>, message: string): Promise<Result> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(timeoutMs, () => reject(new OperatingError("TIMEOUT", message)));
    const settle = (): void => timer.cancel();
    work.then(settle, settle);
    work.then(resolve, reject);
  });
}
