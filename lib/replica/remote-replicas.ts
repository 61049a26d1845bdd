/**
 * The copies of other members, as this node asks for them: what the coordinator sends goes through here, so that it knows
 * members and records, not links and bytes. A call is told its outcome once, never within the method that sent it.
 */
import { copyBytes } from "../bytes/copy.js";
import type { MemberId } from "../cluster/member.js";
import type { PeerCallHead, PeerFailureCode, PeerHandler, PeerRequest, PeerState, Peers } from "../peer/peer.js";
import { readBytesMax, storeBytesMax, writeRead, writeStore } from "./replica-messages.js";
import type { EncodedRecord } from "./stored-records.js";

/** One request to one member: `to`, `kind`, `deadlineMs` (monotonic), and what is told of its outcome. */
export type MemberCall = PeerCallHead;
export type MemberFailureCode = PeerFailureCode;
/** What is known of the link to a member. */
export type MemberLink = PeerState;
/** A request of another member. */
export type MemberRequest = PeerRequest;

export class RemoteReplicas {
  readonly #peers: Peers;

  constructor({ peers }: { peers: Peers }) {
    this.#peers = peers;
  }

  /** Sends a record (borrowed): for the member itself, or to be kept for `hintFor`. */
  store(
    call: MemberCall,
    what: { readonly ringVersion: number; readonly hintFor: MemberId | null; readonly dataKey: string },
    record: EncodedRecord,
  ): void {
    const out = this.#peers.begin(call, storeBytesMax(what.dataKey, record.end - record.start));
    if (out === null) return;
    out.at = writeStore(out.bytes, out.at, what, record);
    this.#peers.end();
  }

  /** Asks for a record; `hints too`: for what the member keeps for others as well. */
  read(
    call: MemberCall,
    what: { readonly ringVersion: number; readonly dataKey: string; readonly from: "records" | "hints too" },
  ): void {
    const out = this.#peers.begin(call, readBytesMax(what.dataKey));
    if (out === null) return;
    out.at = writeRead(out.bytes, out.at, what);
    this.#peers.end();
  }

  /** Sends what is encoded already; copied. */
  send(call: MemberCall, payload: Uint8Array): void {
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
