/** Answers what other members ask of this node's hash tree. A request names its sender's ring, and is answered by the same one only. */
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { PeerRequest, Peers } from "../peer/peer.js";
import type { HashTrees } from "./hash-tree.js";
import { AnswerStatus, ReplicaKind, ReplicaKindSince } from "./replica-messages.js";
import { compareStretches, keysOfSlot } from "./slot-keys.js";
import { slotsOf } from "./slot-spans.js";
import type { StoredRecords } from "./stored-records.js";
import {
  decodeTreeRequest,
  encodeKeysAnswer,
  encodeLeavesAnswer,
  encodeSumsAnswer,
  type TreeRequest,
} from "./tree-messages.js";

/** Slots that are read through at once. Past it a request is refused with BUSY. */
const READING_MAX = 16;
/** Keys looked at for one answer. */
export const ANSWERED_KEYS = 4_096;
const STALE_RING = Buffer.of(AnswerStatus.staleRing);

export interface TreeServiceOptions {
  readonly peers: Peers;
  readonly records: StoredRecords;
  readonly trees: HashTrees;
  /** Another member begins to compare: what is not known here is to be found out. */
  readonly onCompare: () => void;
}

export class TreeService {
  readonly #options: TreeServiceOptions;
  #reading = 0;

  constructor(options: TreeServiceOptions) {
    this.#options = options;
  }

  serve(): void {
    const serve = (request: PeerRequest): void => this.#on(request, decodeTreeRequest(request.payload));
    this.#options.peers.serve(ReplicaKind.tree, serve, ReplicaKindSince.tree);
  }

  #on(request: PeerRequest, asked: TreeRequest): void {
    const { trees } = this.#options;
    const { from } = request;
    if (asked.ringVersion !== trees.ringVersion) return request.answer(STALE_RING);
    switch (asked.what) {
      case "sums": {
        this.#options.onCompare();
        const own = trees.sums(from, asked.sums.length);
        const differing = own.map((sum, at) => sum !== asked.sums[at]);
        return request.answer(encodeSumsAnswer(differing, (group) => trees.leavesOfGroup(from, group)));
      }
      case "leaves": {
        const leaves = [...slotsOf(asked.spans)].map((slot) => trees.leaf(from, slot));
        return request.answer(encodeLeavesAnswer(leaves));
      }
      case "keys":
        if (this.#reading >= READING_MAX) return request.refuse("BUSY", "too many slots are compared at once");
        return background(this.#answerKeys(request, asked));
    }
  }

  async #answerKeys(request: PeerRequest, { slot, from, stretches }: TreeRequest & { what: "keys" }): Promise<void> {
    this.#reading++;
    try {
      const to = stretches.at(-1)!.end;
      const { keys, end } = await keysOfSlot(this.#options.records, slot, { from, to, wanted: ANSWERED_KEYS });
      request.answer(encodeKeysAnswer({ end, ...compareStretches(keys, stretches, end) }));
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    } finally {
      this.#reading--;
    }
  }
}
