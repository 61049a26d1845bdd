/**
 * What decisions on a key read of the other replicas before they are made, shared by those that wait for the key's turn at the
 * same time: a read that began after a request came shows everything that was acknowledged before the request came, and what
 * was decided since was decided here, or is told to `forget`. So a key that many want costs one read for all who wait, and not
 * one each.
 */
import type { Deadline } from "./deadline.js";
import type { Scope } from "./keyspace.js";
import type { QuorumNeeds } from "./quorum-needs.js";
import type { QuorumRequests } from "./quorum-requests.js";

/** What one request needs. Its key is in the table until `end`. */
export interface Refresh {
  /** In the key's turn: resolves when this node's copy is as new as the request asks for. */
  done(deadline: Deadline): Promise<void>;
  /** Once, whatever happened. */
  end(): void;
}

/** The last read of a key that somebody waits for. */
interface SharedRead {
  waiting: number;
  /** On the counter of all requests and reads; 0 when there was none yet. */
  begun: number;
  /** What it waited for: an object of the plan by which it was made. */
  needs: QuorumNeeds | null;
  standIns: "strict" | "sloppy";
}

export class Refreshes {
  readonly #requests: Pick<QuorumRequests, "refresh" | "planOf">;
  readonly #reads = new Map<string, SharedRead>();
  /** Counts requests that come and reads that begin. */
  #count = 0;

  constructor(requests: Pick<QuorumRequests, "refresh" | "planOf">) {
    this.#requests = requests;
  }

  /** REQUIRES: called when the request comes, before it waits for its turn. */
  ask(scope: Scope, dataKey: string): Refresh {
    const came = ++this.#count;
    let read = this.#reads.get(dataKey);
    if (read === undefined) {
      read = { waiting: 0, begun: 0, needs: null, standIns: "strict" };
      this.#reads.set(dataKey, read);
    }
    read.waiting++;
    const shared = read;
    return {
      done: (deadline) => this.#done(shared, came, { scope, dataKey, deadline }),
      end: () => {
        if (--shared.waiting === 0) this.#reads.delete(dataKey);
      },
    };
  }

  /** Something was decided on the key elsewhere, in a turn that it had here: what was read before shows nothing of it. */
  forget(dataKey: string): void {
    const read = this.#reads.get(dataKey);
    if (read !== undefined) read.begun = 0;
  }

  async #done(read: SharedRead, came: number, { scope, dataKey, deadline }: Wanted): Promise<void> {
    const { quorum, standIns } = scope.consistency;
    const needs = this.#requests.planOf(dataKey).needsOfDecision(quorum);
    if (read.begun > came && read.needs === needs && read.standIns === standIns) return;
    const begun = ++this.#count;
    await this.#requests.refresh(scope, dataKey, deadline);
    Object.assign(read, { begun, needs, standIns });
  }
}

interface Wanted {
  readonly scope: Scope;
  readonly dataKey: string;
  readonly deadline: Deadline;
}
