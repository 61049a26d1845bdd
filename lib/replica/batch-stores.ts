/**
 * The STOREs of a batch, all read before the first of them is done: what they look up is then fetched from memory at once.
 * Reused, so that reading allocates nothing but the keys.
 */
import { OperatingError } from "../errors.js";
import { KeysAhead } from "../lsm/keys-ahead.js";
import { BATCH_CALLS_MAX, BatchReader } from "./call-batch.js";
import { ReplicaKind, StoreRequest } from "./replica-messages.js";

export class BatchStores {
  /** Of those that could be read, in the bytes of the batch. */
  readonly dataKeys = new KeysAhead();
  readonly #requests: StoreRequest[] = [];
  readonly #areWhole: boolean[] = [];
  #next = 0;

  /** Reads those of the next batch. Throws CORRUPT where it is not one. */
  read(payload: Buffer): void {
    const calls = new BatchReader(payload);
    this.dataKeys.begin(payload);
    this.#next = 0;
    let count = 0;
    while (calls.next()) if (calls.kind === ReplicaKind.store) this.#read(count++, payload, calls.start, calls.end);
    // A batch of more calls than members put together is not remembered.
    if (this.#requests.length > BATCH_CALLS_MAX && count <= BATCH_CALLS_MAX) this.#requests.length = BATCH_CALLS_MAX;
  }

  /** The next STORE of the batch, as read; null where it is damaged. */
  next(): StoreRequest | null {
    const at = this.#next++;
    return this.#areWhole[at]! ? this.#requests[at]! : null;
  }

  #read(at: number, payload: Buffer, start: number, end: number): void {
    let request = this.#requests[at];
    if (request === undefined) this.#requests[at] = request = new StoreRequest();
    this.#areWhole[at] = false;
    try {
      request.read(payload, start, end);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      return;
    }
    this.#areWhole[at] = true;
    this.dataKeys.add(request.dataKey, request.dataKeyStart);
  }
}
