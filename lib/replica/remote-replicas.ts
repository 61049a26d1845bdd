/**
 * The copies of other members, as this node asks for them: what the coordinator sends goes through here, so that it knows
 * members and records, not links and bytes. A call is told its outcome once, never within the method that sent it.
 */
import { copyBytes } from "../bytes/copy.js";
import type { MemberId } from "../cluster/member.js";
import type { PeerCallHead, PeerFailureCode, PeerHandler, PeerRequest, PeerState, Peers } from "../peer/peer.js";
import { BATCHED_BYTES_MAX, type BatchedCall, BatchWriter } from "./call-batch.js";
import type { EncodedRecord } from "./encoded-record.js";
import { RELAYED_BYTES, relayHeadBytes, writeRelayed, writeRelayHead } from "./relay-messages.js";
import { RelayWriter } from "./relay-writer.js";
import { readBytesMax, storeBytesMax, writeRead, writeStore } from "./replica-messages.js";

export type { BatchedCall };
/** One request to one member: `to`, `kind`, `deadlineMs` (monotonic), and what is told of its outcome. */
export type MemberCall = PeerCallHead;
export type MemberFailureCode = PeerFailureCode;
/** What is known of the link to a member. */
export type MemberLink = PeerState;
/** A request of another member. */
export type MemberRequest = PeerRequest;

/** What is sent with a record. */
export interface StoreHead {
  readonly ringVersion: number;
  /** For whom it is to be kept; null: for the receiver itself. */
  readonly hintFor: MemberId | null;
  readonly dataKey: string;
}

/** What is asked for. `hints too`: what the member keeps for others as well. */
export interface ReadHead {
  readonly ringVersion: number;
  readonly dataKey: string;
  readonly from: "records" | "hints too";
}

/** Sets of members that batches are kept for. */
const RELAYS_MAX = 1_024;

export class RemoteReplicas {
  readonly #peers: Peers;
  readonly #batches = new Map<MemberId, BatchWriter>();
  /** Batches that are not empty. */
  #open: BatchWriter[] = [];
  /** By the members that they go to, and those that are not empty. */
  readonly #relays = new Map<string, RelayWriter>();
  #openRelays: RelayWriter[] = [];
  #relayNumber = 0;

  constructor({ peers }: { peers: Peers }) {
    this.#peers = peers;
    peers.onTurnEnd(() => this.#sendBatches());
  }

  /** As `store`, in one request with others of this turn. */
  storeSoon(call: BatchedCall, what: StoreHead, record: EncodedRecord): void {
    const bytesMax = storeBytesMax(what.dataKey, record.end - record.start);
    if (bytesMax > BATCHED_BYTES_MAX) return this.store(call, what, record);
    const batch = this.#batchFor(call, bytesMax);
    const at = batch.begin(bytesMax);
    batch.end(call, writeStore(batch.bytes, at, what, record));
  }

  /** As `read`, in one request with others of this turn. */
  readSoon(call: BatchedCall, what: ReadHead): void {
    const bytesMax = readBytesMax(what.dataKey);
    if (bytesMax > BATCHED_BYTES_MAX) return this.read(call, what);
    const batch = this.#batchFor(call, bytesMax);
    const at = batch.begin(bytesMax);
    batch.end(call, writeRead(batch.bytes, at, what));
  }

  #batchFor(call: BatchedCall, bytesMax: number): BatchWriter {
    let batch = this.#batches.get(call.to);
    if (batch === undefined) {
      batch = new BatchWriter(call.to);
      this.#batches.set(call.to, batch);
    }
    if (!batch.hasRoom(call, bytesMax)) this.#sendBatch(batch);
    else if (batch.isEmpty) {
      this.#open.push(batch);
      this.#peers.endTurnSoon();
    }
    return batch;
  }

  /**
   * As `store`, for several members of another data centre, one call each: the record goes to the first, which passes it on to
   * the others. Each call is told of its own member.
   */
  relaySoon(calls: readonly BatchedCall[], what: StoreHead, record: EncodedRecord): void {
    const first = calls[0]!;
    if (calls.length === 1) return this.storeSoon(first, what, record);
    const bytesMax = storeBytesMax(what.dataKey, record.end - record.start);
    const isLong = bytesMax > BATCHED_BYTES_MAX;
    // The room that a long one takes is not kept.
    const relay = isLong ? newRelay(calls) : this.#relayFor(calls, bytesMax);
    const at = relay.begin(bytesMax);
    relay.end(calls, writeStore(relay.bytes, at, what, record));
    if (isLong) this.#sendRelay(relay);
  }

  #relayFor(calls: readonly BatchedCall[], bytesMax: number): RelayWriter {
    const key = calls.map(({ to }) => to).join();
    let relay = this.#relays.get(key);
    if (relay === undefined) {
      if (this.#relays.size >= RELAYS_MAX) this.#forgetRelays();
      relay = newRelay(calls);
      this.#relays.set(key, relay);
    }
    if (!relay.hasRoom(calls[0]!.deadlineMs, bytesMax)) this.#sendRelay(relay);
    else if (relay.isEmpty) {
      this.#openRelays.push(relay);
      this.#peers.endTurnSoon();
    }
    return relay;
  }

  /** Which members are asked together changes with the ring and with who answers promptly. */
  #forgetRelays(): void {
    for (const [key, relay] of this.#relays) if (relay.isEmpty) this.#relays.delete(key);
  }

  #sendRelays(): void {
    const open = this.#openRelays;
    if (open.length === 0) return;
    this.#openRelays = [];
    for (const relay of open) if (!relay.isEmpty) this.#sendRelay(relay);
  }

  #sendRelay(relay: RelayWriter): void {
    const { calls, batch } = relay.take();
    this.relay(calls, relay.targets, batch);
  }

  /**
   * Sends a batch of STOREs (copied) to who passes it on: the first call, of kind `relay`, is told of that one, the others, of kind
   * `relayed` and to the same, of `targets`, in their order.
   */
  relay(calls: readonly MemberCall[], targets: readonly MemberId[], batch: Uint8Array): void {
    this.#relayNumber = (this.#relayNumber + 1) >>> 0;
    const number = this.#relayNumber;
    for (const [at, call] of calls.entries()) {
      const out = this.#peers.begin(call, at === 0 ? relayHeadBytes(targets) + batch.length : RELAYED_BYTES);
      if (out === null) continue;
      if (at > 0) out.at = writeRelayed(out.bytes, out.at, number, at - 1);
      else out.at = copyBytes(batch, 0, batch.length, out.bytes, writeRelayHead(out.bytes, out.at, number, targets));
      this.#peers.end();
    }
  }

  #sendBatches(): void {
    this.#sendRelays();
    const open = this.#open;
    if (open.length === 0) return;
    this.#open = [];
    for (const batch of open) {
      if (!batch.isEmpty) this.#sendBatch(batch);
      if (this.#peers.state(batch.to) === null) this.#batches.delete(batch.to);
    }
  }

  #sendBatch(batch: BatchWriter): void {
    const { call, payload } = batch.take();
    this.#sendNow(call, payload);
  }

  /** Sends a record (borrowed): for the member itself, or to be kept for another. */
  store(call: MemberCall, what: StoreHead, record: EncodedRecord): void {
    this.#sendSoonest(call.to);
    const out = this.#peers.begin(call, storeBytesMax(what.dataKey, record.end - record.start));
    if (out === null) return;
    out.at = writeStore(out.bytes, out.at, what, record);
    this.#peers.end();
  }

  /** Asks for a record. */
  read(call: MemberCall, what: ReadHead): void {
    const out = this.#peers.begin(call, readBytesMax(what.dataKey));
    if (out === null) return;
    out.at = writeRead(out.bytes, out.at, what);
    this.#peers.end();
  }

  /** Sends what is encoded already, behind what was to leave soon for the same member; copied. */
  send(call: MemberCall, payload: Uint8Array): void {
    this.#sendSoonest(call.to);
    this.#sendNow(call, payload);
  }

  /** What was to leave soon for this member leaves now: what comes behind it must not overtake it. */
  #sendSoonest(to: MemberId): void {
    const batch = this.#batches.get(to);
    if (batch !== undefined && !batch.isEmpty) this.#sendBatch(batch);
  }

  #sendNow(call: MemberCall, payload: Uint8Array): void {
    const out = this.#peers.begin(call, payload.length);
    if (out === null) return;
    out.at = copyBytes(payload, 0, payload.length, out.bytes, out.at);
    this.#peers.end();
  }

  /**
   * For what is not hot: resolves with the answer, owned. Rejects with UNAVAILABLE, TIMEOUT, or BUSY where it was not run and
   * may be asked again.
   */
  ask(to: MemberId, kind: number, payload: Uint8Array, deadlineMs: number): Promise<Buffer> {
    return this.#peers.call({ to, kind, payload, deadlineMs });
  }

  /** Asks a member for a sign of life, which `MemberHealth` then knows of. */
  probe(to: MemberId): void {
    this.#peers.probe(to);
  }

  /** Tells a member something that is not answered, and dropped after `deadlineMs`. */
  notify(notice: {
    readonly to: MemberId;
    readonly kind: number;
    readonly payload: Uint8Array;
    readonly deadlineMs: number;
  }): void {
    this.#peers.notify(notice);
  }

  /** Answers requests of a kind. Once a kind. */
  serve(kind: number, handler: PeerHandler): void {
    this.#peers.serve(kind, handler);
  }

  /** Members that this node has an address of. */
  memberIds(): IterableIterator<MemberId> {
    return this.#peers.peerIds();
  }

  stateOf(id: MemberId): PeerState | null {
    return this.#peers.state(id);
  }
}

function newRelay(calls: readonly BatchedCall[]): RelayWriter {
  const [relay, ...targets] = calls.map(({ to }) => to);
  return new RelayWriter(relay!, targets);
}
