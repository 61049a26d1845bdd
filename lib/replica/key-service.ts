/**
 * Answers what other members ask of this node's keys as a whole: KEYS lists some, COUNTS says how many there are. An answer
 * leaves when what it tells is committed and as durable as the policy asks, as with any read.
 */
import { background } from "../background.js";
import { messageOf, OperatingError } from "../errors.js";
import type { PeerRequest, Peers } from "../peer/peer.js";
import { DurableAnswer } from "./durable-answer.js";
import type { KeyLister } from "./key-lister.js";
import {
  type CountsRequest,
  decodeCountsRequest,
  decodeKeysRequest,
  encodeCounts,
  encodeKeysPage,
  type KeysRequest,
} from "./key-messages.js";
import { AnswerStatus, ReplicaKind } from "./replica-messages.js";
import { type SlotSpan, slotsOf } from "./slot-spans.js";
import type { TurnEnd } from "./turn-end.js";

/** Requests that are worked on at once. Past it one is refused with BUSY. */
const ANSWERING_MAX = 256;
const STALE_RING = Buffer.from([AnswerStatus.staleRing]);

export interface KeyServiceOptions {
  readonly peers: Peers;
  readonly lister: KeyLister;
  readonly turn: TurnEnd;
  /** True when whoever holds the ring of this version takes others for the owners of the slot. */
  readonly isStale: (slot: number, ringVersion: number) => boolean;
  /** The version of the ring that is known here. */
  readonly ringVersion: () => number;
  /** Resolves when the ring of a member is known here, or could not be had. */
  readonly fetchRing: (from: string) => Promise<void>;
}

type Asked = { readonly ringVersion: number; readonly spans: readonly SlotSpan[] };

export class KeyService {
  readonly #options: KeyServiceOptions;
  #answering = 0;

  constructor(options: KeyServiceOptions) {
    this.#options = options;
  }

  serve(): void {
    const { peers, lister } = this.#options;
    peers.serve(ReplicaKind.keys, (request) => {
      const asked = decodeKeysRequest(Buffer.from(request.payload));
      this.#answer(request, asked, async (keys: KeysRequest) => encodeKeysPage(await lister.page(keys)));
    });
    peers.serve(ReplicaKind.counts, (request) => {
      const asked = decodeCountsRequest(Buffer.from(request.payload));
      this.#answer(request, asked, async (counts: CountsRequest) => encodeCounts(lister.counts(counts)));
    });
  }

  #answer<Request extends Asked>(request: PeerRequest, asked: Request, work: (asked: Request) => Promise<Buffer>): void {
    if (this.#answering >= ANSWERING_MAX) request.refuse("BUSY", "too many members ask for keys at once");
    else background(this.#work(request, asked, work));
  }

  async #work<Request extends Asked>(
    request: PeerRequest,
    asked: Request,
    work: (asked: Request) => Promise<Buffer>,
  ): Promise<void> {
    const { ringVersion, fetchRing, turn } = this.#options;
    this.#answering++;
    try {
      // What whoever asks knows to be removed with all keys of a database must not be told.
      if (asked.ringVersion > ringVersion()) await fetchRing(request.from);
      if (this.#isStale(asked)) request.answer(STALE_RING);
      else turn.add(new DurableAnswer(request, await work(asked)));
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    } finally {
      this.#answering--;
    }
  }

  #isStale({ ringVersion, spans }: Asked): boolean {
    if (ringVersion >= this.#options.ringVersion()) return false;
    for (const slot of slotsOf(spans)) if (this.#options.isStale(slot, ringVersion)) return true;
    return false;
  }
}
