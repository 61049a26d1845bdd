/**
 * Answers what other members ask of this node's copies: STORE merges a record (or keeps it as a hint for another), READ gives
 * one, and a batch holds some of both. An acknowledgement leaves when the turn that stored is committed and as durable as the policy asks.
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
import { BatchStores } from "./batch-stores.js";
import { BatchAnswers, BatchReader } from "./call-batch.js";
import { slotOfDataKey } from "./data-key.js";
import { type Answered, DurableAnswer } from "./durable-answer.js";
import type { Hints } from "./hints.js";
import type { Limit, Replica } from "./replica.js";
import { AnswerStatus, encodeUncovered, ReadRequest, ReplicaKind, StoreRequest } from "./replica-messages.js";
import { RoomQueue, type StoringRequest } from "./room-queue.js";
import type { TurnEnd } from "./turn-end.js";

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

const NEWER_RING = new OperatingError("UNAVAILABLE", "the ring has changed meanwhile");
const OK = Buffer.from([AnswerStatus.ok]);
const STALE_RING = Buffer.from([AnswerStatus.staleRing]);
const FULL = Buffer.from([AnswerStatus.full]);

export class ReplicaService {
  readonly #options: ReplicaServiceOptions;
  readonly #store = new StoreRequest();
  readonly #stores = new BatchStores();
  readonly #read = new ReadRequest();
  readonly #answers = new BatchAnswers();
  readonly #room: RoomQueue;
  /** Records merged for others, and given to them. */
  stored = 0;
  given = 0;

  constructor(options: ReplicaServiceOptions) {
    this.#options = options;
    this.#room = new RoomQueue(options.replica);
  }

  serve(): void {
    const { peers } = this.#options;
    peers.serve(ReplicaKind.store, (request) => this.store(request));
    peers.serve(ReplicaKind.handover, (request) => this.store(request));
    peers.serve(ReplicaKind.read, (request) => this.#onRead(request));
    peers.serve(ReplicaKind.batch, (request) => this.batch(request.payload, request));
  }

  /** Does a STORE, when there is room for it. */
  store(request: StoringRequest): void {
    this.#room.run(request, this.#onStore);
  }

  /** Runs what needs no disk; the rest is asked for once more, alone. Throws CORRUPT. */
  batch(payload: Buffer, request: Answered): void {
    const calls = new BatchReader(payload);
    const answers = this.#answers;
    const stores = this.#stores;
    answers.reset();
    stores.read(payload);
    this.#options.replica.prefetch(stores.dataKeys);
    const nowMs = this.#options.clock.wallMs();
    let hasStored = false;
    while (calls.next()) {
      if (calls.kind === ReplicaKind.store) {
        hasStored = true;
        this.#storeOfBatch(stores.next(), nowMs);
      } else if (calls.kind === ReplicaKind.read) this.#readOfBatch(payload, calls.start, calls.end);
      else answers.addAlone();
    }
    if (hasStored || this.#mustWait) this.#options.turn.add(new DurableAnswer(request, answers.take()));
    else request.answer(answers.view());
  }

  /** `store` null: it is damaged. */
  #storeOfBatch(store: StoreRequest | null, nowMs: number): void {
    const answers = this.#answers;
    // Alone it waits for room.
    if (store === null || this.#options.replica.backlog() === "stopped") return answers.addAlone();
    try {
      const answer = this.#storeNow(store, nowMs);
      if (answer === OK) answers.addStatus(AnswerStatus.ok);
      else if (answer === null) answers.addAlone();
      else answers.add(answer);
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      answers.addAlone();
    }
  }

  #readOfBatch(payload: Buffer, start: number, end: number): void {
    const answers = this.#answers;
    try {
      this.#read.read(payload, start, end);
      const look = this.#readNow();
      if (look === "stale ring") answers.addStatus(AnswerStatus.staleRing);
      else if (look === "absent") answers.addStatus(AnswerStatus.ok);
      else if (look === "unread") answers.addAlone();
      else {
        const record = this.#options.replica.encodedAtHand();
        answers.addRecord(record.bytes, record.start, record.end);
      }
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      answers.addAlone();
    }
  }

  /** What was read may be refused by the disk, or taken back by a crash: that is not shown before it is certain. */
  get #mustWait(): boolean {
    return !this.#options.replica.isCommitted || this.#options.isAwaitingSync();
  }

  readonly #onStore = (request: StoringRequest): void => {
    const { payload } = request;
    const store = this.#store;
    store.read(payload);
    const { dataKey, target, ringVersion } = store;
    const answer = this.#storeNow(store, this.#options.clock.wallMs());
    if (answer !== null) {
      this.#options.turn.add(new DurableAnswer(request, answer));
      return;
    }
    const record = Buffer.from(payload.subarray(store.record.start, store.record.end));
    background(
      target === null
        ? this.#storeLater(request, { dataKey, ringVersion }, record)
        : this.#options.replica.merging.during(() => this.#keepHintLater(request, target, dataKey, record)),
    );
  };

  /** Does what was asked for, and gives the answer for when it is durable; null where that takes the disk. */
  #storeNow(store: StoreRequest, nowMs: number): Buffer | null {
    const { replica, hints } = this.#options;
    const { dataKey, record, target } = store;
    if (this.#isByOlderRing(store, record)) return STALE_RING;
    if (target !== null) {
      const kept = hints.keep(target, dataKey, record.bytes, record.start, record.end);
      if (kept === "unread") return null;
      return kept === "full" ? FULL : OK;
    }
    const look = replica.peek(dataKey);
    if (look === "unread") return null;
    const old = look === "found" ? replica.record : null;
    const { uncoveredStamp: stamp } = replica.merge(dataKey, old, record, nowMs);
    this.stored++;
    return stamp === 0 ? OK : encodeUncovered({ stamp, context: replica.contextAtHand() });
  }

  /** By a newer ring the slot has other owners, or what is sent was flushed: the sender is told before it takes it for stored. */
  #isByOlderRing(
    sent: { readonly dataKey: string; readonly ringVersion: number },
    { bytes, start, end }: { readonly bytes: Uint8Array; readonly start: number; readonly end: number },
  ): boolean {
    const { replica, isStale, ringVersion } = this.#options;
    if (sent.ringVersion >= ringVersion()) return false;
    return isStale(slotOfDataKey(sent.dataKey), sent.ringVersion) || replica.isFlushed(sent.dataKey, bytes, start, end);
  }

  async #storeLater(
    request: Answered,
    sent: { readonly dataKey: string; readonly ringVersion: number },
    record: Buffer,
  ): Promise<void> {
    const whole = { bytes: record, start: 0, end: record.length };
    const isByOlderRing = (): boolean => this.#isByOlderRing(sent, whole);
    // In the step that merges: whoever reads this copy for a new owner may have passed the key meanwhile. A merge that comes late
    // does no other harm: whoever sent it was told that it may have taken effect.
    const limit: Limit = {
      get isPast() {
        return isByOlderRing();
      },
      error: () => NEWER_RING,
    };
    try {
      const { uncovered } = await this.#options.replica.mergeRead(sent.dataKey, record, 0, record.length, limit);
      this.#options.turn.add(new DurableAnswer(request, uncovered === null ? OK : encodeUncovered(uncovered)));
      this.stored++;
    } catch (error) {
      if (error === NEWER_RING) return request.answer(STALE_RING);
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    }
  }

  async #keepHintLater(request: Answered, target: MemberId, dataKey: string, record: Buffer): Promise<void> {
    try {
      const kept = await this.#options.hints.keepRead(target, dataKey, record, 0, record.length);
      if (kept === "full") request.answer(FULL);
      else this.#options.turn.add(new DurableAnswer(request, OK));
    } catch (error) {
      if (!(error instanceof OperatingError)) throw error;
      request.refuse("FAILED", messageOf(error));
    }
  }

  #onRead(request: PeerRequest): void {
    const read = this.#read;
    read.read(request.payload);
    const { dataKey } = read;
    const look = this.#readNow();
    if (look === "stale ring") request.answer(STALE_RING);
    else if (look === "unread") background(this.#readLater(request, dataKey, this.#mayHaveHints));
    else if (look === "absent") this.#give(request, null, 0, 0);
    else {
      const { bytes, start, end } = this.#options.replica.encodedAtHand();
      this.#give(request, bytes, start, end);
    }
  }

  /** Looks for what `#read` has read; where it is found it is at hand. */
  #readNow(): "found" | "absent" | "unread" | "stale ring" {
    const { replica, isStale, ringVersion } = this.#options;
    const { dataKey, ringVersion: version } = this.#read;
    if (version < ringVersion() && isStale(slotOfDataKey(dataKey), version)) return "stale ring";
    this.given++;
    return this.#mayHaveHints ? "unread" : replica.peek(dataKey);
  }

  get #mayHaveHints(): boolean {
    return this.#read.isWithHints && !this.#options.hints.hasNoRecords;
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
    if (this.#mustWait) {
      const answer = Buffer.allocUnsafe(1 + end - start);
      answer[0] = AnswerStatus.ok;
      if (bytes !== null) copyBytes(bytes, start, end, answer, 1);
      this.#options.turn.add(new DurableAnswer(request, answer));
      return;
    }
    const out = request.beginAnswer(1 + end - start);
    if (out === null) return;
    out.bytes[out.at++] = AnswerStatus.ok;
    if (bytes !== null) out.at = copyBytes(bytes, start, end, out.bytes, out.at);
    request.endAnswer();
  }
}

function mergedBytes(a: Buffer, b: Buffer): Buffer {
  return encodeRecord(merge(decodeRecord(a), decodeRecord(b)));
}
