/**
 * The Network seam: byte-stream connections. A chunk handed to `onData` is borrowed for the duration of the callback:
 * implementations may (and simulated ones do) overwrite it afterwards, so callers copy what they keep.
 *
 * Whether a network encrypts, and whom it trusts, is settled when it is built: who listens and connects does not know. Clients
 * and members are trusted by different rules, so a Host has a network for each.
 */

export interface Network {
  /** Rejects with an `OperatingError` of code `UNAVAILABLE` that says why the address cannot be used. */
  listen(options: ListenOptions): Promise<Listener>;
  /** Opens a connection within `timeoutMs`. Rejects with code `UNAVAILABLE` or `TIMEOUT`. */
  connect(options: ConnectOptions): Promise<Connection>;
}

export interface ListenOptions {
  readonly host: string;
  /** 0 asks for any free port. */
  readonly port: number;
  /** Called with each accepted connection; `start` it in the same call. */
  readonly onConnection: (connection: Connection) => void;
}

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
}

export interface Listener {
  readonly port: number;
  /** Stops accepting; open connections stay. */
  close(): Promise<void>;
}

export interface ConnectionHandlers {
  /** `chunk` is borrowed: valid until the callback returns. */
  onData(chunk: Buffer): void;
  /** The other side sends no more; this side may still write (half-closed). */
  onEnd(): void;
  /**
   * Bytes waiting to be sent have all been handed to the system. Certain only after `pendingBytes` was above 64 KB:
   * implementations need not tell of less.
   */
  onDrain(): void;
  /** Called exactly once, last. `error` is null after an orderly close. */
  onClose(error: Error | null): void;
}

export interface Connection {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  /**
   * 32 bytes that only the two ends of this very connection know, the same at both; null where it is not encrypted, and until
   * the first chunk arrived. Who stands between the ends and encrypts to each has two connections, and different bytes for each:
   * so a proof over these bytes that one end gives is worth nothing on the other connection.
   */
  readonly channelBinding: Buffer | null;
  /** Begins delivery. Called once. */
  start(handlers: ConnectionHandlers): void;
  /** Queues bytes: a latin1 string or a buffer that the caller will not change. Ignored after `end` or `destroy`. */
  write(bytes: string | Buffer): void;
  /** Bytes queued and not yet handed to the system. */
  readonly pendingBytes: number;
  /** Stops and restarts delivery of data. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes this side. */
  end(): void;
  /** Closes both sides at once; queued bytes are dropped. */
  destroy(): void;
}
