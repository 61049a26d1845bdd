/**
 * What members tell each other over the links of lib/peer: gossip, and requests about the ring document. Kinds are numbers
 * on the wire and never change.
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import { BACKGROUND_KIND_MIN, type Peers } from "../peer/peer.js";
import type { GossipPeer, GossipTransport } from "./gossip.js";
import type { MemberId } from "./member.js";
import type { MemberAddress } from "./member-entry.js";
import type { RingDocument } from "./ring-document.js";
import { decodeRingAnswer, encodeRingRequest } from "./ring-messages.js";

/** docs/FORMATS.md, "Peer protocol": the payloads of these kinds. */
const RING_KIND = 2;
/** Of the background: it says nothing of how fast a peer answers requests. */
const GOSSIP_KIND = BACKGROUND_KIND_MIN;
/** Addresses whose owner is remembered. */
const MET_MAX = 1_024;

export interface MemberHandlers {
  /** Answers a gossip message. Throws CORRUPT. */
  readonly gossip: (message: Buffer) => Buffer;
  /** Answers a request about the ring document. Throws CORRUPT, and IO where the answer would not be durable. */
  readonly ring: (request: Buffer) => Buffer;
}

export class MemberLinks implements GossipTransport {
  readonly #peers: Peers;
  readonly #clock: Clock;
  /** Who was found at an address, by `host:port`. */
  readonly #met = new Map<string, MemberId>();

  constructor({ peers, clock }: { readonly peers: Peers; readonly clock: Clock }) {
    this.#peers = peers;
    this.#clock = clock;
  }

  /** Begins to answer others. */
  serve(handlers: MemberHandlers): void {
    this.#peers.serve(GOSSIP_KIND, (request) => request.answer(handlers.gossip(Buffer.from(request.payload))));
    this.#peers.serve(RING_KIND, (request) => request.answer(handlers.ring(Buffer.from(request.payload))));
  }

  /** A peer that is known by its address only is met first, which tells its id. */
  async exchange(to: GossipPeer, bytes: Buffer, deadlineMs: number): Promise<Buffer> {
    const { id, address } = to;
    if (id !== null) this.#peers.setAddress(id, address);
    const peerId = id ?? (await this.meet(address));
    if (this.#clock.monotonicMs() >= deadlineMs) throw new OperatingError("TIMEOUT", "the peer was met too late");
    return this.#peers.call({ to: peerId, kind: GOSSIP_KIND, payload: bytes, deadlineMs });
  }

  /** Delivers a request about the ring document: for `RingKeeper`. */
  askRing(to: MemberId, request: Buffer, deadlineMs: number): Promise<Buffer> {
    return this.#peers.call({ to, kind: RING_KIND, payload: request, deadlineMs });
  }

  /** Who is at an address: dials it, unless a link to whom was found there is up. Rejects as `Peers.dial` does. */
  async meet(address: MemberAddress): Promise<MemberId> {
    const key = `${address.host}:${address.port}`;
    const known = this.#met.get(key);
    if (known !== undefined && this.#peers.isUsable(known)) return known;
    const id = await this.#peers.dial(address);
    if (this.#met.size >= MET_MAX) this.#met.clear();
    this.#met.set(key, id);
    return id;
  }

  /**
   * The ring document of another member, if it is newer than `version`; else null. Rejects with a `PeerCallError`: FAILED when
   * the other knows no ring either, and with CORRUPT for an answer that no member gives.
   */
  async fetchRing(from: MemberId, version: number, deadlineMs: number): Promise<RingDocument | null> {
    const answer = decodeRingAnswer(await this.askRing(from, encodeRingRequest({ kind: "fetch", version }), deadlineMs));
    if (answer.kind === "learned") return null;
    if (answer.kind === "decided") return answer.document;
    throw new OperatingError("CORRUPT", `asked for its ring, ${from} answered ${answer.kind}`);
  }

  /**
   * Resolves when another member has this document on its disk: with null, or with a newer one that it has instead. Rejects
   * with a `PeerCallError`, or with UNAVAILABLE when it does not take it.
   */
  async teachRing(to: MemberId, document: RingDocument, deadlineMs: number): Promise<RingDocument | null> {
    const answer = decodeRingAnswer(await this.askRing(to, encodeRingRequest({ kind: "learn", document }), deadlineMs));
    if (answer.kind === "learned") return null;
    if (answer.kind === "decided") return answer.document;
    const why = answer.kind === "refused" ? answer.reason : answer.kind;
    throw new OperatingError("UNAVAILABLE", `${to} does not take the ring: ${why}`);
  }
}
