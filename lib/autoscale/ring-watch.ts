/**
 * A look at the ring through any of its nodes: those that were named and those that they told of. Who answered last is asked
 * first; where one does not answer, the next one is asked.
 */
import type { StatusReply } from "../commands/cluster-view.js";
import { messageOf, OperatingError } from "../errors.js";

/** `host:port`. */
export type NodeAddress = string;

const ADDRESSES_MAX = 64;

export class RingWatch {
  readonly #named: readonly NodeAddress[];
  readonly #ask: (address: NodeAddress) => Promise<StatusReply>;
  #learnt: readonly NodeAddress[] = [];
  #last: NodeAddress | null = null;

  /** `ask` has a deadline, and rejects with an `OperatingError`. */
  constructor(options: { named: readonly NodeAddress[]; ask: (address: NodeAddress) => Promise<StatusReply> }) {
    this.#named = options.named;
    this.#ask = options.ask;
  }

  /** Rejects with UNAVAILABLE when nobody answers. */
  async look(): Promise<StatusReply> {
    const known = [...(this.#last === null ? [] : [this.#last]), ...this.#named, ...this.#learnt];
    let failure = "no node is known";
    for (const address of new Set(known)) {
      try {
        const status = await this.#ask(address);
        this.#last = address;
        const told = status.members.filter(({ state }) => state === "up").flatMap(({ clientAddress }) => clientAddress ?? []);
        this.#learnt = told.slice(0, ADDRESSES_MAX);
        return status;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        failure = messageOf(error);
      }
    }
    throw new OperatingError("UNAVAILABLE", `none of ${new Set(known).size} nodes answers; the last: ${failure}`);
  }
}
