/** Fills batches that one member of another data centre is to store and to pass on to others there. */
import type { MemberId } from "../cluster/member.js";
import type { PeerCallHead } from "../peer/peer.js";
import { BATCH_CALLS_MAX, BatchBytes, BatchCall, type BatchedCall, isSentTogether } from "./call-batch.js";
import { ReplicaKind } from "./replica-messages.js";

export class RelayWriter {
  readonly relay: MemberId;
  readonly targets: readonly MemberId[];
  readonly #request = new BatchBytes();
  /** By member, the relay first: their calls, one for each STORE. */
  #calls: BatchedCall[][];
  #deadlineMs = 0;

  constructor(relay: MemberId, targets: readonly MemberId[]) {
    this.relay = relay;
    this.targets = targets;
    this.#calls = [relay, ...targets].map(() => []);
  }

  get isEmpty(): boolean {
    return this.#calls[0]!.length === 0;
  }

  get bytes(): Buffer {
    return this.#request.bytes;
  }

  /** As in `BatchWriter`. */
  hasRoom(deadlineMs: number, bytesMax: number): boolean {
    if (this.isEmpty) return true;
    if (this.#calls[0]!.length >= BATCH_CALLS_MAX || !this.#request.hasRoom(bytesMax)) return false;
    return isSentTogether(deadlineMs, this.#deadlineMs);
  }

  begin(bytesMax: number): number {
    return this.#request.begin(bytesMax);
  }

  /** The payload of these calls, one a member, stands there up to `end`. */
  end(calls: readonly BatchedCall[], end: number): void {
    const { deadlineMs } = calls[0]!;
    this.#deadlineMs = this.isEmpty ? deadlineMs : Math.max(this.#deadlineMs, deadlineMs);
    for (const [at, call] of calls.entries()) this.#calls[at]!.push(call);
    this.#request.end(ReplicaKind.store, end);
  }

  /** The calls to be sent to the relay, with the batch (borrowed until the next `begin`); empty from then on. */
  take(): { readonly calls: readonly PeerCallHead[]; readonly batch: Buffer } {
    const calls = this.#calls.map((ofMember, at) => {
      const kind = at === 0 ? ReplicaKind.relay : ReplicaKind.relayed;
      return new BatchCall({ to: this.relay, kind, deadlineMs: this.#deadlineMs }, ofMember);
    });
    const batch = this.#request.view();
    this.#calls = this.#calls.map(() => []);
    this.#request.clear();
    return { calls, batch };
  }
}
