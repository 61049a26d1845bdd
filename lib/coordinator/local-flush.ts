/**
 * FLUSHDB and FLUSHALL of this node's own copies, where nobody else has any; and what keeps either of them, here or in a ring,
 * from coming between the commands of an EXEC.
 */
import { DATABASES } from "../replica/data-key.js";
import type { KeyQueues } from "../replica/key-queues.js";
import type { Replica } from "../replica/replica.js";
import type { Deadline } from "./deadline.js";
import type { HoldGate } from "./key-hold.js";
import type { KeyWalk } from "./key-walk.js";
import type { Scope } from "./keyspace.js";

export interface LocalFlushOptions {
  readonly replica: Replica;
  readonly walk: KeyWalk;
  readonly gate: HoldGate;
  /** `request-timeout` from now. */
  readonly deadline: () => Deadline;
  readonly queuesOf: (scope: Scope, dataKey: string) => KeyQueues;
}

export class LocalFlush {
  readonly #options: LocalFlushOptions;

  constructor(options: LocalFlushOptions) {
    this.#options = options;
  }

  async flush(scope: Scope, what: "database" | "all"): Promise<void> {
    const { replica, walk, queuesOf } = this.#options;
    const { database } = scope;
    const mayClear = (): boolean => what === "all" || this.#isAlone(database);
    if (!mayClear()) return walk.removeAll(database, (dataKey) => queuesOf(scope, dataKey));
    // Within EXEC it is the holder's own; to wait for other holds might be to wait for each other.
    if (scope.hold === null) {
      if (!(await this.#clearBetweenHolds(mayClear))) await this.flush(scope, what);
    } else {
      replica.clear();
      await replica.committed();
    }
  }

  /**
   * Runs `work`, which concerns all keys, so that it does not come between the commands of an EXEC, but for its own. Rejects
   * with TIMEOUT when an EXEC was still under way at the deadline: it does not run then. `work` sees to its own deadline.
   */
  async betweenHolds<Result>(scope: Scope, deadline: Deadline, work: () => Promise<Result>): Promise<Result> {
    // To wait for other holds within one might be to wait for each other.
    if (scope.hold !== null) return work();
    const running = this.#options.gate.during(() => {
      if (deadline.isPast) throw deadline.error();
      deadline.meet();
      return work();
    });
    return deadline.bound(running);
  }

  /** Drops everything when no EXEC is under way, unless that may not be done any more by then. Returns whether it was. */
  async #clearBetweenHolds(mayClear: () => boolean): Promise<boolean> {
    const { replica, gate } = this.#options;
    const deadline = this.#options.deadline();
    let committed: Promise<void> | null = null;
    const step = (): void => {
      if (deadline.isPast) throw deadline.error();
      if (mayClear()) {
        replica.clear();
        committed = replica.committed();
      }
      deadline.meet();
    };
    await deadline.bound(gate.between(step));
    await committed;
    return committed !== null;
  }

  /** True when no other database has keys. */
  #isAlone(database: number): boolean {
    const { replica } = this.#options;
    for (let other = 0; other < DATABASES; other++) {
      if (other !== database && replica.size(other) + replica.hiddenSize(other) > 0) return false;
    }
    return true;
  }
}
