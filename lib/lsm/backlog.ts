/** When writers slow down and when they wait: the decision, pure, and the queue of those who wait. */
import { OperatingError } from "../errors.js";

/** `slow`: writers should hold back a little. `stopped`: writers wait for room. */
export type Backlog = "open" | "slow" | "stopped";

/** What the decision rests on. */
export interface BacklogSigns {
  /** A sync of the log takes longer than the interval between syncs. */
  readonly isSyncLate: boolean;
  /** Memory tables that wait for their flush. */
  readonly frozenTables: number;
  /** How full the active memory table is: 1 and more when it should be frozen. */
  readonly fill: number;
  readonly levelZeroTables: number;
  /** Tables of level 0 at which it is compacted. */
  readonly levelZeroLimit: number;
}

/** Writers slow down and stop at so many times the tables at which level 0 is compacted. */
const SLOW_FACTOR = 2;
const STOP_FACTOR = 3;
/** Better many short waits than a long one: so full may a table be while the one before it is still being flushed. */
const SLOW_FILL = 0.75;

export function judgeBacklog({ isSyncLate, frozenTables, fill, levelZeroTables, levelZeroLimit }: BacklogSigns): Backlog {
  const isFlushing = frozenTables > 0;
  if (isSyncLate || (isFlushing && fill >= 1) || levelZeroTables >= STOP_FACTOR * levelZeroLimit) return "stopped";
  return (isFlushing && fill >= SLOW_FILL) || levelZeroTables >= SLOW_FACTOR * levelZeroLimit ? "slow" : "open";
}

/** Those who wait for room. */
export class Room {
  /** As last set. */
  backlog: Backlog = "open";
  /** Times that writers were told to stop. */
  stalls = 0;
  #waiters: { readonly resolve: () => void; readonly reject: (error: OperatingError) => void }[] = [];

  /** `failure` is what keeps room from being made, if anything does: then waiting is pointless. */
  set(backlog: Backlog, failure: OperatingError | null): void {
    if (backlog === "stopped" && this.backlog !== "stopped") this.stalls++;
    this.backlog = backlog;
    if (backlog !== "stopped") for (const { resolve } of this.#waiters.splice(0)) resolve();
    else if (failure !== null) this.#refuse(failure);
  }

  /** Resolves when the backlog is not `stopped`; rejects with a failure told to `set` while waiting. */
  async wait(): Promise<void> {
    if (this.backlog !== "stopped") return;
    await new Promise<void>((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
    });
  }

  close(): void {
    this.#refuse(new OperatingError("CLOSED", "the store was closed"));
  }

  #refuse(error: OperatingError): void {
    for (const { reject } of this.#waiters.splice(0)) reject(error);
  }
}
