/**
 * Turns of a key for what is passed on to another node. Operations that come one after the other, with nothing else of their
 * key between them, share a turn: when it is there they all leave together, in the order in which they came, and what comes
 * after waits for all of them. So a key that many want costs one way to the other node and back for all who wait.
 *
 * Together, and not whenever they come: what leaves at one time is also given up, or sent once more, at one time, so that one
 * of them does not overtake another there.
 */
import { background } from "../background.js";
import type { KeyQueues } from "../replica/key-queues.js";
import { KeyHold } from "./key-hold.js";
import type { Hold } from "./keyspace.js";

/** So many share a turn at most, so that those who come later, there and here, do not wait for all that ever come. */
const SHARING_MAX = 4_096;

type Begin = (hold: Hold) => Promise<void>;

/** A turn that has not come yet. */
interface WaitingTurn {
  readonly members: Begin[];
  /** The last turn of the key, as long as nobody has taken another. */
  readonly last: object | undefined;
}

export class SharedTurns {
  readonly #queues: KeyQueues;
  readonly #waiting = new Map<string, WaitingTurn>();

  constructor(queues: KeyQueues) {
    this.#queues = queues;
  }

  /**
   * Begins `work` when it is the key's turn, which it keeps until it has settled. Its place is taken before this returns.
   * Rejects with BUSY when too many wait.
   */
  async run<Result>(dataKey: string, work: (hold: Hold) => Promise<Result>): Promise<Result> {
    const { leave } = this.#queues.join();
    try {
      return await new Promise<Result>((resolve, reject) => {
        const begin: Begin = (hold) => work(hold).then(resolve, reject);
        const waiting = this.#waiting.get(dataKey);
        if (waiting !== undefined && this.#isOpen(dataKey, waiting)) waiting.members.push(begin);
        else this.#take(dataKey, begin);
      });
    } finally {
      leave();
    }
  }

  #isOpen(dataKey: string, { members, last }: WaitingTurn): boolean {
    return members.length < SHARING_MAX && this.#queues.lastOf(dataKey) === last;
  }

  #take(dataKey: string, begin: Begin): void {
    const hold = new KeyHold(this.#queues.waitingMax);
    hold.turns.take(this.#queues, dataKey);
    const turn: WaitingTurn = { members: [begin], last: this.#queues.lastOf(dataKey) };
    this.#waiting.set(dataKey, turn);
    background(this.#beginInTurn(dataKey, turn, hold));
  }

  async #beginInTurn(dataKey: string, turn: WaitingTurn, hold: KeyHold): Promise<void> {
    try {
      await hold.turns.ready();
      if (this.#waiting.get(dataKey) === turn) this.#waiting.delete(dataKey);
      await Promise.all(turn.members.map((begin) => begin(hold)));
    } finally {
      hold.release();
    }
  }
}
