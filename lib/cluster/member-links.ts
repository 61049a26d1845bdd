/**
 * What members tell each other over the links of lib/peer: gossip, and requests about the ring document. Kinds are numbers
 * on the wire and never change.
 */
import { OperatingError } from "../errors.js";
import type { Clock } from "../host/clock.js";
import { BACKGROUND_KIND_MIN, type Peers } from "../peer/peer.js";
import type { GossipPeer, GossipTransport } from "./gossip.js";
import type { MemberId } from "./member.js";

/** docs/FORMATS.md, "Peer protocol": the payloads of these kinds. */
const RING_KIND = 2;
/** Of the background: it says nothing of how fast a peer answers requests. */
const GOSSIP_KIND = BACKGROUND_KIND_MIN;

export interface MemberHandlers {
  /** Answers a gossip message. Throws CORRUPT. */
  readonly gossip: (message: Buffer) => Buffer;
  /** Answers a request about the ring document. Throws CORRUPT, and IO where the answer would not be durable. */
  readonly ring: (request: Buffer) => Buffer;
}

export class MemberLinks implements GossipTransport {
  readonly #peers: Peers;
  readonly #clock: Clock;

  constructor({ peers, clock }: { readonly peers: Peers; readonly clock: Clock }) {
    this.#peers = peers;
    this.#clock = clock;
  }

  /** Begins to answer others. */
  serve(handlers: MemberHandlers): void {
    this.#peers.serve(GOSSIP_KIND, (request) => request.answer(handlers.gossip(Buffer.from(request.payload))));
    this.#peers.serve(RING_KIND, (request) => request.answer(handlers.ring(Buffer.from(request.payload))));
  }

  /** A peer that is known by its address only is dialled first, which tells its id. */
  async exchange(to: GossipPeer, bytes: Buffer, deadlineMs: number): Promise<Buffer> {
    const { id, address } = to;
    if (id !== null) this.#peers.setAddress(id, address);
    const peerId = id ?? (await this.#peers.dial(address));
    if (this.#clock.monotonicMs() >= deadlineMs) throw new OperatingError("TIMEOUT", "the peer was met too late");
    return this.#peers.call({ to: peerId, kind: GOSSIP_KIND, payload: bytes, deadlineMs });
  }

  /** Delivers a request about the ring document: for `RingKeeper`. */
  askRing(to: MemberId, request: Buffer, deadlineMs: number): Promise<Buffer> {
    return this.#peers.call({ to, kind: RING_KIND, payload: request, deadlineMs });
  }
}
