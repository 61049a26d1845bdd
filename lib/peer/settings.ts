/** The tunables of the links between members. The defaults are here so that tests and the configuration agree on them. */

export interface PeerSettings {
  /** The cluster's shared secret (`--cluster-secret`), never sent; null where there is none. */
  readonly clusterSecret: string | null;
  /** Longest payload in bytes, of a call or of an answer. At least the longest record plus some overhead. */
  readonly frameBytesMax: number;
  /** Calls to one peer that may wait for their answers, 1 to 65536. Past it a call fails with BUSY. */
  readonly callsMax: number;
  /**
   * Bytes that may wait to be sent to one peer, at least 262144. Past it a call fails with BUSY; a peer that leaves so much
   * of its answers unread is not read until it took half, and past the whole its link is closed.
   */
  readonly queuedBytesMax: number;
  /** Requests of one link whose handlers have not answered yet. Past it a request is refused with BUSY. */
  readonly handlersMax: number;
  /** Connections whose hello is under way. Further ones are closed unread. */
  readonly handshakesMax: number;
  /** Links accepted from other members, all together. */
  readonly linksMax: number;
  /** Milliseconds that a connection may take to be opened, and again as many for its hello. */
  readonly helloTimeoutMs: number;
  /** A link on which nothing came for so many milliseconds is pinged. */
  readonly pingMs: number;
  /** A peer that sent nothing for so many milliseconds, with a ping or calls open, is down: its link is closed and dialled anew. */
  readonly silenceMsMax: number;
  /** Calls in a row that went unanswered before `isUsable` says no. */
  readonly missedDeadlinesMax: number;
  /** A link to us on which nothing came for so many milliseconds is closed: a peer that lives pings. Well above `pingMs`. */
  readonly idleMsMax: number;
  /** The wait before a peer is dialled again: doubles from the first to the second, with jitter of half of it. */
  readonly backOffMsMin: number;
  readonly backOffMsMax: number;
}

const MB = 1_048_576;

export function defaultPeerSettings(): PeerSettings {
  return {
    clusterSecret: null,
    frameBytesMax: 16 * MB,
    callsMax: 16_384,
    queuedBytesMax: 64 * MB,
    handlersMax: 16_384,
    handshakesMax: 64,
    linksMax: 4_096,
    helloTimeoutMs: 2_000,
    pingMs: 1_000,
    silenceMsMax: 4_000,
    missedDeadlinesMax: 3,
    idleMsMax: 30_000,
    backOffMsMin: 50,
    backOffMsMax: 2_000,
  };
}
