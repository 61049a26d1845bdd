/**
 * The front end's tunables. The object is read at each use and its fields may change between calls (CONFIG SET); the
 * defaults are here so that tests and the configuration agree on them.
 */

export interface RespSettings {
  /** `maxclients`: connections served at once; further ones are told so and closed. */
  maxClients: number;
  /** `timeout`: a client that sends nothing for so long is closed. 0: never. */
  timeoutSeconds: number;
  /** `proto-max-bulk-len`: longest argument that is read, in bytes. What may be *stored* is the commands' own limit. */
  bulkBytesMax: number;
  /** `client-query-buffer-limit`: bytes of requests one connection may have waiting; beyond it the connection is closed. */
  queryBufferBytesMax: number;
  /**
   * Arguments of one request. Each costs about 100 bytes of heap when it is run, however short it is, so a few million
   * empty ones would exhaust the heap from a small buffer. As Redis's limit before 7.0.
   */
  argumentsMax: number;
  /** Requests of one connection that may wait for a later answer; then its requests are not read until half are answered. */
  unansweredMax: number;
  /** Milliseconds that a write may be held back before it begins because the engine has no room. */
  writeHoldMsMax: number;
  /** `client-output-buffer-limit normal <hard> ..`: a client with more unsent replies is closed. 0: no such limit. */
  outputHardBytes: number;
  /** `.. <soft> <seconds>`: a client is closed that has more unsent replies for so long. 0: no such limit. */
  outputSoftBytes: number;
  outputSoftSeconds: number;
  /** A client that has replies waiting and takes none of them for so long is closed. 0: never. */
  outputStallSeconds: number;
  /** With more unsent replies than this a client's requests are not read until all are sent ... */
  outputPauseBytes: number;
  /**
   * ... once all clients together have this much unsent. Until then a client may have as much: there are clients that
   * write a long pipeline before they read, and would wait for ever.
   */
  outputSharedBytes: number;
}

const MB = 1_048_576;

/** Replies that a client may have waiting before it has shown a password: room for hundreds of errors, no more. */
export const UNAUTHENTICATED_OUTPUT_BYTES_MAX = 16_384;

/** Redis's defaults, but for the output limits, which Redis leaves open: nothing here is buffered without end. */
export function defaultRespSettings(): RespSettings {
  return {
    maxClients: 10_000,
    timeoutSeconds: 0,
    bulkBytesMax: 512 * MB,
    queryBufferBytesMax: 1_024 * MB,
    argumentsMax: 1_048_576,
    unansweredMax: 256,
    writeHoldMsMax: 30_000,
    outputHardBytes: 256 * MB,
    outputSoftBytes: 0,
    outputSoftSeconds: 0,
    outputStallSeconds: 120,
    outputPauseBytes: MB,
    outputSharedBytes: 64 * MB,
  };
}
