/**
 * Answers what other members ask of this node's copies: STORE merges a record (or keeps it as a hint for another), READ gives
 * one. An acknowledgement leaves when the turn that stored is committed and as durable as the policy asks.
 *
 * Merging takes no key's turn: it is one step, and two nodes that hold turns for their clients never wait for each other.
 */
import { background } from "../background.js";
import { copyBytes } from "../bytes/copy.js";
import { merge } from "../causality/record.js";
import { decodeRecord, encodeRecord, forSending } from "../causality/record-encoding.js";
import type { MemberId } from "../cluster/member.js";
import { messageOf, OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import type { PeerRequest, Peers } from "../peer/peer.js";
import { slotOfDataKey } from "./data-key.js";
import type { Hints } from "./hints.js";
import type { Limit, Replica } from "./replica.js";
import { AnswerStatus, encodeUncovered, ReadRequest, ReplicaKind, StoreRequest } from "./replica-messages.js";
import type { TurnEnd, TurnWork } from "./turn-end.js";

export interface ReplicaServiceOptions {
  readonly peers: Peers;
  readonly replica: Replica;
  readonly hints: Hints;
  readonly turn: TurnEnd;
  readonly clock: Clock;
  /** True when whoever holds the ring of this version takes others for the owners of the slot. */
  readonly isStale: (slot: number, ringVersion: number) => boolean;
  /** The version of the ring that is known here. */
  readonly ringVersion: () => number;
  /** Owners of a slot: a read that may look into hints finds those for them. */
  readonly ownersOf: (slot: number) => readonly MemberId[];
  /** True while replies of any kind wait for the disk (`appendfsync always`). */
  readonly isAwaitingSync: () => boolean;
}

const NO_LIMIT: Limit = { isPast: false, error: () => new OperatingError("TIMEOUT", "there is no limit") };
const OK = Buffer.from([AnswerStatus.ok]);
const STALE_RING = Buffer.from([AnswerStatus.staleRing]);
const FULL = Buffer.from([AnswerStatus.full]);

export class ReplicaService {
  readonly #options: ReplicaServiceOptions;
  readonly #store = new StoreRequest();
  readonly #read = new ReadRequest();
  /** Records merged for others, and given to them. */
  stored = 0;
  given = 0;

  constructor(options: ReplicaServiceOptions) {
    this.#options = options;
  }

  serve(): void {
    const { peers } = this.#options;
    peers.serve(ReplicaKind.store, (request) => this.#onStore(request));
    peers.serve(ReplicaKind.handover, (request) => this.#onStore(request));
    peers.serve(ReplicaKind.read, (request) => this.#onRead(request));
  }

  #onStore(request: PeerRequest): void {
    const { replica, isStale, ringVersion, turn } = this.#options;
    const store = this.#store;
    store.read(request.payload);
    const { dataKey, recordStart, recordEnd, target } = store;
    if (isStale(slotOfDataKey(dataKey), store.ringVersion)) return request.answer(STALE_RING);
    if (replica.backlog() === "stopped") return request.refuse("BUSY", "the disk does not keep up");
    // Who sends what was flushed without knowing it is told before it takes the record for stored.
    if (store.ringVersion < ringVersion() && replica.isFlushed(dataKey, request.payload, recordStart, recordEnd)) {
      return request.answer(STALE_RING);
    }
    if (target !== null) return this.#keepHint(request, target, dataKey);
    const look = replica.peek(dataKey);
    if (look === "unread") {
      background(this.#storeLater(request, dataKey, Buffer.from(request.payload.subarray(recordStart, recordEnd))));
      return;
    }
    const old = look === "found" ? replica.record : null;
    const { uncoveredStamp: stamp } = replica.merge(dataKey, old, request.payload, recordStart, recordEnd);
    const answer = stamp === 0 ? OK : encodeUncovered({ stamp, context: replica.contextAtHand() });
    turn.add(new StoreAnswer(request, answer));
    this.stored++;
  }

  async #storeLater(request: PeerRequest, dataKey: string, record: Buffer): Promise<void> {
    // A merge that comes late does no harm: whoever sent it was told that it may have taken effect.
    try {
      const { uncovered } = await this.#options.replica.mergeRead(dataKey, record, 0, record.length, NO_LIMIT);
      this.#options.turn.add(new StoreAnswer(request, uncovered === null ? OK : encodeUncovered(uncovered)));
      this.stored++;
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    }
  }

  #keepHint(request: PeerRequest, target: MemberId, dataKey: string): void {
    const { hints, turn } = this.#options;
    const { recordStart, recordEnd } = this.#store;
    const kept = hints.keep(target, dataKey, request.payload, recordStart, recordEnd);
    if (kept === "unread") {
      background(this.#keepHintLater(request, target, dataKey, Buffer.from(request.payload.subarray(recordStart, recordEnd))));
    } else if (kept === "full") request.answer(FULL);
    else turn.add(new StoreAnswer(request, OK));
  }

  async #keepHintLater(request: PeerRequest, target: MemberId, dataKey: string, record: Buffer): Promise<void> {
    try {
      const kept = await this.#options.hints.keepRead(target, dataKey, record, 0, record.length);
      if (kept === "full") request.answer(FULL);
      else this.#options.turn.add(new StoreAnswer(request, OK));
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    }
  }

  #onRead(request: PeerRequest): void {
    const { replica, isStale, isAwaitingSync, hints } = this.#options;
    const read = this.#read;
    read.read(request.payload);
    const { dataKey } = read;
    if (isStale(slotOfDataKey(dataKey), read.ringVersion)) return request.answer(STALE_RING);
    this.given++;
    const mayHaveHints = read.isWithHints && !hints.hasNoRecords;
    const look = mayHaveHints ? "unread" : replica.peek(dataKey);
    if (look === "unread") {
      background(this.#readLater(request, dataKey, mayHaveHints));
      return;
    }
    if (look === "absent") return this.#give(request, null, 0, 0);
    const { bytes, start, end } = replica.encodedAtHand();
    const isOwned = !replica.isCommitted || isAwaitingSync();
    if (isOwned) this.#give(request, Buffer.from(bytes.subarray(start, end)), 0, end - start);
    else this.#give(request, bytes, start, end);
  }

  async #readLater(request: PeerRequest, dataKey: string, mayHaveHints: boolean): Promise<void> {
    const { replica, hints, ownersOf } = this.#options;
    try {
      let record = await replica.read(dataKey);
      if (record !== null) record = Buffer.from(forSending(record));
      if (mayHaveHints) {
        const hinted = await hints.read(dataKey, ownersOf(slotOfDataKey(dataKey)));
        if (hinted !== null) record = record === null ? hinted : mergedBytes(record, hinted);
      }
      this.#give(request, record, 0, record?.length ?? 0);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    }
  }

  #give(request: PeerRequest, bytes: Uint8Array | null, start: number, end: number): void {
    const answer = (): void => {
      const out = request.beginAnswer(1 + end - start);
      if (out === null) return;
      out.bytes[out.at++] = AnswerStatus.ok;
      if (bytes !== null) out.at = copyBytes(bytes, start, end, out.bytes, out.at);
      request.endAnswer();
    };
    // What the disk may refuse, or a crash take back, is not shown.
    if (!this.#options.replica.isCommitted || this.#options.isAwaitingSync())
      this.#options.turn.add(new ReadAnswer(request, answer));
    else answer();
  }
}

/** The acknowledgement of a STORE, which leaves when it is true. */
class StoreAnswer implements TurnWork {
  readonly #request: PeerRequest;
  readonly #answer: Buffer;

  constructor(request: PeerRequest, answer: Buffer) {
    this.#request = request;
    this.#answer = answer;
  }

  committed(): void {}

  durable(): void {
    this.#request.answer(this.#answer);
  }

  lost(error: OperatingError): void {
    this.#request.refuse("FAILED", messageOf(error));
  }
}

class ReadAnswer implements TurnWork {
  readonly #request: PeerRequest;
  readonly #answer: () => void;

  constructor(request: PeerRequest, answer: () => void) {
    this.#request = request;
    this.#answer = answer;
  }

  committed(): void {}

  durable(): void {
    this.#answer();
  }

  lost(error: OperatingError): void {
    this.#request.refuse("FAILED", messageOf(error));
  }
}

function mergedBytes(a: Buffer, b: Buffer): Buffer {
  return encodeRecord(merge(decodeRecord(a), decodeRecord(b)));
}
