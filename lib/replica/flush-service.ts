/**
 * Answers another member that is to flush databases: how far this store has got with its sequences, when everything up to
 * there is committed. A request that names a newer ring is answered when that is known here, what it flushes included.
 */
import { background } from "../background.js";
import type { OperatingError } from "../errors.js";
import { messageOf } from "../errors.js";
import type { PeerRequest, Peers } from "../peer/peer.js";
import { decodeFlushRequest, encodeFlushPoint, type StorePoint } from "./flush-messages.js";
import type { Replica } from "./replica.js";
import { AnswerStatus, ReplicaKind } from "./replica-messages.js";
import type { TurnEnd, TurnWork } from "./turn-end.js";

export interface FlushServiceOptions {
  readonly peers: Peers;
  readonly replica: Replica;
  readonly turn: TurnEnd;
  readonly ringVersion: () => number;
  readonly fetchRing: (from: string) => Promise<void>;
  /** Of other stores the end of the sequences that they have leased, as gossip has it. */
  readonly leases: () => readonly StorePoint[];
}

const STALE_RING = Buffer.from([AnswerStatus.staleRing]);

export class FlushService {
  readonly #options: FlushServiceOptions;

  constructor(options: FlushServiceOptions) {
    this.#options = options;
  }

  serve(): void {
    this.#options.peers.serve(ReplicaKind.flushPoint, (request) => {
      background(this.#answer(request, decodeFlushRequest(request.payload)));
    });
  }

  async #answer(request: PeerRequest, version: number): Promise<void> {
    const { replica, turn, ringVersion, fetchRing, leases } = this.#options;
    if (version > ringVersion()) await fetchRing(request.from);
    if (version > ringVersion()) return request.answer(STALE_RING);
    turn.add(new PointAnswer(request, encodeFlushPoint({ own: replica.lastSequence, leases: leases() })));
  }
}

class PointAnswer implements TurnWork {
  readonly #request: PeerRequest;
  readonly #answer: Buffer;

  constructor(request: PeerRequest, answer: Buffer) {
    this.#request = request;
    this.#answer = answer;
  }

  committed(): void {
    this.#request.answer(this.#answer);
  }

  durable(): void {}

  /** Told `committed` before: then the disk lost it later. */
  lost(error: OperatingError): void {
    if (!this.#request.isAnswered) this.#request.refuse("FAILED", messageOf(error));
  }
}
